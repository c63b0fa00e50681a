"""Lets ``python -m pytest_ephemeral_ns`` be the command ``ephemeral-ns``; this module must never hold code of its own.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys

from pytest_ephemeral_ns.cli import main

if __name__ == "__main__":
    sys.exit(main())
