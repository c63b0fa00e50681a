"""WHAT WE DECIDE: values in, values out. No network, process, clock, environment, files or pytest.

PYTEST_DONT_REWRITE
"""
