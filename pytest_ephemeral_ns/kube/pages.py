"""A collection in pages, of one snapshot where the server can keep it; this module must never send a request itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pytest_ephemeral_ns.errors import ApiError

Object = dict[str, Any]


def pages(get: Callable[[Object], Object], params: Object) -> Iterator[tuple[Object, bool]]:
    """Yield every page, and whether the collection was begun again with it.

    Continue tokens end when etcd is compacted (410, some minutes): then the list is begun again.

    Args:
        get: returns one page for these query parameters.
        params: ``limit`` and selectors.
    """
    token, restarted = "", False
    while True:
        try:
            page = get({**params, **({"continue": token} if token else {})})
        except ApiError as error:
            if error.status != 410 or not token:
                raise
            token, restarted = "", True
            continue
        yield _typed(page), restarted
        restarted = False
        if not (token := (page.get("metadata") or {}).get("continue", "")):
            return


def _typed(page: Object) -> Object:
    """Put kind and apiVersion, which lists leave out, into the items."""
    kind = str(page.get("kind", "")).removesuffix("List")
    for item in page.get("items") or ():
        item.setdefault("kind", kind)
        item.setdefault("apiVersion", page.get("apiVersion", ""))
    return page


def selectors(labels: str, fields: str) -> dict[str, str]:
    """Return the query parameters that select; an empty selector is left out."""
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def identity(item: Object) -> tuple[str, str, str]:
    """Return namespace, name and UID."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"], metadata.get("uid", "")
