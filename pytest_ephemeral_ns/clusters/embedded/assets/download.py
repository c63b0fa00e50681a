"""One program from an official release server, checked before it is used; this module must never keep an unchecked one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_ephemeral_ns.clusters.embedded.assets.store import Progress, explain_full_disk, sha256
from pytest_ephemeral_ns.clusters.embedded.assets.table import Asset, Release
from pytest_ephemeral_ns.errors import ClusterError

if TYPE_CHECKING:
    import httpx

_CONNECT_TIMEOUT = 3.0  # seconds; what cannot be reached has to be known soon, a build takes minutes anyway
_READ_TIMEOUT = 30.0
_ATTEMPTS = 5

_unreachable: dict[str, str] = {}  # server → why; found out once in a process


class Unavailable(Exception):
    """This program can't be had from its release server: it has to be built."""


def mirrored(url: str) -> str:
    """Return the URL to use: ``EPHEMERAL_NS_RELEASE_MIRROR`` puts a server of one's own before all release servers.

    Example:
        >>> os.environ["EPHEMERAL_NS_RELEASE_MIRROR"] = "https://mirror.example/releases"
        >>> mirrored("https://dl.k8s.io/v1.35.4/bin/linux/amd64/kubectl")
        'https://mirror.example/releases/dl.k8s.io/v1.35.4/bin/linux/amd64/kubectl'
        >>> del os.environ["EPHEMERAL_NS_RELEASE_MIRROR"]
    """
    mirror = os.environ.get("EPHEMERAL_NS_RELEASE_MIRROR", "").rstrip("/")
    return f"{mirror}/{url.removeprefix('https://')}" if mirror else url


def find_unreachable(releases: Iterable[Release]) -> dict[str, str]:
    """Ask every release server once, all at the same time, whether it answers.

    Returns:
        The servers that do not, and why, in a few words. Remembered for the rest of this process.
    """
    urls = {server_of(release): mirrored(release.checksums) for release in releases}
    unknown = {server: url for server, url in urls.items() if server not in _unreachable}
    if unknown:
        with ThreadPoolExecutor(len(unknown)) as pool:
            _unreachable.update(zip(unknown, pool.map(_ask, unknown.values()), strict=True))
    return {server: why for server in urls if (why := _unreachable[server])}


def server_of(release: Release) -> str:
    """Return the host, and the port if one is named, that a release comes from."""
    return urlsplit(mirrored(release.checksums)).netloc


def fetch(asset: Asset, release: Release, folder: Path, progress: Progress) -> Path:
    """Download one program, check it, and unpack it.

    Args:
        asset: what it is.
        release: where it is published, from :meth:`Asset.published`.
        folder: where it goes; an interrupted download stays there as ``.partial`` and is taken up again.
        progress: called with a line now and then.

    Returns:
        The program's file, still to be put into the store.

    Raises:
        Unavailable: the server does not have it, or can't be reached.
        ClusterError: the checksum is wrong, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{asset.name}-{asset.version}-{Path(urlsplit(release.url).path).name}"
    partial = archive.with_name(f"{archive.name}.partial")
    what = f"fetching {asset.name}"
    try:
        with explain_full_disk(folder, what), _client() as client:
            expected = _published_sum(client, release)
            resumed = partial.exists()
            _download(client, release.url, partial, lambda done, size: progress(_amount(asset, done, size)))
            if resumed and sha256(partial) != expected:  # the file changed on the server since the first part came
                partial.unlink()
                _download(client, release.url, partial, lambda done, size: progress(_amount(asset, done, size)))
            _check(partial, expected, release.url)
            return _unpack(partial, archive, release.member, asset.name)
    except ClusterError:
        partial.unlink(missing_ok=True)
        archive.unlink(missing_ok=True)
        raise


def _client() -> httpx.Client:
    import httpx

    timeout = httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT)
    return httpx.Client(follow_redirects=True, timeout=timeout, headers={"Accept-Encoding": "identity"})


def _ask(url: str) -> str:
    import httpx

    try:
        with _client() as client:
            status = client.head(url, timeout=_CONNECT_TIMEOUT).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _words(error)
    # 404 is an answer of the server itself; a proxy that lets nothing through says 403, 407 or 5xx.
    return f"HTTP {status}" if status in (403, 407) or status >= 500 else ""


def _words(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def _published_sum(client: httpx.Client, release: Release) -> str:
    text = _text(client, mirrored(release.checksums))
    name = Path(urlsplit(release.url).path).name
    for line in text.splitlines():
        words = line.split()
        named = len(words) == 1 or (len(words) > 1 and words[-1].lstrip("*").rpartition("/")[2] == name)
        if words and named and len(words[0]) == 64:
            return words[0].lower()
    raise Unavailable(f"{release.checksums} has no checksum for {name}")


def _text(client: httpx.Client, url: str) -> str:
    def get() -> str:
        answer = client.get(url)
        _refuse(answer, url)
        return answer.text

    return _again_and_again(get, url)


def _download(client: httpx.Client, url: str, partial: Path, report: Callable[[int, int], None]) -> None:
    address = mirrored(url)

    def get() -> str:
        have = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with client.stream("GET", address, headers=headers) as answer:
            if answer.status_code == 416:  # nothing is left to get, or what is here is longer: the checksum will tell
                return ""
            _refuse(answer, url)
            if answer.status_code != 206:
                have = 0
            size = have + int(answer.headers.get("Content-Length", 0))
            # As it comes, without buffers: what has arrived is there when this ends in the middle.
            with partial.open("ab" if have else "wb", buffering=0) as file:
                for block in answer.iter_raw():
                    file.write(block)
                    have += len(block)
                    report(have, size)
        return ""

    _again_and_again(get, url)


def _again_and_again(call: Callable[[], str], url: str) -> str:
    import httpx
    import tenacity

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=0.2, max=5),
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        reraise=True,
    )
    try:
        return retrying(call)
    except httpx.HTTPError as error:
        raise Unavailable(f"{url}: {_words(error)}") from error


def _refuse(answer: httpx.Response, url: str) -> None:
    import httpx

    if answer.status_code >= 500 or answer.status_code == 429:
        raise httpx.RemoteProtocolError(f"HTTP {answer.status_code}")  # worth another try
    if answer.status_code >= 400:
        raise Unavailable(f"{url}: HTTP {answer.status_code}")


def _check(file: Path, expected: str, url: str) -> None:
    found = sha256(file)
    if found != expected:
        raise ClusterError(
            f"{url} is not what its project published: the checksum is wrong",
            evidence=[f"published: {expected}", f"received:  {found}", "nothing of it was kept"],
            command="try again; if it stays so, something between here and the release server changes files",
        )


def _unpack(partial: Path, archive: Path, member: str, name: str) -> Path:
    if not member:
        return partial.replace(archive)
    program = archive.with_name(f"{name}.unpacked")
    try:
        with tarfile.open(partial, "r:*") as tar:
            source = tar.extractfile(member)
            if source is None:
                raise KeyError(member)
            with contextlib.closing(source), program.open("wb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
    except (KeyError, tarfile.TarError) as error:
        program.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)
        raise Unavailable(f"{archive.name} holds no {member}") from error
    except OSError:
        program.unlink(missing_ok=True)
        raise
    partial.unlink()
    return program


def _amount(asset: Asset, done: int, size: int) -> str:
    total = f" of {size // 2**20}" if size else ""
    return f"fetching {asset.name} {asset.version}: {done // 2**20}{total} MB"
