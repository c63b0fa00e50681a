from __future__ import annotations

import pytest

from pytest_ephemeral_ns.errors import IsolationError, NotEnforced, UsageError
from pytest_ephemeral_ns.isolation import Proof
from pytest_ephemeral_ns.rules.isolation import (
    Seen,
    Verdict,
    denied_by_default,
    host_and_port,
    judge,
    judge_hosts,
    outcome_of,
)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("code 0 ", "connected"),
        ("code 0", "connected"),
        ("state 01", "connected"),
        ("state 08", "connected"),
        ("state 02", "timeout"),
        ("state 07", "no name"),
        ("state ", "no name"),
        ("code 1 nc: can't connect to remote host (10.0.0.1): Connection refused", "refused"),
        ("code 1 nc: bad address 'prod.internal'", "no name"),
        ("code 1 nc: can't connect to remote host (10.0.0.1): Connection timed out", "timeout"),
        ("code 1 nc: can't connect to remote host (8.8.8.8): Network is unreachable", "no route"),
        ("code 1 nc: can't connect to remote host (8.8.8.8): No route to host", "no route"),
        ("code 1 nc: read: Connection reset by peer", "connected"),
        ("code 127 sh: nc: not found", "broken"),
        ("code 139 Segmentation fault", "broken"),
        ("", "broken"),
    ],
)
def test_how_an_attempt_ended(text, outcome):
    assert outcome_of(text)[0] == outcome


def seen(role, outcome, source="a"):
    return Seen(source, "b", role, outcome)


@pytest.mark.parametrize(
    ("allowed", "denied", "word", "reason"),
    [
        (["connected"], ["timeout"], "enforced", "what is denied times out"),
        (["connected", "connected"], ["timeout", "timeout"], "enforced", "what is denied times out"),
        (["connected", "connected"], ["timeout", "connected"], "not enforced", "a → b connects, although"),
        # Whether the control works or not: what a policy denies has connected.
        (["timeout"], ["connected"], "not enforced", "connects, although"),
        # A network in which nothing connects drops everything and proves nothing.
        (["timeout"], ["timeout"], "unknown", "the positive control failed: a → b: timeout"),
        (["connected", "broken"], ["timeout", "timeout"], "unknown", "the positive control failed"),
        # A refusal has reached the host, or something that answers for it.
        (["connected"], ["refused"], "unknown", "a default-deny drops, which is a time-out"),
        (["connected"], ["no route"], "unknown", "a default-deny drops"),
        (["connected"], ["broken"], "unknown", "broken"),
        (["connected"], [], "unknown", "nothing was probed"),
        ([], ["timeout"], "unknown", "nothing was probed"),
        ([], [], "unknown", "nothing was probed"),
    ],
)
def test_the_verdict_between_pods(allowed, denied, word, reason):
    found = judge([*(seen("allowed", one) for one in allowed), *(seen("denied", one) for one in denied)])
    assert found.word == word
    assert reason in found.reason


@pytest.mark.parametrize(
    ("word", "host", "control", "expected", "reached"),
    [
        ("enforced", "timeout", "connected", "enforced", ()),
        ("enforced", "timeout", "timeout", "enforced", ()),
        ("enforced", "no route", "no route", "enforced", ()),
        ("enforced", "connected", "connected", "enforced", ("b",)),
        ("enforced", "refused", "refused", "enforced", ("b",)),
        # A name that nobody knows is a typing error as well as a proof.
        ("enforced", "no name", "no name", "unknown", ()),
        ("enforced", "broken", "connected", "unknown", ()),
        ("not enforced", "connected", "connected", "not enforced", ("b",)),
        ("not enforced", "no name", "no name", "not enforced", ()),
        ("unknown", "timeout", "timeout", "unknown", ()),
    ],
)
def test_the_verdict_on_hosts(word, host, control, expected, reached):
    found = judge_hosts(Verdict(word, "because"), [seen("host", host), seen("host control", control)])
    assert (found.word, found.reached) == (expected, reached)


def test_without_hosts_the_verdict_stays():
    assert judge_hosts(Verdict("enforced", "because"), []) == Verdict("enforced", "because")


@pytest.mark.parametrize(
    ("verdict", "error", "says"),
    [
        (Verdict("enforced", "r"), None, ""),
        (Verdict("not enforced", "r"), NotEnforced, "this cluster does not enforce NetworkPolicy: r"),
        (Verdict("unknown", "r"), IsolationError, "isolation of namespace ns is not proven: r"),
        (Verdict("enforced", "r", ("prod:443",)), IsolationError, "namespace ns reaches prod:443"),
        (Verdict("not enforced", "r", ("prod:443",)), NotEnforced, "namespace ns reaches prod:443"),
    ],
)
def test_what_a_proof_comes_to(verdict, error, says):
    proof = Proof("ns", verdict, ("line",))
    if error is None:
        proof.check()
        return
    with pytest.raises(error) as caught:
        proof.check()
    assert type(caught.value) is error
    assert says in str(caught.value)
    assert "line" in str(caught.value)


@pytest.mark.parametrize(
    ("specs", "denied"),
    [
        ([], set()),
        ([{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}], {"Ingress", "Egress"}),
        ([{"podSelector": {}}], {"Ingress"}),
        ([{"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress", "Egress"]}], set()),
        ([{"podSelector": {}, "policyTypes": ["Egress"]}, {"podSelector": {}}], {"Ingress", "Egress"}),
    ],
)
def test_what_is_denied_by_default(specs, denied):
    assert denied_by_default([{"spec": spec} for spec in specs]) == denied


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("prod.internal:443", ("prod.internal", 443)),
        ("10.1.2.3:5432", ("10.1.2.3", 5432)),
        ("[fd00::1]:443", ("fd00::1", 443)),
    ],
)
def test_hosts(text, found):
    assert host_and_port(text) == found


@pytest.mark.parametrize("text", ["prod.internal", "prod:0", "prod:99999", ":443", "a b:1", "$(id):80", "http://a:80"])
def test_what_is_no_host(text):
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        host_and_port(text)


def test_evidence_says_what_had_to_happen():
    line = Seen("pod of a", "pod of b", "denied", "broken", "no exec").line()
    assert line == "pod of a → pod of b: broken (must time out): no exec"
