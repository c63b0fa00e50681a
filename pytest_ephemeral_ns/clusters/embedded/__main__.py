"""``python -m pytest_ephemeral_ns.clusters.embedded``; this module must never hold logic of its own.

PYTEST_DONT_REWRITE
"""

import sys

from pytest_ephemeral_ns.clusters.embedded.cluster import main

sys.exit(main())
