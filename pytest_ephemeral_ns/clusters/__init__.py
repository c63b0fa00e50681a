"""WHERE: the cluster that a run uses. Never creates a namespace.

PYTEST_DONT_REWRITE
"""
