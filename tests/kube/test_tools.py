from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.errors import ManifestError, ToolError
from pytest_ephemeral_ns.kube import process, tools
from pytest_ephemeral_ns.kube.tools import find, kubectl, kustomize_version, redacted, render_kustomization, run

SECRET = 'hunter2-"quoted"-value'


@pytest.fixture
def path_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH but for the shell, with an empty cache beside it."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("EPHEMERAL_NS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EPHEMERAL_NS_ASSETS", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    paths.bin_dir().mkdir(parents=True)
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def gone_soon(pid: int) -> bool:
    ends = time.monotonic() + 5
    while alive(pid) and time.monotonic() < ends:
        threading.Event().wait(0.02)
    return not alive(pid)


# find


def test_a_program_on_path_wins_over_the_cache(path_dir: Path) -> None:
    program(paths.bin_dir(), "helm", "")
    assert find("helm") == paths.bin_dir() / "helm"
    mine = program(path_dir, "helm", "")
    assert find("helm") == mine


def test_a_folder_that_the_user_names_comes_before_the_cache(
    path_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(paths.bin_dir(), "helm", "")
    monkeypatch.setenv("EPHEMERAL_NS_ASSETS", str(tmp_path))
    assert find("helm") == paths.bin_dir() / "helm"
    named = program(tmp_path, "helm", "")
    assert find("helm") == named


def test_a_missing_program_says_where_it_was_looked_for_and_how_to_get_it(path_dir: Path) -> None:
    with pytest.raises(ToolError) as caught:
        find("helm")
    text = str(caught.value)
    assert text.startswith("helm is not installed")
    assert str(paths.bin_dir()) in text
    assert "https://helm.sh" in text
    assert text.endswith("→ ephemeral-ns doctor")


def test_a_file_that_is_not_executable_is_not_a_program(path_dir: Path) -> None:
    (path_dir / "helm").write_text("not a program")
    with pytest.raises(ToolError, match="not installed"):
        find("helm")


# run


def test_both_outputs_and_the_exit_code_come_back() -> None:
    done = run("sh", ["-c", "echo out; echo err >&2; exit 7"], timeout=20, check=False)
    assert done == tools.Completed("out\n", "err\n", 7)


def test_a_large_input_and_a_large_output_at_once() -> None:
    data = os.urandom(3 << 20).hex()
    assert run("cat", [], input=data, timeout=60).stdout == data


def test_a_program_that_does_not_read_its_input() -> None:
    assert run("sh", ["-c", "exec 0<&-; echo done"], input="x" * (1 << 20), timeout=20).stdout == "done\n"


def test_output_that_is_not_utf_8_is_kept_readable() -> None:
    assert run("sh", ["-c", r"printf 'a\377b'"], timeout=20).stdout == "a\ufffdb"


def test_failure_shows_the_programs_own_words_and_never_its_arguments() -> None:
    with pytest.raises(ToolError) as caught:
        run("sh", ["-c", f"echo 'denied: {SECRET}' >&2; exit 3", "--password", SECRET], timeout=20, redact=[SECRET])
    error = caught.value
    assert error.summary == "sh failed with exit code 3"
    assert error.evidence == ("denied: [redacted]",)
    assert error.returncode == 3
    assert SECRET not in f"{error} {error.output}"


def test_standard_output_is_the_evidence_when_there_is_no_error_output() -> None:
    with pytest.raises(ToolError) as caught:
        run("sh", ["-c", "echo reason; exit 1"], timeout=20)
    assert caught.value.evidence == ("reason",)


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    broken = tmp_path / "helm"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(ToolError, match=r"^helm list could not be started"):
        run(broken, ["list"], timeout=5)


def test_time_out_ends_the_whole_group_and_keeps_what_was_printed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ > {pids}; sleep 600 & echo $! >> {pids}; echo half; wait"
    with pytest.raises(ToolError) as caught:
        run("sh", ["-c", script], timeout=1)
    assert caught.value.summary == "sh did not end within 1 s"
    assert caught.value.returncode is None
    assert caught.value.evidence == ("half",)
    assert all(gone_soon(int(pid)) for pid in pids.read_text().split())


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.2)
    pids = tmp_path / "pids"
    with pytest.raises(ToolError, match="did not end"):
        run("sh", ["-c", f"trap '' TERM; echo $$ > {pids}; while :; do sleep 0.1; done"], timeout=1)
    assert gone_soon(int(pids.read_text()))


