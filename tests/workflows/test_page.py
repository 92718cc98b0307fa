"""The page of `silver report` in a browser: heard, searched, sorted, marked, by hand and by keyboard; and text from the web does nothing."""

from __future__ import annotations

import csv
import io
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from manifests.corpus import Corpus
from manifests.part import read_ref, read_rows, to_table, write_part
from tests.browser import Browser
from tests.corpus import silver
from workflows.audit.sheet import COLUMNS

HOSTILE = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
"""Title, channel and transcript of a source that means harm."""
FORMULA = "=HYPERLINK(\"http://elsewhere.example\", 'x')"


@pytest.fixture(scope="module")
def hostile(moved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, with text in the rows of its last stage that a page must not take for its own."""
    root = tmp_path_factory.mktemp("hostile") / "root"
    shutil.copytree(moved, root)
    corpus = Corpus(str(root))
    manifest = corpus.manifests[-1]
    for ref in manifest.parts():
        rows = read_rows(corpus.store, ref)
        for row in rows[:2]:
            row |= {
                "title": HOSTILE,
                "channel": HOSTILE,
                "text_pnc": HOSTILE,
                "text": FORMULA,
                "words": None,
                "snr_db": math.nan,  # a page whose data were no JSON showed nothing at all
                "source_uri": "javascript:window.broken = 3",
            }
        table = to_table(rows, corpus.connection.sql(f'SELECT * FROM "{manifest.stage}"').to_arrow_table().schema)
        write_part(corpus.store, manifest.folder, ref.key, table, ref.counts)
        assert read_ref(corpus.store, ref.path).counts == ref.counts
    return root


@pytest.fixture(scope="module")
def page(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    done = silver("report", str(hostile), "--out", str(out), "--clips", "6")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as opened:
        opened.driver.get(page.as_uri())
        opened.wait(lambda: opened.all("#list li"))
        yield opened
        assert opened.complaints() == []
        assert opened.asked() <= {"file:", "data:"}, "the page reaches nobody"


def _segment_with_words(browser: Browser) -> None:
    """Open the first kept segment whose words have times."""
    browser.choose("reason", "kept")
    browser.wait(lambda: all("kept" in line.text for line in browser.all("#list li small")))
    for line in browser.all("#list button"):
        line.click()
        if len(browser.all(".spoken button")) > 3:
            return
    pytest.fail("no kept segment has words with times")


def test_a_segment_is_heard_and_its_words_light_up_and_seek(browser: Browser) -> None:
    _segment_with_words(browser)
    position = "return document.querySelector('#card audio').currentTime"
    browser.one("body").send_keys("p")
    browser.wait(lambda: browser.js(position) > 0.2)
    browser.wait(lambda: browser.all(".spoken button.now"))
    browser.one("body").send_keys("p")
    browser.wait(lambda: browser.js("return document.querySelector('#card audio').paused"))
    word = browser.all(".spoken button")[-2]
    word.click()
    start = float(word.get_attribute("data-start") or -1)
    browser.wait(lambda: start <= browser.js(position) < start + 2)
    assert start > 0
    assert browser.all("#card .wave rect.played")


def test_filters_and_sorting(browser: Browser) -> None:
    every = len(browser.all("#list li"))
    reasons = [option.get_attribute("value") for option in browser.all("[name=reason] option")]
    assert reasons[:2] == ["", "kept"]
    browser.choose("reason", "kept")
    browser.wait(lambda: len(browser.all("#list li")) < every)
    browser.one("[name=words]").send_keys("no such words anywhere")
    browser.wait(lambda: not browser.all("#list li"))
    assert "No segment is like that" in browser.one("#card").text
    head = browser.all("#channels th")[1]
    for direction in ("descending", "ascending"):
        head.find_element("css selector", "button").click()
        assert head.get_attribute("aria-sort") == direction
        shown = [int(cell.text.replace(",", "")) for cell in browser.all("#channels td:nth-child(2)")]
        assert shown == sorted(shown, reverse=direction == "descending")


def test_marks_by_keyboard_alone_become_the_sheet_of_the_audit(browser: Browser, tmp_path: Path) -> None:
    assert browser.js("return scrollY") == 0, "the list once pulled the page down to it"
    browser.keys(Keys.TAB)
    assert browser.js("return document.activeElement.className") == "skip"
    browser.keys(Keys.ENTER)
    assert browser.js("return document.activeElement.id") == "desk"
    browser.keys("r", "n", "u", "n", "w")
    assert browser.js("return document.activeElement.id") == "corrected"
    browser.one("#corrected").clear()
    browser.one("#corrected").send_keys("what was said n r u", Keys.ESCAPE)
    browser.keys("e")
    browser.keys("a note", Keys.ESCAPE)
    browser.keys("n", "b")
    marks = [line.get_attribute("data-mark") for line in browser.all("#list button")]
    assert marks[:4] == ["right", "unusable", "corrected", None]
    browser.one("#save").click()
    file = tmp_path / "marks.csv"
    browser.wait(file.exists)
    lines = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    assert list(lines[0]) == [*COLUMNS, "note"]
    assert [(line["verdict"], line["corrected"], line["note"]) for line in lines] == [
        ("right", "", ""),
        ("unusable", "", ""),
        ("", "what was said n r u", "a note"),
    ]
    browser.driver.refresh()
    browser.wait(lambda: browser.all("#list button[data-mark]"))
    assert "3 marked" in browser.one("#count").text, "marks outlive the tab"


def test_hostile_text_is_only_text(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.one("[name=words]").send_keys("window.broken")
    browser.wait(lambda: browser.all("#list li") and all("script" in line.text for line in browser.all("#list button span")))
    browser.all("#list button")[0].click()
    assert HOSTILE in browser.one("#card h3").text
    assert "window.broken = 3" in browser.one("#card small").text
    assert not browser.all("#card a[href^=javascript]")
    assert not browser.all("main img")
    assert browser.js("return window.broken") is None
    assert any(HOSTILE in option.get_attribute("value") for option in browser.all("[name=channel] option"))
    browser.one("body").send_keys("r")
    browser.one("#save").click()
    file = tmp_path / "marks.csv"
    browser.wait(file.exists)
    assert next(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))["text"] == "'" + FORMULA, "no formula for a spreadsheet"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_wider_than_the_screen_and_text_can_be_read(browser: Browser, width: int, dark: bool) -> None:
    browser.size(width, dark=dark)
    assert browser.js(
        """const wide = element => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest('.scroll, .plot, .figures');
           return [...document.querySelectorAll('main *')].filter(wide).map(element => element.outerHTML.slice(0, 80))"""
    ) == []  # fmt: skip
    assert browser.js("return document.documentElement.scrollWidth") <= width
    contrasts = browser.js(
        """const channel = value => { value /= 255; return value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; };
           const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(Number); return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
           const behind = element => { for (; element; element = element.parentElement) { const colour = getComputedStyle(element).backgroundColor;
             if (!/, 0\\)$|transparent/.test(colour)) return colour; } return 'rgb(255, 255, 255)'; };
           const found = [];
           for (const element of document.querySelectorAll('main *')) {
             if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()) || !element.getClientRects().length || element.disabled) continue;
             const style = getComputedStyle(element), svg = element instanceof SVGElement;
             const [a, b] = [light(svg ? style.fill : style.color), light(behind(element))];
             const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
             if (ratio < 4.5) found.push([element.outerHTML.slice(0, 80), ratio]);
           }
           return found"""
    )  # WCAG 2.2, 1.4.3
    assert contrasts == []
