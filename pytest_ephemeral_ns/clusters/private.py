"""Files that hold credentials; this module must never leave one, or half of one, where others can read it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import secrets


def write_private(path: str | os.PathLike[str], content: str, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all; until it has its name, only this user can read it.

    Args:
        path: where to; a file that is there is replaced. Its folder is made, for this user only, if it is missing.
        content: the text.
        mode: the finished file's permissions.

    Raises:
        OSError: it could not be written; what was there before is untouched.

    Example:
        >>> write_private("/tmp/shop/kubeconfig", "{}")  # doctest: +SKIP
    """
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
