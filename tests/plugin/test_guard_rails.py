"""Guard rails, pull secrets and warnings, as a run puts them in: --ephemeral-ns-policy and what goes with it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

ONE = "def test_it(ephemeral_ns): pass"
BOUNDS = """
        def bounds(ns):
            hard = [quota["status"]["hard"] for quota in ns.list("resourcequotas")]
            return hard, len(ns.list("limitranges")), {p["metadata"]["name"] for p in ns.list("networkpolicies")}
"""
POD = """
        def pod(ns, name="a", **resources):
            ns.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
                {"name": "a", "image": "a:1", "resources": resources}]}})
            return ns.get("pod", name)["spec"]
"""


def test_standard_is_the_default_for_every_kind_of_namespace(pytester, run_pytest):
    pytester.makepyfile(
        BOUNDS
        + POD
        + """
        def test_it(ephemeral_ns, ephemeral_ns_shared, ephemeral_ns_factory):
            with ephemeral_ns_factory() as third:
                for ns in (ephemeral_ns, ephemeral_ns_shared, third):
                    [hard], ranges, closed = bounds(ns)
                    assert (hard["pods"], ranges, closed) == ("200", 1, set())
                    assert pod(ns)["containers"][0]["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}}
                    # A default limit below this request would refuse it.
                    pod(ns, "big", requests={"cpu": "4", "memory": "24Gi"})

        def test_policies_of_the_factory(ephemeral_ns_factory):
            with ephemeral_ns_factory(policy="none") as free, ephemeral_ns_factory(policy="isolated") as closed:
                assert bounds(free) == ([], 0, set())
                [hard], ranges, policies = bounds(closed)
                assert hard and ranges == 1
                assert {"ephemeral-ns-default-deny", "ephemeral-ns-same-namespace", "ephemeral-ns-dns"} <= policies

        def test_a_policy_that_does_not_exist(ephemeral_ns_factory):
            import pytest, pytest_ephemeral_ns
            with pytest.raises(pytest_ephemeral_ns.UsageError, match="policy 'strict' does not exist"):
                ephemeral_ns_factory(policy="strict").__enter__()
        """
    )
    run_pytest().assert_outcomes(passed=3)


def test_every_value_is_an_ini_key(pytester, run_pytest):
    pytester.makeini(
        """
        [pytest]
        ephemeral_ns_policy = isolated
        ephemeral_ns_quota_pods = 7
        ephemeral_ns_quota_requests_cpu = none
        ephemeral_ns_container_limits_memory = 64Mi
        ephemeral_ns_pod_security = baseline
        ephemeral_ns_shared_service =
            databases
            brokers
        ephemeral_ns_ingress_namespace = ingress-nginx
        ephemeral_ns_isolated_api_server = closed
        ephemeral_ns_node_selector = pool=ci
        ephemeral_ns_toleration = pool=ci:NoSchedule
        """
    )
    pytester.makepyfile(
        BOUNDS
        + POD
        + """
        def test_it(ephemeral_ns):
            [hard], _, policies = bounds(ephemeral_ns)
            assert hard["pods"] == "7" and "requests.cpu" not in hard
            assert policies == {"ephemeral-ns-" + name for name in (
                "default-deny", "same-namespace", "dns", "shared-services", "ingress-controllers")}
            spec = pod(ephemeral_ns)
            assert spec["containers"][0]["resources"]["limits"] == {"memory": "64Mi"}
            assert spec["nodeSelector"] == {"pool": "ci"}
            assert {"key": "pool", "operator": "Equal", "value": "ci", "effect": "NoSchedule"} in spec["tolerations"]
            labels = ephemeral_ns.get("ns", ephemeral_ns.name)["metadata"]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
            rule = ephemeral_ns.get("networkpolicy/ephemeral-ns-shared-services")["spec"]["egress"][0]
            assert len(rule["to"]) == 2
        """
    )
    result = run_pytest()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["warning: namespace brokers of --ephemeral-ns-shared-service does not exist: *"])


def test_a_chart_goes_to_the_node_pool_too(pytester, run_pytest):
    chart = pytester.mkdir("chart")
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 0.1.0\n")
    (chart / "templates").mkdir()
    pod = {"containers": [{"name": "a", "image": "a:1"}]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec": pod}}}
    cron = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job["spec"]}}
    pod["restartPolicy"] = "Never"
    made = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": cron}
    (chart / "templates" / "all.yaml").write_text(json.dumps(made))
    pytester.makepyfile(
        """
        def test_it(ephemeral_ns):
            spec = ephemeral_ns.get("cronjob/a")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            assert spec["nodeSelector"] == {"pool": "ci"}
        """
    )
    run_pytest("--ephemeral-ns-deploy=chart", "--ephemeral-ns-node-selector=pool=ci").assert_outcomes(passed=1)


def test_a_namespace_that_is_reused_keeps_its_own_bounds(pytester, run_pytest, witness):
    witness.kubectl("create", "namespace", "foreign")
    try:
        pytester.makepyfile(BOUNDS + "        def test_it(ephemeral_ns): assert bounds(ephemeral_ns) == ([], 0, set())")
        run_pytest("--ephemeral-ns-reuse=foreign", "--ephemeral-ns-policy=isolated").assert_outcomes(passed=1)
        labels = json.loads(witness.kubectl("get", "ns", "foreign", "-o", "json"))["metadata"]["labels"]
        assert labels == {"kubernetes.io/metadata.name": "foreign"}
    finally:
        witness.kubectl("delete", "ns", "foreign", "--wait=false")


def test_ephemeral_without_pytest(control_plane):
    from pytest_ephemeral_ns import ephemeral

    with ephemeral(cluster="current", kubeconfig=str(control_plane.kubeconfig), policy="isolated") as ns:
        assert ns.list("networkpolicies")
    with ephemeral(cluster="current", kubeconfig=str(control_plane.kubeconfig), policy="none") as ns:
        assert ns.list("resourcequotas") == []


# Rights


@pytest.fixture
def modest(pytester, control_plane, witness, monkeypatch):
    """An identity that makes namespaces and does everything in them, but for guard rails."""
    rights = "--resource=namespaces,pods,configmaps,secrets,serviceaccounts,services"
    witness.kubectl("create", "serviceaccount", "modest", "--namespace=default")
    witness.kubectl("create", "clusterrole", "modest", "--verb=*", rights)
    witness.kubectl("create", "clusterrolebinding", "modest", "--clusterrole=modest", "--serviceaccount=default:modest")
    token = witness.kubectl("create", "token", "modest", "--namespace=default").strip()
    connection, path = control_plane.connection, pytester.path / "modest.kubeconfig"
    (pytester.path / "ca.crt").write_text(connection.ca_data)
    path.touch(mode=0o600)
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: kind-modest\n"
        "contexts: [{name: kind-modest, context: {cluster: c, user: u}}]\n"
        f"clusters: [{{name: c, cluster: {{server: '{connection.server}', certificate-authority: ca.crt}}}}]\n"
        f"users: [{{name: u, user: {{token: '{token}'}}}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield
    for kind in ("clusterrolebinding", "clusterrole", "serviceaccount"):
        witness.kubectl("delete", kind, "modest", *(["--namespace=default"] if kind == "serviceaccount" else []))


def test_without_the_right_the_default_is_a_warning_and_a_wish_is_an_error(pytester, run_pytest, modest):
    pytester.makepyfile(ONE)
    result = run_pytest("--ephemeral-ns-scope=function", "-n", "2")
    result.assert_outcomes(passed=1)
    said = [line for line in result.outlines if line.startswith("warning: guard rails: ")]
    assert len(said) == 1
    assert "may not create, get or watch limitranges" in said[0]
    assert (
        "→ kubectl create clusterrole ephemeral-ns-guard-rails --verb=create,get,patch,watch --resource=limit"
        in said[0]
    )

    result = run_pytest("--ephemeral-ns-policy=standard")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*guard rails: this identity may not create, get or watch limitranges*", "*kubectl create clusterrole*"]
    )
    run_pytest("--ephemeral-ns-policy=none").assert_outcomes(passed=1)


# Pull secrets


@pytest.fixture
def registry(witness):
    name = f"registry-{secrets.token_hex(3)}"
    witness.kubectl("create", "namespace", name)
    login = ["--docker-server=r.example", "--docker-username=u", "--docker-password=very-secret-password"]
    witness.kubectl("create", "secret", "docker-registry", "pull", *login, f"--namespace={name}")
    witness.kubectl("create", "secret", "generic", "wrong", "--from-literal=a=b", f"--namespace={name}")
    yield name
    witness.kubectl("delete", "ns", name, "--wait=false")


def test_pull_secrets_are_there_before_the_first_pod(pytester, run_pytest, registry):
    pytester.makepyfile(
        POD
        + """
        def test_it(ephemeral_ns, ephemeral_ns_shared):
            for ns in (ephemeral_ns, ephemeral_ns_shared):
                assert pod(ns)["imagePullSecrets"] == [{"name": "pull"}]
                assert ns.get("secret/pull")["type"] == "kubernetes.io/dockerconfigjson"
        """
    )
    run_pytest(f"--ephemeral-ns-pull-secret={registry}/pull").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("name", "problem"), [("none", "does not exist"), ("wrong", "is of type Opaque, not a registry Secret")]
)
def test_a_pull_secret_that_is_none(pytester, run_pytest, registry, name, problem):
    pytester.makepyfile(ONE)
    result = run_pytest(f"--ephemeral-ns-pull-secret={registry}/{name}")
    result.assert_outcomes(errors=1)
    command = f"kubectl create secret docker-registry {name} --from-file .dockerconfigjson="
    result.stdout.fnmatch_lines([f"*Secret {registry}/{name} {problem}*", f"*→ {command}*"])


# Warnings


@pytest.fixture
def retaining(witness):
    name = f"retaining-{secrets.token_hex(3)}"
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    path = Path("class.json").absolute()
    path.write_text(json.dumps({**kind, "provisioner": "example.com/none", "reclaimPolicy": "Retain"}))
    witness.kubectl("create", "-f", str(path))
    yield name
    witness.kubectl("delete", "storageclass", name)


def test_each_warning_reaches_the_user_once(pytester, run_pytest, retaining):
    spec = {
        "storageClassName": retaining,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    objects = [
        ("Service", "web", {"type": "LoadBalancer", "ports": [{"port": 80}]}),
        ("Service", "fixed", {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31888}]}),
        ("Pod", "moving", {"containers": [{"name": "a", "image": "redis:latest"}]}),
        ("PersistentVolumeClaim", "kept", spec),
    ]
    text = "\n---\n".join(
        json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        for kind, name, spec in objects
    )
    pytester.makefile(".yaml", all=text)
    pytester.makeconftest(
        """
        import pytest
        @pytest.fixture(scope="session")
        def ephemeral_ns_deploy():
            return lambda ns: ns.apply("all.yaml")
        """
    )
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_it(ephemeral_ns, n): pass")
    result = run_pytest("--ephemeral-ns-scope=function", "-n", "2")
    result.assert_outcomes(passed=4)
    said = [line for line in result.outlines if line.startswith("warning: ")]
    for part in (
        "Service/web (all.yaml:1): type LoadBalancer, and nothing here seems to hand out addresses",
        "Service/fixed (all.yaml:3): node port 31888 can be had by one namespace of the cluster at a time",
        "Pod/moving (all.yaml:5): image redis:latest is a moving target",
        f"PersistentVolumeClaim/kept (all.yaml:7): StorageClass {retaining} retains volumes",
    ):
        assert len([line for line in said if part in line]) == 1, said
