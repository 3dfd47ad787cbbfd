"""Every page: of one template, legible in light and dark, for the colour-blind and on a phone, asking for nothing."""

import html
import itertools
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from portproof import verify
from portproof._numbers import picture
from portproof.judge._report import ModuleDetail, ModulePicture
from portproof.render._charts import channels
from portproof.render._graph import draw
from portproof.render._heat import heat
from portproof.render._layout import page_file
from portproof.render._page import page
from portproof.render._plots import DIVERGENCE, INK, LINE, MUTED, SIDE_COLOURS
from tests.render.pages import EDGES, MODULES, every_page, report, seen

ENGINE = Path(__file__).parents[2] / "portproof"
STYLE, SCRIPT = page_file("style.css"), page_file("script.js")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
PAGES = (
    "report", "a report that holds", "bench", "deploy", "agree", "faults", "training faults", "training", "history",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return every_page(tmp_path_factory.mktemp("images"))


# One template ---------------------------------------------------------------------------------------------------------


def test_every_page_is_made_from_the_one_template_and_style_sheet(pages: dict[str, str]) -> None:
    assert tuple(pages) == PAGES
    for name, text in pages.items():
        assert text.count(f"<style>\n{STYLE}</style>") == text.count("<style") == 1, name
        assert text.count(f"<script>{SCRIPT}</script>") == text.count("<script") == 1, name
        assert text.startswith("<!doctype html>"), name
    templates = {path.name: path.read_text() for path in (ENGINE / "render/pages").glob("*.jinja")}
    for name, source in templates.items():
        if name not in ("layout.html.jinja", "parts.html.jinja"):
            assert source.startswith('{% extends "layout.html.jinja" %}'), name
    others = [path for path in ENGINE.rglob("*.py") if "<html" in path.read_text() and path.name != "_disk.py"]
    assert others == []  # which knows a web page by it, where one was downloaded in place of a file


def test_a_page_s_headline_says_what_came_of_it(pages: dict[str, str]) -> None:
    said = {name: html.unescape(re.findall(r"<h1>(.*?)</h1>", text)[0]) for name, text in pages.items()}
    assert said == {
        "report": "net differs: block1 [paddle] computes otherwise",
        "a report that holds": "net: the same function; unavailable at torch export, ONNX Runtime",
        "bench": "Deploy ONNX Runtime, torch export: 16.9 ms, 1.22 times as fast as Paddle Inference",
        "deploy": "Deploy torch eager: 20.0 ms, at most 1.18% lost, which did not hold when it was measured again",
        "agree": "Paddle dygraph differs from torch float64 on 10 images",
        "faults": "net: 1 of 3 planted faults were missed",
        "training faults": "net: 1 of 2 faults planted into its training were not named",
        "training": "net: torch export, ONNX Runtime names 3 of 100 test images otherwise",
        "history": "net at abc2: torch-eager, batch 1 is slower",
    }
    for name, text in pages.items():
        assert text.index("<h1>") < text.index("</header>") < text.index("<main>"), name


def test_a_page_asks_for_nothing_and_lets_nothing_in(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", text), name
        assert not re.findall(r"url\((?!#)|@import", text), name
        assert not re.findall(r"https?://(?!www\.w3\.org/)", text), name
        assert "default-src 'none'" in text, name


# What is read by machines ---------------------------------------------------------------------------------------------


class _Outline(HTMLParser):
    """Headings, ids, labels and what has a name, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings, self.ids, self.labels = [], [], set[str]()
        self.inputs, self.nameless, self.targets = [], [], set[str]()
        self.within_label = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if has.get("id"):
            self.ids.append(has["id"])
        if tag == "label":
            self.labels.add(has.get("for") or "")
            self.within_label = True
        if tag == "input":
            self.inputs.append((has.get("id"), self.within_label))
        if tag == "img" and "alt" not in has:
            self.nameless.append(tag)
        if tag == "a" and (has.get("href") or "").startswith("#"):
            self.targets.add(str(has["href"])[1:])

    def handle_endtag(self, tag: str) -> None:
        self.within_label = self.within_label and tag != "label"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_headings_in_order_labels_names_and_no_link_into_the_void(name: str, pages: dict[str, str]) -> None:
    found = _Outline(pages[name])
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(found.headings))
    assert found.nameless == []
    assert all(within or own in found.labels for own, within in found.inputs)
    assert len(found.ids) == len(set(found.ids))
    assert found.targets <= set(found.ids)


# Colours --------------------------------------------------------------------------------------------------------------

LIGHT = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", STYLE[: STYLE.index("@media screen and (prefers")]))
DARK = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", STYLE[STYLE.index("@media screen and (prefers") :]))


def _linear(colour: str) -> list[float]:
    values = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, 1.4.3."""
    low, high = sorted(
        sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), _linear(c), strict=True)) for c in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def _pairs() -> set[tuple[str, str]]:
    """Return each colour of text of the style sheet with the grounds that it may stand on."""
    found = set()
    for rules in re.findall(r"\{([^{}]*)\}", STYLE):
        own = re.search(r"background: var\(--([\w-]+)\)", rules)
        for text in re.findall(r"(?:^|[;\s])color: var\(--([\w-]+)\)", rules):
            found |= {(text, ground) for ground in ([own[1]] if own else ["paper", "card"])}
        if own and "color: var" not in rules:
            found |= {(text, own[1]) for text in ("ink", "muted", "link")}
    return found


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_pair_of_text_and_ground_has_the_contrast_of_aa(mode: str) -> None:
    palette, pairs = {"light": LIGHT, "dark": DARK}[mode], _pairs()
    assert {("muted", "card"), ("i3", "r3"), ("bad", "bad-ground"), ("torch", "paper"), ("link", "card")} <= pairs
    low = {pair: round(_contrast(*(palette[name] for name in pair)), 2) for pair in pairs}
    assert {pair: value for pair, value in low.items() if value < 4.5} == {}


