"""A release server on loopback that knows ranges, counts what it is asked, and breaks when told to."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class ReleaseServer:
    """Serves ``files``; every request is kept in ``requests`` as (method, path, Range header)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.cut_after: dict[str, int] = {}  # path → bytes, once
        self.status: dict[str, int] = {}
        self.delay = 0.0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                wanted = self.headers.get("Range", "")
                owner.requests.append((self.command, self.path, wanted))
                time.sleep(owner.delay)
                content = owner.files.get(self.path)
                status = owner.status.get(self.path, 200 if content is not None else 404)
                if content is None or status >= 400:
                    self.reply(status, b"")
                    return
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
                if start and start >= len(content):
                    self.reply(416, b"")
                    return
                self.reply(206 if start else 200, content[start:], owner.cut_after.pop(self.path, None), body=body)

            def reply(self, status: int, content: bytes, cut: int | None = None, *, body: bool = True) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content[:cut])
                if cut is not None:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, url: str, content: bytes, sums: str = "", *, wrong_sum: bool = False) -> None:
        """Publish a file under its official URL, with its checksum at ``sums`` (default: beside it)."""
        path = "/" + url.removeprefix("https://")
        self.files[path] = content
        digest = hashlib.sha256(b"something else" if wrong_sum else content).hexdigest()
        sums = "/" + (sums or f"{url}.sha256").removeprefix("https://")
        line = digest if sums.endswith(".sha256") else f"{digest}  {path.rpartition('/')[2]}\n"
        self.files[sums] = self.files.get(sums, b"") + line.encode()

    def gets(self, ending: str) -> list[str]:
        """Return the Range headers of all downloads of a file."""
        return [wanted for method, path, wanted in self.requests if method == "GET" and path.endswith(ending)]

    def __enter__(self) -> ReleaseServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def archive(member: str, content: bytes) -> bytes:
    """Return a .tar.gz with one program."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return target.getvalue()
