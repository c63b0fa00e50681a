"""``python -m pytest_ephemeral_ns.clusters.embedded.assets [GROUP or NAME]…`` fetches what the Makefile asks for.

This module must never hold logic of its own.

PYTEST_DONT_REWRITE
"""

import sys

from pytest_ephemeral_ns.clusters.embedded.assets.obtain import main

sys.exit(main(sys.argv[1:]))
