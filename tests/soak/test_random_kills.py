"""Runs of four workers, killed at random: after the reaper's pass no namespace, process, Lease or listener is left.

SOAK_RUNS (200), SOAK_AT_ONCE (2) and SOAK_SEED say how many, how many at once, and which; `make soak` runs all.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.reap import reap
from tests.endings.cases import Ending
from tests.endings.lab import MODES, SCOPES, Aftermath, Blow, Lab

pytestmark = pytest.mark.cluster
AT_ONCE = int(os.environ.get("SOAK_AT_ONCE", "2"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
LONGEST = float(os.environ.get("SOAK_SECONDS", "8"))  # until a run is killed, from its first test on
BODY = "time.sleep(1.5)"


@pytest.fixture
def lab(control_plane, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(control_plane, tmp_path_factory.mktemp("soak"))


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def blows(dice: random.Random) -> list[Blow]:
    """Draw one to three blows, at moments from the start of the processes to the end of the run."""
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    whom = ("worker", "controller", "group")
    drawn = [Blow(dice.choice(whom), dice.choice(numbers), dice.uniform(0, LONGEST)) for _ in range(dice.randint(1, 3))]
    return [Blow(b.to, b.number, b.after if n == 0 else b.after / 4) for n, b in enumerate(drawn)]


def one(lab: Lab, number: int) -> tuple[str, Aftermath]:
    dice = random.Random(SEED * 1000 + number)
    drawn, scope = blows(dice), dice.choice(SCOPES)
    ending = Ending("soak", BODY)
    args = [*MODES["n4"], f"--ephemeral-ns-scope={scope}", "--ephemeral-ns-ttl=10m"]
    # Some are killed while they start, the others from their first test on.
    found = lab.run(f"s{SEED}x{number}", ending.files(), args, blows=drawn, running=dice.choice((0, 1, 1)))
    told = ", ".join(f"{signal.Signals(b.number).name} to the {b.to} after {b.after:.1f} s" for b in drawn)
    left = f"{len(found.namespaces)} namespaces, {len(found.folders)} folders left"
    line = f"{datetime.now(timezone.utc):%H:%M:%S} run {number} ({scope}): {told}: exit {found.code}, {left}"
    say(line)
    return line, found


def kill_many(lab: Lab, runs: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = [*pool.map(lambda number: one(lab, number), range(runs))]
    codes = Counter(found.code for _, found in ended)
    before = sum(len(found.namespaces) for _, found in ended)
    say(f"{runs} runs, exit codes {dict(codes)}; left before the reaper's pass: {before} namespaces")
    for line, found in ended:
        assert not found.processes, f"{line}\n{found.processes}\n{found.output}"
        assert not found.listeners, line
        # Only a controller that was killed leaves any: workers killed alone are swept.
        if "SIGKILL to the controller" not in line and "SIGKILL to the group" not in line:
            assert not found.namespaces, f"{line}\n{found.output}"
            assert not found.folders, f"{line}\n{found.output}"
    with Api(lab.cluster.connection) as api:
        done = reap(api, say=say, now=datetime.now(timezone.utc) + timedelta(hours=1))
    assert not done.failed
    ends = time.monotonic() + 300
    while left := lab.namespaces(f"s{SEED}x"):
        assert time.monotonic() < ends, left
        time.sleep(0.5)
    leases = lab.kubectl("get", "leases", "--all-namespaces", "-o", "name", "-l", "pytest-ephemeral-ns/run").split()
    assert leases == []


@pytest.mark.slow
def test_a_few_runs_killed_at_random(lab: Lab) -> None:
    kill_many(lab, 6)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_many_runs_killed_at_random(lab: Lab) -> None:
    kill_many(lab, int(os.environ.get("SOAK_RUNS", "200")))
