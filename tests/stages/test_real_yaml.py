"""Every real file says the same objects to us and to ``kubectl apply --dry-run=client -o json``, value for value.

A client's dry run reads the file, finds the kind on the server, adds two things of its own (the default namespace and
the annotation of what was applied last) and prints the object. One that exists already is printed as it is on the
server, so nothing of what is compared is there: definitions are compared first, and then made for what they define.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ephemeral_ns import paths
from pytest_ephemeral_ns.clusters.cluster import Cluster
from pytest_ephemeral_ns.kube.api import Api
from pytest_ephemeral_ns.rules.yaml_dialect import read_documents
from tests.stages.manifests import REAL, needs_real

pytestmark = [pytest.mark.cluster, needs_real]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
GROUP = "monitoring.coreos.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
BESIDE = ("kustomization.yaml", "Chart.yaml", "values.yaml", "values-prod.yaml")
# Files of a kind that no server has any more, which a dry run cannot read; kept empty on purpose: none may be left out.
NO_SERVER_HAS: tuple[str, ...] = ()


def real_files() -> list[Path]:
    found = [p for p in REAL.rglob("*.y*ml") if "templates" not in p.parts and p.name not in BESIDE]
    return sorted(path for path in found if str(path.relative_to(REAL)) not in NO_SERVER_HAS)


def ours(path: Path) -> list[Any]:
    return [obj for document in read_documents(path.read_text(), str(path)) for obj in flat(document.value)]


def flat(value: Any) -> list[Any]:
    if value is None:
        return []
    return value["items"] if value["kind"].endswith("List") else [value]


class Kubectl:
    def __init__(self, cluster: Cluster) -> None:
        program = shutil.which("kubectl", path=str(paths.bin_dir())) or shutil.which("kubectl")
        self._command = [str(program), "--kubeconfig", str(cluster.kubeconfig)]

    def __call__(self, *args: str | Path) -> str:
        done = subprocess.run([*self._command, *map(str, args)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dry_run(self, files: list[Path]) -> list[Any]:
        named = [word for path in files for word in ("-f", path)]
        printed = self("apply", "--dry-run=client", "--validate=false", "-o", "json", *named)
        return [own_words(obj) for obj in flat(json.loads(printed))]


def own_words(obj: Any) -> Any:
    """Take off what the dry run has added."""
    metadata = obj["metadata"]
    del metadata["annotations"][LAST_APPLIED]
    if metadata.get("namespace") == "default":
        del metadata["namespace"]
    return obj


def without_added(obj: Any) -> Any:
    """Write the object as the dry run does where it leaves no trace of the difference: it makes empty annotations."""
    metadata = obj["metadata"]
    kept = {key: value for key, value in metadata.items() if (key, value) != ("namespace", "default")}
    return {**obj, "metadata": {**kept, "annotations": metadata.get("annotations") or {}}}


@pytest.fixture
def kubectl(control_plane: Cluster) -> Iterator[Kubectl]:
    with Api(control_plane.connection) as api:
        _forget_definitions(api)
        yield Kubectl(control_plane)
        _forget_definitions(api)


def _forget_definitions(api: Api) -> None:
    there = [item["metadata"] for item in api.list(DEFINITIONS) if item["spec"]["group"] == GROUP]
    for metadata in there:
        api.delete(f"{DEFINITIONS}/{metadata['name']}", uid=metadata["uid"])


def test_real_files_say_the_same_to_kubectl(kubectl: Kubectl) -> None:
    read = {path: ours(path) for path in real_files()}
    custom = [p for p in read if any(obj["apiVersion"].startswith(f"{GROUP}/") for obj in read[p])]
    built_in = [p for p in read if p not in custom]
    setup = [p for p in built_in if p.parent.name == "setup"]

    theirs = kubectl.dry_run(built_in)
    kubectl("apply", "--server-side", *(word for path in setup for word in ("-f", path)))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    theirs += kubectl.dry_run(custom)

    mine = [without_added(obj) for path in (*built_in, *custom) for obj in read[path]]
    assert len(custom) > 20
    assert len(mine) > 150
    # As text: to Python, true is 1 and 1.0 is 1.
    assert [*map(as_text, mine)] == [*map(as_text, theirs)]


def as_text(obj: Any) -> str:
    return json.dumps(obj, sort_keys=True, indent=1)
