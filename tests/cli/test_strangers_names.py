"""What strangers call things reaches no terminal as it is, and breaks no page, summary or XML.

A name may hold what clears a line, writes a clipboard, turns the reading direction or begins a line of its own.
"""

import html
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from portproof import _text
from portproof.agree._images import Images
from portproof.agree._page import page as agree_page
from portproof.agree._print import print_agreement
from portproof.cli import _app
from portproof.render._terminal import errors, output
from tests.cli.test_bounds import commands
from tests.conftest import Answer, Run

ROOT = Path(__file__).parents[2]
#: ESC, OSC 52 (writes the clipboard), a line cleared, a colour, a line of its own, marks of direction, C1, and a lone
#: surrogate, which JSON and names of files may hold.
EVIL = "a\x1b]52;c;ZXZpbA==\x07\x1b[2K\r\x1b[8m\nverdict: forged\u202e\u2066\x9b31m\u2028\x00\udc80`|<b>*$[x](y)&"
#: The same for names of files and of modules.
FILE = EVIL.replace("\x00", "").replace("/", "")
MODULE = FILE.replace(".", "")
#: The same where text is UTF-8.
WRITTEN = MODULE.replace("\udc80", "")
USED = set[str]()


def harmless(text: str, *, colours: bool = False) -> None:
    """Check what a person's terminal is given."""
    if colours:
        text = re.sub(r"\x1b\[(?!8m)[0-9;]*m", "", text).replace("\r\n", "\n")
    wrong = {c for c in text if not c.isprintable() and c != "\n"}
    assert not wrong, (wrong, text)
    assert "\nverdict: forged" not in f"\n{text}", text


@pytest.fixture
def ask(run: Run) -> Run:
    """Call a command, and check what it says on both streams."""

    def call(*arguments: object) -> Answer:
        USED.add(" ".join(map(str, arguments[: 2 if arguments[0] == "bench" else 1])))
        answer = run(*arguments)
        harmless(answer.out)
        harmless(answer.err)
        return answer

    return call


def evil_everywhere(document: Any, keep: tuple[str, ...]) -> Any:
    """Return a document whose texts all have a hostile end, but for those under some keys."""
    if isinstance(document, dict):
        return {k: v if k in keep else evil_everywhere(v, keep) for k, v in document.items()}
    if isinstance(document, list):
        return [evil_everywhere(item, keep) for item in document]
    return document + EVIL if isinstance(document, str) else document


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of a benchmark with hostile texts wherever one may stand."""
    document = json.loads((ROOT / "benchmarks/results/short.json").read_text())
    kept = ("scenario", "boundary", "objective", "device", "side", "verdict", "state", "when", "precision", "kwargs",
            "weights", "sha256")  # fmt: skip
    document = evil_everywhere(document, kept)
    document["environment"]["packages"][EVIL] = EVIL
    document["skipped"].append({"runner": EVIL, "reason": EVIL, "batch": None, "asked": False})
    document["rows"][0]["processes"][0]["claims"].append({"what": EVIL, "state": "unverified", "text": EVIL})
    document.pop("sha256", None)
    path = tmp_path_factory.mktemp("results") / f"{FILE}.json"
    path.write_text(json.dumps(document))
    return path


def test_results_of_benchmarks(ask: Run, result: Path, tmp_path: Path) -> None:
    assert ask("bench", "validate", result).code == 0
    assert ask("bench", "compare", result, result, "--fail-if-slower", "5%").code in (0, 3)
    assert ask("bench", "recommend", result, "--slo", "p99=1ms").code in (1, 3)
    assert ask("bench", "recommend", result).code == 0
    page = tmp_path / f"{FILE}.html"
    assert ask("bench", "report", result, "--html", page, "--contended", result).code == 0
    well_formed(page)
    assert ask("bench", "run", "--resume", "-o", result).code == 2
    assert ask("bench", "gate", EVIL.replace("\x00", "")).code == 2
    assert ask("bench", "selfcheck", EVIL.replace("\x00", "")).code == 2


def test_a_terminal_gets_the_colours_of_the_tool_alone(result: Path) -> None:
    main, side = pty.openpty()
    asked: list[str] = [sys.executable, "-m", "portproof", "bench", "recommend", str(result)]
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color"}
    with subprocess.Popen(asked, stdout=side, stderr=side, env=environment, cwd=ROOT) as process:
        os.close(side)
        said = b""
        while piece := _read(main):
            said += piece
    os.close(main)
    assert process.returncode == 0, said
    assert b"\x1b[1;32m" in said
    harmless(said.decode(), colours=True)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so at the end
        return b""


def well_formed(page: Path) -> None:
    """Check that a page has no tag, and no character, that a name brought."""
    text = page.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert html.escape("<b>") in text
    assert not {c for c in text if not c.isprintable() and c != "\n"}


COSTS = {
    "schema_version": 1, "port": EVIL, "processor": EVIL, "images": 10, "unit": 2, "threads": 1,
    "runners": {"oracle": 1.0, EVIL: 1.0}, "read_s": 0.1, "decode_s": 0.1, "image_bytes": 1e4, "classes": 10,
    "start_s": 1.0, "driver_s": 0.1,
}  # fmt: skip


def test_reports_and_their_history(ask: Run, tmp_path: Path) -> None:
    from tests.render.pages import report

    kept = ("verdict", "kind", "direction", "side", "precision")
    for number, wrong in enumerate(((), ("head",))):
        document = evil_everywhere(report(wrong).to_json(), kept)
        document["environment"]["packages"][EVIL] = EVIL
        (tmp_path / f"{number}{FILE}.json").write_text(json.dumps({**document, "details": []}))
    first, second = (tmp_path / f"{number}{FILE}.json" for number in range(2))
    assert ask("diff", first, second).code == 1
    answer = ask("diff", first, second, "--markdown", "-")
    assert answer.code == 1
    assert not re.search(r"(?<![\\`])<b>", re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", answer.out))
    page, typed = tmp_path / f"{FILE}.html", EVIL.replace("\x00", "")
    add = [part for path in (first, second) for part in ("--add", path)]
    assert ask("history", tmp_path / FILE, *add, "--revision", typed, "--report", page).code == 0
    well_formed(page)
    assert ask("history", tmp_path / FILE).code == 0


def test_costs(ask: Run, tmp_path: Path) -> None:
    path = tmp_path / f"{FILE}.json"
    path.write_text(json.dumps(COSTS))
    assert ask("plan", path).code == 0
    path.write_text(json.dumps({**COSTS, EVIL: EVIL}))
    assert ask("plan", path).code == 2


PORT = f"""
from collections import OrderedDict
from portproof import Input, Port, WeightMap
NAME = {WRITTEN!r}

