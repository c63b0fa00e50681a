"""Every knob: flag over environment over ini over default, checked strictly, with its source."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pytest_ephemeral_ns.errors import UsageError
from pytest_ephemeral_ns.settings import BY_NAME, KNOBS, Settings, load

PRECEDENCE = [
    # flags, environment, ini → scope, source
    ({}, {}, {}, "worker", None),
    ({}, {}, {"scope": "module"}, "module", "pytest.ini"),
    ({}, {"EPHEMERAL_NS_SCOPE": "class"}, {"scope": "module"}, "class", "EPHEMERAL_NS_SCOPE"),
    ({"scope": "run"}, {"EPHEMERAL_NS_SCOPE": "class"}, {"scope": "module"}, "run", "--ephemeral-ns-scope"),
    ({"scope": None}, {"EPHEMERAL_NS_SCOPE": ""}, {"scope": ""}, "worker", None),
]


@pytest.mark.parametrize(("flags", "environ", "ini", "scope", "source"), PRECEDENCE)
def test_precedence(flags, environ, ini, scope, source, tmp_path):
    settings = load(flags, environ, ini, cwd=tmp_path, ini_path=tmp_path / "pytest.ini")
    assert settings.scope == scope
    assert settings.provenance.get("scope") == source


DURATIONS = [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("45", 45), ("0.5", 0.5)]


@pytest.mark.parametrize(("text", "seconds"), DURATIONS)
def test_durations(text, seconds, tmp_path):
    assert load({"timeout": text}, {}, {}, cwd=tmp_path).timeout == seconds


WRONG = [
    ("scope", "galaxy", "'galaxy' is not one of run, worker, module, class, function"),
    ("cluster", "minikube", "'minikube' is not one of auto, current, kind, embedded"),
    ("nodes", "some", "is not one of auto, real, simulated, none"),
    ("timeout", "5 minutes", "is not a duration such as 90s, 5m, 2h, 1d, 1h30m or plain seconds"),
    ("timeout", "0s", "is not longer than 0 seconds"),
    ("ttl", "-1", "is not a duration"),
    ("kubeconfig", "nowhere.yaml", "does not exist (looked for"),
    ("kind_config", ".", "is not a file"),
    ("deploy", ["k8s/"], "'k8s/' does not exist"),
    ("helm_values", ["values.yaml"], "'values.yaml' does not exist"),
    ("helm_set", ["replicas"], "'replicas' is not of the form KEY=VALUE"),
    ("map_namespace", ["a/b"], "'a/b' is not of the form NAME or NAME=OTHER"),
    ("cluster_scoped", "adopt", "'adopt' is not one of refuse, own"),
    ("policy", "strict", "'strict' is not one of none, standard, isolated"),
    ("shared_service", ["Shared"], "'Shared' is not the name of a namespace"),
    ("ingress_namespace", ["a/b"], "'a/b' is not the name of a namespace"),
    ("isolated_api_server", "half", "'half' is not one of open, closed"),
    ("pull_secret", ["registry"], "'registry' is not of the form NAMESPACE/NAME"),
    ("pod_security", "strict", "'strict' is not one of none, privileged, baseline, restricted"),
    ("node_selector", ["pool"], "'pool' is not of the form KEY=VALUE"),
    ("toleration", ["pool=ci:Never"], "'pool=ci:Never' is not of the form KEY[=VALUE][:NoSchedule|PreferNoSchedule"),
    ("quota_pods", "many", "'many' is not none or a quantity such as 250m, 4 or 16Gi"),
    ("container_requests_cpu", "-1", "is not none or a quantity"),
    ("image", ["./app.tar"], "'./app.tar' does not exist"),
    ("report", ["report.pdf"], "'report.pdf' ends neither in .html nor in .json"),
    ("gate", ["web"], "gate 'web' is not understood"),
    ("gate", ["tcp://svc/db:99999"], "'99999' is not a port"),
    ("grace", ["patience=3s"], "grace 'patience' does not exist"),
    ("grace", ["quota=soon"], "'soon'"),
]


@pytest.mark.parametrize(("name", "value", "problem"), WRONG)
def test_a_wrong_value_names_option_and_source(name, value, problem, tmp_path):
    with pytest.raises(UsageError) as flag:
        load({name: value}, {}, {}, cwd=tmp_path)
    assert str(flag.value).startswith(f"{BY_NAME[name].flag}: ")
    assert problem in str(flag.value)

    text = value if isinstance(value, str) else " ".join(value)
    with pytest.raises(UsageError, match=rf"^{BY_NAME[name].env}: "):
        load({}, {BY_NAME[name].env: text}, {}, cwd=tmp_path)

    with pytest.raises(UsageError, match=r"^pytest\.ini: "):
        load({}, {}, {name: value}, cwd=tmp_path, ini_path=tmp_path / "pytest.ini")


@pytest.mark.parametrize(("text", "on"), [("1", True), ("true", True), ("ON", True), ("no", False), ("0", False)])
def test_the_switch_from_the_environment(text, on, tmp_path):
    assert load({}, {"EPHEMERAL_NS": text}, {}, cwd=tmp_path).enabled is on


def test_a_switch_that_is_neither_on_nor_off(tmp_path):
    with pytest.raises(UsageError, match="EPHEMERAL_NS: 'maybe' is not one of on, off"):
        load({}, {"EPHEMERAL_NS": "maybe"}, {}, cwd=tmp_path)


def test_relative_paths_start_where_they_were_written(tmp_path):
    for folder in ("here/k8s", "project/k8s"):
        (tmp_path / folder).mkdir(parents=True)
    here, project = tmp_path / "here", tmp_path / "project"
    by_flag = load({"deploy": ["k8s"]}, {}, {}, cwd=here, ini_path=project / "pytest.ini")
    by_ini = load({}, {}, {"deploy": ["k8s"]}, cwd=here, ini_path=project / "pytest.ini")
    assert by_flag.deploy == (str(here / "k8s"),)
    assert by_ini.deploy == (str(project / "k8s"),)


LISTS = [
    ("a=1 b=2", ("a=1", "b=2")),
    ("'a=x y' b=2", ("a=x y", "b=2")),
    ("a=1\nb=x y\n", ("a=1", "b=x y")),
]


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_lists_in_the_environment(text, expected, tmp_path):
    assert load({}, {"EPHEMERAL_NS_HELM_SET": text}, {}, cwd=tmp_path).helm_set == expected


def test_a_list_with_an_open_quote(tmp_path):
    with pytest.raises(UsageError, match=r"EPHEMERAL_NS_HELM_SET=.*cannot be split into words"):
        load({}, {"EPHEMERAL_NS_HELM_SET": "'a=1"}, {}, cwd=tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pull_secret", "ci/registry.example.com"),
        ("node_selector", "node.kubernetes.io/pool=ci"),
        ("node_selector", "pool="),
        ("toleration", "pool"),
        ("toleration", "pool=ci"),
        ("toleration", "example.com/pool:NoExecute"),
        ("toleration", "pool=ci:NoSchedule"),
    ],
)
def test_lists_with_a_form(name, text, tmp_path):
    assert getattr(load({name: [text]}, {}, {}, cwd=tmp_path), name) == (text,)


def test_gates_and_graces(tmp_path):
    ini = {"gate": ["jobs/migrate", "http://svc/api:8080"], "grace": ["image-pull=never", "unschedulable=2m"]}
    settings = load({}, {"EPHEMERAL_NS_GATE": "'log/deploy/api:Listening on'"}, ini, cwd=tmp_path)
    assert settings.gate == ("log/deploy/api:Listening on",)
    assert settings.grace == ("image-pull=never", "unschedulable=2m")
    assert load({}, {}, ini, cwd=tmp_path).gate == ("job/migrate", "http://svc/api:8080/")


def test_a_chart_in_a_registry_is_helms_to_find(tmp_path):
    assert load({"deploy": ["oci://r/c"]}, {}, {}, cwd=tmp_path).deploy == ("oci://r/c",)


def test_a_context_does_not_go_with_a_cluster_of_our_own(tmp_path):
    with pytest.raises(UsageError, match="does not go with --ephemeral-ns-cluster=embedded"):
        load({"context": "prod", "cluster": "embedded"}, {}, {}, cwd=tmp_path)


def test_one_table_declares_every_field():
    assert {knob.name for knob in KNOBS} == {f.name for f in fields(Settings)} - {"provenance"}


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_the_written_default_is_the_real_one(knob):
    if not knob.default:
        return
    settings = load({knob.name: knob.default}, {}, {}, cwd=Path("/"))
    assert getattr(settings, knob.name) == getattr(load({}, {}, {}, cwd=Path("/")), knob.name)


def test_describe_says_where_a_value_came_from(tmp_path):
    settings = load({"enabled": True}, {"EPHEMERAL_NS_TIMEOUT": "90s"}, {}, cwd=tmp_path)
    assert settings.describe() == ["timeout: 1m30s (EPHEMERAL_NS_TIMEOUT)"]


def test_a_secret_of_helms_is_not_shown(tmp_path):
    settings = load({"helm_set": ["replicas=2", "db.password=hunter2"]}, {}, {}, cwd=tmp_path)
    assert settings.describe() == ["helm_set: replicas=2, db.password=[redacted] (--ephemeral-ns-helm-set)"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], None), (["monitoring"], {"monitoring": None}), (["a", "b=c"], {"a": None, "b": "c"})],
)
def test_what_is_done_with_objects_of_other_namespaces(given, expected, tmp_path):
    assert load({"map_namespace": given}, {}, {}, cwd=tmp_path).namespaces == expected
