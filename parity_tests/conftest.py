"""The command line, as a person calls it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def run() -> Run:
    """Call ``portproof`` in a process of its own."""

    def call(*arguments: object) -> Answer:
        command = [sys.executable, "-m", "portproof", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    return call
