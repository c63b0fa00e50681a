"""What is no error and will surprise somebody all the same; this module must never refuse anything.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ephemeral_ns.rules.manifests import Manifest
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.pods import containers_of, pod_spec_of

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# Node.spec.providerID of clusters that hand out load balancers begins with one of these.
_CLOUDS = ("aws:", "azure:", "gce:", "openstack:", "digitalocean:", "hcloud:", "linode:", "ocid1.", "vsphere:", "ibm:")


@dataclass(frozen=True)
class Facts:
    """What the cluster is like, as far as somebody asked.

    Args:
        storage_classes: all StorageClasses; ``None`` if nobody asked.
        provider_ids: ``spec.providerID`` of the nodes; ``None`` if nobody asked.
        balanced: whether a Service of the cluster has an address from a load balancer.
    """

    storage_classes: list[Object] | None = None
    provider_ids: list[str] | None = None
    balanced: bool = field(default=False)


def warnings_for(manifests: Iterable[Manifest], facts: Facts) -> list[str]:
    """Return one sentence for everything worth knowing, each once.

    Args:
        manifests: what is deployed.
        facts: about the cluster.

    Example:
        >>> warnings_for([], Facts())
        []
    """
    manifests = [*manifests]
    own = {m.ref.name: m.object for m in manifests if m.object["kind"] == "StorageClass"}
    found: dict[str, None] = {}
    for manifest in manifests:
        for problem in (
            *_images(manifest),
            *_ports(manifest),
            *_balancers(manifest, facts),
            *_volumes(manifest, facts, own),
        ):
            found[f"{manifest.labelled}: {problem}"] = None
    return [*found]


def _images(manifest: Manifest) -> Iterator[str]:
    for container in containers_of(pod_spec_of(manifest.object) or {}):
        image = str(container.get("image") or "")
        if image and _tag(image) in ("", "latest"):
            yield f"image {image} is a moving target: the same commit may be tested with another image tomorrow"


def _tag(image: str) -> str:
    """Return the tag of an image, empty if it has none; one with a digest counts as tagged."""
    if "@" in image:
        return "digest"
    return image.rpartition("/")[2].partition(":")[2]


def _ports(manifest: Manifest) -> Iterator[str]:
    if manifest.object["kind"] == "Service" and manifest.object["apiVersion"] == "v1":
        for port in (manifest.object.get("spec") or {}).get("ports") or ():
            if port.get("nodePort"):
                yield f"node port {port['nodePort']} can be had by one namespace of the cluster at a time"
    for container in containers_of(pod_spec_of(manifest.object) or {}):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield f"host port {port['hostPort']} can be had by one pod of a node at a time"


def _balancers(manifest: Manifest, facts: Facts) -> Iterator[str]:
    spec = manifest.object.get("spec") or {}
    if manifest.object["kind"] != "Service" or spec.get("type") != "LoadBalancer" or facts.provider_ids is None:
        return
    if not facts.balanced and not any(provider.startswith(_CLOUDS) for provider in facts.provider_ids):
        yield "type LoadBalancer, and nothing here seems to hand out addresses: it will stay pending"


def _volumes(manifest: Manifest, facts: Facts, own: Mapping[str, Object]) -> Iterator[str]:
    classes = {str(c["metadata"]["name"]): c for c in facts.storage_classes or ()}
    for spec in claims_of(manifest.object):
        name = spec.get("storageClassName")
        found = (
            own.get(str(name)) or classes.get(str(name)) if name else next(filter(_is_default, classes.values()), None)
        )
        if found and found.get("reclaimPolicy") == "Retain":
            shown = found["metadata"]["name"]
            yield f"StorageClass {shown} retains volumes: they stay, and cost, after the namespace is gone"


def claims_of(obj: Mapping[str, Any]) -> Iterator[Object]:
    """Yield the spec of every claim that an object makes: its own, a StatefulSet's, those of ephemeral volumes."""
    if obj.get("kind") == "PersistentVolumeClaim":
        yield obj.get("spec") or {}
    if obj.get("kind") == "StatefulSet":
        yield from ((c.get("spec") or {}) for c in (obj.get("spec") or {}).get("volumeClaimTemplates") or ())
    for volume in (pod_spec_of(obj) or {}).get("volumes") or ():
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        if template:
            yield template.get("spec") or {}


def _is_default(storage_class: Mapping[str, Any]) -> bool:
    return (storage_class["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
