"""Requests to one API server as raw JSON, repeated where that is safe; this module must never know a kind.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.kube import answers
from pytest_ephemeral_ns.kube.calls import JSON, Call, Caller, Send, encode, has_version
from pytest_ephemeral_ns.kube.http import Reply
from pytest_ephemeral_ns.kube.line import Line
from pytest_ephemeral_ns.kube.pages import Object, identity, pages, selectors
from pytest_ephemeral_ns.kube.settle import delete_options, doubtful_create, refused_delete
from pytest_ephemeral_ns.kube.stream import Stream

if TYPE_CHECKING:
    import ssl

    from pytest_ephemeral_ns.connection import Connection

Params = Mapping[str, Any]
Warnings = list[str]
Objects = list[Object]
Pairs = list[tuple[str, str]]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

FIELD_MANAGER = "pytest-ephemeral-ns"


class Api:
    """The API server as one identity sees it. Thread-safe; close it, or use it as a context manager.

    Every call takes a path below the server (``"/api/v1/namespaces/shop/pods"``), and objects are plain JSON.

    Args:
        connection: where to, and who.
        timeout: seconds for one call, with all its attempts; ``timeout`` of a call is the same for that call.
        refresh: returns a connection with a new credential; called on 401, by one thread for all.

    Attributes:
        connection: the one in use, after a renewal the new one.
        requests: how many requests were sent, repeated ones included.

    Raises:
        UsageError: the connection's certificates cannot be read.

    Example:
        >>> def names(api):
        ...     return [pod["metadata"]["name"] for pod in api.list("/api/v1/namespaces/shop/pods")]
    """

    def __init__(
        self, connection: Connection, *, timeout: float = 30.0, refresh: Callable[[], Connection] | None = None
    ) -> None:
        self.timeout = timeout
        self._caller = Caller(connection, refresh)
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    @property
    def connection(self) -> Connection:
        """The connection in use."""
        return self._caller.session.connection

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._caller.requests

    @property
    def server_time(self) -> float:
        """The time on the server's clock, seconds since the epoch, from the answers so far; never ahead of it."""
        return self._caller.now()

    def close(self) -> None:
        """Close all connections, end all streams and all pauses between attempts."""
        for stream in [*self._streams]:
            stream.close()
        self._caller.close()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading

    def get(
        self, path: str, *, params: Params | None = None, timeout: float | None = None, accept: str | None = None
    ) -> Object:
        """Return the object at ``path``; a missing one is an ApiError with status 404."""
        call = Call("GET", path, answers.subject("GET", path), params or {}, accept=accept or JSON, repeatable=True)
        return self._perform(call, timeout).json()

    def find(self, path: str, *, params: Params | None = None, timeout: float | None = None) -> Object | None:
        """Return the object at ``path``, or ``None`` when there is none."""
        try:
            return self.get(path, params=params, timeout=timeout)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def text(self, path: str, *, params: Params | None = None, timeout: float | None = None) -> str:
        """Return what is at ``path`` as text: a log, ``/readyz``. Bytes that are not UTF-8 are replaced."""
        call = Call("GET", path, answers.subject("GET", path), params or {}, accept="*/*", repeatable=True)
        return self._perform(call, timeout).body.decode(errors="replace")

    def list(
        self,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
        accept: str | None = None,
    ) -> Iterator[Object]:
        """Yield every object of a collection, in pages of ``limit``; each has its ``kind`` and ``apiVersion``.

        When the list's snapshot ends in the middle (410), it is begun again and what was yielded already is left
        out: an object that was there all the time is yielded once, one that came or went meanwhile once or not.
        """
        seen: set[tuple[str, str, str]] = set()
        for page, _ in self._pages(path, label_selector, field_selector, limit, accept):
            for item in page.get("items") or ():
                if (key := identity(item)) not in seen:
                    seen.add(key)
                    yield item

    def list_all(
        self,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
        line: Line | None = None,
    ) -> tuple[Objects, str]:
        """Return all objects of one consistent snapshot and its resourceVersion, from which a watch can go on.

        When the snapshot ends in the middle (410), all that was read is thrown away and the list begun again.
        ``line`` is a connection of the caller's own, for one who must be able to stop at once.
        """
        items: Objects = []
        version = ""
        for page, restarted in self._pages(path, label_selector, field_selector, limit, line=line):
            items = [*([] if restarted else items), *(page.get("items") or ())]
            version = page["metadata"].get("resourceVersion", "")
        return items, version

    def _pages(
        self, path: str, labels: str, fields: str, limit: int, accept: str | None = None, line: Line | None = None
    ) -> Iterator[tuple[Object, bool]]:
        options: Any = {"send": line.send, "stopped": line.is_cut} if line else {}

        def get(query: Object) -> Object:
            what = answers.subject("GET", path)
            call = Call("GET", path, what, query, accept=accept or JSON, repeatable=True)
            return self._perform(call, None, **options).json()

        return pages(get, {"limit": limit, **selectors(labels, fields)})

    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        read_timeout: float | None = 90.0,
        line: Line | None = None,
    ) -> Stream:
        """Return the lines of a watch or of a followed log; see :class:`Stream`.

        Args:
            path: of the collection, or ``.../pods/NAME/log``.
            params: ``{"watch": True, ...}`` or ``{"follow": True, ...}``.
            read_timeout: seconds without a byte after which the connection counts as lost; ``None`` for no limit.
            line: the connection to use; by default a new one.
        """
        params = params or {}
        what = answers.subject("GET", path, watch=bool(params.get("watch")))
        accept = JSON if params.get("watch") else "*/*"
        call = Call("GET", path, what, params, accept=accept, repeatable=True)

        def opener(send: Send, closed: threading.Event) -> None:
            self._caller.perform(call, timeout=self.timeout, send=send, stopped=closed)

        stream = Stream(opener, lambda error: self._caller.unreachable(what, error), read_timeout, line)
        self._streams.add(stream)
        return stream

    # -- writing

    def create(
        self,
        path: str,
        body: Object,
        *,
        params: Params | None = None,
        same: Callable[[Object], bool] | None = None,
        timeout: float | None = None,
        warnings: Warnings | None = None,
    ) -> Object:
        """Create ``body`` in the collection ``path``; unknown and duplicate fields are errors.

        Args:
            path: of the collection.
            body: the object.
            params: more query parameters; ``fieldValidation`` is Strict unless given.
            same: says whether an object of that name is the one that *this call* made (by a value that no other call
                has, such as a nonce in an annotation). With it, a connection that is lost after the request was sent
                is repaired: the call is repeated, and "exists already" is answered by the object if it is ours.
                Without it such a loss is an error that says that the outcome is unknown.
            timeout: seconds for all attempts.
            warnings: the server's warnings are appended to it.

        Raises:
            ApiError: refused, no answer, or unknown whether it was created.
        """
        name = (body.get("metadata") or {}).get("name", "")
        what = answers.subject("POST", path, name=name)
        query = {"fieldValidation": "Strict", **(params or {})}
        call = Call("POST", path, what, query, encode(body), JSON, repeatable=bool(same and name))
        doubt = threading.Event()
        try:
            reply = self._perform(call, timeout, warnings=warnings, doubt=doubt)
        except ApiError as error:
            if not doubt.is_set():
                raise
            return doubtful_create(self.find, f"{path}/{name}", same, error)
        return reply.json()

    def replace(self, path: str, body: Object, *, params: Params | None = None, timeout: float | None = None) -> Object:
        """Replace the object at ``path``; a ``resourceVersion`` in ``body`` must be the current one."""
        query = {"fieldValidation": "Strict", **(params or {})}
        call = Call("PUT", path, answers.subject("PUT", path), query, encode(body), JSON, fresh=not has_version(body))
        return self._perform(call, timeout).json()

    def patch(
        self,
        path: str,
        body: Any,
        *,
        content_type: str = MERGE_PATCH,
        params: Params | None = None,
        timeout: float | None = None,
        warnings: Warnings | None = None,
    ) -> Object:
        """Patch the object at ``path`` with a merge, strategic, JSON or apply patch, named by ``content_type``."""
        fresh = not has_version(body)
        what = answers.subject("PATCH", path)
        again = fresh and content_type != JSON_PATCH
        call = Call("PATCH", path, what, params or {}, encode(body), content_type, JSON, again, fresh)
        return self._perform(call, timeout, warnings=warnings).json()

    def apply(
        self,
        path: str,
        body: Object,
        *,
        field_manager: str = FIELD_MANAGER,
        force: bool = True,
        dry_run: bool = False,
        params: Params | None = None,
        timeout: float | None = None,
        warnings: Warnings | None = None,
    ) -> Object:
        """Apply ``body`` at ``path`` on the server's side; unknown and duplicate fields are errors.

        Args:
            path: of the object, which need not exist yet.
            body: the fields that ``field_manager`` wants to own.
            field_manager: who owns them.
            force: whether to take fields that others own.
            dry_run: whether to do everything but store it.
            params: more query parameters; ``fieldValidation`` is Strict unless given.
            timeout: seconds for all attempts.
            warnings: the server's warnings are appended to it.
        """
        query = {"fieldManager": field_manager, "force": force, "fieldValidation": "Strict", **(params or {})}
        if dry_run:
            query["dryRun"] = "All"
        return self.patch(path, body, content_type=APPLY_PATCH, params=query, timeout=timeout, warnings=warnings)

    def delete(
        self,
        path: str,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
        grace_period: int | None = None,
        timeout: float | None = None,
    ) -> Object | None:
        """Delete the object at ``path``; ``None`` when it is gone already.

        Args:
            path: of the object.
            uid: delete it only if it has this UID: an object of the same name that was made later is not touched.
            resource_version: delete it only if it is still at this version.
            propagation: ``Background``, ``Foreground`` or ``Orphan``.
            grace_period: seconds for pods to end; ``None`` for their own.
            timeout: seconds for all attempts.

        Returns:
            The object as it was when its deletion began, or the server's Status.

        Raises:
            ApiError: reason ``Conflict`` when another object has that name now; or refused; or no answer.
        """
        options = delete_options(uid, resource_version, propagation, grace_period)
        what = answers.subject("DELETE", path)
        call = Call("DELETE", path, what, {}, encode(options), JSON, repeatable=True, fresh=not resource_version)
        try:
            return self._perform(call, timeout).json()
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status == 409 and uid:
                return refused_delete(self.find, path, uid, error)
            raise

    # -- asking

    def can(
        self, verb: str, resource: str, *, group: str = "", namespace: str = "", name: str = "", subresource: str = ""
    ) -> tuple[bool, str]:
        """Return whether this identity may do it, and the server's reason if it gives one (SelfSubjectAccessReview)."""
        wanted = {"verb": verb, "resource": resource, "group": group, "namespace": namespace, "name": name}
        attributes = {key: value for key, value in {**wanted, "subresource": subresource}.items() if value}
        body = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
        review = encode({**body, "spec": {"resourceAttributes": attributes}})
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        # Nothing is stored, so it may be repeated.
        call = Call("POST", path, answers.subject("POST", path), {}, review, JSON, repeatable=True)
        status = self._perform(call, None).json().get("status") or {}
        return bool(status.get("allowed")), str(status.get("reason") or status.get("evaluationError") or "")

    def version(self) -> Object:
        """Return the server's version: ``{"gitVersion": "v1.34.2", "major": "1", "minor": "34", ...}``."""
        return self.get("/version")

    def headers(self) -> Pairs:
        """Return the header lines that authenticate, for connections that are not requests of ours (websockets)."""
        return self._caller.session.headers()

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS context that all connections share; ``None`` for a plain ``http://`` server."""
        return self._caller.session.pool.context

    def _perform(self, call: Call, timeout: float | None, **options: Any) -> Reply:
        return self._caller.perform(call, timeout=self.timeout if timeout is None else timeout, **options)
