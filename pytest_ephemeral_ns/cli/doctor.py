"""``ephemeral-ns doctor``: what works here and what is missing; this module must never change anything by itself.

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

from pytest_ephemeral_ns.cli import isolation
from pytest_ephemeral_ns.cli.screen import FAILED, OK, Commands, add_output, print_json, print_table, say
from pytest_ephemeral_ns.cli.target import Target, add_target, find_target
from pytest_ephemeral_ns.errors import EphemeralNsError
from pytest_ephemeral_ns.rules.isolation import ENFORCED
from pytest_ephemeral_ns.rules.permissions import ACCOUNT, Right, account

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

State = Literal["ok", "missing", "problem"]
_AT_ONCE = 8
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


def declare(commands: Commands) -> None:
    """Add ``doctor``."""
    help = "what works here, what is missing; exit code 1 if no test could run, or isolation is not proven"
    parser = commands.add_parser("doctor", help=help, description=help, allow_abbrev=False)
    rbac = parser.add_argument_group("an account for CI")
    rbac.add_argument(
        "--print-rbac", action="store_true", help="print manifests of an account that may do what a run does, and end"
    )
    rbac.add_argument("--account", default=ACCOUNT, metavar="NAME", help=f"default: {ACCOUNT}")
    rbac.add_argument("--namespace", default="default", metavar="NAME", help="where it lives; default: default")
    isolation.declare(parser)
    add_target(parser)
    add_output(parser, "json")
    parser.set_defaults(handler=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.print_rbac:
        import yaml

        objects = account(name=arguments.account, namespace=arguments.namespace)
        say(yaml.safe_dump_all(objects, sort_keys=False).rstrip("\n"))
        return OK
    isolation.check(arguments)
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
        # Naming one that cannot be used is a problem; having none is not, because a run starts its own, but nothing
        # can be proven about it.
        named = bool(arguments.context or arguments.kubeconfig or arguments.cluster or arguments.isolation)
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
    if arguments.isolation:
        yield from _isolation(target, arguments)


def _isolation(target: Target, arguments: argparse.Namespace) -> Iterator[Finding]:
    try:
        proof = isolation.prove(target, arguments)
    except EphemeralNsError as error:
        hint = "; ".join([*error.evidence, error.command or ""]).strip("; ")
        yield Finding("network", "isolation", "problem", f"unknown: {error.summary}", hint)
        return
    verdict = proof.verdict
    good = verdict.word == ENFORCED and not verdict.reached
    text = f"{verdict.word}: {verdict.reason}"
    text += f"; reached: {', '.join(verdict.reached)}" if verdict.reached else ""
    yield Finding("network", "isolation", "ok" if good else "problem", text, proof.command)
    yield from (Finding("network", "evidence", "ok", line) for line in proof.evidence)


def _rights(target: Target) -> Iterator[Finding]:
    """Ask for every right in the table, some at a time: a cluster may be far away."""
    from concurrent.futures import ThreadPoolExecutor

    from pytest_ephemeral_ns.kube.api import Api
    from pytest_ephemeral_ns.rules.permissions import JANITOR_RIGHTS, RUN_RIGHTS

    with Api(target.connection) as api, ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(lambda right: _right(api.can, right, "rights of a run"), RUN_RIGHTS)
        yield from pool.map(lambda right: _right(api.can, right, "rights of reap"), JANITOR_RIGHTS)
        yield _network_policy(api)


def _right(can: Callable[..., tuple[bool, str]], right: Right, area: str) -> Finding:
    """Ask for all namespaces, because those of a run do not exist yet."""
    otherwise: State = "problem" if right.needed and area == "rights of a run" else "missing"
    lacking: dict[str, list[str]] = {}
    try:
        for verb, resource, subresource in right.single():
            for name in right.names or ("",):
                allowed, _ = can(verb, resource, group=right.group, subresource=subresource, name=name)
                if not allowed:
                    lacking.setdefault(f"{resource}/{subresource}" if subresource else resource, []).append(verb)
    except EphemeralNsError as error:
        return Finding(area, right.what, otherwise, f"could not be asked: {error.summary}", right.purpose)
    if not lacking:
        return Finding(area, right.what, "ok", "yes", right.purpose)
    denied = "; ".join(f"{', '.join(verbs)} {name}" for name, verbs in lacking.items())
    return Finding(area, right.what, otherwise, f"no: {denied}", f"for {right.purpose}; without it {right.without}")


def _network_policy(api: Api) -> Finding:
    """Kubernetes does not say whether policies are enforced; a known enforcer's DaemonSet is a sign, not a proof."""
    enforcers = ("calico-node", "cilium", "kube-router", "antrea-agent", "weave-net", "kindnet", "ovnkube-node")
    try:
        found = {item["metadata"]["name"] for item in api.list("/apis/apps/v1/daemonsets")}
    except EphemeralNsError as error:
        return Finding("network", "NetworkPolicy", "missing", f"unknown: {error.summary}")
    hits = sorted(found.intersection(enforcers))
    text = f"probably enforced: {', '.join(hits)} is there" if hits else "no known enforcer; policies may do nothing"
    return Finding("network", "NetworkPolicy", "ok" if hits else "missing", text, "proven by: doctor --isolation")
