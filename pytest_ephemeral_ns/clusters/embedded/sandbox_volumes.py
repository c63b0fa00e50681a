"""Gives every claim of our StorageClass a folder of the node, and takes it away; it must never touch another's volume.

``python -m pytest_ephemeral_ns.clusters.embedded.sandbox_volumes SPEC.json``, inside the sandbox. The controller
manager has a provisioner of this kind, but that one makes its folders in this machine's ``/tmp``, for root alone; ours
are the node's own and writable for every user, so that images which do not run as root can use them.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pytest_ephemeral_ns.clusters.embedded.node_spec import PROVISIONER, NodeSpec

VOLUMES = Path("/var/lib/pytest-ephemeral-ns/volumes")
CLAIMS, PERSISTENT = "/api/v1/persistentvolumeclaims", "/api/v1/persistentvolumes"
ASKED_FOR, MADE_BY = "volume.kubernetes.io/storage-provisioner", "pv.kubernetes.io/provisioned-by"
WATCH_SECONDS = 300
RETRY_SECONDS = 0.5
TIMEOUT = 30.0  # seconds for an answer; a watch ends by itself before

Object = dict[str, Any]


class Server:
    """The API server, with the few calls that are needed; every call has a connection of its own.

    Args:
        kubeconfig: one with everything in it.
        server: its URL; the kubeconfig may name another one that is not reachable from here.
    """

    def __init__(self, kubeconfig: Path, server: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile(dir="/run") as pair:
            for part in ("client-certificate-data", "client-key-data"):
                pair.write(base64.b64decode(user[part]))
            pair.flush()
            self.context.load_cert_chain(pair.name)
        address = urlsplit(server)
        self.host, self.port = address.hostname or "", address.port or 443

    def call(self, method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
        """Return the status and the decoded answer."""
        connection = self._connect(TIMEOUT)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, body=text, headers={"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        finally:
            connection.close()

    def follow(self, path: str) -> Iterator[Object]:
        """Yield every object that there is, then every one that changes, until the watch ends."""
        status, known = self.call("GET", path)
        if status != http.client.OK:
            raise http.client.HTTPException(f"list {path}: {status} {known.get('message')}")
        yield from known["items"]
        version = known["metadata"]["resourceVersion"]
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": WATCH_SECONDS}
        connection = self._connect(WATCH_SECONDS + TIMEOUT)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}")
            response = connection.getresponse()
            for line in response:
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]
                elif event["type"] == "ERROR":
                    return
        finally:
            connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.context)


def provide(server: Server, claim: Object) -> None:
    """Make a volume for a claim that waits for one of ours."""
    notes = claim["metadata"].get("annotations") or {}
    spec = claim["spec"]
    is_ours = notes.get(ASKED_FOR) == PROVISIONER and not spec.get("volumeName")
    if not is_ours or spec.get("volumeMode") == "Block" or claim["metadata"].get("deletionTimestamp"):
        return
    status, storage_class = server.call("GET", f"/apis/storage.k8s.io/v1/storageclasses/{spec['storageClassName']}")
    if status != http.client.OK:
        raise http.client.HTTPException(f"storage class {spec['storageClassName']}: {storage_class.get('message')}")
    volume = volume_for(claim, storage_class)
    folder = Path(volume["spec"]["hostPath"]["path"])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    status, answer = server.call("POST", PERSISTENT, volume)
    if status not in (http.client.CREATED, http.client.CONFLICT):
        raise http.client.HTTPException(f"create {volume['metadata']['name']}: {status} {answer.get('message')}")
    say(f"{volume['metadata']['name']}: for {claim['metadata']['namespace']}/{claim['metadata']['name']}")


def volume_for(claim: Object, storage_class: Object) -> Object:
    """Return the PersistentVolume that a claim gets."""
    metadata, spec = claim["metadata"], claim["spec"]
    folder = VOLUMES / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
    reference = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{metadata['uid']}", "annotations": {MADE_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": spec["storageClassName"],
            "hostPath": {"path": str(folder), "type": "DirectoryOrCreate"},
        },
    }


def take_away(server: Server, volume: Object) -> None:
    """Delete a volume of ours that was released, with its folder."""
    spec, name = volume["spec"], volume["metadata"]["name"]
    notes = volume["metadata"].get("annotations") or {}
    released = volume.get("status", {}).get("phase") == "Released"
    if notes.get(MADE_BY) != PROVISIONER or not released or spec["persistentVolumeReclaimPolicy"] != "Delete":
        return
    folder = Path(spec["hostPath"]["path"])
    if folder.parent == VOLUMES:
        shutil.rmtree(folder, ignore_errors=True)
    server.call("DELETE", f"{PERSISTENT}/{name}", {"preconditions": {"uid": volume["metadata"]["uid"]}})
    say(f"{name}: deleted")


def say(line: str) -> None:
    """Write one line to the log."""
    print(f"{time.time():.3f} {line}", file=sys.stderr, flush=True)  # noqa: T201


def keep_following(server: Server, path: str, handle: Callable[[Server, Object], None]) -> None:
    """Follow one kind of objects for ever; what fails is tried again with the next list."""
    while True:
        try:
            for item in server.follow(path):
                handle(server, item)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            say(f"{path}: {error!r}")
            time.sleep(RETRY_SECONDS)


def main(spec_file: str) -> None:
    """Serve the cluster whose node ``spec_file`` describes until the sandbox ends."""
    spec = NodeSpec.read(Path(spec_file))
    server = Server(spec.proxy_kubeconfig, spec.server)
    VOLUMES.mkdir(parents=True, exist_ok=True)
    threading.Thread(target=keep_following, args=(server, PERSISTENT, take_away), daemon=True).start()
    keep_following(server, CLAIMS, provide)


if __name__ == "__main__":
    main(sys.argv[1])