def torch_model(slope=0.0):
    from torch import nn
    return nn.Sequential(OrderedDict({{NAME: nn.Linear(8, 8), "act": nn.LeakyReLU(slope), "head": nn.Linear(8, 3)}}))

def paddle_model(slope=0.5):
    from paddle import nn
    return nn.Sequential((NAME, nn.Linear(8, 8)), ("act", nn.LeakyReLU(0.5)), ("head", nn.Linear(8, 3)))

EVIL = Port(name="evil", torch="evil:torch_model", paddle="evil:paddle_model",
            inputs={{"x" + NAME: Input(("batch", 8))}}, outputs=("out" + NAME,),
            weights=WeightMap(ignore={{"head.bias": "because" + NAME}}))
"""


@pytest.fixture
def port(project: Path) -> Path:
    """A project whose port has hostile names of modules, inputs and outputs, and a fault."""
    (project / "evil.py").write_text(PORT, encoding="utf-8")
    (project / "pyproject.toml").write_text('[tool.portproof]\nports = ["evil:EVIL"]\n')
    return project


def test_names_of_a_port_in_every_format(ask: Run, port: Path) -> None:
    assert ask("ports").code == 0
    reports = [f"{FILE}.{ending}" for ending in ("html", "md", "xml")]
    assert ask("verify", "--quick", *(part for report in reports for part in ("--report", report))).code == 1
    well_formed(port / reports[0])
    text = (port / reports[1]).read_text(encoding="utf-8")
    harmless(text)
    assert not re.search(r"(?<![\\`])<b>", re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text))
    suite = ElementTree.parse(port / reports[2]).getroot()[0]
    said = [failure.get("message") or "" for failure in suite.iter("failure")]
    assert any(_text.visible(WRITTEN) in message for message in said), said
    ask("verify", "--quick", "--json", FILE)
    answer = ask("account")
    assert answer.code == 0
    assert "written out here" in answer.err
    assert ask("account", "-o", f"{FILE}.csv").code in (0, 2)
    ask("map")
    ask("faults", "--count", 2, "--seeds", 1, "-o", FILE)
    ask("capture", "--runner", "torch-eager", "-o", FILE)
    ask("export", "--from", "torch", "-o", f"{FILE}.onnx")
    ask("train", "--data", "digits", "-o", FILE)
    ask("train", EVIL.replace("\x00", ""), "--data", "digits", "-o", FILE)
    ask("agree", "--images", FILE)


@pytest.fixture
def checkpoints(checkpoint: Path) -> dict[str, Path]:
    """Files whose own names and whose tensors' are hostile."""
    import pickle

    import torch
    from safetensors.numpy import load_file, save_file

    tensors = {f"{WRITTEN}.{name}": array for name, array in load_file(checkpoint).items()}
    folder = checkpoint.parent
    found = {ending: folder / f"{FILE}.{ending}" for ending in ("safetensors", "pt", "pdparams", "npz", "pkl", "csv")}
    save_file(tensors, "x", {"portproof.side": "torch", WRITTEN: WRITTEN})
    Path("x").rename(found["safetensors"])
    torch.save({WRITTEN: {name: torch.from_numpy(a) for name, a in tensors.items()}, "epoch": 3}, "x")
    Path("x").rename(found["pt"])
    found["pdparams"].write_bytes(pickle.dumps(tensors, 4))
    found["pkl"].write_bytes(pickle.dumps({EVIL: {EVIL: next(iter(tensors.values()))}}, 4))
    found["npz"].write_bytes(EVIL.encode("utf-8", "replace"))
    found["csv"].write_text(EVIL, encoding="utf-8", errors="replace")
    return found


