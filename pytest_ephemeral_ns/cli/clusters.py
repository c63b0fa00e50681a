"""``ephemeral-ns cluster``: clusters that stay between runs; this module must never touch a cluster that is not ours.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.cli.screen import (
    NOT_FOUND,
    OK,
    Commands,
    add_duration,
    add_output,
    note,
    print_json,
    print_table,
    say,
)
from pytest_ephemeral_ns.cli.target import kind_kubeconfig
from pytest_ephemeral_ns.errors import ClusterError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.clusters.cluster import Cluster

PROVIDERS = ("embedded", "kind")
_COLUMNS = ("name", "provider", "state", "nodes", "version", "server")


def declare(commands: Commands) -> None:
    """Add ``cluster`` and what is below it."""
    cluster = commands.add_parser("cluster", help="a cluster that stays between runs", allow_abbrev=False)
    actions = cluster.add_subparsers(title="actions", metavar="ACTION", required=True)
    up = _action(actions, "up", _up, "start one, or use the one that runs")
    up.add_argument("--nodes", choices=("auto", "real", "simulated", "none"), default="auto", help="embedded only")
    up.add_argument("--kind-image", default="", metavar="IMAGE", help="node image of a kind cluster")
    up.add_argument("--kind-config", default="", metavar="FILE", help="configuration file of a kind cluster")
    add_duration(up, "--timeout", default=300.0, help="default: 5m")
    add_output(up, "json")
    _action(actions, "down", _down, "stop it and remove everything of it")
    status = _action(actions, "status", _status, "what runs; exit code 3 if --name names one that does not run")
    add_output(status, "json")
    load = _action(actions, "load", _load, "load image archives (docker save, OCI layout) or images that Docker has")
    load.add_argument("images", nargs="+", metavar="FILE|IMAGE")
    kubeconfig = _action(actions, "kubeconfig", _kubeconfig, "print the path of its kubeconfig, for KUBECONFIG")
    kubeconfig.add_argument("--raw", action="store_true", help="print what is in it (it holds credentials)")


def _action(actions: Any, name: str, handler: Any, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help, description=help, allow_abbrev=False)
    parser.add_argument("--name", default="", help="which; default: the one that runs use")
    parser.add_argument("--provider", choices=PROVIDERS, default="embedded", help="default: embedded")
    parser.set_defaults(handler=handler)
    return parser


def _name(arguments: argparse.Namespace) -> str:
    """The name that a test run uses, unless one is named."""
    from pytest_ephemeral_ns.clusters import kind

    return arguments.name or {"embedded": "default", "kind": kind.NAME}[arguments.provider]


def _up(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.clusters import embedded, kind

    name = _name(arguments)
    if arguments.provider == "kind":
        cluster: Cluster = kind.up(
            name,
            image=arguments.kind_image,
            config=arguments.kind_config,
            timeout=arguments.timeout,
            progress=note,
        )
    else:
        cluster = embedded.up(name, nodes=arguments.nodes, timeout=arguments.timeout, progress=note)
    if arguments.output:
        print_json(_public(cluster))
        return OK
    how = "started" if cluster.started else "runs already"
    say(f"{cluster.provider} cluster {cluster.name} {how}: {cluster.version}, nodes: {cluster.nodes}")
    say(f"export KUBECONFIG={cluster.kubeconfig}")
    return OK


def _public(cluster: Cluster) -> dict[str, Any]:
    """What may be printed: no credentials."""
    return {
        "provider": cluster.provider,
        "name": cluster.name,
        "server": cluster.connection.server,
        "kubeconfig": str(cluster.kubeconfig),
        "nodes": cluster.nodes,
        "started": cluster.started,
        "version": cluster.version,
    }


def _down(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.clusters import embedded, kind

    name = _name(arguments)
    existed = kind.down(name) if arguments.provider == "kind" else embedded.down(name)
    say(f"{arguments.provider} cluster {name} {'is gone' if existed else 'was not there'}")
    return OK


def _status(arguments: argparse.Namespace) -> int:
    rows = [row for row in _embedded_rows() + _kind_rows() if arguments.name in ("", row["name"])]
    if arguments.output:
        print_json(rows)
    elif rows:
        print_table([{key: str(value) for key, value in row.items()} for row in rows], _COLUMNS)
        for row in rows:
            if row["why"]:
                note(f"{row['name']}: {row['why']}")
    else:
        note(f"no cluster{f' {arguments.name}' if arguments.name else ''} of ours is running")
    found = any(row["state"] == "ready" for row in rows)
    return OK if found or not arguments.name else NOT_FOUND


def _embedded_rows() -> list[dict[str, Any]]:
    from pytest_ephemeral_ns.clusters import embedded

    rows = []
    for name in embedded.names():
        known = embedded.status(name)
        gone = {"lost": "its supervisor is gone", "unreadable": "another version of this package started it"}
        lost = f"{gone[known['phase']]} → ephemeral-ns cluster down --name {name}" if known["phase"] in gone else ""
        rows.append(
            {
                "name": name,
                "provider": "embedded",
                "state": known["phase"],
                "why": (known.get("error") or {}).get("summary") or lost,
                **{key: known.get(key) for key in ("nodes", "version", "server", "kubeconfig", "logs", "restarts")},
            }
        )
    return rows


def _kind_rows() -> list[dict[str, Any]]:
    """Those whose credentials we wrote; asking Docker for others would take seconds and tell nothing of ours."""
    from pytest_ephemeral_ns.clusters.current import connect, load_config
    from pytest_ephemeral_ns.clusters.probe import answers
    from pytest_ephemeral_ns.paths import state_dir

    rows = []
    for path in sorted((state_dir() / ".kind").glob("*.kubeconfig")):
        connection = connect(load_config(path))
        seen = answers(connection)
        rows.append(
            {
                "name": path.stem,
                "provider": "kind",
                "state": "ready" if seen.reached and seen.accepted else "lost",
                "why": seen.why,
                "nodes": "real",
                "version": seen.version,
                "server": connection.server,
                "kubeconfig": str(path),
            }
        )
    return rows


def _load(arguments: argparse.Namespace) -> int:
    from pytest_ephemeral_ns.clusters.choose import load_images
    from pytest_ephemeral_ns.clusters.cluster import Cluster
    from pytest_ephemeral_ns.clusters.current import connect, load_config

    path = _kubeconfig_path(arguments)
    cluster = Cluster(arguments.provider, _name(arguments), connect(load_config(path)), path)
    load_images(cluster, arguments.images, progress=note)
    say(f"loaded into {cluster.provider} cluster {cluster.name}: {', '.join(arguments.images)}")
    return OK


def _kubeconfig(arguments: argparse.Namespace) -> int:
    path = _kubeconfig_path(arguments)
    say(path.read_text("utf-8").rstrip("\n") if arguments.raw else str(path))
    return OK


def _kubeconfig_path(arguments: argparse.Namespace) -> Path:
    from pytest_ephemeral_ns.clusters import embedded

    name = _name(arguments)
    known = embedded.status(name) if arguments.provider == "embedded" else {}
    path = Path(known["kubeconfig"]) if known.get("phase") == "ready" else None
    path = path or (kind_kubeconfig(name) if arguments.provider == "kind" else None)
    if path is None:
        raise ClusterError(
            f"{arguments.provider} cluster {name} is not running",
            command=f"ephemeral-ns cluster up --provider {arguments.provider} --name {name}",
        )
    return path
