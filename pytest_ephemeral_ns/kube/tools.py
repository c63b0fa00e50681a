"""kubectl, kustomize and how every program is found and run; this module must never put a secret into argv.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.environ import copied
from pytest_ephemeral_ns.errors import ManifestError, ToolError
from pytest_ephemeral_ns.kube.process import Cut, converse

_LONGEST_ERROR = 64 << 10
_SHORTEST_SECRET = 4
_NAMED_FOLDERS = ("EPHEMERAL_NS_ASSETS", "KUBEBUILDER_ASSETS")
_OLDEST_KUBECTL_WITH_KUSTOMIZE_4 = (1, 21)

_HOW_TO_GET = {
    "kubectl": "install kubectl: https://kubernetes.io/docs/tasks/tools/",
    "helm": "install Helm 3.14 or newer: https://helm.sh/docs/intro/install/",
    "kustomize": "install kustomize, or kubectl 1.21 or newer: https://kubectl.docs.kubernetes.io/installation/kustomize/",
    "kind": "install kind: https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
}

# With a kubeconfig of ours these would silently choose another cluster, namespace, user or place for the release.
_LEADS_ELSEWHERE = re.compile(r"KUBECONFIG|HELM_(KUBE\w+|NAMESPACE|DRIVER\w*|BURST_LIMIT|QPS)|KUBERNETES_MASTER")


@dataclass(frozen=True)
class Completed:
    """What a program printed, decoded as UTF-8, and how it ended."""

    stdout: str
    stderr: str
    returncode: int


def find(tool: str) -> Path:
    """Return the path of a program: the first on ``PATH``, else in the folder that the user names, else in the cache.

    Args:
        tool: ``"kubectl"``, ``"helm"``, ``"kustomize"``, ``"kind"`` …

    Raises:
        ToolError: it is nowhere; says how to get it.

    Example:
        >>> find("sh").name
        'sh'
    """
    for candidate in _everywhere(tool):
        return candidate
    raise ToolError(
        f"{tool} is not installed",
        evidence=[f"looked on PATH and in {paths.bin_dir()}", *([_HOW_TO_GET[tool]] if tool in _HOW_TO_GET else [])],
        command="ephemeral-ns doctor",
    )


def _everywhere(tool: str) -> Iterator[Path]:
    for folders in (None, *filter(None, map(os.environ.get, _NAMED_FOLDERS)), str(paths.bin_dir())):
        if found := shutil.which(tool, path=folders):
            yield Path(found)


def run(
    tool: str | Path,
    args: Sequence[str | Path],
    *,
    kubeconfig: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | str | None = None,
    timeout: float,
    redact: Sequence[str] = (),
    check: bool = True,
    cwd: Path | None = None,
    what: str = "",
) -> Completed:
    r"""Run a program to its end, in a process group of its own that never outlives the call.

    Args:
        tool: a name for :func:`find`, or a path.
        args: arguments; never a secret, because every user of the machine can read them.
        kubeconfig: handed over as ``--kubeconfig``; variables that lead to another cluster are then taken away.
        env: variables added to those inherited.
        input: what it reads from standard input; nothing when ``None``.
        timeout: seconds. Then the group gets SIGTERM and, 5 s later, SIGKILL.
        redact: values that are replaced in every error text.
        check: whether an exit code other than 0 is an error.
        cwd: working directory.
        what: what errors call it; default: the program and its sub-command.

    Returns:
        What it printed, and its exit code. The output is not redacted: it is the caller's.

    Raises:
        ToolError: missing, not startable, too slow, too talkative (128 MiB), or failed; carries its own words.

    Example:
        >>> run("sh", ["-c", "echo hello"], timeout=10).stdout
        'hello\n'
    """
    program = tool if isinstance(tool, Path) else find(tool)
    argv = [str(program), *(["--kubeconfig", str(kubeconfig)] if kubeconfig else []), *map(str, args)]
    what = what or " ".join([program.name, *subcommand(args)])
    environ = {k: v for k, v in copied(os.environ).items() if not (kubeconfig and _LEADS_ELSEWHERE.fullmatch(k))}
    data = input.encode() if isinstance(input, str) else input or b""
    try:
        out, err, returncode = converse(argv, env={**environ, **(env or {})}, cwd=cwd, data=data, timeout=timeout)
    except OSError as error:
        raise ToolError(f"{what} could not be started", evidence=[str(error)]) from error
    except Cut as cut:
        words = _own_words(cut.output, redact)
        raise ToolError(f"{what} {cut.why}", output="\n".join(words), evidence=words) from None
    stdout, stderr = out.decode(errors="replace"), err.decode(errors="replace")
    if check and returncode != 0:
        raise ToolError(
            f"{what} failed with exit code {returncode}",
            returncode=returncode,
            output=redacted(stdout + stderr, redact),
            evidence=_own_words(stderr if stderr.strip() else stdout, redact),
        )
    return Completed(stdout, stderr, returncode)


def subcommand(args: Sequence[str | Path]) -> list[str]:
    """Return the words before the first flag, two at most: what may be shown of ``args``; the rest may be anything."""
    words: list[str] = []
    for arg in args[:2]:
        if not re.fullmatch(r"[a-z][a-z-]*", str(arg)):
            break
        words.append(str(arg))
    return words


def redacted(text: str, secrets: Sequence[str]) -> str:
    """Return ``text`` with every secret, plain or in base64, replaced by ``[redacted]``.

    Args:
        text: anything that is about to be shown.
        secrets: values; those shorter than 4 characters are left alone, they would eat ordinary words.

    Example:
        >>> redacted("password hunter2 refused", ["hunter2"])
        'password [redacted] refused'
    """
    forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST_SECRET}
    # The longest first: a secret that contains another must go as a whole.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "[redacted]")
    return text


def _forms(secret: str) -> Iterator[str]:
    yield secret
    if len(secret) >= _SHORTEST_SECRET:
        yield base64.b64encode(secret.encode()).decode()
        yield json.dumps(secret)[1:-1]
        # A key in PEM is shown line by line; its lines are as secret as the whole.
        yield from (line for line in secret.splitlines() if len(line) >= 4 * _SHORTEST_SECRET)


def _own_words(text: str, secrets: Sequence[str]) -> list[str]:
    text = redacted(text.strip(), secrets)
    if len(text) > _LONGEST_ERROR:
        text = f"… ({len(text) - _LONGEST_ERROR} characters left out)\n{text[-_LONGEST_ERROR:]}"
    return text.splitlines()


def kubectl(
    args: Sequence[str],
    *,
    kubeconfig: Path,
    namespace: str = "",
    input: bytes | str | None = None,
    timeout: float,
    redact: Sequence[str] = (),
    check: bool = True,
) -> Completed:
    """Run the real kubectl with a kubeconfig and a default namespace.

    Args:
        args: for example ``["get", "pods", "-o", "name"]``.
        kubeconfig: whose rights it has.
        namespace: used when ``args`` name none.
        input: its standard input, for ``apply -f -``.
        timeout: seconds.
        redact: see :func:`run`.
        check: see :func:`run`.

    Raises:
        ToolError: see :func:`run`.

    Example:
        ``kubectl(["get", "pods"], kubeconfig=path, namespace="shop", timeout=30).stdout``
    """
    return run(
        "kubectl",
        [*(["--namespace", namespace] if namespace else []), *args],
        kubeconfig=kubeconfig,
        # Preferences of the person (kuberc) may turn on questions that nobody answers in a test run.
        env={"KUBECTL_KUBERC": "false"},
        input=input,
        timeout=timeout,
        redact=redact,
        check=check,
        what=" ".join(["kubectl", *subcommand(args)]),
    )


def render_kustomization(path: Path | str, timeout: float) -> str:
    """Return the YAML that a kustomization builds to.

    Args:
        path: the folder that holds ``kustomization.yaml``.
        timeout: seconds; remote bases are fetched by git within them.

    Raises:
        ManifestError: it does not build; carries kustomize's own words.
        ToolError: there is neither kustomize nor a kubectl that is new enough, or it took too long.

    Example:
        ``render_kustomization("deploy/overlays/ci", timeout=60)``
    """
    argv = [*_kustomize(), str(path)]
    try:
        return run(Path(argv[0]), argv[1:], timeout=timeout).stdout
    except ToolError as error:
        if error.returncode is None:
            raise
        raise ManifestError(
            f"kustomization {path} does not build",
            evidence=error.evidence,
            command=" ".join([Path(argv[0]).name, *argv[1:]]),
        ) from error


def kustomize_version() -> tuple[int, int]:
    """Return major and minor version of what :func:`render_kustomization` uses; ``(0, 0)`` if it does not say.

    Raises:
        ToolError: there is neither kustomize nor a kubectl that is new enough.
    """
    return _kustomize_version(_kustomize())


@functools.cache
def _kustomize_version(argv: tuple[str, ...]) -> tuple[int, int]:
    if argv[1] == "kustomize":
        return _numbers(r'"kustomizeVersion":\s*"v?(\d+)\.(\d+)', _client_version(Path(argv[0])))
    done = run(Path(argv[0]), ["version"], timeout=30, check=False)
    return _numbers(r"v(\d+)\.(\d+)", done.stdout)


def _numbers(pattern: str, text: str) -> tuple[int, int]:
    match = re.search(pattern, text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _kustomize() -> tuple[str, ...]:
    for kustomize in _everywhere("kustomize"):
        return str(kustomize), "build"
    too_old = []
    for candidate in _everywhere("kubectl"):
        version = kubectl_version(candidate)
        if version >= _OLDEST_KUBECTL_WITH_KUSTOMIZE_4:
            return str(candidate), "kustomize"
        too_old.append(f"{candidate} is {'.'.join(map(str, version))}: its built-in kustomize is 2.0.3, of 2019")
    raise ToolError(
        "kustomize is not installed",
        evidence=[f"looked on PATH and in {paths.bin_dir()}", *too_old, _HOW_TO_GET["kustomize"]],
        command="ephemeral-ns doctor",
    )


def kubectl_version(program: Path) -> tuple[int, int]:
    """Return major and minor version of a kubectl; asked once for each path.

    Raises:
        ToolError: it does not run, or its answer holds no version.
    """
    told = _client_version(program)
    if match := re.search(r'"gitVersion":\s*"v?(\d+)\.(\d+)', told):
        return int(match[1]), int(match[2])
    raise ToolError(f"{program} does not say its version", output=told, evidence=told.splitlines()[:5])


@functools.cache
def _client_version(program: Path) -> str:
    return run(program, ["version", "--client", "-o", "json"], timeout=30).stdout
