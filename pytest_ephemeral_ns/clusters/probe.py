"""Whether an API server answers, and to us; this module must never change anything there.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ephemeral_ns.connection import Connection

PROBE_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Answer:
    """What one look at an API server showed.

    Args:
        reached: a Kubernetes API server answered.
        accepted: it knows who we are (or lets anybody in), so that trying is worth while.
        why: what is wrong, in words; empty when nothing is.
        version: for example ``"v1.35.4"``; empty when it was not told.
    """

    reached: bool
    accepted: bool
    why: str = ""
    version: str = ""


def answers(connection: Connection, timeout: float = PROBE_TIMEOUT) -> Answer:
    """Ask an API server for its version, once, without repeating anything.

    Args:
        connection: where to, as whom.
        timeout: seconds for the whole exchange.

    Returns:
        What was seen. A server that refuses the credential (401) has answered, but has not accepted us; one that only
        keeps its version to itself (403) has accepted us.

    Raises:
        UsageError: the connection's certificates cannot be read.

    Example:
        >>> answers(Connection("https://127.0.0.1:1"), timeout=2).why
        'connection refused: nothing listens there'
    """
    from pytest_ephemeral_ns.kube.answers import refused
    from pytest_ephemeral_ns.kube.http import NoAnswer, Pool
    from pytest_ephemeral_ns.kube.tls import explain

    headers = [("Accept", "application/json"), ("User-Agent", "pytest-ephemeral-ns"), *connection.headers]
    if connection.token:
        headers.append(("Authorization", f"Bearer {connection.token}"))
    pool = Pool(connection)
    try:
        reply = pool.send("GET", "/version", headers, None, timeout=timeout)
    except NoAnswer as error:
        return Answer(False, False, explain(error.cause))
    finally:
        pool.close()
    body = reply.json()
    if reply.status == 200 and "gitVersion" in body:
        return Answer(True, True, version=str(body["gitVersion"]))
    why = refused("get /version", reply, connection).summary
    if reply.status == 401:
        return Answer(True, False, why)
    if body.get("kind") == "Status":
        return Answer(True, True, why)
    return Answer(False, False, f"what answers there is not a Kubernetes API server ({reply.status})")
