"""Things that can never become ready, on a real node: each is named with its cause, long before the deadline."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from pytest_ephemeral_ns.deadline import Deadline
from pytest_ephemeral_ns.errors import WaitFailed, WaitTimeout
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.kube.discovery import Discovery
from pytest_ephemeral_ns.kube.watch import Watcher
from pytest_ephemeral_ns.ready import ReadyReport, wait_for_job, wait_ready
from pytest_ephemeral_ns.rules.graces import Graces
from pytest_ephemeral_ns.rules.objects import Ref
from pytest_ephemeral_ns.rules.status import Verdict

pytestmark = [pytest.mark.node, pytest.mark.cluster]
# The kubelet doubles its pause between two starts from 10 s on: a test need not wait for the third. On a very busy
# machine kubelet and runtime notice an end late: no other test is about how long that takes.
QUICK = Graces(crash_loop_restarts=1, config_object=1.0, quota=1.0, storage_class=1.0, unschedulable=2.0, unprobed=10.0)
NEVER_READY = "readinessProbe: {exec: {command: ['false']}, periodSeconds: 5}"


@dataclass
class Place:
    """A namespace on the real cluster."""

    api: Api
    watcher: Watcher
    discovery: Discovery
    name: str

    def apply(self, text: str) -> list[Ref]:
        refs = []
        for document in yaml.safe_load_all(text):
            resource = self.discovery.find(document["apiVersion"], document["kind"])
            path = resource.path(namespace=self.name, name=document["metadata"]["name"])
            refs.append(Ref.of(self.api.apply(path, document)))
        return refs

    def wait(self, refs: list[Ref], *, timeout: float = 240, graces: Graces = QUICK, **more: Any) -> ReadyReport:
        deadline = Deadline.after(timeout)
        return wait_ready(
            self.api,
            self.watcher,
            self.name,
            refs,
            deadline=deadline,
            graces=graces,
            discovery=self.discovery,
            **more,
        )

    def fails(self, text: str, **how: Any) -> WaitFailed:
        with pytest.raises(WaitFailed) as caught:
            self.wait(self.apply(text), **how)
        return caught.value


@pytest.fixture
def place(node_cluster: Any) -> Iterator[Place]:
    name = f"ready-{secrets.token_hex(4)}"
    with Api(node_cluster.connection) as api, Watcher(api) as watcher:
        api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            wait_ready(api, watcher, name, [Ref("v1", "ServiceAccount", "default")], deadline=Deadline.after(30))
            yield Place(api, watcher, Discovery(api), name)
        finally:
            api.delete(f"/api/v1/namespaces/{name}")


def deployment(container: str, *, replicas: int = 1, pod: str = "", name: str = "api") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {pod or "enableServiceLinks: false"}
      containers: [{{name: app, image: "busybox:1.36", {container}}}]
"""


SLEEPS = "command: [sleep, '3600']"


def script(text: str) -> str:
    return f"command: [sh, -c, {text!r}]"


def job(container: str, more: str = "") -> str:
    return f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: migrate}}
spec:
  backoffLimit: 0
  {more}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: "busybox:1.36", {container}}}]
"""


SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
"""


SECRET = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: joe}"


def test_what_works_is_ready(place: Place) -> None:
    listens = "command: [httpd, -f, -p, '8080'], ports: [{containerPort: 8080}]"
    probe = "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}"
    config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}"
    refs = place.apply(deployment(f"{listens}, {probe}", replicas=2) + SERVICE + config)
    lines: list[str] = []
    report = place.wait(refs, on_progress=lines.append)
    assert {str(ref): found.reason for ref, found in report.objects.items()} == {
        "Deployment/api": "Available",
        "Service/api": "Endpoints",
        "ConfigMap/settings": "Exists",
    }
    assert lines[-1] == "3/3 ready"
    assert report.layers == ("infrastructure",)


def test_an_image_that_does_not_exist(place: Place) -> None:
    error = place.fails(deployment(SLEEPS).replace("busybox:1.36", "localhost/nothing:1") + SERVICE)
    assert "Deployment" in error.summary
    assert "RegistryUnreachable" in error.summary
    assert "localhost/nothing:1" in error.summary
    assert error.layer == "infrastructure"
    assert {str(ref): found.state for ref, found in error.verdicts.items()} == {
        "Deployment/api": "failed",
        "Service/api": "waiting",
    }


def test_an_image_name_that_is_none(place: Place) -> None:
    error = place.fails(deployment(SLEEPS).replace("busybox:1.36", "Busy Box"))
    assert "InvalidImageName" in error.summary


