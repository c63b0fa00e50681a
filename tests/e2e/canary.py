"""Secrets in every place where a cluster and a test can put them, and a search for them that shares no code with us."""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import yaml

PASSWORD = 'c4n4ry <p@ss>&"w0rd"/1+=é'
TOKEN = "canary0token1of2the3shop4"
NAMED = "canary-in-a-configmap-5"
HELM = "canary-of-helm-values-6"
KEY = "\n".join(
    ["-----BEGIN RSA PRIVATE KEY-----"]
    + [base64.b64encode(f"canary line {number} of a private key".encode()).decode() for number in range(5)]
    + ["-----END RSA PRIVATE KEY-----", ""]
)
FAILING, PASSING = 2, 1
SUITE = """
import json, logging, os, pathlib, pytest
from urllib.parse import quote
HIDDEN = pathlib.Path(os.environ["CANARY_FOLDER"])
VALUES = json.loads((HIDDEN / "values.json").read_text())

def test_secrets_everywhere(ephemeral_ns, record_property):
    ns = ephemeral_ns
    ns.kubectl("apply", "-f", str(HIDDEN / "secret.yaml"))
    ns.helm(HIDDEN / "chart", values=HIDDEN / "values.yaml", set={"smtp.password": VALUES["helm"], "replicas": 2})
    ns.apply(HIDDEN / "objects.yaml")
    message = f"no login with {VALUES['password']} or {json.dumps(VALUES['password'])} or {quote(VALUES['password'])}"
    told = {"kind": "Pod", "name": "talks", "namespace": ns.name, "apiVersion": "v1"}
    ns.apply({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "told"}, "involvedObject": told,
              "type": "Warning", "reason": "LoginFailed", "message": message, "source": {"component": "shop"}})
    ns.wait_for_log("pod/talks", "all is said", timeout=60)
    ns.wait_for(lambda: ns.get("pod/crashes")["status"]["containerStatuses"][0]["restartCount"], timeout=60)
    said = ns.exec("pod/talks", ["cat", "/etc/db/password", "/etc/db/key"]).stdout
    print("exec says", said)
    print(ns.kubeconfig.read_text())
    logging.getLogger("shop").error("cannot log in with %s", VALUES["password"])
    record_property("dsn", "postgres://me:" + VALUES["token"] + "@db/shop")
    local = {"url": "https://x/?token=" + VALUES["token"]}
    assert local == {"url": said}, "no login with " + VALUES["password"]

def test_secrets_in_an_error(ephemeral_ns):
    ephemeral_ns.kubectl("apply", "-f", str(HIDDEN / "secret.yaml"))
    try:
        raise KeyError(VALUES["token"])
    except KeyError:
        raise ValueError(VALUES["password"])

def test_secrets_in_a_test_that_passes(ephemeral_ns):
    ephemeral_ns.kubectl("apply", "-f", str(HIDDEN / "secret.yaml"))
    print("it is", VALUES["password"], VALUES["key"])
    print(json.dumps([VALUES["password"], VALUES["token"], VALUES["key"]]))
"""


def write(project: Path, hidden: Path) -> None:
    """Write the tests into the project, and what holds secrets into a folder that is no output.

    Args:
        project: the folder of the run.
        hidden: a folder of its own.
    """
    (project / "test_canary.py").write_text(SUITE)
    values = {"password": PASSWORD, "token": TOKEN, "key": KEY, "named": NAMED, "helm": HELM}
    (hidden / "values.json").write_text(json.dumps(values))
    secret = {"password": PASSWORD, "token": TOKEN, "key": KEY}
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": secret}
    (hidden / "secret.yaml").write_text(yaml.safe_dump(made))
    (hidden / "objects.yaml").write_text(yaml.safe_dump_all(_objects()))
    (hidden / "values.yaml").write_text(yaml.safe_dump({"db": {"password": PASSWORD, "url": f"pg://{TOKEN}@db"}}))
    chart = hidden / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 0.1.0\n")
    template = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: smtp}\ndata: {mail: {{ .Values.smtp.password | quote }}}\n"
    )
    (chart / "templates" / "all.yaml").write_text(template)
    (chart / "templates" / "NOTES.txt").write_text("log in with {{ .Values.db.password }}\n")


def _objects() -> Iterator[dict[str, object]]:
    said = "\n".join(
        [PASSWORD, *encodings(PASSWORD), *encodings(TOKEN), KEY, NAMED, HELM, f"Bearer {TOKEN}", "all is said", ""]
    )
    copy = {"said": said, "app.properties": f"db.user=shop\ndb.password={NAMED}\n", "DB_PASSWORD": NAMED}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "copy"}, "data": copy}
    volumes = [{"name": "db", "secret": {"secretName": "db"}}, {"name": "copy", "configMap": {"name": "copy"}}]
    mounts = [{"name": "db", "mountPath": "/etc/db"}, {"name": "copy", "mountPath": "/etc/copy"}]
    says = "cat /etc/copy/said /etc/db/password /etc/db/key; echo; base64 /etc/db/password; "
    for name, end in (("talks", "exec sleep 3600"), ("crashes", "exit 5")):
        box = {
            "name": "app",
            "image": "busybox:1.36",
            "command": ["sh", "-c", says + end, "--password", NAMED],
            "env": [{"name": "DB_PASSWORD", "value": PASSWORD}, {"name": "DSN", "value": f"pg://me:{TOKEN}@db/shop"}],
            "volumeMounts": mounts,
        }
        metadata = {"name": name, "annotations": {"note": f"with {PASSWORD}", "dsn": f"pg://me:{TOKEN}@db"}}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [box], "volumes": volumes}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def encodings(value: str) -> list[str]:
    """Return how programs write a value, other than as it is.

    Args:
        value: the secret.
    """
    data = value.encode()
    return [
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
        quote_plus(value),
        html.escape(value),
        data.hex(),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        base64.b64encode(b"user:" + data).decode(),
    ]


def _needles() -> Iterator[str]:
    for value in (PASSWORD, TOKEN, NAMED, HELM):
        yield value
        yield from encodings(value)
    yield from encodings(KEY)
    yield from KEY.splitlines()[1:-1]
    yield from (PASSWORD[:6], TOKEN[-8:], KEY.splitlines()[1][:9])  # what is left where a middle is left out


NEEDLES = tuple(dict.fromkeys(_needles()))


def found_in(text: str) -> list[str]:
    """Return which forms of which secrets are in a text, which may itself be XML or HTML, once or twice.

    Args:
        text: any.
    """
    texts = [text, html.unescape(text), html.unescape(html.unescape(text))]
    return [needle for needle in NEEDLES if any(needle in one for one in texts)]


@contextmanager
def watched_arguments() -> Iterator[set[str]]:
    """Give what every process of this machine had as its arguments during the block."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().decode(errors="replace").replace("\0", " "))
                except OSError:
                    continue  # it has ended

    thread = threading.Thread(target=watch, name="watch of arguments")
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
