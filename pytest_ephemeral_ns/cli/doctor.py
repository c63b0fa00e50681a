"""``ephemeral-ns doctor``: what works here and what is missing; this module must never change anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from pytest_ephemeral_ns.cli.screen import FAILED, OK, Commands, add_output, print_json, print_table, say
from pytest_ephemeral_ns.cli.target import Target, add_target, find_target
from pytest_ephemeral_ns.errors import EphemeralNsError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

State = Literal["ok", "missing", "problem"]
QUICK = 20.0  # seconds for a program to say its version


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        area: heading: ``"programs"``, ``"cluster"`` …
        what: its subject.
        state: ``missing`` limits what can be done; ``problem`` means that no test can run.
        text: what was seen.
        hint: what it is needed for, or what to do.
    """

    area: str
    what: str
    state: State
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Program:
    """A program, how it says its version, and what it is needed for."""

    name: str
    version: tuple[str, ...]
    needed_for: str


PROGRAMS = (
    Program("kubectl", ("version", "--client", "-o", "json"), "ns.kubectl() and the shell"),
    Program("helm", ("version", "--template", "{{.Version}}"), "charts"),
    Program("kustomize", ("version",), "kustomizations; kubectl has it built in, too"),
    Program("kind", ("version",), "kind clusters"),
    Program("docker", ("--version",), "kind clusters"),
    Program("go", ("version",), "building the programs of the embedded cluster where they cannot be downloaded"),
    Program("git", ("--version",), "names with branch and commit"),
)
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

# Verb, resource, group, subresource, what for. Asked for all namespaces, because those of a run do not exist yet.
REQUIRED = (
    ("create", "namespaces", "", "", "a namespace for each worker"),
    ("get", "namespaces", "", "", "looking at it"),
    ("delete", "namespaces", "", "", "removing it"),
)
USEFUL = (
    ("list", "namespaces", "", "", "sweep, list and reap"),
    ("watch", "namespaces", "", "", "--ephemeral-ns-wait-deleted"),
    ("patch", "namespaces", "", "", "keep and extend"),
    ("get", "serviceaccounts", "", "", "waiting until the namespace is usable"),
    ("watch", "configmaps", "", "", "waiting until the namespace is usable"),
    ("create", "serviceaccounts", "", "", "credentials for one namespace only"),
    ("create", "serviceaccounts", "", "token", "credentials for one namespace only"),
    ("create", "roles", "rbac.authorization.k8s.io", "", "credentials for one namespace only"),
    ("create", "rolebindings", "rbac.authorization.k8s.io", "", "credentials for one namespace only"),
    ("patch", "deployments", "apps", "", "deploying"),
    ("patch", "services", "", "", "deploying"),
    ("patch", "secrets", "", "", "deploying, also by Helm"),
    ("watch", "pods", "", "", "waiting until they are ready"),
    ("watch", "events", "", "", "saying why they are not"),
    ("watch", "endpointslices", "discovery.k8s.io", "", "waiting for Services"),
    ("get", "pods", "", "log", "logs in reports"),
    ("create", "pods", "", "exec", "exec and shell"),
    ("create", "pods", "", "portforward", "url and port_forward"),
    ("create", "jobs", "batch", "", "run"),
    ("create", "leases", "coordination.k8s.io", "", "the heartbeat that tells a dead run from a live one"),
    ("list", "leases", "coordination.k8s.io", "", "reap: telling a dead run from a live one"),
)


