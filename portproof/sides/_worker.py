"""A side's own process: one JSON task a line in, one JSON answer a line out."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from portproof._errors import ModelRaised, PortproofError, environmental


def main() -> None:
    """Answer tasks until standard input ends. What models and frameworks print goes to standard error."""
    # An interrupt goes to every process of a terminal. The parent decides what it means, and may keep something first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    place: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        arguments = request["arguments"]
        try:
            if request["task"] == "_open":
                place, result = _open(**arguments), None
            else:
                result = place.answer(request["task"])(**arguments)
            answer: dict[str, Any] = {"result": result}
        except BaseException as raised:
            answer = {"error": _told(raised)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _told(raised: BaseException) -> dict[str, Any]:
    """Put what a task raised into JSON, so that the parent can raise it again."""
    error = raised if isinstance(raised, PortproofError) else environmental(raised)
    if error is None:
        # A bug of ours, or a framework that leaves by SystemExit: told as such, never turned into a verdict.
        return {"type": type(raised).__name__, "message": traceback.format_exc(), "exit_code": None, "details": {}}
    details = {}
    if isinstance(error, ModelRaised):
        details = {"side": error.side, "module": error.module, "reason": error.reason}
    return {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code, "details": details}


def _open(
    root: str | None,
    locator: str | None,
    kwargs: dict[str, Any],
    side: str,
    module: str,
    device: str,
    threads: int,
    part: dict[str, Any] | None,
) -> Any:
    from portproof._machine import bound_memory
    from portproof.ports._locate import Project, find_port
    from portproof.ports._port import Part
    from portproof.sides._workplace import Workplace

    if device == "cpu":  # CUDA's driver maps address space by the terabyte
        bound_memory()
    located = find_port(locator, Project(Path(root) if root else None))
    port = replace(located.port, kwargs=kwargs)
    return Workplace(port if part is None else Part(**part).of(port), side, module, device, threads)


if __name__ == "__main__":
    main()
