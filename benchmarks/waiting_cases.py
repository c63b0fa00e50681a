"""What is waited for: deployments that work, and ten that never can, each with the words by which it shows."""

from __future__ import annotations

from dataclasses import dataclass

_SLEEPS = "command: [sleep, '3600']"
MANY = 25
# Without a probe we would not believe the first second of "ready", and the others would.
SLOW = (
    "command: [sh, -c, 'sleep 4; touch /tmp/up; exec sleep 3600'], "
    "readinessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}"
)


@dataclass(frozen=True)
class Case:
    """One deployment that can never be ready, and the words in the cluster's objects that say so first."""

    name: str
    manifest: str
    shows: str


def deployment(container: str = _SLEEPS, *, pod: str = "", image: str = "busybox:1.36", name: str = "api") -> str:
    """Return a Deployment of one replica."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {pod or "enableServiceLinks: false"}
      containers: [{{name: app, image: "{image}", {container}}}]
"""


def many() -> str:
    """Return 25 Deployments and 25 ConfigMaps; three Deployments want a pod: something to wait for."""
    parts = [
        deployment(SLOW, name=f"d{number}").replace("replicas: 1", f"replicas: {int(number % 10 == 0)}")
        for number in range(MANY)
    ]
    parts += [f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}}}\n" for number in range(MANY)]
    return "---\n".join(parts)


def _env(source: str) -> str:
    return f"{_SLEEPS}, env: [{{name: A, valueFrom: {source}}}]"


_QUOTA = "---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: few}\nspec: {hard: {pods: '0'}}\n"
_LIMITS = """---
apiVersion: v1
kind: LimitRange
metadata: {name: small}
spec: {limits: [{type: Container, max: {cpu: 10m}}]}
"""
_CONFIG = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mode: fast}\n"
_INIT = "initContainers: [{name: first, image: 'Busy Box'}]"

FAILURES: tuple[Case, ...] = (
    Case(
        "image that must not be pulled",
        deployment(f"{_SLEEPS}, imagePullPolicy: Never", image="no:1"),
        "ErrImageNeverPull",
    ),
    Case("image name that is none", deployment(image="Busy Box"), "InvalidImageName"),
    Case("init container's image", deployment(pod=_INIT), "InvalidImageName"),
    Case("program that does not exist", deployment("command: [/no/such/program]"), "no such file or directory"),
    Case(
        "key that does not exist",
        deployment(_env("{configMapKeyRef: {name: settings, key: absent}}")) + _CONFIG,
        "CreateContainerConfigError",
    ),
    Case(
        "ConfigMap that does not exist",
        deployment(_env("{configMapKeyRef: {name: absent, key: absent}}")),
        "CreateContainerConfigError",
    ),
    Case("ServiceAccount that does not exist", deployment(pod="serviceAccountName: nobody"), "nobody"),
    Case("no node fits", deployment(pod="nodeSelector: {disk: fast}"), "Unschedulable"),
    Case("LimitRange", deployment(f"{_SLEEPS}, resources: {{limits: {{cpu: '2'}}}}") + _LIMITS, "maximum cpu usage"),
    Case("quota", deployment() + _QUOTA, "exceeded quota"),
    Case("image that nobody has", deployment(image="localhost/no:1"), "ErrImagePull"),
    Case("crash loop", deployment("command: [sh, -c, 'exit 3']"), "CrashLoopBackOff"),
)
