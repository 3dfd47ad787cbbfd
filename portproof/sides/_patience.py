"""How long a process is waited for that owes an answer: as long as it computes, and a while longer."""

from __future__ import annotations

import os
import select
from pathlib import Path

from portproof._errors import BadInput

#: Seconds that a process may owe an answer without computing anything, before it counts as hung.
PATIENCE_VARIABLE, _PATIENCE_S, _LOOK_S = "PORTPROOF_PATIENCE", 120.0, 1.0


def says_something(handle: int, process: int) -> bool:
    """Wait until a handle can be read, or its other end is closed; False where the process has stopped computing.

    Looks are counted, not the clock: a machine that sleeps or a stopped terminal makes nobody late.
    """
    patience, idle, last = patience_s(), 0.0, None
    while not select.select([handle], [], [], min(_LOOK_S, patience))[0]:
        used = processor_time(process)
        idle = idle + min(_LOOK_S, patience) if used is not None and used == last else 0.0
        last = used
        if idle >= patience:
            return False
    return True


def patience_s() -> float:
    """Return the seconds after which a process that computes nothing counts as hung.

    Raises:
        BadInput: the variable holds no number of seconds.
    """
    text = os.environ.get(PATIENCE_VARIABLE, str(_PATIENCE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInput(f"{PATIENCE_VARIABLE} takes a number of seconds, found '{text}'.")
    return seconds


def processor_time(process: int) -> int | None:
    """Return the clock ticks that a process and all below it have used; None where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        below = [Path(f"/proc/{process}/task/{task.name}/children").read_text().split()
                 for task in Path(f"/proc/{process}/task").iterdir()]  # fmt: skip
    except OSError:
        return None
    return sum(map(int, fields[11:15])) + sum(processor_time(int(child)) or 0 for each in below for child in each)
