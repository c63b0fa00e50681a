"""Completion in real shells; names come from the real control plane."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.cli import main
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules import naming
from pytest_ephemeral_ns.rules.identity import Identity

BIN = str(Path(sys.executable).parent)
NAMESPACES = "/api/v1/namespaces"
BASH = """
source <(ephemeral-ns completion bash)
ephemeral-ns() { echo called >> "$CALLS"; command ephemeral-ns "$@"; }
try() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _ephemeral_ns
    echo "${COMPREPLY[*]}"
}
"""


def bash(script: str, **environ: str) -> list[str]:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "CALLS": os.devnull, **environ}
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH + script], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_reads_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_words_need_no_process() -> None:
    cases = {
        'ephemeral-ns ""': {"list", "describe", "reap", "cluster", "completion"},
        "ephemeral-ns des": {"describe"},
        'ephemeral-ns cluster ""': {"up", "down", "status", "load", "kubeconfig"},
        "ephemeral-ns cluster up --no": {"--nodes"},
        'ephemeral-ns list --state ""': {"active", "kept", "expired", "orphaned", "terminating", "stuck"},
        "ephemeral-ns list --state = ke": {"kept"},
        "ephemeral-ns list -o wi": {"wide"},
        "ephemeral-ns reap --dry": {"--dry-run"},
        'ephemeral-ns keep --reason ""': set(),
        "ephemeral-ns completion f": {"fish"},
    }
    lines = bash("\n".join(f"try {words}" for words in cases))
    for (words, wanted), line in zip(cases.items(), lines, strict=True):
        found = set(line.split())
        assert wanted <= found, words
        assert len(found) < 20


class Kept:
    def __init__(self, kubeconfig: Path, name: str) -> None:
        self.name = name
        self.environ = {"EPHEMERAL_NS_KUBECONFIG": str(kubeconfig)}


@pytest.fixture
def kept(control_plane: Any) -> Iterator[Kept]:
    run = uuid.uuid4().hex[:10]
    labels = naming.labels_of(Identity("shop", "main"), run_id=run, worker_id="gw0", scope="run", owner="ada")
    metadata = {"name": f"tab-{run}", "labels": labels}
    with Api(control_plane.connection) as api:
        api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield Kept(control_plane.kubeconfig, metadata["name"])
        api.delete(f"{NAMESPACES}/{metadata['name']}")


@pytest.mark.cluster
def test_names_are_asked_for_once_in_a_while_and_on_the_cluster_that_was_named(kept: Kept, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = f"""
        SECONDS=0
        try ephemeral-ns describe {kept.name[:8]}
        try ephemeral-ns delete other {kept.name[:8]}
        wc -l < "$CALLS"
        try ephemeral-ns extend {kept.name} ""
        try ephemeral-ns logs --context nowhere {kept.name[:8]} || true
        SECONDS=$((SECONDS + 5))
        try ephemeral-ns shell {kept.name[:8]}
    """
    first, second, count, third, nowhere, last = bash(script, CALLS=str(calls), **kept.environ)
    assert first == second == last == kept.name
    assert count == "1"
    assert (third, nowhere) == ("", "")


@pytest.mark.cluster
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_tab_completes_a_name_in_an_interactive_bash(kept: Kept, tmp_path: Path) -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(kept.environ, PATH=f"{BIN}:{os.environ['PATH']}", HOME=str(tmp_path), TERM="dumb", PS1="> ")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        _await(terminal, "> ")
        os.write(terminal, b"source <(ephemeral-ns completion bash); echo is $((40 + 2))\n")
        _await(terminal, "is 42")
        os.write(terminal, f"echo ephemeral-ns; ephemeral-ns keep {kept.name[:8]}\t".encode())
        _await(terminal, kept.name)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def _await(terminal: int, wanted: str) -> None:
    seen, end = "", time.monotonic() + 60
    while wanted not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")


def test_no_cluster_is_no_word_in_the_half_typed_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("EPHEMERAL_NS_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EPHEMERAL_NS_STATE_DIR", str(tmp_path / "state"))
    assert main(["completion", "names"]) == 1
    assert capsys.readouterr() == ("", "")
