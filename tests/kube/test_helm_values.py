"""What ``--set`` says reaches Helm by a file of ours: the real Helm gets the same values as by its own flag."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.kube.helm_values import values_flags
from pytest_ephemeral_ns.kube.tools import find

# Types are told too: 3 is not 3.0, and neither is "3".
TEMPLATE = """
{{ define "told" }}{{ if kindIs "map" . }}{ {{ range $k, $v := . }}{{ toJson $k }}: {{ template "told" $v }}, {{ end }}"": 0}
{{- else if kindIs "slice" . }}[ {{ range . }}{{ template "told" . }}, {{ end }}0]
{{- else }}{{ toJson (printf "%s %v" (kindOf .) .) }}{{ end }}{{ end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
told: {{ template "told" .Values }}
"""  # noqa: E501
VALUES = """
image: {tag: old, pull: true}
ports: [{name: http, port: 80}, {name: grpc}]
none: null
text: a
list: [[1], 2]
"""
CASES = [
    ["image.tag=1.2.3"],
    ["image.tag=7", "image.tag=x"],
    ["a=1,b=two,c=true,d=False,e=null,f=0,g=007,h=-5,i=+5,j=1.5,k=1e3,l=-0,m=0x1f"],
    ["a=9223372036854775807,b=9223372036854775808,c=-9223372036854775808"],
    ["a=", "b=x,c="],
    ["a={x,1,true}", "b={}", "c={a},d=1", "e={a\\,b,c}"],
    ["ports[0].port=8080", "ports[1].port=9", "ports[2].name=new"],
    ["ports[3].name=far"],
    ["list[0][1]=5", "list[1]=x", "new[1][2].a=b"],
    ["a\\.b\\,c=1", "x.a\\=b=2", "y\\[0\\]=3", "z\\\\q=4", 'it\'s "q"=5'],
    ["image=null", "image.tag=x"],
    ["image=null"],
    ["a.b.c.d=1,a.b.e=2"],
    ["text.below=1"],
    ["none.below=1"],
    ["text[0]=1"],
    ["image[0]=1"],
    ["ports.name=1"],
    ["tag"],
    ["a=1,"],
    ["a=1,,b=2"],
    ["a,b=2"],
    ["a.=1"],
    ["a."],
    ["=1"],
    ["a={x"],
    ["a[x]=1"],
    ["a[-1]=1"],
    ["a[0"],
    ["a[0]"],
    ["a[0]x=1"],
    ["a[70000]=1"],
    ["a[0].b="],
    ["ports[0].b="],
    ["ports[5].b="],
    ["list[1].b="],
    ["a[0][1]="],
    ["a[0][1].b="],
    ["x={a,b}trailing=1"],
    ["a=b=c,d=e\\"],
    ["a=multi word, b= spaced "],
    ["a=line\nbreak"],
    ["ünï=cødé"],
    [".".join("abcdefghijklmnopqrstuvwxyzabcdefg") + "=1"],
    ["global.a=1,sub.x[0]={a,b}"],
]


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: told\nversion: 1.0.0\n")
    (folder / "templates/told.yaml").write_text(TEMPLATE)
    (folder / "given.yaml").write_text(VALUES)
    return folder


def told(chart: Path, *flags: str) -> Any:
    command = [str(find("helm")), "template", "r", str(chart), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        return None
    return json.loads(done.stdout.partition("told:")[2])


def ours(chart: Path, set: list[str], text: list[str]) -> Any:
    try:
        with values_flags([chart / "given.yaml"], set, text) as flags:
            return told(chart, *flags)
    except UsageError:
        return None


@pytest.mark.cluster  # the real Helm comes with the cluster's programs
@pytest.mark.parametrize(
    ("flag", "pairs"),
    [*(("--set", pairs) for pairs in CASES), *(("--set-string", pairs) for pairs in CASES[:8])],
    ids=str,
)
def test_helm_gets_the_same_values(chart: Path, pairs: list[str], flag: str) -> None:
    theirs = told(chart, "--values", str(chart / "given.yaml"), *(part for pair in pairs for part in (flag, pair)))
    assert ours(chart, *((pairs, []) if flag == "--set" else ([], pairs))) == theirs


def test_texts_are_in_a_private_file_and_never_in_an_argument(tmp_path: Path) -> None:
    set = ["db.password=s3cr3t", "db.pin=1234567", "replicas=2", "token=1234567", "small.token=5"]
    (tmp_path / "a.yaml").write_text("a: {b: 1}\n")
    with values_flags([tmp_path / "a.yaml", {"key": "0ther"}], set, ["text=12"]) as flags:
        assert flags[2:] == ["--set", "db.pin=1234567", "--set", "replicas=2"]
        own = Path(flags[1])
        assert json.loads(own.read_text()) == {
            "a": {"b": 1},
            "key": "0ther",
            "db": {"password": "s3cr3t", "pin": 1234567},
            "replicas": 2,
            "token": "1234567",
            "small": {"token": 5},
            "text": "12",
        }
        assert stat.S_IMODE(own.stat().st_mode) == 0o600
        assert stat.S_IMODE(own.parent.stat().st_mode) == 0o700
        assert not any(secret in " ".join(flags) for secret in ("s3cr3t", "0ther", "token"))
    assert not own.parent.exists()


def test_an_error_names_the_key_and_not_the_value() -> None:
    with (
        pytest.raises(UsageError, match=r"--set: key 'db\.password' is not a map") as caught,
        values_flags([], ["db.password=hunter2", "db.password.x=hunter3"]),
    ):
        raise AssertionError("not reached")
    assert "hunter" not in str(caught.value)


def test_a_values_file_may_repeat_a_key_as_helm_allows_it(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("a: [1]\na: [2, 3]\n")
    with values_flags([tmp_path / "v.yaml"], ["a[0]=x"]) as flags:
        assert json.loads(Path(flags[1]).read_text()) == {"a": ["x", 3]}


def test_a_values_file_that_holds_no_map(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("- a\n")
    with pytest.raises(UsageError, match="holds no map"), values_flags([tmp_path / "v.yaml"], ["a[0]=x"]):
        raise AssertionError("not reached")


@pytest.mark.cluster
def test_values_of_any_type(chart: Path) -> None:
    given = [("a.list", ["x", 1.5, {"y": None}]), ("ports[1]", {"port": 9}), "n=3"]
    with values_flags([chart / "given.yaml"], given) as flags:
        told_values = told(chart, *flags)
    assert told_values["a"]["list"] == ["string x", "float64 1.5", {"y": "invalid <nil>", "": 0}, 0]
    assert told_values["ports"][1] == {"port": "float64 9", "": 0}
    assert told_values["n"] == "int64 3"