def test_checkpoints(ask: Run, checkpoints: dict[str, Path], checkpoint: Path) -> None:
    for ending, path in checkpoints.items():
        ask("convert", path, "out.pdparams", "--from", "torch")
        ask("convert", path, f"{FILE}-{ending}.safetensors", "--port", "tiny", "--to", "paddle")
        ask("convert", path, "--from", "torch", "--suggest", f"{FILE}-{ending}.csv")
        ask("convert", checkpoint, "out.pdparams", "--map", path)
        ask("convert", path, "out.pdopt", "--params", path, "--map", checkpoints["csv"])
        ask("verify", "--quick", "--no-modules", "--weights", path)
    for one in ("safetensors", "pt", "pdparams"):
        ask("convert", checkpoint, f"{FILE}-{one}.pdparams", "--from", "torch", "--like", checkpoints[one])
        ask("convert", checkpoints[one], f"like-{one}.pdparams", "--from", "torch", "--like", checkpoint)
        ask("convert", checkpoints[one], "--from", "torch", "--like", checkpoint, "--suggest", f"like-{one}.csv")
        ask("convert", checkpoints[one], f"same-{one}.safetensors", "--from", "torch", "--to", "torch", "--map",
            f"like-{one}.csv")  # fmt: skip
    ask("capture", "--runner", "torch-eager", "-o", FILE, "--weights", checkpoints["safetensors"])
    ask("account", FILE)


def graph(path: Path, operator: str, name: str) -> Path:
    """Write a graph whose every name is hostile."""
    import onnx
    from onnx import helper, numpy_helper

    x, out = (helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 8]) for n in (f"x{name}", name))
    weight = numpy_helper.from_array(np.eye(8, dtype=np.float32), f"w{name}")
    nodes = [helper.make_node("MatMul", [x.name, weight.name], [f"a{name}"], name=name),
             helper.make_node(operator, [f"a{name}"], [out.name], name=f"2{name}")]  # fmt: skip
    made = helper.make_graph(nodes, name, [x], [out], [weight])
    path.write_bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path


def test_graphs(ask: Run, project: Path) -> None:
    names = f"inputs={{'x' + {WRITTEN!r}: Input(('batch', 8))}}, outputs=({WRITTEN!r},)"
    files = [graph(project / f"{operator}{FILE}.onnx", operator, WRITTEN) for operator in ("Relu", "Tanh", "Nonsense")]
    Path("g.onnx").write_bytes(files[0].read_bytes())
    Path("tiny.py").write_text(
        "from portproof import Input, Port\n"
        f"TINY = Port(name='g', torch='g.onnx', {names})\n"
    )  # fmt: skip
    for first in files:
        for second in files:
            ask("match", first, second)
            ask("match", first, second, "--rename", f"{WRITTEN}={WRITTEN}2")
        ask("convert", first, "x.pdparams", "--port", "tests.small_ports:PICTURES")
    ask("verify", "--quick", "--report", "g.xml", "--report", "g.html")
    assert "made of files" in ask("bench", "run").err
    Path("g.onnx").write_bytes(files[2].read_bytes())
    ask("verify", "--quick")
    ask("agree", "--images", FILE)


