"""A kustomization is built through an overlay that gives namespace and labels; this module must never edit the user's.

The overlay gives a namespace only to what has none. kustomize's own ``namespace:`` would give it to everything, and
that is wrong for some sets, so placing (:mod:`~pytest_ephemeral_ns.rules.placement`) stays the second step:

* A set that spans several namespaces would be folded into one without a word. It is an error that lists them, or is
  mapped by ``namespaces={…}``; both need the namespaces as they were written.
* Cluster-scoped objects of kinds that kustomize does not know get a namespace too. Only the cluster can tell.
* Of the references, kustomize rewrites the subjects that are called ``default`` and the Services of webhooks.
  Accounts by another name, host names, arguments, ``matchNames`` and annotations would still name the old namespace.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_ephemeral_ns.errors import ManifestError
from pytest_ephemeral_ns.kube.tools import kustomize_version, render_kustomization
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents

# Before it, the namespace transformer has no unsetOnly and gives a namespace to everything.
OLDEST_KUSTOMIZE = (5, 0)
# What kustomize reads from the outermost kustomization alone.
_OF_THE_OUTERMOST = ("sortOptions", "buildMetadata")


def render(file: Path, namespace: str, labels: Mapping[str, str], timeout: float) -> tuple[str, bool]:
    """Return the YAML that a kustomization builds to, and whether namespace and labels are in it.

    Args:
        file: ``kustomization.yaml`` by any of its names.
        namespace: for objects that have none.
        labels: for every object; selectors and templates stay as they are.
        timeout: seconds.

    Raises:
        ManifestError: it does not build.
        ToolError: there is no program that builds it.

    Example:
        ``render(Path("deploy/ci/kustomization.yaml"), "shop-gw0", {"team": "a"}, timeout=60)``
    """
    if kustomize_version() < OLDEST_KUSTOMIZE:
        return render_kustomization(file.parent, timeout), False
    with tempfile.TemporaryDirectory(prefix="ephemeral-ns-overlay-") as folder:
        # kustomize refuses absolute paths.
        relative = os.path.relpath(file.parent.resolve(), Path(folder).resolve())
        text = json.dumps(overlay(relative, _read(file), namespace, labels))
        (Path(folder) / "kustomization.yaml").write_text(text, encoding="utf-8")
        try:
            return render_kustomization(folder, timeout), True
        except ManifestError:
            # What is wrong is told without a folder that nobody has seen; and a path may only look like a URL.
            return render_kustomization(file.parent, timeout), False


def overlay(relative: str, kustomization: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> Any:
    """Return the overlay on a kustomization.

    Args:
        relative: its folder, from the overlay's.
        kustomization: what it says.
        namespace: see :func:`render`.
        labels: see :func:`render`.

    Example:
        >>> overlay("../k8s", {"kind": "Component"}, "shop-gw0", {})["components"]
        ['../k8s']
    """
    home = {
        "apiVersion": "builtin",
        "kind": "NamespaceTransformer",
        "metadata": {"name": "namespace", "namespace": namespace},
        "unsetOnly": True,
        "setRoleBindingSubjects": "none",
        "fieldSpecs": [{"path": "metadata/namespace", "create": True}],
    }
    pairs = [{"pairs": dict(labels), "includeSelectors": False, "includeTemplates": False}] if labels else []
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "components" if kustomization.get("kind") == "Component" else "resources": [relative],
        "transformers": [json.dumps(home)],
        "labels": pairs,
        **{field: kustomization[field] for field in _OF_THE_OUTERMOST if field in kustomization},
    }


def _read(file: Path) -> Mapping[str, Any]:
    """Return what a kustomization says; nothing when it cannot be read: kustomize says why, and better."""
    try:
        documents = read_documents(file.read_text(encoding="utf-8-sig"), file.name)
    except (ManifestError, OSError, UnicodeDecodeError):
        return {}
    return next((d.value for d in documents if isinstance(d.value, dict)), {})
