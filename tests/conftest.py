"""Fixtures of the tests that are not the root's."""

from tests.kind_lab import kind_cluster, kind_host

__all__ = ["kind_cluster", "kind_host"]
