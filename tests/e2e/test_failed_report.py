"""One run of a project that is broken in many ways: each report has the words of its cause, and none has a secret."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import canary
from tests.e2e.broken_ways import PRIVATE, WAYS, suite
from tests.plugin.conftest import NEIGHBOURS_PYTHON

pytestmark = [pytest.mark.node, pytest.mark.cluster, pytest.mark.slow]


@dataclass
class WholeRun:
    """What one run left behind, in every place where people look."""

    project: Path
    terminal: str
    junit: dict[str, str]
    html: str
    report: str
    data: dict[str, Any]
    argv: set[str] = field(default_factory=set)

    def section(self, test: str) -> str:
        """Return the part of the terminal's output that is one test's."""
        found = re.search(rf"(?m)^_+ test_{test} _+$(.*?)(?=^_+ test_|^=+ )", self.terminal, re.DOTALL)
        assert found, f"no section of test_{test} in:\n{self.terminal}"
        return found[1]

    def page(self, test: str) -> str:
        """Return what pytest-html shows of one test."""
        found = re.search(r'data-jsonblob="([^"]*)"', self.html)
        assert found
        tests = json.loads(html.unescape(found[1]))["tests"]
        [name] = [name for name in tests if name.endswith(f"::test_{test}")]
        return html.unescape("\n".join(row["log"] for row in tests[name]))

    def failure(self, test: str) -> str:
        """Return what our own page shows of one test, as it is in the file: escaped."""
        name = f'<span class="id">test_ways.py::test_{test}</span>'
        [found] = [part for part in self.report.split('<details class="failure bad"')[1:] if name in part]
        return found.partition("</section>")[0]

    def told(self, test: str) -> str:
        """Return what our own report has of one test as data: its errors, and the stories of its namespaces."""
        [found] = [item for item in self.data["tests"] if item["id"].endswith(f"::test_{test}")]
        errors = "\n".join(problem["text"] for problem in found["problems"])
        stories = "\n".join(story["text"] for problem in found["problems"] for story in problem["stories"])
        return f"{errors.replace('ephemeral-ns: ', '')}\nephemeral-ns: {stories}"


@pytest.fixture(scope="module")
def whole_run(node_cluster, tmp_path_factory: pytest.TempPathFactory) -> WholeRun:
    project = tmp_path_factory.mktemp("shop")
    for way in WAYS:
        (project / f"{way.name}.yaml").write_text(way.manifest)
    (project / "private.yaml").write_text(PRIVATE)
    (project / "test_ways.py").write_text(suite())
    hidden = tmp_path_factory.mktemp("hidden")
    canary.write(project, hidden)
    (project / "tmp").mkdir()
    beside = NEIGHBOURS_PYTHON.exists()
    pages = (
        ["--html=out/page.html", "--self-contained-html", "-pno:randomly", "-pno:run-parallel", "-pno:asyncio"]
        if beside
        else []
    )
    options = ["--ephemeral-ns", "--ephemeral-ns-cluster=current", "--ephemeral-ns-scope=function", "-n2", "-v"]
    places = ["--junitxml=out/junit.xml", "-o", "junit_logging=all", *pages]
    places += ["--ephemeral-ns-report=out/report.html", "--ephemeral-ns-report=out/report.json"]
    with canary.watched_arguments() as argv:
        done = subprocess.run(
            [NEIGHBOURS_PYTHON if beside else sys.executable, "-m", "pytest", "-pno:cacheprovider", *options, *places],
            cwd=project,
            env={
                **os.environ,
                "KUBECONFIG": str(node_cluster.kubeconfig),
                "GITHUB_ACTIONS": "true",
                "GITHUB_STEP_SUMMARY": str(project / "step.md"),
                "TMPDIR": str(project / "tmp"),
                "CANARY_FOLDER": str(hidden),
            },
            capture_output=True,
            text=True,
            timeout=480,
        )
    cases = ET.parse(project / "out" / "junit.xml").iter("testcase")
    junit = {str(case.get("name")): "\n".join(map(str, case.itertext())) for case in cases}
    page = project / "out" / "page.html"
    shown = page.read_text() if page.exists() else ""
    report = (project / "out" / "report.html").read_text()
    data = json.loads((project / "out" / "report.json").read_text())
    return WholeRun(project, done.stdout + done.stderr, junit, shown, report, data, argv)


def test_every_test_fails_and_the_run_goes_on(whole_run: WholeRun) -> None:
    assert f"{len(WAYS) + canary.FAILING} failed, {canary.PASSING} passed" in whole_run.terminal
    assert "INTERNALERROR" not in whole_run.terminal


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_words_of_the_cause(whole_run: WholeRun, way) -> None:
    places = {
        "terminal": whole_run.section(way.name),
        "junit": whole_run.junit[f"test_{way.name}"],
        "report.json": whole_run.told(way.name),
    }
    if whole_run.html:
        places["html"] = whole_run.page(way.name)
    missing = {name: [word for word in way.words if word not in text] for name, text in places.items()}
    assert not any(missing.values()), f"{missing}\n{places['terminal']}"
    for text in places.values():
        # Not only the error says it: the cluster's side of the story does.
        story = text.partition("ephemeral-ns: ")[2]
        assert [word for word in way.words if word not in story and word != "500"] == []
    page = whole_run.failure(way.name).partition("<h3>What the cluster did in ")[2]
    assert [word for word in way.words if html.escape(word) not in page and word != "500"] == []


def test_no_secret_in_any_place(whole_run: WholeRun) -> None:
    assert canary.found_in(whole_run.terminal) == []
    leaks = {
        str(path.relative_to(whole_run.project)): found
        for path in whole_run.project.rglob("*")
        if path.is_file() and (found := canary.found_in(path.read_bytes().decode(errors="replace")))
    }
    assert leaks == {}
    # What a container's own program has as arguments is the manifest's business.
    ours = [argument for argument in whole_run.argv if not argument.startswith("sh -c ")]
    assert [argument for argument in ours if canary.found_in(argument)] == []
    assert any("/kubectl " in argument for argument in ours)
    assert any("/helm " in argument for argument in ours)


def test_what_was_removed_is_counted(whole_run: WholeRun) -> None:
    section = whole_run.section("secrets_everywhere")
    count = re.search(r"secrets removed: (\d+) \((.*)\)", section)
    assert count
    assert "Secret/db password" in count[2]
    assert re.search(r"secrets removed from what this test printed and raised: [1-9]", section)
    cases = ET.parse(whole_run.project / "out" / "junit.xml").iter("testcase")
    counted = {str(case.get("name")): case.findall(".//property[@name='ephemeral-ns-redactions']") for case in cases}
    assert counted["test_secrets_in_a_test_that_passes"]
    assert not counted["test_quota"]
    assert "***" in section


def test_what_a_bundle_has(whole_run: WholeRun) -> None:
    [place] = re.findall(r"everything else: (\S+)/summary.md", whole_run.section("secrets_everywhere"))
    folder = Path(place)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= {
        "summary.md",
        "timeline.json",
        "events.txt",
        "describe.txt",
        "helm.json",
        "objects/pods.yaml",
        "objects/secrets.yaml",
        "objects/configmaps.yaml",
        "objects/events.yaml",
        "logs/talks/app.log",
    }
    # Which of the two a node still has depends on when it cleaned up.
    assert files & {"logs/crashes/app.log", "logs/crashes/app.previous.log"}
    [release] = json.loads((folder / "helm.json").read_text())
    assert (release["status"], release["values"]["replicas"]) == ("deployed", 2)
    assert release["values"]["db"]["password"] == "***"
