"""A copy of the environment for a subprocess; this module must never change the environment.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Mapping


def copied(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy, also while another thread changes the environment.

    pytest sets and removes ``PYTEST_CURRENT_TEST`` around every step of every test. ``dict(os.environ)`` in a thread
    that renews a credential then raises KeyError, because a name can go before its value is read.

    Args:
        environ: ``os.environ``, or what stands for it.

    Example:
        >>> copied({"HOME": "/root"})
        {'HOME': '/root'}
    """
    return {name: value for name in environ if (value := environ.get(name)) is not None}