def test_ctrl_c_ends_the_group_and_is_not_swallowed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run("sh", ["-c", f"echo $$ > {pids}; sleep 600"], timeout=60)
    timer.join()
    assert gone_soon(int(pids.read_text()))


def test_a_child_that_stays_behind_does_not_hold_the_call(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    assert run("sh", ["-c", f"sleep 600 & echo $! > {pids}; echo done"], timeout=60).stdout == "done\n"
    os.kill(int(pids.read_text()), signal.SIGKILL)


def test_too_much_output_is_an_error_and_not_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LARGEST_OUTPUT", 1 << 20)
    with pytest.raises(ToolError, match="printed more than 1 MiB"):
        run("sh", ["-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"], timeout=60)


def test_a_long_error_is_cut_at_its_beginning() -> None:
    with pytest.raises(ToolError) as caught:
        run("sh", ["-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1"], timeout=60)
    assert "characters left out" in caught.value.evidence[0]
    assert caught.value.evidence[-1] == "line 19999"


def test_a_kubeconfig_goes_by_flag_and_nothing_can_lead_elsewhere(
    path_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "KUBECONFIG",
        "HELM_KUBECONTEXT",
        "HELM_NAMESPACE",
        "HELM_DRIVER",
        "HELM_DRIVER_SQL_CONNECTION_STRING",
    ):
        monkeypatch.setenv(name, "another-cluster")
    monkeypatch.setenv("HELM_PLUGINS", "kept")
    program(path_dir, "helm", 'echo "$@"; export -p')
    out = run("helm", ["list"], kubeconfig=Path("/our/kubeconfig"), env={"MORE": "1"}, timeout=20).stdout
    assert out.startswith("--kubeconfig /our/kubeconfig list\n")
    assert "another-cluster" not in out
    assert "HELM_PLUGINS" in out
    assert "MORE" in out


def test_without_a_kubeconfig_the_environment_is_left_alone(path_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "the-users-own")
    program(path_dir, "kind", "echo $KUBECONFIG")
    assert run("kind", [], timeout=20).stdout == "the-users-own\n"


# redacted


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("token abcdef here", ["abcdef"], "token [redacted] here"),
        (f"b64 {base64.b64encode(SECRET.encode()).decode()}", [SECRET], "b64 [redacted]"),
        (f"json {json.dumps({'p': SECRET})}", [SECRET], 'json {"p": "[redacted]"}'),
        ("abcdef-long", ["abcdef", "abcdef-long"], "[redacted]"),
        ("abc", ["abc"], "abc"),
        ("nothing", [""], "nothing"),
        ("begin\nMIIEvQIBADANBgkqhkiG\nend", ["-----BEGIN\nMIIEvQIBADANBgkqhkiG\n-----END"], "begin\n[redacted]\nend"),
    ],
)
def test_redacted(text: str, secrets: list[str], shown: str) -> None:
    assert redacted(text, secrets) == shown


# kubectl


def test_kubectl_gets_kubeconfig_and_namespace_and_no_preferences(path_dir: Path) -> None:
    program(path_dir, "kubectl", 'echo "$@" "$KUBECTL_KUBERC"')
    done = kubectl(["get", "pods"], kubeconfig=Path("/k"), namespace="shop", timeout=20)
    assert done.stdout == "--kubeconfig /k --namespace shop get pods false\n"


