"""Which programs there are, which version, and where each comes from; this module must never fetch or build one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_ephemeral_ns.errors import UsageError

KUBERNETES = "v1.35.4"
ETCD = "v3.6.8"
HELM = "v3.19.0"
KUSTOMIZE = "v5.8.0"
KWOK = "v0.7.0"
COREDNS = "v1.13.1"
KIND = "v0.30.0"
PODINFO = "v1.8.1-0.20250910200901-e86405a8674e"  # what Go calls release 6.9.2

_STAMP = "k8s.io/component-base/version"
_HELM_CAPABILITIES = "helm.sh/helm/v3/pkg/chartutil"


@dataclass(frozen=True)
class Release:
    """A file on an official release server.

    Args:
        url: ``{os}``, ``{arch}`` and ``{name}`` are filled in.
        checksums: where its SHA-256 is published: the bare sum, or lines of sum and file name.
        member: the program's path inside the archive; empty if the file is the program itself.
        systems: the systems that it is published for.
    """

    url: str
    checksums: str
    member: str = ""
    systems: tuple[str, ...] = ("linux",)


@dataclass(frozen=True)
class Build:
    """How Go builds it.

    Args:
        package: the import path of its ``main`` package.
        module: the folder under ``modules/`` whose locked list it is built from; empty: ``go install package@version``,
            which uses the list that the module itself ships.
        version: for ``go install``.
        stamps: variables that the linker sets, as ``-X`` takes them.
    """

    package: str
    module: str = ""
    version: str = ""
    stamps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asset:
    """One program.

    Args:
        name: its file name.
        version: as its project calls it.
        groups: what it is needed for.
        build: how it is built.
        release: where it is published with a checksum; ``None`` if it is not.
    """

    name: str
    version: str
    groups: tuple[str, ...]
    build: Build
    release: Release | None = None

    @property
    def recipe(self) -> str:
        """A fingerprint that changes when the version or the way it is made changes."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def published(self) -> Release | None:
        """Return its release for this machine, all placeholders filled in; ``None`` if there is none."""
        if self.release is None or system() not in self.release.systems:
            return None
        values = {"os": system(), "arch": architecture(), "name": self.name}
        return Release(
            self.release.url.format(**values),
            self.release.checksums.format(**values),
            self.release.member.format(**values),
            self.release.systems,
        )


def _kubernetes(name: str, *groups: str) -> Asset:
    url = f"https://dl.k8s.io/{KUBERNETES}/bin/{{os}}/{{arch}}/{{name}}"
    major, minor = KUBERNETES.removeprefix("v").split(".")[:2]
    stamps = (f"{_STAMP}.gitVersion={KUBERNETES}", f"{_STAMP}.gitMajor={major}", f"{_STAMP}.gitMinor={minor}")
    build = Build(f"k8s.io/kubernetes/cmd/{name}", module="kubernetes", stamps=stamps)
    systems = ("linux", "darwin") if name == "kubectl" else ("linux",)
    return Asset(name, KUBERNETES, groups, build, Release(url, f"{url}.sha256", systems=systems))


def _github(repository: str, tag: str) -> str:
    return f"https://github.com/{repository}/releases/download/{tag}"


_HELM_URL = f"https://get.helm.sh/helm-{HELM}-{{os}}-{{arch}}.tar.gz"
_ETCD_FILE = f"etcd-{ETCD}-{{os}}-{{arch}}"
_KUSTOMIZE_URL = _github("kubernetes-sigs/kustomize", f"kustomize%2F{KUSTOMIZE}")
_COREDNS_URL = f"{_github('coredns/coredns', COREDNS)}/coredns_{COREDNS.removeprefix('v')}_{{os}}_{{arch}}.tgz"
_KIND_URL = f"{_github('kubernetes-sigs/kind', KIND)}/kind-{{os}}-{{arch}}"
_UNIX = ("linux", "darwin")

