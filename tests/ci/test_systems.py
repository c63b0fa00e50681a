"""What each CI system reads from the log, and that no text of a failure can end its own quotes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ephemeral_ns.ci import ANNOTATIONS, Failure, detect, terminal_lines, write_step_summary

AZURE = "##vso[task.logissue type=error;sourcepath=test_a.py;linenumber=3;]shop: Pod/api failed: 50%AZP25 up%3B [see%5D"
STORY = "namespace shop: Pod/api failed\n  ✗ Pod/api failed: 50% up"
FAILURE = Failure("test_a.py::test_a[x|y]", "test_a.py", 3, "shop", "Pod/api failed: 50% up; [see]", STORY)
SYSTEMS = {
    "github": {"GITHUB_ACTIONS": "true"},
    "gitlab": {"GITLAB_CI": "true"},
    "azure": {"TF_BUILD": "True"},
    "buildkite": {"BUILDKITE": "true"},
    "teamcity": {"TEAMCITY_VERSION": "2026.1"},
}
# The lines around the story, and those after it.
EXPECTED = {
    "github": (
        "::group::ephemeral-ns: test_a.py::test_a[x|y]: Pod/api failed: 50%25 up; [see]",
        "::endgroup::",
        ["::error file=test_a.py,line=3,title=test_a.py%3A%3Atest_a[x|y]::shop: Pod/api failed: 50%25 up; [see]"],
    ),
    "gitlab": (
        "\x1b[0Ksection_start:7:ephemeral_ns_0[collapsed=true]\r\x1b[0Kephemeral-ns: test_a.py::test_a[x|y]: "
        "Pod/api failed: 50% up; [see]",
        "\x1b[0Ksection_end:7:ephemeral_ns_0\r\x1b[0K",
        [],
    ),
    "azure": (
        "##[group]ephemeral-ns: test_a.py::test_a[x|y]: Pod/api failed: 50% up; [see]",
        "##[endgroup]",
        [AZURE],
    ),
    "buildkite": ("--- ephemeral-ns: test_a.py::test_a[x|y]: Pod/api failed: 50% up; [see]", None, []),
    "teamcity": (
        "##teamcity[blockOpened name='ephemeral-ns: test_a.py::test_a|[x||y|]: Pod/api failed: 50% up; |[see|]']",
        "##teamcity[blockClosed name='ephemeral-ns: test_a.py::test_a|[x||y|]: Pod/api failed: 50% up; |[see|]']",
        ["##teamcity[message text='shop: Pod/api failed: 50% up; |[see|]' status='ERROR']"],
    ),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_failure(system: str) -> None:
    begin, end, after = EXPECTED[system]
    assert detect(SYSTEMS[system]) == system
    lines = [*terminal_lines(SYSTEMS[system], [FAILURE], 7.9)]
    assert lines == [begin, *STORY.splitlines(), *([end] if end else []), *after]


@pytest.mark.parametrize("system", SYSTEMS)
def test_many_failures(system: str) -> None:
    lines = [*terminal_lines(SYSTEMS[system], [FAILURE] * 60, 0)]
    marks = [line for line in lines if re.match(r"::error|##vso\[task.logissue|##teamcity\[message", line)]
    assert len(marks) in (0, ANNOTATIONS)
    assert sum(line == STORY.splitlines()[0] for line in lines) == 50


def test_no_ci_system_is_no_line() -> None:
    assert detect({"GITHUB_ACTIONS": "false", "CI": "true"}) == ""
    assert [*terminal_lines({}, [FAILURE], 0)] == []


@pytest.mark.parametrize("system", SYSTEMS)
@given(text=st.text("|'[]\r\n%;:,#ab", max_size=40))
def test_no_text_ends_its_own_quotes(system: str, text: str) -> None:
    failure = Failure(text, text, 1, "shop", text, "the story")
    lines = [*terminal_lines(SYSTEMS[system], [failure], 0)]
    assert all("\n" not in line for line in lines)
    assert sum(line == "the story" for line in lines) == 1
    assert len(lines) <= 4
    for line in lines:
        if line.startswith("##teamcity"):
            assert re.fullmatch(r"##teamcity\[\w+( \w+='([^'|\[\]]|\|.)*')+\]", line)


def test_the_summary_of_a_step(tmp_path) -> None:
    page = tmp_path / "step.md"
    page.write_text("before\n")
    here = {"GITHUB_STEP_SUMMARY": str(page)}
    write_step_summary(here, [FAILURE] * 3, ["kept: shop <until> tomorrow"], tmp_path / ".ns")
    text = page.read_text()
    assert text.startswith("before\n### What the cluster did")
    assert text.count("<details>") == 3
    assert "kept: shop &lt;until&gt; tomorrow" in text
    assert "`.ns`" in text
    write_step_summary({}, [FAILURE], [], tmp_path)
    write_step_summary(here, [], [], tmp_path)
    assert page.read_text() == text
