"""Every command reads under the bound of memory, since what it reads may come from a stranger."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from portproof.cli import _app
from tests.conftest import Run

#: Reads nobody's files, and starts GPUs' runtimes, which map terabytes.
UNBOUND = {"doctor"}


def commands(group: Any, lead: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*lead, name))
        else:
            yield (*lead, name), command


def test_every_command_runs_under_the_bound(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTPROOF_MEMORY", "7GB")
    group = typer.main.get_command(_app.app)
    monkeypatch.setattr(typer.main, "get_command", lambda _: group)
    found: dict[str, int] = {}
    for path, command in commands(group):
        name = " ".join(path)
        monkeypatch.setattr(command, "params", [])

        def say(name: str = name) -> None:
            found[name] = resource.getrlimit(resource.RLIMIT_DATA)[0]

        monkeypatch.setattr(command, "callback", say)
        assert run(*path).code == 0
    assert len(found) > 20
    assert {name for name, bound in found.items() if bound != 7_000_000_000} == UNBOUND


def test_what_asks_for_more_is_refused_in_one_line(project: Path) -> None:
    """A file may be a hole in the disk, whose every number is there: to turn it takes its size."""
    header = b'{"w":{"dtype":"F32","shape":[3,50000000],"data_offsets":[0,600000000]}}'
    with Path("big.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 600_000_000)
    Path("map.csv").write_text(
        "torch,paddle,transform,torch_shape,paddle_shape,dtype\nw,w,transpose,3x50000000,50000000x3,float32\n"
    )
    asked = ["convert", "big.safetensors", "x.pdparams", "--map", "map.csv", "--from", "torch"]
    done = subprocess.run(
        [sys.executable, "-m", "portproof", *asked], capture_output=True, text=True, check=False,
        env={**os.environ, "PORTPROOF_MEMORY": "500MB"},
    )  # fmt: skip
    assert done.returncode == 4, done
    assert done.stderr.count("\n") == 1
    assert "memory ran out" in done.stderr
    assert not Path("x.pdparams").exists()
