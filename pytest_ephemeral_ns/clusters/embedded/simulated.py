"""Nodes and pods without containers: kwok, what it needs in the cluster, its nodes; this module must never start it.

Pods get Running and Ready, those of Jobs succeed, and nothing runs. What happens to a pod is described by ``Stage``
objects, which anybody may add to: a Stage with a large ``weight`` that selects some pods makes them fail in a way of
one's choice. Source: https://kwok.sigs.k8s.io/docs/user/stages-configuration/

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import Any

from pytest_ephemeral_ns.clusters.embedded.control_plane import Component, Plan
from pytest_ephemeral_ns.clusters.embedded.probe import Probe

NODES = 5
_PODS = "4000"  # a node's range is a /20
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/stages.kwok.x-k8s.io"


def kwok(plan: Plan) -> Component:
    """Return the program that plays the nodes."""
    return Component(
        "kwok",
        (
            f"{plan.bin_dir}/kwok",
            f"--kubeconfig={plan.home.pki}/kwok.kubeconfig",
            "--config=/dev/null",  # not the user's own ~/.kwok/kwok.yaml
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
            "--enable-crds=Stage",
            "--v=4",  # warnings; by default it logs every pod twice
        ),
    )


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition of Stages; kwok itself checks what is in one."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "stages.kwok.x-k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, kwok's own group"},
        },
        "spec": {
            "group": "kwok.x-k8s.io",
            "scope": "Cluster",
            "names": {"kind": "Stage", "listKind": "StageList", "plural": "stages", "singular": "stage"},
            "versions": [version],
        },
    }


def established(probe: Probe) -> bool:
    """Whether Stages can be applied."""
    return probe.has_condition(_CRD, "Established")


def objects() -> list[dict[str, Any]]:
    """Return what happens to nodes and pods, and the nodes."""
    return [*_stages(), *(_node(index) for index in range(NODES))]


def ready(probe: Probe) -> bool:
    """Whether every node is Ready."""
    return all(probe.has_condition(f"/api/v1/nodes/{_name(index)}", "Ready") for index in range(NODES))


def _name(index: int) -> str:
    return f"simulated-{index}"


def _node(index: int) -> dict[str, Any]:
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": _name(index),
        "kubernetes.io/os": "linux",
        "type": "kwok",
    }
    room = {"cpu": "64", "memory": "256Gi", "pods": _PODS, "ephemeral-storage": "1Ti"}
    addresses = [
        {"type": "InternalIP", "address": f"10.63.255.{index + 1}"},
        {"type": "Hostname", "address": _name(index)},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": _name(index), "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": room, "allocatable": room, "addresses": addresses},
    }


def _stages() -> list[dict[str, Any]]:
    alive = _when(".metadata.deletionTimestamp", "DoesNotExist")
    return [
        _stage(
            "node-ready",
            "Node",
            [_when('.status.conditions.[] | select( .type == "Ready" ) | .status', "NotIn", "True")],
            {"statusTemplate": _NODE_READY},
        ),
        _stage(
            "pod-ready",
            "Pod",
            [alive, _when(".status.podIP", "DoesNotExist")],
            {"statusTemplate": _POD_READY},
        ),
        _stage(
            "pod-complete",
            "Pod",
            [
                alive,
                _when(".status.phase", "In", "Running"),
                _when(".metadata.ownerReferences.[].kind", "In", "Job"),
            ],
            {"statusTemplate": _POD_COMPLETE},
        ),
        _stage(
            "pod-delete",
            "Pod",
            [_when(".metadata.deletionTimestamp", "Exists")],
            {"finalizers": {"empty": True}, "delete": True},
        ),
    ]


def _stage(name: str, kind: str, selector: list[dict[str, Any]], following: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": selector},
            "weight": 1,
            "next": following,
        },
    }


def _when(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


_NODE_READY = """
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
nodeInfo:
  architecture: amd64
  bootID: ""
  containerRuntimeVersion: {{ printf "kwok-%s" Version | Quote }}
  kernelVersion: simulated
  kubeProxyVersion: simulated
  kubeletVersion: {{ printf "kwok-%s" Version | Quote }}
  machineID: ""
  operatingSystem: linux
  osImage: simulated
  systemUUID: ""
phase: Running
"""

_POD_READY = """
{{ $now := Now }}
conditions:
- type: Initialized
  status: "True"
  lastTransitionTime: {{ $now | Quote }}
- type: ContainersReady
  status: "True"
  lastTransitionTime: {{ $now | Quote }}
- type: Ready
  status: "True"
  lastTransitionTime: {{ $now | Quote }}
{{ range .spec.readinessGates }}
- type: {{ .conditionType | Quote }}
  status: "True"
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  started: true
  restartCount: 0
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  {{ if eq .restartPolicy "Always" }}
  started: true
  state:
    running:
      startedAt: {{ $now | Quote }}
  {{ else }}
  started: false
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ end }}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" )
  ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}
phase: Running
startTime: {{ $now | Quote }}
"""

_POD_COMPLETE = """
{{ $now := Now }}
conditions:
- type: Ready
  status: "False"
  reason: PodCompleted
  lastTransitionTime: {{ $now | Quote }}
- type: ContainersReady
  status: "False"
  reason: PodCompleted
  lastTransitionTime: {{ $now | Quote }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
phase: Succeeded
"""
