"""Puts the cluster's side of the story into pytest's reports; this module must never raise into a hook of pytest.

It imports no pytest: reports, items and configurations come from ``plugin.py``.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ephemeral_ns.evidence import HURRY, carried, clean_error

if TYPE_CHECKING:
    from pytest_ephemeral_ns.ci import Failure
    from pytest_ephemeral_ns.diagnose import Diagnosis
    from pytest_ephemeral_ns.namespace import Namespace
    from pytest_ephemeral_ns.rules.redaction import Redactor
    from pytest_ephemeral_ns.run import Run
    from pytest_ephemeral_ns.settings import Settings

ATTRIBUTE = "ephemeral_ns"  # of a report: a list of plain values, which xdist carries to the controller
_SAID = 8 * 1024  # bytes of logs in a report that refers to another
_DEPTH = 8
_REMOVED = "_ephemeral_ns_removed"  # of an item: how many secrets were removed from what it printed and raised
_REDACTIONS = "ephemeral-ns-redactions"


def clean_before(item: Any, call: Any, namespaces: list[Namespace]) -> None:
    """Remove the values of Secrets from what a test printed and raised, before anybody makes a report of it.

    Args:
        item: the test; what was captured and recorded is changed.
        call: its phase; the error's texts are changed.
        namespaces: those that live.
    """
    if not (call.excinfo or item._report_sections or item.user_properties):
        return
    try:
        for redactor in [namespace.redactor() for namespace in namespaces]:
            clean, before = redactor.clean_sure, sum(redactor.counts.values())
            item._report_sections[:] = [(when, key, clean(text)) for when, key, text in item._report_sections]
            item.user_properties[:] = [(name, _clean_text(value, clean)) for name, value in item.user_properties]
            if call.excinfo:
                clean_error(call.excinfo.value, redactor)
            _count(item, sum(redactor.counts.values()) - before)
    except BaseException as error:
        _raise_if_wanted(error)


def tell_failure(
    item: Any, call: Any, report: Any, namespaces: list[Namespace], settings: Settings, ledger: Path
) -> None:
    """Diagnose the namespaces of a test that failed, and put it into its report.

    Args:
        item: the test.
        call: the phase that failed.
        report: its report; a section, properties and an attribute are added.
        namespaces: those that live, and that the test uses.
        settings: of the run.
        ledger: private folder that the processes of the run share.
    """
    last = not _comes_again(item)  # what another attempt mends is no failure
    for namespace in namespaces if last else ():
        namespace.mark_failed(item.nodeid)
    try:
        if settings.diagnostics != "never" and last:
            error = call.excinfo.value if call.excinfo else None
            _tell(item, call, report, [*_diagnoses(error, call, item, namespaces)], settings, ledger)
        for namespace in namespaces:
            _count(item, _clean(report, namespace.redactor()))
        if count := getattr(item, _REMOVED, 0):
            _add_section(report, "ephemeral-ns", f"secrets removed from what this test printed and raised: {count}")
    except BaseException as error:
        _raise_if_wanted(error)
        # Also the alarm of pytest-timeout, whose outcome is no Exception: it would end the whole run from here.
        _add_section(report, "ephemeral-ns", f"no diagnosis: {type(error).__name__}: {error}")


def _count(item: Any, removed: int) -> None:
    """Nothing is removed in silence: JUnit has the number as a property, a failed report as a line."""
    if removed:
        count = getattr(item, _REMOVED, 0) + removed
        setattr(item, _REMOVED, count)
        kept = [pair for pair in item.user_properties if pair[0] != _REDACTIONS]
        item.user_properties[:] = [*kept, (_REDACTIONS, str(count))]


def _raise_if_wanted(error: BaseException) -> None:
    if isinstance(error, (KeyboardInterrupt, SystemExit)) or type(error).__name__ == "Exit":
        raise error


def _comes_again(item: Any) -> bool:
    """Whether pytest-rerunfailures will surely run the test once more; where it decides by the error, nobody knows."""
    marker, options = item.get_closest_marker("flaky"), item.config.option
    picky = getattr(options, "only_rerun", None) or getattr(options, "rerun_except", None)
    if picky or (marker and {*marker.kwargs} - {"reruns", "reruns_delay"}):
        return False
    wanted = marker.kwargs.get("reruns", marker.args[0] if marker.args else 1) if marker else None
    if wanted is None:
        wanted = getattr(item.config.option, "reruns", None) or 0
    return bool(getattr(item, "execution_count", 0)) and item.execution_count <= int(wanted)


def _diagnoses(error: BaseException | None, call: Any, item: Any, namespaces: list[Namespace]) -> Iterator[Diagnosis]:
    """Yield what is known of each namespace; all of them together have the time of one."""
    from pytest_ephemeral_ns.diagnose import BUDGET

    found = carried(error)
    if found is not None:
        yield found
    ends = time.monotonic() + BUDGET
    for namespace in namespaces:
        if found is None or namespace.name != found.namespace:
            left = max(HURRY, ends - time.monotonic())
            yield namespace.diagnose(since=_began(item, call), until=call.stop, budget=left)


def _began(item: Any, call: Any) -> float:
    """When the test began: its set-up, or this phase where nobody knows."""
    return float(getattr(item, "_ephemeral_ns_began", call.start))


def _tell(item: Any, call: Any, report: Any, found: Sequence[Diagnosis], settings: Settings, ledger: Path) -> None:
    told: list[dict[str, Any]] = []
    for diagnosis in found:
        first = _first(ledger, item, diagnosis)
        text = _refer(diagnosis, first, same=first == item.nodeid) if first else diagnosis.text
        _add_section(report, f"ephemeral-ns: {diagnosis.namespace}", text)
        _add_attachments(item.config, report, f"ephemeral-ns {diagnosis.namespace}", text)
        _add_properties(item, call, report, _properties(diagnosis, settings))
        told.append({"namespace": diagnosis.namespace, "headline": diagnosis.headline, "text": text})
        told[-1]["bundle"] = diagnosis.bundle
    if told:
        setattr(report, ATTRIBUTE, told)


def _first(ledger: Path, item: Any, diagnosis: Diagnosis) -> str:
    """Return the test whose report tells this state already, in whichever process; empty if it is this one's turn."""
    if not diagnosis.signature:
        return ""
    attempt = str(getattr(item, "execution_count", ""))  # of reruns, only the last one is shown
    place = ledger / "told" / f"{diagnosis.namespace}-{diagnosis.signature}"
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with place.open("x", encoding="utf-8") as file:
            file.write(f"{item.nodeid}\n{attempt}")
        return ""
    except FileExistsError:
        test, _, which = place.read_text("utf-8").rpartition("\n")
        return "" if test == item.nodeid and which != attempt else test
    except OSError:
        return ""  # twice is better than not at all


