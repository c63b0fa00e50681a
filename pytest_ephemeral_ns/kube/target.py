"""Which pod, and which port of it, is meant by "svc/api"; this module must never wait until there is one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.errors import NotReady, UsageError

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

Object = dict[str, Any]

_APPS, _BATCH, _CORE = "/apis/apps/v1", "/apis/batch/v1", "/api/v1"
# Kind, API and plural for every word that kubectl takes for it.
_KINDS: dict[str, tuple[str, str, str]] = {
    word: (kind, api, plural)
    for kind, api, plural, words in (
        ("Pod", _CORE, "pods", "po pod pods"),
        ("Service", _CORE, "services", "svc service services"),
        ("Deployment", _APPS, "deployments", "deploy deployment deployments"),
        ("StatefulSet", _APPS, "statefulsets", "sts statefulset statefulsets"),
        ("DaemonSet", _APPS, "daemonsets", "ds daemonset daemonsets"),
        ("ReplicaSet", _APPS, "replicasets", "rs replicaset replicasets"),
        ("ReplicationController", _CORE, "replicationcontrollers", "rc replicationcontroller replicationcontrollers"),
        ("Job", _BATCH, "jobs", "job jobs"),
    )
    for word in words.split()
}


def resolve_target(api: Api, namespace: str, target: str, port: int | str) -> tuple[str, int]:
    """Return the pod and the port of it that a connection goes to, as ``kubectl port-forward`` finds them.

    A Service leads to a pod that its EndpointSlices call ready. Anything else leads to a ready pod of it if there is
    one, else to a running one: a pod need not be ready to be looked into.

    Args:
        api: the API server.
        namespace: of the target.
        target: ``"svc/api"``, ``"deploy/api"``, ``"statefulset/db"``, ``"pod/db-0"`` …; without a kind it is a pod.
        port: number or name; for a Service its own port, not the pod's.

    Raises:
        UsageError: the kind or the port is not one that there is, names those that there are.
        NotReady: there is no pod to connect to yet.
        ApiError: the target does not exist (``status`` 404), or reading it is not allowed.

    Example:
        ``resolve_target(api, "shop", "svc/api", "http")`` gives ``("api-5d9c7-x2x4p", 8080)``.
    """
    kind, path, name = _parse(namespace, target)
    wanted = _checked(port)
    if kind == "Service":
        return _behind_service(api, namespace, name, api.get(path), wanted)
    pod = _choose(f"{kind}/{name} in namespace {namespace}", pods_of(api, namespace, target))
    return str(pod["metadata"]["name"]), _pod_port(pod, wanted)


def resolve_pod(api: Api, namespace: str, target: str) -> str:
    """Return the name of the pod that is meant: a ready one of the target if there is one, else a running one.

    Args:
        api: the API server.
        namespace: of the target.
        target: see :func:`resolve_target`.

    Raises:
        UsageError: the kind is not one that has pods.
        NotReady: no pod of it is running.
        ApiError: the target does not exist (``status`` 404), or reading it is not allowed.
    """
    kind, _, name = _parse(namespace, target)
    pod = _choose(f"{kind}/{name} in namespace {namespace}", pods_of(api, namespace, target))
    return str(pod["metadata"]["name"])


def pods_of(api: Api, namespace: str, target: str) -> list[Object]:
    """Return all pods of a target, in whatever state, oldest first.

    Args:
        api: the API server.
        namespace: of the target.
        target: see :func:`resolve_target`.

    Raises:
        UsageError: the kind is not one that has pods, or a Service without a selector.
        ApiError: the target does not exist (``status`` 404), or reading it is not allowed.
    """
    kind, path, name = _parse(namespace, target)
    found = api.get(path)
    if kind == "Pod":
        return [found]
    spec = found.get("spec") or {}
    # Services and ReplicationControllers have plain labels as their selector.
    selector = spec.get("selector") or {}
    text = _selector(selector if kind in ("Service", "ReplicationController") else selector.get("matchLabels") or {})
    if kind not in ("Service", "ReplicationController"):
        text = ",".join(filter(None, [text, _expressions(selector.get("matchExpressions") or ())]))
    if not text:
        raise UsageError(
            f"{kind}/{name} in namespace {namespace} selects no pods",
            evidence=[
                "it has no selector" + (f": it stands for {spec['externalName']}" if "externalName" in spec else "")
            ],
        )
    pods = api.list(f"{_CORE}/namespaces/{namespace}/pods", label_selector=text)
    mine = [pod for pod in pods if _belongs(pod, found, kind)]
    return sorted(mine, key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]))


def pod_state(pod: Mapping[str, Any]) -> str:
    """Return one line about a pod: what it is doing and what its containers wait for.

    Example:
        >>> pod_state({"metadata": {"name": "api-1"}, "status": {"phase": "Pending"}})
        'Pod/api-1: Pending'
    """
    status = pod.get("status") or {}
    phase = "Terminating" if pod["metadata"].get("deletionTimestamp") else status.get("phase", "Pending")
    details = [
        f"container {found['name']} {_container_state(found)}"
        for found in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        if not found.get("ready")
    ]
    if not details:
        details = [
            str(c.get("message") or c.get("reason"))
            for c in status.get("conditions") or ()
            if c.get("status") == "False" and (c.get("message") or c.get("reason"))
        ][:1]
    return f"Pod/{pod['metadata']['name']}: " + ", ".join([str(phase), *details])


def default_container(pod: Mapping[str, Any]) -> str:
    """Return the container that is meant when none is named: as kubectl, by annotation, else the first.

    Example:
        >>> default_container({"metadata": {}, "spec": {"containers": [{"name": "app"}, {"name": "proxy"}]}})
        'app'
    """
    containers = [str(c["name"]) for c in pod["spec"]["containers"]]
    named = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    return named if named in containers else containers[0]


def _container_state(status: Mapping[str, Any]) -> str:
    for name, state in (status.get("state") or {}).items():
        why = state.get("reason") or (f"exit code {state['exitCode']}" if "exitCode" in state else "")
        message = f" ({' '.join(state['message'].split())[:300]})" if state.get("message") else ""
        return f"{name}{': ' + why if why else ''}{message}" if name != "running" else "running but not ready"
    return "not started"


def _parse(namespace: str, target: str) -> tuple[str, str, str]:
    word, slash, name = target.partition("/")
    if not slash:
        word, name = "pod", target
    # kubectl takes "deployments.apps" and "deployments.v1.apps" as well.
    known = _KINDS.get(word.partition(".")[0].lower())
    if known is None or not name or "/" in name:
        kinds = dict.fromkeys(next(w for w in _KINDS if _KINDS[w] == entry) for entry in _KINDS.values())
        raise UsageError(f'target "{target}" is not KIND/NAME', evidence=[f"kinds that have pods: {', '.join(kinds)}"])
    kind, api, plural = known
    return kind, f"{api}/namespaces/{namespace}/{plural}/{name}", name


def _checked(port: int | str) -> int | str:
    wanted = int(port) if isinstance(port, str) and port.isdigit() else port
    if isinstance(wanted, bool) or (isinstance(wanted, int) and not 0 < wanted < 65536) or wanted == "":
        raise UsageError(f"port {port!r} is not a port", evidence=["a number from 1 to 65535, or the name of a port"])
    return wanted


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _expressions(expressions: Iterable[Mapping[str, Any]]) -> str:
    written = {
        "Exists": "{key}",
        "DoesNotExist": "!{key}",
        "In": "{key} in ({values})",
        "NotIn": "{key} notin ({values})",
    }
    return ",".join(
        written[e["operator"]].format(key=e["key"], values=",".join(e.get("values") or ())) for e in expressions
    )


def _belongs(pod: Object, owner: Object, kind: str) -> bool:
    """Whether a selected pod is the owner's: two owners may select alike. A Deployment owns through ReplicaSets."""
    if kind in ("Service", "Deployment"):
        return True
    owners = pod["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner["metadata"].get("uid") for reference in owners)


def _choose(what: str, pods: list[Object]) -> Object:
    running = [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp") and (pod.get("status") or {}).get("phase") == "Running"
    ]
    if not running:
        raise NotReady(f"{what} has no running pod", evidence=_states(pods))
    # The oldest ready one: the same at every call, as long as it lives.
    return min(running, key=lambda pod: not _ready(pod))


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def _states(pods: list[Object]) -> list[str]:
    return [pod_state(pod) for pod in pods[:10]] or ["no pod matches its selector"]


def _pod_port(pod: Object, wanted: int | str) -> int:
    if isinstance(wanted, int):
        return wanted
    spec = pod["spec"]
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    named = {p["name"]: int(p["containerPort"]) for c in containers for p in c.get("ports") or () if p.get("name")}
    if wanted in named:
        return named[wanted]
    raise UsageError(
        f'Pod/{pod["metadata"]["name"]} has no port named "{wanted}"',
        evidence=[f"named ports: {', '.join(f'{n} ({p})' for n, p in named.items()) or 'none'}"],
    )


def _behind_service(api: Api, namespace: str, name: str, service: Object, wanted: int | str) -> tuple[str, int]:
    what = f"Service/{name} in namespace {namespace}"
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        raise UsageError(f"{what} has no pods", evidence=[f"it stands for {spec.get('externalName')}"])
    port = _service_port(what, spec, wanted)
    slices = api.list(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        label_selector=f"kubernetes.io/service-name={name}",
    )
    found: list[tuple[str, int]] = []
    ready = 0
    for piece in slices:
        number = _slice_port(piece, port, wanted)
        pods = [e["targetRef"]["name"] for e in piece.get("endpoints") or () if _serves(e)]
        ready += len(pods)
        found += [(pod, number) for pod in pods if number]
    if found:
        return min(found)  # the same at every call, as long as it is ready
    if ready:
        raise UsageError(f"{what}: no ready pod has its target port {port.get('targetPort') if port else wanted}")
    if not spec.get("selector"):
        raise NotReady(f"{what} has no ready pod", evidence=["it has no selector, and nobody wrote endpoints for it"])
    raise NotReady(f"{what} has no ready pod", evidence=_states(pods_of(api, namespace, f"svc/{name}")))


def _serves(endpoint: Mapping[str, Any]) -> bool:
    # A missing condition means ready (discovery/v1 EndpointConditions).
    ready = (endpoint.get("conditions") or {}).get("ready")
    return ready is not False and (endpoint.get("targetRef") or {}).get("kind") == "Pod"


def _service_port(what: str, spec: Mapping[str, Any], wanted: int | str) -> Mapping[str, Any] | None:
    ports = spec.get("ports") or ()
    for port in ports:
        if wanted in (port.get("name"), port.get("port")):
            if port.get("protocol", "TCP") != "TCP":
                raise UsageError(f"{what}: port {wanted} is {port['protocol']}; only TCP can be forwarded")
            return dict(port)
    if spec.get("clusterIP") == "None" and isinstance(wanted, int):
        return None  # headless: its clients connect to the pods themselves, at any port
    known = ", ".join(f"{p['port']}{' (' + p['name'] + ')' if p.get('name') else ''}" for p in ports)
    raise UsageError(f"{what} has no port {wanted}", evidence=[f"its ports: {known or 'none'}"])


def _slice_port(piece: Mapping[str, Any], port: Mapping[str, Any] | None, wanted: int | str) -> int:
    if port is None:
        return int(wanted)
    for candidate in piece.get("ports") or ():
        if (candidate.get("name") or "") == (port.get("name") or "") and candidate.get("port"):
            return int(candidate["port"])
    return 0
