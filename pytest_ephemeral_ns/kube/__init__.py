"""HOW WE TOUCH THE API: requests, watches, streams and the programs kubectl, Helm and kustomize.

PYTEST_DONT_REWRITE
"""
