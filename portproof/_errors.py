"""Errors that a person can act on, each with the exit code that the command line answers with."""

from __future__ import annotations

import re


class PortproofError(Exception):
    """Base of all errors raised on purpose: one line saying what was expected, found, and what to do."""

    exit_code = 2


class BadInput(PortproofError):
    """A file, an argument or a factory is not what it has to be. Exit code 2."""


class Unavailable(PortproofError):
    """A framework, provider or device that was asked for is not there. Exit code 4."""

    exit_code = 4


class WorkerDied(Unavailable):
    """A side's process ended before it answered (killed, out of memory, crashed). Exit code 4."""


class Interrupted(BaseException):
    """A person pressed Ctrl-C. Exit code 130."""


class ModelRaised(PortproofError):
    """A model's forward raised. Alone it is bad input; beside a side that runs, it is a divergence.

    Attributes:
        side: the side that raised.
        module: path of the innermost module that was running, "" for the root.
        reason: the exception's type and first line.
    """

    def __init__(self, side: str, module: str, reason: str) -> None:
        super().__init__(f"{side} model raised in module '{module or '(root)'}': {reason}")
        self.side, self.module, self.reason = side, module, reason


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return ``Type: message`` of any exception on one line, cut at ``limit`` characters."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("[Hint:")[0]  # Paddle's hints are its own source
    lines = [line.strip() for line in plain.splitlines() if line.strip(" -\t")]
    text = f"{type(error).__name__}: " + " ".join(lines)
    return text if len(text) <= limit else text[: limit - 1] + "…"
