"""Where files of ours live on this machine; this module must never create, read or write one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from pathlib import Path

APP = "pytest-ephemeral-ns"


def cache_dir() -> Path:
    """Return the folder for what can be fetched or built again: binaries, images, downloads.

    ``EPHEMERAL_NS_CACHE_DIR`` names another one; otherwise it is the user's cache folder of this platform.
    """
    if named := os.environ.get("EPHEMERAL_NS_CACHE_DIR"):
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir(APP, appauthor=False))


def state_dir() -> Path:
    """Return the folder for clusters that are running: one sub-folder each.

    ``EPHEMERAL_NS_STATE_DIR`` names another one; otherwise it is the user's state folder of this platform.
    """
    if named := os.environ.get("EPHEMERAL_NS_STATE_DIR"):
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_state_dir(APP, appauthor=False))


def bin_dir() -> Path:
    """Return the folder of the cached programs: kube-apiserver, etcd, kubectl, helm, kustomize, kwok, kind."""
    return cache_dir() / "bin"


def image_dir() -> Path:
    """Return the folder of the image archives that ``make images`` makes."""
    return cache_dir() / "images"
