import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pruneofa.reporting.data import Curve, ReportData, StageTime, TensorSparsity
from pruneofa.reporting.html import render_report

ATTACK = '<script>alert("1")</script><img src=//evil.example/x onerror=alert(1)>\'"&'


class _Page(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(report: ReportData) -> str:
    return render_report(report)


def _requests(text: str) -> list[str]:
    """Everything on a page that a browser might fetch or run."""
    found = []
    for tag, attributes in _Page(text).elements:
        if tag in ("script", "img", "iframe", "object", "embed", "base", "form", "video", "audio", "image"):
            found.append(tag)
        for name, value in attributes.items():
            local = (value or "").startswith(("#", "data:"))
            if name.startswith("on") or (name in ("src", "href", "srcset", "action", "poster", "data") and not local):
                found.append(f"{tag} {name}={value}")
            if name == "style" and re.search(r"url\((?!#)", value or ""):
                found.append(f"{tag} style={value}")
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    return found + re.findall(r"@import|url\((?!#)", styles)


def test_the_page_is_the_same_each_time(report: ReportData, page: str) -> None:
    assert render_report(report) == page


def test_the_page_says_what_happened(report: ReportData, page: str) -> None:
    assert "3.1 MB instead of 42.5 MB for the encoder, 79.9 % instead of 83.0 % accuracy." in page
    assert "<title>demo: MiniLM-L6, fresh or rotten</title>" in page
    for text in ("sparse int8", "26.7x", "13.6x", "10,616,832", "4 min 11 s", "skipped", "target_sparsity: 0.85"):
        assert text in page
    for tensor in report.tensors:
        assert tensor.name in page
    assert page.count("<svg") == 9


def test_the_page_asks_for_nothing(page: str) -> None:
    assert _requests(page) == []
    policies = [meta["content"] for meta in _Page(page).named("meta") if meta.get("http-equiv")]
    assert policies == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    assert page.index("<meta charset") < page.index("<title")


def test_the_check_for_requests_finds_them() -> None:
    hostile = '<a href="https://x"><p onclick="f()" style="background:url(x)"><img><style>@import "x";</style>'
    assert len(_requests(hostile)) == 5


def test_the_page_can_be_read_by_everyone(page: str) -> None:
    parsed = _Page(page)
    assert parsed.named("html") == [{"lang": "en"}]
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in parsed.named("svg"))
    assert all(cell.get("scope") in ("col", "row") for cell in parsed.named("th"))
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    pointed = [attributes["aria-labelledby"] for _, attributes in parsed.elements if "aria-labelledby" in attributes]
    assert set(pointed) <= set(identifiers)


def _schemes(page: str) -> list[dict[str, str]]:
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", page, re.S)[:2]
    )
    return [light, {**light, **dark}]


def _contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast_in_both_schemes(page: str, scheme: int) -> None:
    colours = _schemes(page)[scheme]
    pairs = [(ink, paper) for ink in ("--ink", "--muted", "--accent") for paper in ("--card", "--page", "--best")]
    pairs += [("--fig-ink", "--card"), ("--fig-muted", "--card")]
    pairs += [(f"--fig-heat-ink-{'low' if i < 5 else 'high'}", f"--fig-heat-{i}") for i in range(9)]
    assert {
        pair: _contrast(colours[pair[0]], colours[pair[1]])
        for pair in pairs
        if _contrast(colours[pair[0]], colours[pair[1]]) < 4.5
    } == {}
    lines = [f"--fig-series-{i}" for i in range(4)]
    assert all(_contrast(colours[line], colours["--card"]) >= 3 for line in lines)


def hostile_report(report: ReportData) -> ReportData:
    row = dataclasses.replace(report.rows[0], name=ATTACK, metrics={ATTACK: 0.5}, file=ATTACK, note=ATTACK)
    return ReportData(
        title=ATTACK,
        rows=[row, dataclasses.replace(row, file="\udcff.pofa")],
        curves=[Curve(ATTACK, [1, 2], {f"loss/{ATTACK}": [1.0, 2.0], f"eval_{ATTACK}": [1.0, 2.0]})],
        tensors=[TensorSparsity(f"{ATTACK}.{i}.{ATTACK}", (2, 2), 1, 4, 0.75) for i in range(2)]
        + [TensorSparsity(ATTACK, (2, 2), 1, 4, 0.75)],
        facts={ATTACK: ATTACK},
        stages=[StageTime(ATTACK, 1.0, ATTACK)],
        recipe_yaml=f"</code></pre>{ATTACK}{{{{ 7 * 7 }}}}",
        notes=[ATTACK],
    )


def test_hostile_strings_stay_text(report: ReportData) -> None:
    page = render_report(hostile_report(report))
    assert _requests(page) == []
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert page.count("</pre>") == 1
    page.encode()


def test_an_empty_report_is_a_page_still() -> None:
    page = render_report(ReportData("", [], [], [], {}, [], "", []))
    assert "No model has been measured yet." in page
    assert "<title>Report</title>" in page
    assert "<table" not in page.split("<body>")[1]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("hostile", [False, True], ids=["plain", "hostile"])
def test_chromium_opens_the_page_without_an_error(report: ReportData, tmp_path: Path, hostile: bool) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_report(hostile_report(report) if hostile else report), encoding="utf-8")
    dom, log = _open(file, tmp_path)
    assert "CONSOLE" not in log
    assert dom.count("</tr>") >= (40 if not hostile else 5)
    assert '<table class="models">' in dom
    assert dom.count("</svg>") == (9 if not hostile else 5)
    assert "<script" not in dom


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_chromium_refuses_and_reports_a_request_from_the_page(report: ReportData, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    page = render_report(report).replace("<header>", "<header><script>document.title = 1</script>")
    file.write_text(page, encoding="utf-8")
    _, log = _open(file, tmp_path)
    assert "CONSOLE" in log
    assert "Content Security Policy" in log


def _open(file: Path, profile: Path) -> tuple[str, str]:
    """The DOM of a page and the browser's log."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --v=0 --dump-dom"
    command = ["chromium", *flags.split(), f"--user-data-dir={profile / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    return done.stdout, done.stderr