ASSETS: tuple[Asset, ...] = (
    Asset(
        "etcd",
        ETCD,
        ("control-plane",),
        Build("go.etcd.io/etcd/server/v3", module="etcd"),
        Release(
            f"{_github('etcd-io/etcd', ETCD)}/{_ETCD_FILE}.tar.gz",
            f"{_github('etcd-io/etcd', ETCD)}/SHA256SUMS",
            f"{_ETCD_FILE}/etcd",
        ),
    ),
    _kubernetes("kube-apiserver", "control-plane"),
    _kubernetes("kube-controller-manager", "control-plane"),
    _kubernetes("kube-scheduler", "control-plane"),
    _kubernetes("kubelet", "node"),
    _kubernetes("kube-proxy", "node"),
    _kubernetes("kubectl", "tools"),
    Asset(
        "helm",
        HELM,
        ("tools",),
        Build(
            "helm.sh/helm/v3/cmd/helm",
            version=HELM,
            stamps=(
                f"helm.sh/helm/v3/internal/version.version={HELM}",
                f"{_HELM_CAPABILITIES}.k8sVersionMajor=1",
                f"{_HELM_CAPABILITIES}.k8sVersionMinor=34",  # what the release of this version says
            ),
        ),
        Release(_HELM_URL, f"{_HELM_URL}.sha256sum", "{os}-{arch}/helm", _UNIX),
    ),
    Asset(
        "kustomize",
        KUSTOMIZE,
        ("tools",),
        Build("sigs.k8s.io/kustomize/kustomize/v5", version=KUSTOMIZE),
        Release(
            f"{_KUSTOMIZE_URL}/kustomize_{KUSTOMIZE}_{{os}}_{{arch}}.tar.gz",
            f"{_KUSTOMIZE_URL}/checksums.txt",
            "kustomize",
            _UNIX,
        ),
    ),
    Asset(
        "coredns",
        COREDNS,
        ("node",),
        Build("github.com/coredns/coredns", version=COREDNS),
        Release(_COREDNS_URL, f"{_COREDNS_URL}.sha256", "coredns"),
    ),
    # kwok publishes no checksums, podinfo none for podcli: Go's checksum database stands in for them.
    Asset(
        "kwok",
        KWOK,
        ("simulated",),
        Build("sigs.k8s.io/kwok/cmd/kwok", version=KWOK, stamps=(f"sigs.k8s.io/kwok/pkg/consts.Version={KWOK}",)),
    ),
    Asset(
        "kind",
        KIND,
        ("kind",),
        Build("sigs.k8s.io/kind", version=KIND),
        Release(_KIND_URL, f"{_KIND_URL}.sha256sum", systems=_UNIX),
    ),
    Asset("podinfo", PODINFO, ("podinfo",), Build("github.com/stefanprodan/podinfo/cmd/podinfo", version=PODINFO)),
    Asset("podcli", PODINFO, ("podinfo",), Build("github.com/stefanprodan/podinfo/cmd/podcli", version=PODINFO)),
)
BY_NAME = {asset.name: asset for asset in ASSETS}
GROUPS = tuple(dict.fromkeys(group for asset in ASSETS for group in asset.groups))


def select(names: Iterable[str]) -> list[Asset]:
    """Return the programs of some groups and names, in the table's order; ``"all"`` is every one.

    Raises:
        UsageError: there is no such program or group.

    Example:
        >>> [asset.name for asset in select(["tools", "etcd"])]
        ['etcd', 'kubectl', 'helm', 'kustomize']
    """
    wanted = set(names)
    if unknown := wanted - {"all", *GROUPS, *BY_NAME}:
        raise UsageError(
            f"no program or group is called {sorted(unknown)[0]!r}",
            evidence=[f"groups: all, {', '.join(GROUPS)}", f"programs: {', '.join(BY_NAME)}"],
        )
    return [asset for asset in ASSETS if wanted & {"all", asset.name, *asset.groups}]


def system() -> str:
    """Return this machine's system as Go calls it: ``"linux"`` or ``"darwin"``."""
    return "linux" if sys.platform.startswith("linux") else sys.platform


def architecture() -> str:
    """Return this machine's architecture as Go calls it, for example ``"amd64"``."""
    machine = platform.machine().lower()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
