"""Takes a diagnosis: read, remove secrets, sort out, tell, write down; this module must never raise an error.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ephemeral_ns.diagnose import files
from pytest_ephemeral_ns.diagnose.bundle import Bundle, bundle
from pytest_ephemeral_ns.diagnose.footer import Where, footer
from pytest_ephemeral_ns.diagnose.reading import Reader
from pytest_ephemeral_ns.diagnose.timeline import write_timeline
from pytest_ephemeral_ns.diagnose.words import Diagnosis, before, tell
from pytest_ephemeral_ns.errors import ApiError
from pytest_ephemeral_ns.rules.known_secrets import named_values, release_of, secret_values
from pytest_ephemeral_ns.rules.objects import Object
from pytest_ephemeral_ns.rules.redaction import Redactor, defused, printable
from pytest_ephemeral_ns.rules.triage import LogWish, Snapshot, Triage, telling, triage

if TYPE_CHECKING:
    from pytest_ephemeral_ns.kube.api import Api

BUDGET = 20.0
LOG_LINES = 50
_LOGS = 0.4  # of the time that is left, for logs that are told: the bundle needs some too
_TROUBLE, _READ, _HEALTHY = 8, 24, 4  # containers: in trouble and told; healthy and read; healthy and told


@dataclass(frozen=True)
class _Span:
    """When the failed test ran, on this machine's clock; ``None`` where no test is meant, or it still runs."""

    since: float | None
    until: float | None


def diagnose(
    api: Api,
    namespace: str,
    *,
    where: Where | None = None,
    directory: Path | None = None,
    log_lines: int = LOG_LINES,
    budget: float = BUDGET,
    since: float | None = None,
    until: float | None = None,
    secrets: Mapping[str, str] | None = None,
    last: Diagnosis | None = None,
) -> tuple[Diagnosis, Redactor]:
    """Take a snapshot of a namespace. Never raises: what went wrong is a line of the result.

    Args:
        api: the API server.
        namespace: which.
        where: how people name and reach the cluster.
        directory: folder to write the bundle to, for example ``.ephemeral-ns/RUN/NAMESPACE``; ``None`` for no bundle.
        log_lines: last lines of a container's log that are told.
        budget: seconds; what was not had by then is named.
        since: when the failed test began, seconds since the epoch on this machine's clock.
        until: when it ended; its events and log lines are those in between.
        secrets: more values to remove → what they are called.
        last: the diagnosis before: when nothing has changed since, no bundle is written again.

    Returns:
        The diagnosis, and what removes the namespace's secrets from other text.

    Example:
        >>> found, _ = diagnose(api, "shop", directory=Path("diagnosis"))  # doctest: +SKIP
        >>> print(found)  # doctest: +SKIP
    """
    where = where or Where()
    known = {**dict.fromkeys(api.connection.secrets(), "credential of the connection"), **(secrets or {})}
    began = time.monotonic()
    taking = _Taking(namespace, where, log_lines, began, Redactor(known))
    try:
        taking.take(api, budget, _Span(since, until), known, directory, last)
    except Exception as error:
        told = getattr(error, "summary", "") or f"{type(error).__name__}: {error}"
        taking.gave_up(taking.redactor.clean(printable(told)))
    return taking.result, taking.redactor


