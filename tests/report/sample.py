"""A run as its processes would have written it down, of any size; the same each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.ending import Ending
from pytest_ephemeral_ns.keeping import Kept
from pytest_ephemeral_ns.provision import Sweep
from pytest_ephemeral_ns.report.data import build
from pytest_ephemeral_ns.settings import Settings, load

START = 1_795_000_000.0
NASTY = '</script><img src=x onerror="alert(1)">[[main]]'
STORY = """namespace {name} on kind-shop: Deployment/api failed: CrashLoopBackOff: exit code 3
  ✗ Deployment/api failed: Ready: 0/1

why Deployment/api is not ready:
  Deployment/api
  └─ Pod/api-7d9c5 on node worker-1
     └─ container app: CrashLoopBackOff: exit code 3 after 2 s

Pod/api-7d9c5, container app, last lines of its log:
  12:04:11.301 | connecting to postgres://shop:***@db/shop
  12:04:11.377 | FATAL: no such database: <shop> & more
"""
OBJECTS = (
    "Deployment/api",
    "Deployment/worker",
    "StatefulSet/db",
    "Service/api",
    "Job/migrate",
    "Service/db",
    "Ingress/web",
)


class Writer:
    """Makes rows of one run."""

    def __init__(self, seed: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self._random = random.Random(seed)
        self._serial = 0

    def row(self, at: float, worker: str, what: str, namespace: str = "", **more: Any) -> None:
        self.rows.append({"at": START + at, "worker": worker, "what": what, "namespace": namespace, **more})

    def span(self, began: float, took: float, worker: str, what: str, namespace: str, **more: Any) -> float:
        self._serial += 1
        span = str(self._serial)
        self.row(began, worker, what, namespace, span=span, **{k: v for k, v in more.items() if k == "lane"})
        self.row(began + took, worker, what, namespace, span=span, end=True, ok=more.pop("ok", True), **more)
        return began + took

    def about(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.6, 1.6)

    def namespace(self, at: float, worker: str, name: str, objects: int) -> float:
        """Write a namespace's way to being ready; return when that was."""
        at = self.span(at, self.about(0.02), worker, "create", name, lane=worker, uid=f"uid-{name}")
        at = self.span(at, self.about(0.15), worker, "guard rails", name)
        at = self.span(at, self.about(0.2), worker, "usable", name)
        at = self.span(at, self.about(0.8), worker, "deploy", name, count=objects)
        took = self.about(6.0)
        for number in range(objects):
            which = f"{OBJECTS[number % len(OBJECTS)]}{number // len(OBJECTS) or ''}"
            self.row(at + 0.05, worker, "object", name, object=which, state="waiting", reason="ContainerCreating")
            ready = at + took * self._random.uniform(0.15, 1.0)
            self.row(ready, worker, "object", name, object=which, state="ready", reason="Available")
        at = self.span(at, took, worker, "infrastructure", name, count=objects, last="StatefulSet/db")
        at = self.span(at, self.about(0.9), worker, "application", name, on="job/migrate")
        self.row(at, worker, "ready", name)
        return at

    def test(self, at: float, worker: str, test: str, namespace: str, outcome: str = "passed") -> float:
        """Write a test; return when it ended."""
        self.row(at, worker, "begin", test=test)
        told: dict[str, Any] = {"test": test, "namespaces": [namespace] if namespace else []}
        ended = at + self.about(0.8)
        for when, began, end in (("setup", at, at), ("call", at, ended), ("teardown", ended, ended)):
            how = outcome if when == "call" else "passed"
            times = {"began": START + began, "ended": START + end}
            self.row(end, worker, "phase", when=when, outcome=how, **told, **times)
            if how == "failed":
                story = {"namespace": namespace, "headline": "Deployment/api failed: CrashLoopBackOff: exit code 3"}
                story |= {"text": STORY.format(name=namespace), "bundle": f".ephemeral-ns/k3x9/{namespace}"}
                error = "AssertionError: assert 'pending' == 'confirmed'"
                text = f"    def test_it(ephemeral_ns):\n>       assert order['status'] == 'confirmed'\nE       {error}"
                self.row(end, worker, "problem", when=when, message=error, text=text, stories=[story], **told)
                ended = self.span(end, self.about(0.6), worker, "diagnosis", namespace, headline=story["headline"])
        return ended


def rows(workers: int, spaces: int, tests: int, *, objects: int = 6, bad_every: int = 40) -> list[dict[str, Any]]:
    """Return the rows of a run: so many workers, namespaces each, tests each."""
    writer = Writer(7)
    writer.row(0.0, "main", "session")
    writer.row(0.1, "main", "identity", project="shop", ref="pr42", commit="9f2c1e7ab04d")
    cluster = {"provider": "kind", "name": "shop", "nodes": "external", "version": "v1.35.4", "started": True}
    writer.span(0.4, 3.2, "gw0", "cluster", "", **cluster)
    names = _names()
    for number in range(workers):
        worker, at, done = f"gw{number}", 3.7, 0
        for serial in range(spaces):
            name = f"shop-pr42-9f2c1e7-k3x9-{worker}{f'-{serial + 1}' if serial else ''}"
            at = writer.namespace(at, worker, name, objects)
            for _ in range(tests // spaces):
                done += 1
                bad = (done + number) % bad_every == bad_every - 1
                at = writer.test(at, worker, next(names), name, "failed" if bad else "passed")
            how = "kept" if number == 0 and serial == 0 else "deleted"
            at = writer.span(at, 0.05, worker, "release", name, how=how)
        writer.test(at, worker, f"tests/test_units.py::test_{worker}", "", "skipped")
    return sorted(writer.rows, key=lambda row: row["at"])


def _names() -> Iterator[str]:
    for number in range(10**6):
        case = NASTY if number == 3 else f"case-{number}"
        yield f"tests/test_{('orders', 'payments', 'stock')[number % 3]}.py::test_is_confirmed[{case}]"


def settings(**flags: Any) -> Settings:
    """Return settings of which some are no defaults."""
    return load({"scope": "module", "helm_set": ["db.password=hunter2hunter2"], **flags}, {}, {}, cwd=Path("/work"))


def ending(found: list[dict[str, Any]]) -> Ending:
    """Return how such a run ended."""
    name, until = "shop-pr42-9f2c1e7-k3x9-gw0", "2026-11-24T09:00:00Z"
    kept = Kept(name, "failed: tests/test_orders.py::test_is_confirmed", until, ("context", "kind-shop"))
    sweep = Sweep(deleted=("shop-pr42-9f2c1e7-k3x9-gw9",))
    return Ending(sweep, (kept,), ("namespace x was not deleted: token=abcdefgh12345",), "", found)


def data(workers: int = 3, spaces: int = 3, tests: int = 30, **more: Any) -> dict[str, Any]:
    """Return the report of such a run."""
    found = rows(workers, spaces, tests, **more)
    now = max(row["at"] for row in found) + 0.4
    return build(ending(found), settings(), run_id="k3x9vbnm42", exit_code=1, now=now)