def declare(commands: Commands) -> None:
    """Add ``doctor``."""
    help = "what works here, what is missing; exit code 1 if no test could run"
    parser = commands.add_parser("doctor", help=help, description=help, allow_abbrev=False)
    add_target(parser)
    add_output(parser, "json")
    parser.set_defaults(handler=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    findings = [*_programs(), *_ways_to_a_cluster(), *_cluster(arguments)]
    if arguments.output:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    return FAILED if any(finding.state == "problem" for finding in findings) else OK


def _print(findings: Sequence[Finding]) -> None:
    marks = {"ok": "✓", "missing": "–", "problem": "✗"}
    for area in dict.fromkeys(finding.area for finding in findings):
        say(area)
        rows = [
            {"": marks[f.state], "what": f.what, "found": f.text, "note": f.hint} for f in findings if f.area == area
        ]
        print_table(rows, ("", "what", "found", "note"))
        say("")
    problems = [finding for finding in findings if finding.state == "problem"]
    say(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "no problem found")


def _programs() -> Iterator[Finding]:
    from pytest_ephemeral_ns import paths
    from pytest_ephemeral_ns.kube import tools

    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("programs", "python", "ok", python, sys.executable)
    for program in PROGRAMS:
        try:
            path = tools.find(program.name)
        except EphemeralNsError:
            yield Finding("programs", program.name, "missing", "not installed", f"for {program.needed_for}")
            continue
        try:
            done = tools.run(path, program.version, timeout=QUICK)
            yield Finding("programs", program.name, "ok", _version(done.stdout), str(path))
        except EphemeralNsError as error:
            yield Finding("programs", program.name, "missing", error.summary, f"for {program.needed_for}; {path}")
    folder = paths.bin_dir()
    absent = [name for name in COMPONENTS if not shutil.which(name, path=str(folder))]
    text = f"not yet: {', '.join(absent)}" if absent else f"{len(COMPONENTS)} of {len(COMPONENTS)}"
    hint = f"{folder}; fetched or built on first use" if absent else str(folder)
    yield Finding("programs", "control plane", "missing" if absent else "ok", text, hint)


def _version(printed: str) -> str:
    """Return the version from one line, or from kubectl's JSON."""
    if printed.lstrip().startswith("{"):
        known = json.loads(printed).get("clientVersion") or {}
        return str(known.get("gitVersion") or "unknown")
    return next(iter(printed.strip().splitlines()), "unknown")


def _ways_to_a_cluster() -> Iterator[Finding]:
    """What could be started here, whether or not something runs."""
    from pytest_ephemeral_ns.clusters import kind

    answers, why = kind.docker_answers()
    yield Finding("ways to a cluster", "kind", "ok" if answers else "missing", "Docker answers" if answers else why)
    yield Finding("ways to a cluster", "embedded", "ok", "control plane", "needs no rights and no Docker")
    lacking = _lacking_for_a_node()
    text = "possible" if not lacking else f"not possible: {'; '.join(lacking)}"
    yield Finding(
        "ways to a cluster", "embedded node", "missing" if lacking else "ok", text, "for pods that really run"
    )


def _lacking_for_a_node() -> list[str]:
    if sys.platform != "linux":
        return [f"needs Linux, this is {sys.platform}"]
    from pytest_ephemeral_ns.clusters.embedded import node

    return node.missing()


def _cluster(arguments: argparse.Namespace) -> Iterator[Finding]:
    try:
        target = find_target(arguments)
    except EphemeralNsError as error:
        # Naming one that cannot be used is a problem; having none is not, because a run starts its own.
        named = bool(arguments.context or arguments.kubeconfig or arguments.cluster)
        yield Finding(
            "cluster",
            "none",
            "problem" if named else "missing",
            error.summary,
            "; ".join([*error.evidence, error.command or ""]).strip("; "),
        )
        return
    from pytest_ephemeral_ns.clusters.probe import answers

    seen = answers(target.connection)
    if not (seen.reached and seen.accepted):
        what = "does not accept the credential" if seen.reached else "does not answer"
        yield Finding("cluster", target.name, "problem", f"{target.connection.server} {what}", seen.why)
        return
    yield Finding("cluster", target.name, "ok", seen.version, target.connection.server)
    yield from _rights(target)


def _rights(target: Target) -> Iterator[Finding]:
    from pytest_ephemeral_ns.kube.api import Api

    with Api(target.connection) as api:
        yield from (_right(api.can, right, "problem") for right in REQUIRED)
        yield from (_right(api.can, right, "missing") for right in USEFUL)
        yield _network_policy(api)


def _right(can: Callable[..., tuple[bool, str]], right: tuple[str, str, str, str, str], otherwise: State) -> Finding:
    verb, resource, group, subresource, purpose = right
    name = f"{resource}/{subresource}" if subresource else resource
    what = f"{verb} {name}{f'.{group}' if group else ''}"
    try:
        allowed, why = can(verb, resource, group=group, subresource=subresource)
    except EphemeralNsError as error:
        return Finding("rights", what, otherwise, f"could not be asked: {error.summary}", purpose)
    return Finding("rights", what, "ok" if allowed else otherwise, "yes" if allowed else f"no {why}".strip(), purpose)


def _network_policy(api: Api) -> Finding:
    """Kubernetes does not say whether policies are enforced; a known enforcer's DaemonSet is a sign, not a proof."""
    enforcers = ("calico-node", "cilium", "kube-router", "antrea-agent", "weave-net", "kindnet", "ovnkube-node")
    try:
        found = {item["metadata"]["name"] for item in api.list("/apis/apps/v1/daemonsets")}
    except EphemeralNsError as error:
        return Finding("network", "NetworkPolicy", "missing", f"unknown: {error.summary}")
    hits = sorted(found.intersection(enforcers))
    text = f"probably enforced: {', '.join(hits)} is there" if hits else "no known enforcer; policies may do nothing"
    return Finding("network", "NetworkPolicy", "ok" if hits else "missing", text)