def test_kubectl_failure_is_named_by_its_sub_command(path_dir: Path) -> None:
    program(path_dir, "kubectl", "echo 'Error from server (NotFound): nothing here' >&2; exit 1")
    with pytest.raises(ToolError, match=r"^kubectl get pods failed with exit code 1") as caught:
        kubectl(["get", "pods", "--secret", "x"], kubeconfig=Path("/k"), timeout=20)
    assert caught.value.evidence == ("Error from server (NotFound): nothing here",)


@pytest.mark.cluster
def test_the_real_kubectl_answers_and_reads_its_input(control_plane) -> None:  # type: ignore[no-untyped-def]
    where = {"kubeconfig": control_plane.kubeconfig, "namespace": "kube-system", "timeout": 60}
    assert kubectl(["get", "serviceaccount", "default", "-o", "name"], **where).stdout == "serviceaccount/default\n"
    manifest = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}})
    args = ["create", "--dry-run=server", "-f", "-", "-o", "jsonpath={.metadata.namespace}"]
    assert kubectl(args, input=manifest, **where).stdout == "kube-system"


# kustomize


def old_kubectl(folder: Path, version: str) -> Path:
    told = json.dumps({"clientVersion": {"gitVersion": version}})
    return program(folder, "kubectl", f"case $1 in version) echo '{told}';; *) echo \"kubectl $@\";; esac")


def test_kustomize_on_path_is_used_first(path_dir: Path) -> None:
    old_kubectl(path_dir, "v1.35.4")
    program(path_dir, "kustomize", 'echo "kustomize $@"')
    assert render_kustomization("some/folder", timeout=20) == "kustomize build some/folder\n"


def test_kubectl_renders_when_there_is_no_kustomize(path_dir: Path) -> None:
    old_kubectl(path_dir, "v1.21.0")
    assert render_kustomization("some/folder", timeout=20) == "kubectl kustomize some/folder\n"


def test_a_kubectl_that_is_too_old_is_passed_over(path_dir: Path) -> None:
    old_kubectl(path_dir, "v1.20.2")
    with pytest.raises(ToolError, match=r"kubectl is 1\.20") as caught:
        render_kustomization("some/folder", timeout=20)
    assert "install kustomize" in str(caught.value)
    old_kubectl(paths.bin_dir(), "v1.35.4")
    assert render_kustomization("some/folder", timeout=20) == "kubectl kustomize some/folder\n"


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("v5.8.0", (5, 8)),
        ("{Version:kustomize/v4.5.7 GitCommit:56d82a8 BuildDate:2022-08-02T16:35:54Z GoOs:linux}", (4, 5)),
        ("(devel)", (0, 0)),
    ],
)
def test_the_version_of_kustomize(path_dir: Path, told: str, version: tuple[int, int]) -> None:
    program(path_dir, "kustomize", f"echo '{told}'")
    assert kustomize_version() == version


@pytest.mark.parametrize(("told", "version"), [({}, (0, 0)), ({"kustomizeVersion": "v5.7.1"}, (5, 7))])
def test_the_version_of_the_kustomize_in_kubectl(
    path_dir: Path, told: dict[str, str], version: tuple[int, int]
) -> None:
    answer = json.dumps({"clientVersion": {"gitVersion": "v1.35.4"}, **told})
    program(path_dir, "kubectl", f"echo '{answer}'")
    assert kustomize_version() == version


def kustomization(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(text)
    return folder


@pytest.mark.cluster
def test_the_real_kustomize_builds_and_says_why_it_cannot(tmp_path: Path) -> None:
    good = kustomization(tmp_path / "good", "configMapGenerator: [{name: settings, literals: [a=b]}]\n")
    assert "kind: ConfigMap" in render_kustomization(good, timeout=60)
    bad = kustomization(tmp_path / "bad", "resources: [missing.yaml]\n")
    with pytest.raises(ManifestError, match="does not build") as caught:
        render_kustomization(bad, timeout=60)
    assert "missing.yaml" in str(caught.value)
    assert str(bad) in (caught.value.command or "")
