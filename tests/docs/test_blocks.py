"""Every code block of the documentation is run, or says why it is not; every command that it names can be typed."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import Run, as_a_new_process_has_it
from tests.docs.blocks import ROOT, Block, blocks_of, inline_commands, pages
from tests.docs.commands import check, options

#: Pages whose commands are played elsewhere.
ELSEWHERE = {"docs/tutorial.md": "tests/test_wheel.py", "docs/gallery.md": "tests/parity/test_gallery.py"}
#: Pages that take more than some seconds.
SLOW = {"docs/ci.md", "docs/coming-from.md", "docs/exporting.md"}
#: What a reader has at hand: a pair of models, their port and their weights.
FILES = {
    "my_torch_model.py": """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 8, 7, stride=8, padding=3), nn.BatchNorm2d(8), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.pool(self.layer2(self.layer1(x))).flatten(1))
""",
    "my_paddle_model.py": """
from paddle import nn


class Stage(nn.Layer):
    def __init__(self, *layers):
        super().__init__()
        for index, layer in enumerate(layers):
            self.add_sublayer(f"block{index}", layer)

    def forward(self, x):
        for layer in self.children():
            x = layer(x)
        return x


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.stage1 = Stage(nn.Conv2D(3, 8, 7, stride=8, padding=3), nn.BatchNorm2D(8), nn.ReLU())
        self.stage2 = Stage(nn.Conv2D(8, 16, 3, stride=2, padding=1), nn.BatchNorm2D(16), nn.ReLU())
        self.pool, self.head = nn.AdaptiveAvgPool2D(1), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.pool(self.stage2(self.stage1(x))).flatten(1))
""",
    "my_port.py": """
from portproof import Input, Port, WeightMap

PORT = Port(
    "mine", "my_paddle_model:Net", "my_torch_model:Net", {"image": Input(("batch", 3, 224, 224))}, ("logits",),
    weights=WeightMap(rename={"layer{n}.{i}": "stage{n}.block{i}"}),
)
""",
}
BLOCKS = [block for page in pages() for block in blocks_of(page)]


def twin(page: str) -> bool:
    """Whether a page is the Chinese one of two, which ``test_languages.py`` holds to the other's blocks."""
    return page == "README.zh.md" or page.startswith("docs/zh/")


RUN = sorted({block.page for block in BLOCKS if not twin(block.page)})


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what a reader has, as the working directory."""
    import paddle
    import torch

    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "benchmarks" / "evidence").mkdir(parents=True)
    (tmp_path / "benchmarks" / "evidence" / "costs.json").symlink_to(ROOT / "benchmarks" / "evidence" / "costs.json")
    monkeypatch.chdir(tmp_path)
    with as_a_new_process_has_it():
        sys.path.insert(0, str(tmp_path))
        import my_paddle_model
        import my_torch_model

        torch.save(my_torch_model.Net().state_dict(), tmp_path / "trained.pt")
        paddle.save(my_paddle_model.Net().state_dict(), str(tmp_path / "trained.pdparams"))
        yield tmp_path


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in RUN])
def test_the_blocks_of_a_page_run(page: str, desk: Path, run: Run) -> None:
    scope: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(Path(page)):
        os.chdir(desk)
        if block.title:
            target = desk / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.body)
        if block.mark == "not run" or block.mark == "held by":
            continue
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.body, str(block), "exec"), {"__name__": block.title} if block.title else scope)
        elif block.is_commands and page not in ELSEWHERE:
            play(block, run, desk)


def play(block: Block, run: Run, desk: Path) -> None:
    """Run a block's commands, but for those that install, and hold what it shows to what they say."""
    commands = block.commands()
    for index, (words, printed) in enumerate(commands):
        expected = int(block.said) if block.mark == "exit" and index == len(commands) - 1 else 0
        expected = 1 if "verdict: divergent" in printed else expected
        if words[0] == "cd":
            os.chdir(words[1])
        elif words[0] == "portproof":
            said = run(*words[1:])
            assert said.code == expected, (str(block), said)
            shown_is_said(printed, said.out + said.err, block)
        elif words[0] == "pytest":
            done = subprocess.run(
                [sys.executable, "-m", *words], cwd=desk, env=os.environ | {"PYTHONPATH": f"{ROOT}:{desk}"}, check=False
            )
            assert done.returncode == expected, str(block)


def shown_is_said(shown: str, said: str, block: Block) -> None:
    """Check that all that a block shows was said, numbers apart: they differ from machine to machine."""
    flat = " ".join(said.split())
    for line in shown.splitlines():
        for part in re.split(r"[\d.e+…]+", " ".join(line.split())):
            assert part.strip() in flat, (str(block), line, said)


@pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in BLOCKS if not twin(block.page)])
def test_a_block_is_of_a_kind_that_something_holds(block: Block) -> None:
    if block.mark == "not run":
        assert len(block.said) > 10, "say why"
    elif block.mark == "held by":
        place = (ROOT / block.said).read_text(encoding="utf-8")
        if "test_" not in block.said:
            assert all(line.strip("., ") in place for line in block.body.splitlines())
    elif block.page in ELSEWHERE and block.language in ("", "console"):
        assert Path(block.page).name in (ROOT / ELSEWHERE[block.page]).read_text() or block.page == "docs/gallery.md"
    else:
        assert block.language in ("python", "toml", "yaml") or block.is_commands, (
            f"{block}: mark it `held by` or `not run`"
        )
    if block.language == "toml":
        tomllib.loads(block.body)
    if block.language == "yaml":
        yaml.safe_load(block.body)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page)) for page in pages() if page.name != "CHANGELOG.md"])
def test_every_command_can_be_typed(page: Path) -> None:
    for block in blocks_of(page):
        if block.is_commands:
            for words, _ in block.commands():
                check(words)
    for command in inline_commands(page):
        with contextlib.suppress(ValueError):  # of shlex: half a command
            check(shlex.split(command.replace("…", "")))


#: Pages that name options of other tools, and such options elsewhere: of pytest-xdist, uv, pip, make.
OTHERS = {"CHANGELOG.md", "docs/coming-from.md", "docs/zh/coming-from.md"}
FOREIGN = {"--dist", "--help"}


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page)) for page in pages() if str(page) not in OTHERS])
def test_every_option_is_there(page: Path) -> None:
    named = set(re.findall(r"`(--[a-z][a-z-]+)", (ROOT / page).read_text(encoding="utf-8")))
    assert named - FOREIGN - options() == set()
