"""An application that is broken in many ways: a project of tests that fail, each with the words of its cause."""

from __future__ import annotations

import json
from dataclasses import dataclass

IMAGE = "busybox:1.36"
PORT = 5099  # of the registry that wants a password, on the node


@dataclass(frozen=True)
class Way:
    """One way to break an application.

    Args:
        name: of the test.
        manifest: YAML of what is applied.
        words: what the cluster or the program itself says; all of it must be in the report.
        code: what the test does after that; it must fail.
    """

    name: str
    manifest: str
    words: tuple[str, ...]
    code: str = "ns.wait_ready(timeout=20)"


def pod(container: str, *, spec: str = "", name: str = "api") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  {spec or "enableServiceLinks: false"}
  containers: [{{name: app, image: "{IMAGE}", {container}}}]
"""


def deployment(container: str, *, spec: str = "") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: api}}
spec:
  selector: {{matchLabels: {{app: api}}}}
  template:
    metadata: {{labels: {{app: api}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {spec or "enableServiceLinks: false"}
      containers: [{{name: app, image: "{IMAGE}", {container}}}]
"""


def script(text: str) -> str:
    return f"command: [sh, -c, {json.dumps(text)}]"


SLEEPS = "command: [sleep, '3600']"
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: ap}, ports: [{port: 80, targetPort: 8080}]}
"""
SECRET = "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {user: shop-user}\n"
QUOTA = "\n---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: guard}\nspec: {hard: {pods: '0'}}\n"
JOB = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: migrate}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{{name: app, image: "{IMAGE}", {script("echo relation orders does not exist; exit 3")}}}]
"""
# A registry that answers everything with 401, on the node's own loopback: "localhost" is what a runtime asks by http.
REGISTRY = pod(
    script(f"echo '/:ada:lovelace' > /tmp/c; exec httpd -f -p 127.0.0.1:{PORT} -c /tmp/c")
    + f", readinessProbe: {{tcpSocket: {{host: 127.0.0.1, port: {PORT}}}, periodSeconds: 1}}",
    spec="hostNetwork: true",
    name="registry",
)
REFUSES = "echo db.shop.svc is not there; exit 4"
PRIVATE = pod(SLEEPS).replace(IMAGE, f"localhost:{PORT}/shop:1")
BROKEN_SERVER = (
    "while true; do nc -l -p 8080 -e sh -c 'echo ERROR: no such column: price >&2;"
    ' printf "HTTP/1.1 500 Internal Server Error\\r\\nContent-Length: 3\\r\\n\\r\\nno\\n"\'; done'
)
ASKS = """
    ns.wait_ready(timeout=30)
    forward = ns.port_forward("pod/api", 8080)
    ns.wait_for_contract(f"http://127.0.0.1:{forward.port}/orders/7", until=lambda body: True, timeout=4, interval=0.5)
"""
ENDS = """
    ns.wait_for(lambda: "OOMKilled" in str(ns.get("pod/api")["status"]), timeout=60)
    raise AssertionError("the order did not come")
"""
WAITS = """
    ns.wait_for(lambda: any("{word}" in str(event) for event in ns.events()), timeout=60)
    raise AssertionError("the order did not come")
"""

WAYS = (
    Way(
        "image_not_found",
        deployment(SLEEPS).replace(IMAGE, "localhost/nothing:1"),
        ("localhost/nothing:1", "failed to"),
    ),
    Way(
        "unauthorised_pull",
        REGISTRY,
        (f"localhost:{PORT}/shop:1", "401 Unauthorized"),
        'ns.wait_ready(timeout=60)\n    ns.apply("private.yaml")\n    ns.wait_ready("pod/api", timeout=10)',
    ),
    Way(
        "crash_loop",
        deployment(script("echo no such database: shop; exit 7")),
        ("no such database: shop", "exit code 7"),
        WAITS.format(word="BackOff"),
    ),
    Way(
        "out_of_memory",
        pod(script("x=a; while true; do x=$x$x; done") + ", resources: {limits: {memory: 16Mi}}"),
        ("OOMKilled", "exit code 137"),
        ENDS,
    ),
    Way(
        "missing_key_of_a_secret",
        pod(f"{SLEEPS}, env: [{{name: P, valueFrom: {{secretKeyRef: {{name: db, key: password}}}}}}]") + SECRET,
        ("couldn't find key password in Secret",),
        WAITS.format(word="couldn't find key"),
    ),
    Way(
        "missing_config_map",
        pod(
            f"{SLEEPS}, volumeMounts: [{{name: settings, mountPath: /etc/settings}}]",
            spec="volumes: [{name: settings, configMap: {name: settings}}]",
        ),
        ('configmap "settings" not found',),
        WAITS.format(word="FailedMount"),
    ),
    Way("quota", deployment(SLEEPS) + QUOTA, ("exceeded quota: guard", "limited: pods=0")),
    Way(
        "unschedulable",
        pod(SLEEPS, spec="nodeSelector: {disk: fast}"),
        ("node affinity/selector",),
        WAITS.format(word="FailedScheduling"),
    ),
    Way(
        "readiness_probe",
        pod(f"{SLEEPS}, readinessProbe: {{exec: {{command: [cat, /tmp/ready]}}, periodSeconds: 1}}"),
        ("Readiness probe failed", "can't open '/tmp/ready'"),
        WAITS.format(word="Unhealthy"),
    ),
    Way("failed_job", JOB, ("relation orders does not exist", "exit code 3")),
    Way(
        "init_container",
        pod(SLEEPS, spec=f"initContainers: [{{name: wait, image: '{IMAGE}', {script(REFUSES)}}}]"),
        ("db.shop.svc is not there", "exit code 4"),
        WAITS.format(word="BackOff"),
    ),
    Way(
        "missing_claim",
        pod(SLEEPS, spec="volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]"),
        ('persistentvolumeclaim "data" not found',),
        WAITS.format(word="FailedScheduling"),
    ),
    Way(
        "service_without_endpoints",
        deployment(SLEEPS) + SERVICE,
        ("Service/api", "app=ap"),
        'ns.wait_ready("deploy/api", timeout=60)\n    ns.wait_ready(timeout=5)',
    ),
    Way(
        "liveness_probe",
        pod(f"{SLEEPS}, livenessProbe: {{exec: {{command: [ls, /alive]}}, periodSeconds: 1, failureThreshold: 1}}"),
        ("Liveness probe failed", "/alive: No such file"),
        WAITS.format(word="Killing"),
    ),
    Way("contract", pod(script(BROKEN_SERVER)), ("500", "ERROR: no such column: price"), ASKS),
)


def suite() -> str:
    """Return the project's test module."""
    return "\n\n".join(
        f"def test_{way.name}(ephemeral_ns):\n    ns = ephemeral_ns\n"
        f"    ns.apply('{way.name}.yaml')\n    {way.code.strip()}\n"
        for way in WAYS
    )
