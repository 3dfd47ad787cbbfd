"""Any one broken line of either GoogLeNet makes ``verify`` exit 1 and name the place."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Run

ROOT = Path(__file__).parents[2]

#: What is broken: the line as it stands, the line as broken, and the module that has to be named first.
MUTATIONS: dict[str, tuple[str, str, str]] = {
    "a ReLU dropped, later names shift": (
        "nn.Conv2{d}(in_channels, p2[0], 1), nn.ReLU(),",
        "nn.Conv2{d}(in_channels, p2[0], 1),",
        "inception_block3.0.p2",  # whose parts are paired by a map that is found, and receive another input
    ),
    "a last ReLU dropped": (
        "nn.Conv2{d}(in_channels, p1, 1), nn.ReLU(),", "nn.Conv2{d}(in_channels, p1, 1),", "inception_block3.0.p1",
    ),
    "p3 and p4 swapped": ("self.p3(x), self.p4(x)]", "self.p4(x), self.p3(x)]", "inception_block3.0"),
    "kernel 5 to 3": ("p3[1], 5, padding=2", "p3[1], 3, padding=1", "inception_block3.0.p3.2"),
    "stride": ("p2[1], 3, padding=1", "p2[1], 3, stride=2, padding=1", "inception_block3.0.p2.2"),
    "padding": ("(3, 64, 7, stride=2, padding=3)", "(3, 64, 7, stride=2, padding=2)", "conv_block1.0"),
    "pool type": ("nn.MaxPool2{d}(3, stride=1", "nn.AvgPool2{d}(3, stride=1", "inception_block3.0.p4.0"),
    "heads wired to each other's block": ("self.out1(a), self.out2(d)", "self.out1(d), self.out2(a)", ""),
    "heads in the wrong order": ("self.out1(a), self.out2(d)", "self.out2(d), self.out1(a)", ""),
    "one bias missing": ("nn.Conv2{d}(64, 64, 1)", "nn.Conv2{d}(64, 64, 1, {no_bias})", "conv_block2.0"),
}  # fmt: skip
SPELLING = {"torch": {"d": "d", "no_bias": "bias=False"}, "paddle": {"d": "D", "no_bias": "bias_attr=False"}}


# All of it is slow. One line, of wiring, is broken in the fast suite too: in tests/docs/test_pictures.py.
@pytest.mark.slow
@pytest.mark.parametrize("side", ["torch", "paddle"])
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_line_is_divergent_and_named(project: Path, run: Run, name: str, side: str) -> None:
    for folder in ("torch_impl", "paddle_impl", "convert"):
        shutil.copytree(ROOT / folder, project / folder)
    (project / "pyproject.toml").write_text('[tool.portproof]\nports = ["convert.googlenet:GOOGLENET"]\n')
    file = project / f"{side}_impl" / "googlenet.py"
    before, after, module = (text.replace("{d}", SPELLING[side]["d"]) for text in MUTATIONS[name])
    after = after.replace("{no_bias}", SPELLING[side]["no_bias"])
    source = file.read_text()
    assert before in source
    file.write_text(source.replace(before, after))
    answer = run("verify", project / "convert" / "googlenet.py", "--quick", "--json", "-")
    assert answer.code == 1, answer
    culprits = json.loads(answer.out)["culprits"]
    assert culprits[0]["module"].startswith(module)
    assert module or culprits[0]["module"] == ""
