"""The page, the summary and the JUnit file: what people and CI see of a verdict."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from portproof import Report, verify
from portproof.judge._report import HOLDS, Culprit, ModuleDetail
from portproof.render import write_report
from portproof.render._graph import draw
from portproof.render._page import page
from tests import small_ports
from tests.conftest import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def healthy() -> Report:
    return verify(small_ports.MLP, pictures=True)


@pytest.fixture(scope="module")
def broken() -> Report:
    def without_relu() -> object:
        from paddle import nn

        return nn.Sequential(nn.Linear(8, 8), nn.Identity(), nn.Linear(8, 3))

    return verify(replace(small_ports.MLP, paddle=without_relu), quick=True, pictures=True)


def test_a_page_says_the_verdict_first_then_the_culprits(healthy: Report, broken: Report) -> None:
    text = re.sub(r"<style>.*?</style>", "", page(broken), flags=re.DOTALL)
    order = [text.index(word) for word in ('class="verdict divergent"', 'id="culprits"', 'id="chain"', 'id="modules"')]
    assert order == sorted(order)
    assert "What to do: compare how the two modules are written" in text
    assert 'class="verdict equivalent"' in page(healthy)
    assert 'id="culprits"' not in page(healthy)


def test_names_from_strangers_are_text(broken: Report) -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    told = replace(
        broken,
        port=evil,
        culprits=(Culprit("torch", evil, "computes", "forward", evil, 7.0),),
        details=tuple(replace(detail, module=f"{evil}.{i}", layer=evil) for i, detail in enumerate(broken.details)),
        notes=(evil,),
    )
    text = page(told)
    assert text.count("<script") == 1  # the page's own
    assert "<img" not in text
    assert "&lt;script&gt;" in text


def test_every_module_has_a_section_that_its_square_leads_to(healthy: Report) -> None:
    text = page(healthy)
    ids = re.findall(r'<details id="(m\d+)"', text)
    assert len(ids) == len(healthy.details) > 3
    assert set(re.findall(r'<a href="#(m\d+)" tabindex', text)) <= set(ids)
    assert text.count('aria-label="Values from') == len(healthy.details)


def test_the_map_follows_tensors_through_functions() -> None:
    report = verify(small_ports.TWO_INPUTS, quick=True, pictures=True)
    assert ("embed", "mix") in report.edges
    assert ("mix", "head") in report.edges  # through tanh, which is no module


def test_a_crowded_map_gathers_modules_and_marks_the_culprit_s_box() -> None:
    details = [ModuleDetail(f"stage{s}.block{b}.conv{c}", "", "Conv2d", 1.0, 0.0, 1.0) for s in range(4)
               for b in range(9) for c in range(6)]  # fmt: skip
    svg = draw(details, (), {}, {"stage2.block3.conv1"})
    assert svg.count("<text") < 60
    assert "✕ stage2.block3" in svg
    assert svg.count("✕") == 1


def test_a_summary_for_ci_names_culprits_and_hops(broken: Report, tmp_path: Path) -> None:
    write_report(broken, tmp_path / "out.md")
    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert text.startswith("## ❌ mlp: divergent")
    assert "- **`1`** computes: on the same input" in text
    assert "| torch float64 (oracle) to Paddle float64 | ❌ divergent |" in text
    assert "| Paddle dygraph float32 | ✅ equivalent |" in text  # it rounds its own function as it should


def test_junit_has_a_case_a_hop_and_fails_those_that_do_not_hold(broken: Report, tmp_path: Path) -> None:
    write_report(broken, tmp_path / "out.xml")
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()[0]
    assert suite.get("tests") == str(len(broken.hops))
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert len(failed) == int(suite.get("failures") or 0) == sum(hop.verdict == "divergent" for hop in broken.hops)
    assert "computes" in (suite[0].find("failure").text or "")  # type: ignore[union-attr]


def test_the_command_writes_them_and_refuses_other_endings_before_it_runs(project: Path, run: Run) -> None:
    answer = run("verify", "--quick", "--report", "a.html", "--report", "a.md", "--report", "a.xml")
    assert answer.code == 0
    assert all((project / f"a.{ending}").stat().st_size > 300 for ending in ("html", "md", "xml"))
    run("verify", "--report", "a.pdf").refused(2, ".html, .md, .xml", "a.pdf")
    run("verify", "--report", "no/such/a.html").refused(2, "no/such")


def test_quiet_prints_the_verdict_alone(project: Path, run: Run) -> None:
    answer = run("verify", "--quick", "--quiet")
    assert answer.out == "verdict: equivalent\n"
    assert answer.err == ""


def test_no_color_leaves_a_terminal_without_escapes(project: Path) -> None:
    seen = {}
    for name, variables in (("plain", {"NO_COLOR": "1"}), ("colour", {})):
        main, side = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"} | variables
        command = [sys.executable, "-m", "portproof", "verify", "--quick", "--quiet"]
        with subprocess.Popen(command, stdout=side, stderr=subprocess.PIPE, env=environment, cwd=project) as process:
            assert process.wait() == 0
        os.close(side)
        seen[name] = os.read(main, 4096).decode()
        os.close(main)
    assert any(verdict in seen["plain"] for verdict in HOLDS)
    assert "\x1b[3" not in seen["plain"]
    assert "\x1b[3" in seen["colour"]


@pytest.mark.parametrize("document", ["verify", "doctor", "map"])
def test_documents_are_what_their_schema_says(document: str, project: Path, run: Run, healthy: Report) -> None:
    schema = json.loads(run("schema", document).out)
    jsonschema.Draft202012Validator.check_schema(schema)
    written = run(document, "--json", "-", *(["--quick"] if document == "verify" else []))
    jsonschema.validate(json.loads(written.out), schema)
    if document == "verify":
        jsonschema.validate(json.loads(json.dumps(healthy.to_json())), schema)


@pytest.mark.parametrize("name", ["verify", "train", "faults-training", "doctor", "agree", "map", "bench", "history"])
def test_published_schemas_are_those_of_the_code(name: str, run: Run) -> None:
    """A field that goes away or changes shows up as a change of these files, which is a change of the schema."""
    published = Path(__file__).parents[2] / "docs" / "schema" / f"{name}.schema.json"
    assert json.loads(run("schema", name).out) == json.loads(published.read_text(encoding="utf-8"))


def _in_chromium(text: str, tmp_path: Path, script: str) -> tuple[str, str]:
    """Open a page with a script added; returns what the script left in the page's title, and the console."""
    path = tmp_path / "page.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", text)  # which would not let the script in
    path.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         "--virtual-time-budget=20000", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None
    return title[1], "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@needs_chromium
def test_a_page_is_accessible_quick_and_quiet(broken: Report, healthy: Report, tmp_path: Path) -> None:
    """axe finds nothing serious, the console stays empty, and the page is there within a second."""
    import axe_core_python

    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    script = axe + (
        ";axe.run().then(r => { document.title = JSON.stringify({found: r.violations.filter(v => "
        "['serious', 'critical'].includes(v.impact)).map(v => v.id + ' ' + v.nodes.slice(0, 3).map(n => n.html)), "
        "passes: r.passes.length, ms: performance.timing.domContentLoadedEventEnd - performance.timing.fetchStart}) })"
    )
    import html

    for report in (broken, healthy):
        said, console = _in_chromium(page(report), tmp_path, script)
        found = json.loads(html.unescape(said))
        assert found["found"] == []
        assert found["passes"] > 10
        assert console == ""
