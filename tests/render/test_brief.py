"""What a person at a prompt and in a notebook sees of a report, and what the package shows of itself."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import portproof
from portproof import BadInput, Culprit, Report, verify
from portproof.cli._print import print_ports
from portproof.ports._locate import find_project, registered_ports
from portproof.render._terminal import _Console, print_report
from portproof.runners import runners
from tests import small_ports
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wrong() -> Report:
    """The report of a port with a wrong activation."""

    def paddle_tanh() -> object:
        from paddle import nn

        return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))

    return verify(replace(small_ports.MLP, paddle=paddle_tanh), quick=True)


def test_a_printed_report_is_a_short_table(wrong: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a string may go to a file
    lines = str(wrong).splitlines()
    assert lines[0] == "port mlp: divergent"
    assert "torch float64 (oracle) to Paddle float64" in str(wrong)
    assert any(line.startswith("culprit 1  computes: on the same input") for line in lines)
    assert len(lines) < 25
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in str(wrong)
    assert repr(wrong) == f"<Report of 'mlp': divergent, {len(wrong.hops)} hops, 1 culprits>"


def test_a_notebook_shows_verdict_chain_and_culprits_and_no_markup_of_strangers(wrong: Report) -> None:
    shown = wrong._repr_html_()
    assert len(shown) < 5_000
    for words in ("mlp", "divergent", "torch float64 (oracle) to Paddle float64", "computes: on the same input"):
        assert words in shown
    hostile = Culprit("unknown", "<script>", "computes", "forward", "<img src=x>")
    shown = replace(wrong, culprits=(hostile,))._repr_html_()
    assert not re.search(r"<(script|img)", shown)


def test_findings_beyond_the_first_are_counted(wrong: Report) -> None:
    many = [
        Culprit("unknown", f"m{place}", "wiring", "forward", f"hands another to part{place}x") for place in range(11)
    ]
    for said in (str(replace(wrong, culprits=tuple(many))), replace(wrong, culprits=tuple(many))._repr_html_()):
        assert "and 3 more; report.culprits has them all" in said


def test_a_report_is_saved_as_its_file_s_ending_says(wrong: Report, tmp_path: Path) -> None:
    for ending, begins in ((".html", "<!doctype html"), (".md", "## "), (".xml", "<?xml"), (".json", "{")):
        wrong.save(tmp_path / f"r{ending}")
        wrong.save(str(tmp_path / f"r{ending}"))
        assert (tmp_path / f"r{ending}").read_text().lower().startswith(begins)
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "divergent"
    with pytest.raises(BadInput, match=r"saved as .html, .md, .xml or .json, found 'r.pdf'"):
        wrong.save("r.pdf")


def test_the_package_shows_its_interface_and_nothing_else() -> None:
    assert set(dir(portproof)) == {*portproof.__all__, "__version__"}
    assert portproof.__version__ == version("portproof")
    assert all(hasattr(portproof, name) for name in dir(portproof))
    code = "import portproof, sys; assert not {'numpy', 'rich', 'torch', 'paddle'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("columns", [50, 60, 72, 80, 100, 200])
def test_a_report_and_its_tables_fit_every_terminal_and_nothing_in_them_is_cut(wrong: Report, columns: int) -> None:
    hop = wrong.hops[0]
    assert hop.worst is not None
    long = replace(hop, worst=replace(hop.worst, tensor="backbone.stages.3.blocks.11.attention.out_projection"))
    console = _Console(width=columns, file=io.StringIO())
    print_report(replace(wrong, hops=(long, *wrong.hops)), console)
    print_ports(registered_ports(find_project(ROOT))[:3], list(runners().values())[:4], console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown
    for word in ("divergent", "equivalent", "torch-channels-last"):
        assert word in shown
    assert ("hop  " in shown) == (columns >= 72)
    if not 72 <= columns <= 100:  # folded between other columns there
        assert long.worst is not None
        assert long.worst.tensor in re.sub(r"\s", "", shown)