def test_an_image_that_must_not_be_pulled(place: Place) -> None:
    error = place.fails(deployment(f"{SLEEPS}, imagePullPolicy: Never").replace("busybox:1.36", "absent:1"))
    assert "ErrImageNeverPull" in error.summary


# In the node's own network: containerd speaks plain HTTP to what is on its loopback.
REGISTRY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: registry}
data: {httpd.conf: "/v2/private:joe:secret"}
---
apiVersion: v1
kind: Pod
metadata: {name: registry}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  volumes: [{name: conf, configMap: {name: registry}}]
  containers:
    - name: httpd
      image: busybox:1.36
      command: [sh, -c, "mkdir -p /www/v2/private; exec httpd -f -p 127.0.0.1:5055 -h /www -c /conf/httpd.conf -r us"]
      volumeMounts: [{name: conf, mountPath: /conf}]
      readinessProbe: {tcpSocket: {host: 127.0.0.1, port: 5055}, periodSeconds: 1}
"""


def test_a_registry_that_refuses(place: Place) -> None:
    """The kubelet tries again after ten seconds: the verdict is there before that, with the registry's own words."""
    place.wait(place.apply(REGISTRY))
    for name, image, reason, words in [
        ("private", "127.0.0.1:5055/private/app:1", "ImageUnauthorized", "401 Unauthorized"),
        ("absent", "127.0.0.1:5055/public/app:1", "ImageNotFound", "not found"),
        ("nobody", "127.0.0.1:5056/app:1", "RegistryUnreachable", "connection refused"),
    ]:
        error = place.fails(deployment(SLEEPS, name=name).replace("busybox:1.36", image), graces=Graces())
        assert f"{reason}: {image}: " in error.summary
        assert words in error.summary
        assert "Back-off" not in error.summary


def test_a_crash_loop_with_its_last_words(place: Place) -> None:
    error = place.fails(deployment(script("echo no database here; exit 7")))
    assert "CrashLoopBackOff" in error.summary
    assert "exit code 7" in error.summary
    assert "    | no database here" in error.evidence
    assert str(error.command).removesuffix(" --previous") == f"kubectl -n {place.name} logs {pod_of(error)} -c app"


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_what_exits_at_once_is_never_called_ready(place: Place, kind: str) -> None:
    """Without a readiness probe Kubernetes calls it ready, until its kubelet has looked again."""
    usual = replace(QUICK, unprobed=Graces().unprobed)
    for number, text in enumerate(["exit 3", "exit 3", "sleep 0.1; exit 3", "sleep 0.3; exit 3"]):
        manifest = deployment(script(text), name=f"api{number}")
        if kind == "Pod":
            template = yaml.safe_load(manifest)["spec"]["template"]
            pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": f"api{number}"}}
            manifest = yaml.safe_dump(pod)
        assert "exit code 3" in place.fails(manifest, graces=usual).summary


def test_one_that_redirects_its_output_is_ready(place: Place) -> None:
    """Attached to it, one hears at once that there is nothing to hear: as after its end."""
    refs = place.apply(deployment(script("exec sleep 3600 >/dev/null 2>&1")))
    assert place.wait(refs, graces=Graces()).objects[refs[0]].ready


def pod_of(error: WaitFailed) -> str:
    (found,) = {cause.ref.name for verdict in error.verdicts.values() for cause in verdict.causes}
    return str(found)


def test_an_init_container_that_loops(place: Place) -> None:
    init = f"initContainers: [{{name: migrate, image: 'busybox:1.36', {script('echo no table; exit 3')}}}]"
    error = place.fails(deployment(SLEEPS, pod=init))
    assert "InitCrashLoop" in error.summary
    assert "container migrate" in error.summary
    assert "    | no table" in error.evidence


def test_a_sidecar_that_loops(place: Place) -> None:
    sidecar = f"initContainers: [{{name: proxy, restartPolicy: Always, image: 'busybox:1.36', {script('exit 4')}}}]"
    assert "container proxy" in place.fails(deployment(SLEEPS, pod=sidecar)).summary


def test_out_of_memory(place: Place) -> None:
    eats = script("x=a; while true; do x=$x$x; done")
    error = place.fails(deployment(f"{eats}, {NEVER_READY}, resources: {{limits: {{memory: 16Mi}}}}"))
    assert "OOMKilled" in error.summary
    assert "limit 16Mi" in error.summary


def test_a_program_that_does_not_exist(place: Place) -> None:
    error = place.fails(deployment("command: [/app/servr]"))
    assert "/app/servr" in error.summary


def test_a_liveness_probe_that_kills(place: Place) -> None:
    probe = "livenessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 2}"
    error = place.fails(deployment(f"{SLEEPS}, {probe}, {NEVER_READY}"))
    assert "probe failed" in error.summary
    assert "connection refused" in error.summary


