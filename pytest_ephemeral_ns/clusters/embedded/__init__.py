"""A real Kubernetes without Docker: control plane and node as processes of this machine.

PYTEST_DONT_REWRITE
"""