class _Taking:
    """One diagnosis on its way; what is there is kept when the rest goes wrong."""

    def __init__(self, namespace: str, where: Where, log_lines: int, began: float, redactor: Redactor) -> None:
        self._namespace, self._where, self._log_lines, self._began = namespace, where, log_lines, began
        self.redactor = redactor
        self.result = Diagnosis(namespace, "", "")

    def gave_up(self, why: str) -> None:
        """Say what went wrong, in one line, below what is there already."""
        line = f"this diagnosis is not complete: {why}"
        text = f"{self.result.text}\n{line}" if self.result.text else self._title("not known", "") + f"\n  {line}"
        headline = self.result.headline or line
        self.result = Diagnosis(
            **{**self.result.to_dict(), "text": text, "headline": headline, "missing": (*self.result.missing, line)}
        )

    def take(
        self,
        api: Api,
        budget: float,
        span: _Span,
        known: Mapping[str, str],
        directory: Path | None,
        last: Diagnosis | None,
    ) -> None:
        reader = Reader(api, self._namespace, budget)
        try:
            self._read(reader, span, known, directory, last)
        finally:
            reader.close()

    def _read(
        self,
        reader: Reader,
        span: _Span,
        known: Mapping[str, str],
        directory: Path | None,
        last: Diagnosis | None,
    ) -> None:
        home = self._home(reader)
        raw = reader.core()
        if "Secret" not in raw:
            reader.missing.append("values of Secrets are not known, so they are removed by their look only")
        self.redactor = _redactor(self._namespace, known, raw)
        objects = {
            kind: _without_data(items) if kind == "Secret" else self.redactor.clean_tree(items)
            for kind, items in raw.items()
        }
        since, until = (_on_their_clock(reader, moment) for moment in (span.since, span.until))
        snapshot = Snapshot(objects, _when(reader.now), since, until)
        found = triage(snapshot)
        signature = hashlib.sha256(repr(found.signature).encode()).hexdigest()[:16]
        logs = self._logs(reader, found, snapshot)
        self.result = self._told(reader, found, logs, home, signature, "")
        if directory is None:
            return
        if last is not None and last.signature == signature and last.bundle:
            self.result = self._told(reader, found, logs, home, signature, last.bundle)
            return
        with bundle(directory) as into:
            self._bundle(into, reader, found, snapshot, raw)
            reader.missing += into.left_out
            told = self._told(reader, found, logs, home, signature, str(directory))
            files.write_summary(into, told)
        self.result = told

    def _home(self, reader: Reader) -> str:
        try:
            home = reader.namespace_object()
        except ApiError as error:
            if error.status == 403:
                return ""
            raise
        going = home["metadata"].get("deletionTimestamp")
        return f"; it is being deleted since {going}" if going else ""

    def _logs(self, reader: Reader, found: Triage, snapshot: Snapshot) -> dict[LogWish, str]:
        """Of containers in trouble the last lines; of the others what they said while the test ran."""
        trouble = [wish for wish in found.logs if wish.trouble][:_TROUBLE]
        healthy = [wish for wish in found.logs if not wish.trouble][:_READ]
        if not self._log_lines:
            return {}
        logs = _unlike(self._cleaned(reader.logs(trouble, tail=self._log_lines, within=_LOGS)))
        if snapshot.since is None and trouble:
            return logs
        lines = self._log_lines if snapshot.since else min(10, self._log_lines)
        others = self._cleaned(reader.logs(healthy, tail=lines, since=snapshot.since, within=_LOGS))
        said = {wish: told for wish, text in others.items() if (told := before(text, snapshot.until)).strip()}
        ranked = sorted(said, key=lambda wish: -telling(said[wish].splitlines()))
        return {**logs, **{wish: said[wish] for wish in ranked[:_HEALTHY]}}

    def _cleaned(self, logs: Mapping[LogWish, str]) -> dict[LogWish, str]:
        return {wish: self.redactor.clean(printable(text)) for wish, text in logs.items()}

    def _bundle(
        self, into: Bundle, reader: Reader, found: Triage, snapshot: Snapshot, raw: Mapping[str, Sequence[Object]]
    ) -> None:
        """The small and telling files first; objects before logs, which are most of it."""
        files.write_events(into, snapshot.objects.get("Event", ()))
        write_timeline(into, snapshot, self._namespace)
        files.write_descriptions(into, snapshot)
        files.write_releases(into, raw.get("Secret", ()), self.redactor)
        others = reader.rest(raw)
        self.redactor.learn(named_values(others.values()))
        rest = {kind: self.redactor.clean_tree(items) for kind, items in others.items()}
        files.write_objects(into, {**snapshot.objects, **rest}, reader.paths, reader.deadline)
        files.write_logs(into, found.logs, reader, self.redactor)

    def _title(self, headline: str, home: str) -> str:
        on = f" on {self._where.cluster}" if self._where.cluster else ""
        return f"namespace {self._namespace}{on}: {headline}{home}"

    def _told(
        self, reader: Reader, found: Triage, logs: Mapping[LogWish, str], home: str, signature: str, directory: str
    ) -> Diagnosis:
        headline = defused(printable(found.headline))
        asked = re.compile(rf"\bget \S+ in namespace {re.escape(self._namespace)}: ")
        missing = [*dict.fromkeys(asked.sub("", self.redactor.clean(line)) for line in reader.missing)]
        last = footer(found, missing, self.redactor, self._namespace, self._where, directory)
        title = self._title(headline, home)
        text, said = tell(found, logs, title=title, log_lines=self._log_lines, footer=last)
        return Diagnosis(
            self._namespace,
            headline,
            cluster=self._where.cluster,
            text=self.redactor.clean_values(defused(printable(text))),
            said=self.redactor.clean_values(defused(printable(said))),
            bundle=directory,
            taken=f"{_when(reader.now):%Y-%m-%dT%H:%M:%SZ}",
            seconds=round(time.monotonic() - self._began, 2),
            redactions=self.redactor.counts,
            missing=tuple(missing),
            signature=signature,
        )


def _unlike(logs: Mapping[LogWish, str]) -> dict[LogWish, str]:
    """Between two starts the current log and the previous one are the same."""
    found: dict[tuple[str, str, str], LogWish] = {}
    for wish, text in logs.items():
        found.setdefault((wish.pod, wish.container, text), wish)
    return {wish: logs[wish] for wish in found.values()}


def _redactor(namespace: str, known: Mapping[str, str], raw: Mapping[str, Sequence[Object]]) -> Redactor:
    """Names are no secrets, whatever a Secret says: a user who is called like the database hides no object."""
    names = {namespace}
    for items in raw.values():
        names.update(str(item["metadata"]["name"]) for item in items)
    for pod in raw.get("Pod", ()):
        names.update(str(box.get("name")) for box in (pod.get("spec") or {}).get("containers") or ())
    releases = [release for secret in raw.get("Secret", ()) if (release := release_of(secret))]
    others = (items for kind, items in raw.items() if kind not in ("Secret", "Event"))
    named = named_values([releases, *others])
    return Redactor({**named, **secret_values(raw.get("Secret", ())), **known}, public=names)


def _without_data(secrets: Sequence[Object]) -> list[Object]:
    found: list[Object] = []
    for secret in secrets:
        kept = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
        metadata = {key: value for key, value in (secret.get("metadata") or {}).items() if key != "annotations"}
        found.append({**kept, "metadata": metadata, "data": dict.fromkeys(secret.get("data") or {}, "***")})
    return found


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _on_their_clock(reader: Reader, moment: float | None) -> datetime | None:
    """A moment of ours on the server's clock; a small difference is the server's whole seconds."""
    if moment is None:
        return None
    ahead = reader.now - time.time()
    return _when(moment + (ahead if abs(ahead) > 2.0 else 0.0))
