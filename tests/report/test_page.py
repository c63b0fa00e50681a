"""The report of a run as its reader has it: in a real browser, with a keyboard, on paper, dark, narrow, large."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from pytest_ephemeral_ns.report.page import render
from tests.report import sample

WIDTHS = [320, 390, 768, 1024, 1400, 2560]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(sample.data(bad_every=14)), "utf-8")
    return path


@pytest.fixture
def reader(browser, page):
    browser.size(1400)
    browser.media()
    browser.open(page)
    yield browser
    assert browser.console == []
    assert [url for url in browser.requests if url != page.as_uri()] == []


def shown(reader, kind: str) -> int:
    return reader.js(f"document.querySelectorAll('[data-kind={kind}]:not([hidden])').length")


def test_nothing_is_fetched_and_nobodys_script_runs(reader, page):
    text = page.read_text("utf-8")
    assert re.findall(r"(?:src|href)=[\"']?(?!#)[^\s>\"']+", text.partition("<main")[0]) == []
    assert reader.js("document.querySelectorAll('main script, main img, main [style]').length") == 0
    assert reader.js("document.querySelectorAll('script').length") == 1
    assert sample.NASTY in reader.js("document.getElementById('tests').textContent")


def test_the_policy_stops_what_is_not_ours(reader):
    reader.js("window.ran = 0; const s = document.createElement('script'); s.textContent = 'window.ran = 1'; 0")
    reader.js(
        "const t = document.createElement('script'); t.textContent = 'window.ran = 1'; document.body.append(t); 0"
    )
    assert reader.js("window.ran") == 0
    assert "Content Security Policy" in reader.console.pop()
    reader.console.clear()


def test_the_filter_finds_tests_namespaces_and_failures(reader):
    everything = {kind: shown(reader, kind) for kind in ("test", "namespace", "failure")}
    assert everything == {"test": 93, "namespace": 9, "failure": 6}
    reader.key("/")
    assert reader.js("document.activeElement.id") == "filter"
    reader.type("GW1 payments")
    reader.until("document.getElementById('found').textContent.startsWith('10 of 93 tests')")
    assert shown(reader, "namespace") == 3
    lanes = "[...document.querySelectorAll('.lane:not([hidden]) > h3')].map(h => h.firstChild.data.trim())"
    assert reader.js(lanes) == ["gw1"]
    reader.key("Escape")
    assert {kind: shown(reader, kind) for kind in everything} == everything
    assert reader.js("document.getElementById('found').textContent") == ""
    assert reader.js("document.activeElement === document.body")


def test_only_failures(reader):
    reader.js("document.getElementById('only').focus()")
    reader.key(" ")
    assert reader.js("document.getElementById('only').getAttribute('aria-pressed')") == "true"
    assert (shown(reader, "test"), shown(reader, "failure")) == (6, 6)
    assert reader.js("[...document.querySelectorAll('tr[data-kind]:not([hidden])')].every(r => r.matches('.bad'))")


def test_the_keyboard_opens_a_failure_and_its_story_is_the_reports(reader):
    assert reader.js("document.querySelectorAll('.failure[open]').length") == 0
    for _ in range(40):
        reader.key("Tab")
        if reader.js("document.activeElement.closest('.failure') !== null"):
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert reader.js(outline) == "solid"
    reader.key("Enter")
    story = reader.js("document.querySelector('.failure[open] .story').innerText")
    name = reader.js("document.querySelector('.failure[open] .story a').textContent")
    assert sample.STORY.format(name=name).strip() in story
    reader.key(" ")
    assert reader.js("document.querySelectorAll('.failure[open]').length") == 0


def test_the_keyboard_reaches_everything_in_order(reader):
    seen = []
    for _ in range(9):
        reader.key("Tab")
        seen.append(reader.js("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 9)"))
    assert seen[0] == "Skip to t"
    assert seen[1:5] == ["Failures ", "Timeline ", "Tests 93", "How it en"]
    assert seen[5:8] == ["filter", "only", "theme"]


def test_what_passed_in_a_namespace_with_failures_looks_passed(reader):
    reader.js("document.querySelector('details.space.bad').open = true")
    dots = "[...document.querySelectorAll('.space[open] li .dot')].map(d => getComputedStyle(d).backgroundColor)"
    bad, *others = reader.js(dots)
    assert others
    assert bad not in others


def test_a_namespace_opens_to_steps_and_objects(reader):
    reader.js("document.querySelector('details.space > summary').focus()")
    reader.key("Enter")
    inside = reader.js("document.querySelector('details.space[open] .inside').innerText")
    assert re.search(r"infrastructure\s+[\d.]+m?s\s+6 objects, StatefulSet/db last", inside)
    assert inside.count("StatefulSet/db") == 2
    names = reader.js(
        "[...document.querySelectorAll('.space[open] .objects > .n')].map(n => parseFloat(n.textContent))"
    )
    assert len(names) == 6


def test_a_link_opens_what_it_leads_to_also_when_it_is_filtered_away(reader):
    reader.js("document.getElementById('filter').value = 'nothing has this'")
    reader.js("document.getElementById('filter').dispatchEvent(new Event('input'))")
    reader.until("document.querySelectorAll('[data-kind=namespace]:not([hidden])').length === 0")
    reader.js("location.hash = document.querySelector('details.space').id")
    reader.until("document.querySelector('details.space').open")
    assert shown(reader, "namespace") == 1


def test_light_and_dark(reader):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = reader.js(ground)
    reader.media(scheme="dark")
    dark = reader.js(ground)
    assert light != dark
    reader.js("document.getElementById('theme').focus()")
    reader.key("Enter")
    assert reader.js(ground) == light
    reader.media(scheme="light")
    assert reader.js(ground) == light
    reader.js("document.getElementById('theme').click()")
    assert reader.js(ground) == dark
    reader.js("localStorage.clear()")


CONTRAST = """
(() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const of = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (n) => { for (; n; n = n.parentElement) {
    const c = of(getComputedStyle(n).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  } return [255, 255, 255]; };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    if (node.closest("script, title, .sr, .skip") || !node.checkVisibility()) continue;
    const own = node.closest("svg") ? getComputedStyle(node).fill : getComputedStyle(node).color;
    const [a, b] = [light(of(own)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(bad)];
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(reader, scheme):
    reader.media(scheme=scheme)
    reader.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert reader.js(CONTRAST) == []


def test_everything_has_a_name_for_those_who_do_not_see_it(reader):
    assert reader.js("[...document.querySelectorAll('svg[role=img]')].every((s) => s.getAttribute('aria-label'))")
    assert reader.js(
        "[...document.querySelectorAll('button, input, a')].every((n) => (n.labels?.[0] ?? n).textContent.trim())"
    )
    assert reader.js("document.documentElement.lang") == "en"
    assert reader.js("[...document.querySelectorAll('h1, h2')].map((h) => h.tagName)") == ["H1", *["H2"] * 4]
    ids = reader.js("[...document.querySelectorAll('[id]')].map((n) => n.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_makes_it_scroll_sideways(reader, width):
    reader.size(width)
    reader.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert reader.js("document.documentElement.scrollWidth") <= width


def test_paper(reader):
    reader.media("print", scheme="dark")
    assert reader.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert reader.js("document.querySelector('.tools').checkVisibility()") is False
    assert reader.js("document.querySelector('.failure pre').checkVisibility({contentVisibilityAuto: true})")
    assert reader.pdf().startswith(b"%PDF-")
    assert reader.js("document.querySelectorAll('.failure[open]').length") == 0


def test_a_large_run_is_still_a_page(browser, tmp_path):
    path = tmp_path / "large.html"
    path.write_text(render(sample.data(workers=8, spaces=40, tests=520)), "utf-8")
    assert path.stat().st_size < 6_000_000
    browser.size(1400)
    browser.media()
    browser.open(path)
    assert (shown(browser, "test"), shown(browser, "namespace")) == (4168, 320)
    browser.js("document.getElementById('filter').value = 'gw3 payments'")
    browser.js("document.getElementById('filter').dispatchEvent(new Event('input'))")
    browser.until("document.getElementById('found').textContent.startsWith('173 of 4168')")
    assert browser.console == []


class Check(HTMLParser):
    """Every element that needs an end has one."""

    OPTIONAL = frozenset({"td", "tr", "li", "dt", "dd", "p", "input", "meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.OPTIONAL:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.OPTIONAL:
            assert self.open.pop() == tag


@pytest.mark.parametrize("size", [(0, 1, 0), (1, 1, 1), (2, 2, 30)], ids=str)
def test_any_run_is_a_page(size):
    check = Check()
    check.feed(render(sample.data(*size)))
    assert check.open == []


def test_style_and_script_end_no_element():
    for name in ("page.css", "page.js"):
        assert "</" not in (files("pytest_ephemeral_ns.report") / name).read_text("utf-8")
