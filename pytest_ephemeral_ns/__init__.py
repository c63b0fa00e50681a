"""The names that a user may import, and nothing else; nothing is imported until it is asked for.

PYTEST_DONT_REWRITE
"""
