"""Where the real manifests are that nobody of this project wrote; tests that use them skip where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL = Path(os.environ.get("EPHEMERAL_NS_TEST_MANIFESTS") or Path(__file__).parents[3] / "shared" / "manifests")
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real manifests are not at {REAL}")