def test_captures(ask: Run, project: Path, checkpoint: Path) -> None:
    assert ask("capture", "--runner", "torch-eager", "-o", FILE).code == 0
    assert ask("capture", "--runner", "paddle-dygraph", "--like", FILE, "-o", f"{FILE}2").code == 0
    assert ask("compare", FILE, f"{FILE}2").code == 0
    path = Path(FILE, "manifest.json")
    whole = json.loads(path.read_text())
    for key in whole:
        path.write_text(json.dumps({**whole, key: evil_everywhere(whole[key], ())}))
        ask("compare", FILE, f"{FILE}2")
        ask("capture", "--runner", "torch-eager", "--like", FILE, "-o", f"{FILE}3")


def test_what_a_person_typed_or_a_shell_found(ask: Run, project: Path) -> None:
    typed = EVIL.replace("\x00", "")
    for group in ((), ("bench",)):
        for name, command in commands(typer.main.get_command(_app.app)):
            if name[: len(group)] == group:
                USED.add(" ".join(name))
                ask(*name, f"--{typed}")
                ask(*name, typed, typed, typed, typed)
                ask(*name, *(part for option in _options(command) for part in (option, typed)))
    ask(typed)
    ask("bench", typed)
    ask(f"-{typed}")
    assert ask("init", f"new{MODULE}").code == 2
    project.joinpath("pyproject.toml").write_text(f"[tool.portproof]\nports = [{json.dumps(WRITTEN)}]\n")
    ask("ports")
    ask("verify")
    assert ask("doctor").code == 0
    assert ask("schema", "bench").code == 0


def _options(command: Any) -> Iterator[str]:
    yield from (p.opts[0] for p in command.params if p.opts[0].startswith("--") and p.opts[0] != "--help")


def test_what_agree_finds(tmp_path: Path) -> None:
    from portproof.agree._result import Agreement, Cost, Looked, Rate, RunnerAgreement, Unreadable
    from portproof.agree._run import AgreeProgress

    environment = {"processor": EVIL, "versions": {EVIL: EVIL}, "instruction_sets": [EVIL], "batch": 1, "threads": 1}
    rate, looked = Rate(9, 0, 1, 0.0, 0.2, 0.2), Looked(1, EVIL, 9.0, 3.0, 1, 2)
    ratios = dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 1.0)
    runner = RunnerAgreement(
        EVIL, EVIL, EVIL, "divergent", rate, rate, ratios, 1, None, None, (looked,), (looked,), Cost(1, 0, 1, 1.0), None
    )
    found = Agreement(
        EVIL, "divergent", EVIL, EVIL, EVIL, 10, (Unreadable(0, EVIL, EVIL),), 30, EVIL, 10, 0, None, None, 1e-7, 1.0,
        10, 1.0, (runner,), None, (EVIL,), environment,
    )  # fmt: skip
    console = output()
    with console.capture() as said:
        print_agreement(found, AgreeProgress(total=1), console)
    harmless(said.get())
    for number in range(2):
        (tmp_path / f"{number}{FILE}.jpg").write_bytes(EVIL.encode("utf-8", "replace"))
    target = tmp_path / "page.html"
    target.write_text(agree_page(found, Images(str(tmp_path))), encoding="utf-8")
    well_formed(target)


@given(st.text() | st.text(st.sampled_from("\x1b\x9b\x07\r\n\t\u202e\ud800[]m0`|<>&*_ ab")))
def test_a_text_is_plain_in_every_medium(text: str) -> None:
    for medium in (_text.plain, _text.visible, _text.markdown, _text.code, _text.markup):
        assert medium(text).isprintable()
    assert ElementTree.fromstring(f"<a b='{_text.markup(text)}'>{_text.markup(text)}</a>").text == (
        _text.plain(text) or None
    )
    shown = _text.code(text)
    fence = re.match("`+", shown)
    assert fence is not None
    assert re.findall("`+", shown).count(fence[0]) == 2


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_console_prints_text_as_text(one: str, two: str) -> None:
    for console in (output(), errors(force_terminal=True, color_system=None, width=60)):
        table = Table(one, "", box=None)
        table.add_row(two, Text.assemble((one, "bold"), two))
        with console.capture() as said:
            console.print(one, Text(two, style="red"), table)
        lines = said.get()
        assert not {c for c in lines if not c.isprintable() and c != "\n"}


def test_every_command_was_asked() -> None:
    """The last of this file: what a new command says is asked above."""
    missing = {" ".join(name) for name, _ in commands(typer.main.get_command(_app.app))} - USED
    assert missing == set()