def test_a_config_map_that_does_not_exist(place: Place) -> None:
    env = "env: [{name: MODE, valueFrom: {configMapKeyRef: {name: settings, key: mode}}}]"
    error = place.fails(deployment(f"{SLEEPS}, {env}"))
    assert 'configmap "settings" not found' in error.summary


def test_a_secret_that_comes_while_it_is_waited_for(place: Place) -> None:
    """The kubelet says for ten seconds more that it is missing."""
    env = "env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]"
    refs = place.apply(deployment(f"{SLEEPS}, {env}"))

    def write_when_missed(verdicts: dict[Ref, Verdict]) -> None:
        if any(found.reason == "CreateContainerConfigError" for found in verdicts.values()) and not written:
            written.extend(place.apply(SECRET))

    written: list[Ref] = []
    assert place.wait(refs, graces=Graces(), on_look=write_when_missed).objects[refs[0]].ready
    assert written


def test_a_key_that_the_secret_does_not_have(place: Place) -> None:
    env = "env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}]"
    secret = SECRET.replace("password", "user")
    error = place.fails(deployment(f"{SLEEPS}, {env}") + secret)
    assert "couldn't find key password in Secret" in error.summary


def test_a_volume_whose_secret_does_not_exist(place: Place) -> None:
    pod = "volumes: [{name: tls, secret: {secretName: tls}}]"
    error = place.fails(deployment(f"{SLEEPS}, volumeMounts: [{{name: tls, mountPath: /tls}}]", pod=pod))
    assert "FailedMount" in error.summary
    assert 'secret "tls" not found' in error.summary


def test_a_volume_of_the_wrong_type(place: Place) -> None:
    pod = "volumes: [{name: data, hostPath: {path: /etc/passwd, type: Directory}}]"
    text = deployment(f"{SLEEPS}, volumeMounts: [{{name: data, mountPath: /data}}]", pod=pod)
    error = place.fails(text, graces=replace(QUICK, mount=1.0))
    assert "FailedMount" in error.summary
    assert "hostPath type check failed: /etc/passwd is not a directory" in error.summary


QUOTA = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: few}
spec: {hard: {pods: "1"}}
"""


def test_a_quota_that_is_used_up(place: Place) -> None:
    place.wait(place.apply(QUOTA))
    error = place.fails(deployment(SLEEPS, replicas=2))
    assert "QuotaExceeded" in error.summary
    assert "exceeded quota: few" in error.summary


def test_a_limit_range_that_refuses(place: Place) -> None:
    limits = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\n"
    limits += "spec: {limits: [{type: Container, max: {cpu: 100m}}]}"
    place.wait(place.apply(limits))
    error = place.fails(deployment(f"{SLEEPS}, resources: {{limits: {{cpu: '2'}}, requests: {{cpu: '2'}}}}"))
    assert "LimitRangeViolation" in error.summary


def test_pod_security_that_refuses(place: Place) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    place.api.patch(f"/api/v1/namespaces/{place.name}", label)
    assert "PodSecurityViolation" in place.fails(deployment(SLEEPS)).summary


def test_a_service_account_that_does_not_exist(place: Place) -> None:
    error = place.fails(deployment(SLEEPS, pod="serviceAccountName: worker"))
    assert "ServiceAccountNotFound" in error.summary


def test_no_node_fits(place: Place) -> None:
    error = place.fails(deployment(SLEEPS, pod="nodeSelector: {disk: fast}"))
    assert "Unschedulable" in error.summary
    assert "didn't match Pod's node affinity/selector" in error.summary


def test_too_large_for_any_node(place: Place) -> None:
    error = place.fails(deployment(f"{SLEEPS}, resources: {{requests: {{cpu: '4000'}}}}"))
    assert "Insufficient cpu" in error.summary


@pytest.mark.parametrize("pod", ["nodeSelector: {disk: fast}", "resources: {requests: {cpu: '4000'}}"])
def test_no_node_will_ever_fit(place: Place, pod: str) -> None:
    text = deployment(f"{SLEEPS}, {pod}") if pod.startswith("resources") else deployment(SLEEPS, pod=pod)
    error = place.fails(text, timeout=40, graces=Graces(unschedulable=60, never_fits=1))
    assert "Unschedulable" in error.summary


STATEFUL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "busybox:1.36", command: [sleep, "3600"]}]
"""


def test_a_claim_of_a_class_that_does_not_exist(place: Place) -> None:
    claims = """
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Mi}}}
"""
    error = place.fails(STATEFUL + claims)
    assert "StorageClassNotFound" in error.summary
    assert "'fast' does not exist" in error.summary