def _refer(diagnosis: Diagnosis, first: str, same: bool) -> str:
    """The report of a state that another report has told already: what this test's own time adds."""
    from pytest_ephemeral_ns.diagnose.words import cut

    where = "above" if same else f"in the report of {first}"
    lines = [f"namespace {diagnosis.namespace}: {diagnosis.headline}", f"it is in the state that is told {where}"]
    if diagnosis.said and not same:
        lines += ["", cut(diagnosis.said, _SAID)]
    return "\n".join([*lines, *([f"everything else: {diagnosis.bundle}/summary.md"] if diagnosis.bundle else [])])


def _properties(diagnosis: Diagnosis, settings: Settings) -> list[tuple[str, str]]:
    found = [("ephemeral-ns-namespace", diagnosis.namespace)]
    found += [("ephemeral-ns-cluster", diagnosis.cluster)] if diagnosis.cluster else []
    found += [("ephemeral-ns-bundle", diagnosis.bundle)] if diagnosis.bundle else []
    if settings.keep != "never" and not settings.reuse:
        until = datetime.now(timezone.utc) + timedelta(seconds=settings.keep_ttl)
        found.append(("ephemeral-ns-preserved-until", f"{until:%Y-%m-%dT%H:%M:%SZ}"))
    return found


def _add_properties(item: Any, call: Any, report: Any, properties: Sequence[tuple[str, str]]) -> None:
    """To the item, from which JUnit takes them in the report of the tear-down; that one has its own copy already."""
    for pair in properties:
        if pair not in item.user_properties:
            item.user_properties.append(pair)
        if call.when == "teardown" and pair not in report.user_properties:
            report.user_properties.append(pair)


def _add_section(report: Any, title: str, text: str) -> None:
    """Into ``longrepr``, which every reader of reports shows; beside it, where it is only a text."""
    if hasattr(report.longrepr, "addsection"):
        report.longrepr.addsection(title, text)
    elif isinstance(report.longrepr, str):
        report.longrepr = f"{report.longrepr}\n\n---- {title} ----\n{text}"
    else:
        report.sections.append((title, text))


def _add_attachments(config: Any, report: Any, title: str, text: str) -> None:
    """For pytest-html and Allure, where they are at work."""
    if config.pluginmanager.getplugin("html") and getattr(config.option, "htmlpath", None):
        import pytest_html

        report.extras = [*getattr(report, "extras", []), pytest_html.extras.text(text, name=title)]
    if config.pluginmanager.hasplugin("allure_pytest") and getattr(config.option, "allure_report_dir", None):
        import allure

        allure.attach(text, title, allure.attachment_type.TEXT)


