"""What ``convert --verify`` holds a conversion to: the target read back, and the source read by its own tools."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from portproof._errors import BadInput
from portproof.checkpoints import Checkpoint, Stored

#: Seconds for a second reading: a framework is loaded, and a few GB a minute are read.
_PATIENCE = 1800


def read_back(target: Path, back: Mapping[str, Stored], expected: Mapping[str, Stored], source: Path) -> int:
    """Compare what was written with what it was made from, bit by bit; returns the number of tensors.

    Args:
        target: the file that was written.
        back: its tensors, brought back to what they were made from.
        expected: what they were made from.
        source: named in the error.

    Raises:
        BadInput: a tensor differs.
    """
    for name, stored in back.items():
        before = expected[name]
        if (before.dtype, before.shape) != (stored.dtype, stored.shape) or before.bytes() != stored.bytes():
            raise BadInput(f"'{target}': '{name}' does not come back as it was in '{source}'; do not use the file.")
    return len(back)


def read_again(source: Checkpoint, python: str | None = None) -> str:
    """Read a source by its own tools, in a process of its own, and compare every bit; returns a line for a person.

    Args:
        source: what the conversion read.
        python: the interpreter that has the framework; default: this one.

    Raises:
        BadInput: the two readings differ.
    """
    placed = {name: stored for name, stored in source.tensors.items() if stored.place}
    if len(placed) < len(source.tensors):
        return _alone("its tensors are made up of parts, or named by other files")
    asked = {"path": str(source.path.absolute()), "places": [list(stored.place) for stored in placed.values()]}
    command = [python or sys.executable, "-P", "-m", "portproof.frameworks._reread"]
    try:
        done = subprocess.run(
            command, input=json.dumps(asked), capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return _alone("the process that should have read it gave no answer")
    if "reason" in answer:
        return _alone(answer["reason"])
    for (name, stored), (dtype, shape, digest) in zip(placed.items(), answer["tensors"], strict=True):
        own = hashlib.sha256(stored.bytes()).hexdigest()
        # Paddle hands bfloat16 to NumPy as uint16.
        same = (dtype == stored.dtype.name or (dtype, stored.dtype.name) == ("uint16", "bfloat16")) and digest == own
        if not same or tuple(shape) != stored.shape:
            raise BadInput(
                f"'{source.path}': '{name}' is another tensor as {answer['by']} reads it; do not use the target, and "
                "report the file."
            )
    return f"{len(placed)} tensors of the source read again by {answer['by']}: every bit alike"


def _alone(reason: str) -> str:
    return f"the source was read by portproof alone, and no second reading stands beside it: {reason}"