def test_the_first_pod_of_a_stateful_set_holds_up_all_others(place: Place) -> None:
    error = place.fails(STATEFUL.replace('[sleep, "3600"]}', f"[sh, -c, 'exit 5'], {NEVER_READY}}}"))
    assert "Pod/db-0" in error.summary
    assert "/2" in error.summary


def test_a_job_that_fails(place: Place) -> None:
    error = place.fails(job(script("echo no such table; exit 9")))
    assert "BackoffLimitExceeded" in error.summary
    assert any("exit code 9" in line for line in error.evidence)
    assert "    | no such table" in error.evidence


def test_a_job_past_its_deadline(place: Place) -> None:
    assert "DeadlineExceeded" in place.fails(job(SLEEPS, "activeDeadlineSeconds: 1")).summary


def test_a_job_whose_image_does_not_exist_would_wait_for_ever(place: Place) -> None:
    error = place.fails(job(SLEEPS).replace("busybox:1.36", "localhost/nothing:1"))
    assert "localhost/nothing:1" in error.summary


def test_a_job_that_its_ttl_removes(place: Place) -> None:
    refs = place.apply(job("command: ['true']", "ttlSecondsAfterFinished: 0"))
    assert place.wait(refs).objects[refs[0]].reason in ("RemovedAfterFinishing", "Complete")


def test_a_failed_job_that_its_ttl_removes(place: Place) -> None:
    assert "BackoffLimitExceeded" in place.fails(job("command: ['false']", "ttlSecondsAfterFinished: 0")).summary


def test_a_job_that_is_waited_for_by_its_name(place: Place) -> None:
    place.apply(job("command: ['true']"))
    found = wait_for_job(place.api, place.watcher, place.name, "migrate", deadline=Deadline.after(60))
    assert found.reason == "Complete"


def test_a_failing_probe_is_the_cause_at_the_timeout(place: Place) -> None:
    probe = "readinessProbe: {tcpSocket: {port: 9}, periodSeconds: 1}"
    with pytest.raises(WaitTimeout) as caught:
        place.wait(place.apply(deployment(f"{SLEEPS}, {probe}")), timeout=6)
    assert "ProbeFailing" in caught.value.summary
    assert "connection refused" in caught.value.summary


def test_restarts_during_the_start_that_recover(place: Place) -> None:
    """An application that ends until its database is up: the usual graces allow two restarts."""
    pod = "volumes: [{name: tmp, emptyDir: {}}]"
    text = script("test -e /tmp/b && exec sleep 3600; test -e /tmp/a && touch /tmp/b; touch /tmp/a; exit 1")
    refs = place.apply(deployment(f"{text}, volumeMounts: [{{name: tmp, mountPath: /tmp}}]", pod=pod))
    assert place.wait(refs, graces=Graces()).objects[refs[0]].ready


def test_all_causes_come_in_one_report(place: Place) -> None:
    one = deployment(SLEEPS, name="one").replace("busybox:1.36", "Busy Box")
    two = deployment(f"{SLEEPS}, imagePullPolicy: Never", name="two").replace("busybox:1.36", "absent:1")
    error = place.fails(f"{one}---{two}")
    assert {found.reason for found in error.verdicts.values()} == {"InvalidImageName", "ErrImageNeverPull"}
    assert "(and 1 more) failed" in error.summary


def test_a_namespace_that_is_deleted_under_us(place: Place) -> None:
    refs = place.apply(deployment(SLEEPS, replicas=2, pod="nodeSelector: {disk: fast}"))
    place.api.delete(f"/api/v1/namespaces/{place.name}")
    with pytest.raises(WaitFailed, match="NamespaceTerminating"):
        place.wait(refs, graces=Graces())


def test_a_broken_pod_of_the_old_revision(place: Place) -> None:
    refs = place.apply(STATEFUL.replace('[sleep, "3600"]', "[/no]"))
    with pytest.raises(WaitFailed):
        place.wait(refs)
    refs = place.apply(STATEFUL)
    with pytest.raises(WaitFailed) as caught:
        place.wait(refs)
    assert caught.value.command == f"kubectl -n {place.name} delete pod db-0"


def test_a_second_wait_sees_what_was_applied_since(place: Place) -> None:
    """The watch that the first wait left running may lag; the old, ready state must not be taken for the new one."""
    for number in range(5):
        refs = place.apply(deployment(f"{SLEEPS}, env: [{{name: N, value: '{number}'}}]"))
        report = place.wait(refs, graces=Graces())
        found = place.api.get(f"/apis/apps/v1/namespaces/{place.name}/deployments/api")
        assert report.objects[refs[0]].ready
        assert found["status"]["updatedReplicas"] == found["status"]["replicas"] == 1
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
