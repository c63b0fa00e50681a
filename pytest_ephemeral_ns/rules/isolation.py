"""Whether isolation is proven, from what probes saw; this module must never call silence a proof without a control.

The rules are those of the network-policy-api conformance tests and of what went wrong in practice: a deny that is not
shown to drop proves nothing; a refusal has reached the host, so only a time-out is a drop; every denied path has a
control that differs in one variable, its source.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_ephemeral_ns.errors import UsageError

Word = Literal["enforced", "not enforced", "unknown"]
ENFORCED: Word = "enforced"
NOT_ENFORCED: Word = "not enforced"
UNKNOWN: Word = "unknown"

Outcome = Literal["connected", "timeout", "refused", "no route", "no name", "broken"]
Role = Literal["allowed", "denied", "host", "host control"]

# Column `st` of /proc/net/tcp, include/net/tcp_states.h of Linux.
_SYN_SENT, _CLOSED = "02", "07"
_SAID: tuple[tuple[str, Outcome], ...] = (
    (r"refused", "refused"),
    (r"bad address|not resolve|unknown host|name or service|temporary failure in name", "no name"),
    (r"timed out", "timeout"),
    (r"unreachable|no route", "no route"),
    (r"reset by peer|broken pipe", "connected"),
)


@dataclass(frozen=True)
class Seen:
    """What one probe saw.

    Args:
        source: from where, for people: ``"pod of shop-gw0"``.
        target: to where.
        role: ``allowed`` and ``denied`` paths between pods; a ``host`` outside, and the same from outside the policy.
        outcome: how the attempt to connect ended.
        said: the program's or the server's own words.
    """

    source: str
    target: str
    role: Role
    outcome: Outcome
    said: str = ""

    def line(self) -> str:
        """Return it as one line of evidence."""
        wanted = {"allowed": "must connect", "denied": "must time out", "host": "must not connect"}
        expected = wanted.get(self.role, "control, without the policy")
        said = f": {self.said}" if self.said and self.outcome == "broken" else ""
        return f"{self.source} → {self.target}: {self.outcome} ({expected}){said}"


@dataclass(frozen=True)
class Verdict:
    """What is proven, and why.

    Args:
        word: ``"enforced"``, ``"not enforced"`` or ``"unknown"``.
        reason: one sentence.
        reached: hosts that had to be out of reach and were not.
    """

    word: Word
    reason: str
    reached: tuple[str, ...] = ()


def outcome_of(text: str) -> tuple[Outcome, str]:
    """Return how an attempt to connect ended, from what the probe in the pod printed.

    Args:
        text: ``"state 02"``: the connection's state when its time was over, empty while the name was being resolved;
            or ``"code 1 nc: …"``: how the program ended, and its words.

    Example:
        >>> outcome_of("state 02")
        ('timeout', '')
        >>> outcome_of("code 1 nc: can't connect to remote host (10.0.0.1): Connection refused")[0]
        'refused'
    """
    kind, _, rest = text.strip().partition(" ")
    if kind == "state":
        if rest == _SYN_SENT:
            return "timeout", ""
        return ("connected", "") if rest and rest != _CLOSED else ("no name", "no answer from DNS in time")
    code, _, said = rest.partition(" ")
    if kind == "code" and code == "0":
        return "connected", ""
    for pattern, outcome in _SAID:
        if kind == "code" and re.search(pattern, said, re.IGNORECASE):
            return outcome, said
    return "broken", said or text.strip() or "the probe printed nothing"


def judge(seen: Iterable[Seen]) -> Verdict:
    """Return the verdict on what was seen between pods.

    Args:
        seen: one round; at least one allowed and one denied path, or nothing is proven.

    Example:
        >>> judge([Seen("a", "b", "allowed", "connected"), Seen("c", "b", "denied", "timeout")]).word
        'enforced'
    """
    seen = [*seen]
    allowed = [one for one in seen if one.role == "allowed"]
    denied = [one for one in seen if one.role == "denied"]
    if through := [one for one in denied if one.outcome == "connected"]:
        return Verdict(NOT_ENFORCED, f"{_path(through[0])} connects, although a policy denies it")
    if not allowed or not denied:
        return Verdict(UNKNOWN, "nothing was probed")
    if cut := [one for one in allowed if one.outcome != "connected"]:
        return Verdict(
            UNKNOWN, f"the positive control failed: {_path(cut[0])}: {cut[0].outcome}, and no policy denies it"
        )
    if other := [one for one in denied if one.outcome != "timeout"]:
        return Verdict(UNKNOWN, f"{_path(other[0])}: {other[0].outcome}, and a default-deny drops, which is a time-out")
    return Verdict(ENFORCED, "what is denied times out, and the same targets answer where it is allowed")


def judge_hosts(verdict: Verdict, seen: Iterable[Seen]) -> Verdict:
    """Return the verdict with what was seen of hosts outside.

    Args:
        verdict: on what is between pods.
        seen: probes of hosts, each with its control.

    Example:
        >>> judge_hosts(Verdict("enforced", ""), [Seen("a", "prod:443", "host", "refused")]).reached
        ('prod:443',)
    """
    seen = [*seen]
    hosts = [one for one in seen if one.role == "host"]
    reached = tuple(one.target for one in hosts if one.outcome in ("connected", "refused"))
    if verdict.word == NOT_ENFORCED or reached:
        return Verdict(verdict.word, verdict.reason, reached)
    for one in hosts:
        if one.outcome == "no name":
            hint = "name its address to prove that nothing gets there"
            return Verdict(UNKNOWN, f"the name of {one.target} cannot be resolved: {hint}")
        if one.outcome == "broken":
            return Verdict(UNKNOWN, f"{_path(one)}: {one.said}")
    return verdict


def _path(one: Seen) -> str:
    return f"{one.source} → {one.target}"


def denied_by_default(policies: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the directions that a namespace's policies deny for every pod: ``{"Ingress", "Egress"}``.

    Args:
        policies: NetworkPolicies of the namespace.

    Example:
        >>> denied_by_default([{"spec": {"podSelector": {}, "policyTypes": ["Egress"]}}])
        {'Egress'}
    """
    found: set[str] = set()
    for policy in policies:
        spec = policy.get("spec") or {}
        if not spec.get("podSelector"):
            found |= set(spec.get("policyTypes") or ["Ingress"])
    return found


def host_and_port(text: str) -> tuple[str, int]:
    """Return host and port of ``"prod.internal:443"`` or ``"[fd00::1]:443"``.

    Raises:
        UsageError: it is not of that form.

    Example:
        >>> host_and_port("prod.internal:443")
        ('prod.internal', 443)
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)):(\d{1,5})", text)
    if not match or not 0 < int(match[4]) < 65536:
        raise UsageError(f"{text!r} is not HOST:PORT", evidence=["for example prod.internal:443 or 10.1.2.3:5432"])
    return match[1] or match[2], int(match[4])


def evidence(seen: Sequence[Seen]) -> list[str]:
    """Return everything that was seen as lines, the controls next to what they control."""
    return [one.line() for one in sorted(seen, key=lambda one: (one.role.startswith("host"), one.target, one.role))]