def _clean(report: Any, redactor: Redactor) -> int:
    """Remove the values of Secrets from the traceback and everything else that a report says; return how many."""
    before = sum(redactor.counts.values())
    clean = redactor.clean_sure
    report.sections = [(title, clean(text)) for title, text in report.sections]
    if isinstance(report.longrepr, str):
        report.longrepr = clean(report.longrepr)
    else:
        _clean_inside(report.longrepr, clean, _DEPTH)
    return sum(redactor.counts.values()) - before


def _clean_text(value: Any, clean: Callable[[str], str]) -> Any:
    return clean(value) if isinstance(value, str) else value


def _clean_inside(value: Any, clean: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (list, tuple)) and depth:
        return type(value)([_clean_inside(item, clean, depth - 1) for item in value])
    if depth and type(value).__module__.startswith("_pytest."):
        for name, inner in list(vars(value).items()):
            setattr(value, name, _clean_inside(inner, clean, depth - 1))
    return value


def tell_interrupt(namespaces: list[Namespace], settings: Settings, tell: Callable[[str], None]) -> None:
    """Take down what can be had in two seconds when somebody ends the run while a test uses a namespace.

    Args:
        namespaces: those that live.
        settings: of the run.
        tell: shows a line.
    """
    if settings.diagnostics == "never":
        return
    ends = time.monotonic() + HURRY
    for namespace in namespaces:
        if (left := ends - time.monotonic()) > 0:
            found = namespace.diagnose(budget=left)
            where = f"; everything else: {found.bundle}/summary.md" if found.bundle else ""
            tell(f"interrupted; {namespace.name}: {found.headline}{where}")


def write_summary(reporter: Any, settings: Settings, lines: Sequence[str], environ: Mapping[str, str]) -> None:
    """Write the end of the run to the terminal, and what CI systems show apart.

    Args:
        reporter: pytest's terminal reporter.
        settings: of the run.
        lines: what the end of the run has to say.
        environ: the process environment; says which CI system this is.
    """
    from pytest_ephemeral_ns import ci

    try:
        failures = [*_failures(reporter)]
        hidden = reporter.config.option.tbstyle in ("line", "no")
        told = [line for one in failures if hidden for line in (f"{one.test}:", *one.text.splitlines(), "")]
        if told or lines:
            reporter.section("ephemeral-ns")
        for line in (*told, *lines, *ci.terminal_lines(environ, failures, time.time())):
            reporter.write_line(line)
        ci.write_step_summary(environ, failures, lines, Path(settings.artifacts))
    except Exception as error:
        reporter.write_line(f"ephemeral-ns: no summary: {type(error).__name__}: {error}")


def _failures(reporter: Any) -> Iterator[Failure]:
    from pytest_ephemeral_ns.ci import Failure

    for report in (*reporter.stats.get("failed", ()), *reporter.stats.get("error", ())):
        for told in getattr(report, ATTRIBUTE, None) or ():
            path, line, _ = report.location or ("", None, "")
            yield Failure(report.nodeid, path, (line or 0) + 1, told["namespace"], told["headline"], told["text"])


def tell_crash(report: Any, run: Run) -> None:
    """Diagnose the namespaces of a worker that crashed, and put it into the report of the test that it ran.

    Args:
        report: xdist's report of the crash.
        run: the whole run, as its controller sees it.
    """
    try:
        run.write(f"crashed/{report.node.gateway.id}", {"why": f"{report.nodeid}: its worker crashed"})
        if run.settings.diagnostics != "never" and run.touched:
            for found in _of_worker(run, report.node.gateway.id):
                _add_section(report, f"ephemeral-ns: {found.namespace}", found.text)
                told = {"namespace": found.namespace, "headline": found.headline, "text": found.text}
                setattr(report, ATTRIBUTE, [*getattr(report, ATTRIBUTE, []), {**told, "bundle": found.bundle}])
    except Exception as error:
        _add_section(report, "ephemeral-ns", f"no diagnosis: {type(error).__name__}: {error}")
    finally:
        run.close()


def _of_worker(run: Run, worker: str) -> Iterator[Diagnosis]:
    from pytest_ephemeral_ns.diagnose import BUDGET, Diagnoses, Where
    from pytest_ephemeral_ns.rules.naming import RUN, WORKER

    where = Where(run.cluster.name, run.cluster.access, run.settings.keep != "never")
    labels = f"{RUN}={run.seat.run_id},{WORKER} in ({worker},shared)"
    ends = time.monotonic() + BUDGET
    for item in run.api.list("/api/v1/namespaces", label_selector=labels):
        if item["metadata"].get("deletionTimestamp"):
            continue
        name = str(item["metadata"]["name"])
        folder = Path(run.settings.artifacts) / run.seat.run_id / name
        taken = Diagnoses(name, where=where, directory=folder, log_lines=run.settings.log_lines, ledger=run.directory)
        yield taken.take(run.api, since=None, budget=max(HURRY, ends - time.monotonic()))