def test_what_is_drawn_stands_out_from_its_ground() -> None:
    for palette in (LIGHT, DARK):
        for name in ("torch", "paddle", "other", "muted", "r4", "ink"):
            for ground in ("paper", "card"):
                assert _contrast(palette[name], palette[ground]) >= 3, (name, ground)  # WCAG 2.2, 1.4.11


#: Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency", at
#: full severity.
SIGHTS = {
    "everyone": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopes": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopes": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopes": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def _lab(colour: str, sight: str) -> tuple[float, float, float]:
    """Return a colour in CIELAB as some people see it."""
    linear = [
        min(1.0, max(0.0, sum(m * v for m, v in zip(row, _linear(colour), strict=True)))) for row in SIGHTS[sight]
    ]
    to_xyz = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    white = (0.95047, 1.0, 1.08883)
    xyz = [sum(m * v for m, v in zip(row, linear, strict=True)) / w for row, w in zip(to_xyz, white, strict=True)]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_that_mean_something_are_told_apart_by(sight: str) -> None:
    """Five times what is just noticed (2.3, Mahy 1994), whoever looks."""
    for palette in (LIGHT, DARK):
        for group in (("r0", "r1", "r2", "r3", "r4"), ("torch", "paddle", "other", "r4")):
            for one, other in itertools.combinations(group, 2):
                assert math.dist(_lab(palette[one], sight), _lab(palette[other], sight)) > 11.5, (one, other)


def test_plots_have_the_colours_of_the_style_sheet(pages: dict[str, str]) -> None:
    named = {"torch": "torch", "paddle": "paddle", "": "other"}
    assert {LIGHT[named[side]]: side for side in SIDE_COLOURS} == {v: k for k, v in SIDE_COLOURS.items()}
    assert [LIGHT[name] for name in ("r4", "ink", "muted", "line")] == [DIVERGENCE, INK, MUTED, LINE]
    for name in ("bench", "training"):  # by the variables, so that they follow the dark style
        body = pages[name][pages[name].index("<body") :]
        assert "stroke: var(--torch)" in body
        assert "stroke: var(--paddle)" in body
        assert not re.findall(r"(?:fill|stroke): #", body)


# The network ----------------------------------------------------------------------------------------------------------

ANCHORS = {path: f"m{index}" for index, path in enumerate(MODULES)}


def test_a_whole_that_is_at_fault_is_marked_although_its_parts_are_quiet() -> None:
    details = report(("block1",)).details
    svg = draw([d for d in details if d.module != "block1"] * 9, EDGES, ANCHORS, {"block1"})
    assert "✕ block1" in svg
    whole = heat(details, ANCHORS, {"block1"})
    (cell,) = re.findall(r'<a href="#m\d+" tabindex="-1" title="✕ block1: [^"]*" class="([^"]*)"', whole)
    assert cell == "r4 faulty"
    assert whole.count(" faulty") == 1


def test_the_boxes_of_a_culprit_that_was_divided_stand_in_its_frame() -> None:
    parts = [f"block.{p}.{n}" for p in "abcd" for n in range(4)]
    details = [
        ModuleDetail(path, path, "ReLU", 0.0, 0.0, 1.0) for path in ("first", *parts, "block.a", "block", "last")
    ]
    edges = [("first", f"block.{p}.0") for p in "abcd"] + [(f"block.{p}.3", "last") for p in "abcd"]
    svg = draw(details, edges, {}, {"block"})
    assert svg.count('class="frame"') == 1
    assert svg.count('class="box within"') == 4
    assert "✕ block<" in svg
    assert draw(details, edges, {}, {"first"}).count('class="box faulty"') == 1


def test_the_heat_map_has_every_module_at_its_depth_over_its_parts() -> None:
    found = re.findall(r'title="([^:]*): [^"]*" class="r\d" style="left:([\d.]+)%;width:([\d.]+)%;--d:(\d)"',
                       heat(report(()).details, ANCHORS, set()))  # fmt: skip
    cells = {name: (float(left), float(width), int(depth)) for name, left, width, depth in found}
    assert len(cells) == len(MODULES)
    assert cells["(the model)"] == (0, 100, 0)
    left, width, depth = cells["block1.right"]
    whole = cells["block1"]
    assert depth == 2
    assert whole[0] <= left
    assert left + width <= whole[0] + whole[1] + 0.1
    assert sum(width for _, width, depth in cells.values() if depth == 1) == pytest.approx(100, abs=0.2)


def test_a_wrong_channel_is_seen_and_named() -> None:
    values = np.random.default_rng(0).standard_normal((4, 130, 3, 3))
    wrong = values.copy()
    wrong[:, 100] *= 1.01
    found = picture(wrong, values)
    assert found is not None
    seen_ = ModulePicture(**found)
    assert (seen_.axis, seen_.channel_count, len(seen_.channels)) == (1, 130, 48)
    assert sum(value > 0 for value in seen_.channels) == 1
    (said,) = re.findall(r'largest at channels (\d+) to (\d+)"', channels(seen_))
    assert int(said[0]) <= 100 <= int(said[1])
    assert int(said[1]) - int(said[0]) < 4
    tokens = picture(np.ones((2, 7, 5)), np.zeros((2, 7, 5)))
    assert tokens is not None
    assert (tokens["axis"], tokens["channel_count"]) == (2, 5)
    assert "channels" not in (picture(np.ones(4), np.zeros(4)) or {})


def test_a_report_the_size_of_googlenet_s_stays_under_half_a_megabyte() -> None:
    paths = [f"stage{s}.branch{b}.layer{n}" for s in range(10) for b in range(4) for n in range(5)]
    some = [seen(i, 512) for i in range(8)]
    details = tuple(ModuleDetail(p, p, "Conv2d", 1.2, 1e-15, 1.0, picture=some[i % 8]) for i, p in enumerate(paths))
    assert len(page(replace(report(()), details=details, edges=())).encode()) < 500_000


@pytest.mark.slow
def test_googlenet_s_own_does_too() -> None:
    found = page(verify("convert.googlenet:GOOGLENET", quick=True, pictures=True))
    assert 200_000 < len(found.encode()) < 500_000


# In a browser ---------------------------------------------------------------------------------------------------------


def _said(text: str, script: str, folder: Path, *options: str) -> tuple[dict[str, object], str]:
    """Open a page with a script added; returns what the script left in the page's title, and the console."""
    open_to_it = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", text)
    path = folder / "page.html"
    path.write_text(open_to_it.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         "--virtual-time-budget=20000", *options, path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return json.loads(html.unescape(title[1])), console


@needs_chromium
def test_no_page_scrolls_sideways_at_any_width(pages: dict[str, str], tmp_path: Path) -> None:
    """A phone's, a tablet's and a desk's, as frames of one page."""
    frames = "".join(
        f'<iframe title="{name} at {width}" style="width:{width}px" srcdoc="{html.escape(text)}"></iframe>'
        for name, text in pages.items() for width in (390, 768, 1440)
    )  # fmt: skip
    script = """onload = () => { document.title = JSON.stringify({wide: [...document.querySelectorAll("iframe")]
        .filter(f => f.contentDocument.documentElement.scrollWidth > f.clientWidth).map(f => f.title),
        seen: document.querySelectorAll("iframe").length}) }"""
    said, console = _said(f"<title>x</title><body>{frames}</body>", script, tmp_path)
    assert said == {"wide": [], "seen": 3 * len(PAGES)}
    assert console == ""


@needs_chromium
def test_modules_are_filtered_without_a_script_and_searched_by_a_few_lines(tmp_path: Path) -> None:
    script = """
        const items = [...document.querySelectorAll(".item")];
        const shown = () => items.filter(i => i.getClientRects().length).map(i => i.id);
        const found = {all: shown().length};
        document.getElementById("show-1").checked = true;
        found.wrong = shown();
        document.getElementById("show-0").checked = true;
        const input = document.querySelector(".search input");
        input.value = "RIGHT block2"; input.dispatchEvent(new Event("input"));
        found.searched = shown().length;
        location.hash = "#m5";
        setTimeout(() => {
            found.open = document.getElementById("m5").open;
            document.title = JSON.stringify(found);
        }, 99);
    """
    said, console = _said(page(report()), script, tmp_path)
    wrong = MODULES.index("block1")
    assert said == {"all": len(MODULES), "wrong": [f"m{wrong}"], "searched": 3, "open": True}
    assert console == ""


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(name: str, mode: str, pages: dict[str, str], tmp_path: Path) -> None:
    axe_core = pytest.importorskip("axe_core_python")
    axe = (Path(axe_core.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    script = axe + (
        ";axe.run().then(r => { document.title = JSON.stringify({found: r.violations.map(v => "
        "v.id + ' ' + v.nodes.slice(0, 3).map(n => n.html)), "
        "dark: matchMedia('(prefers-color-scheme: dark)').matches}) })"
    )
    options = ["--blink-settings=preferredColorScheme=0"] if mode == "dark" else []
    said, console = _said(pages[name], script, tmp_path, *options)
    assert said == {"found": [], "dark": mode == "dark"}
    assert console == ""
