"""A side's own process: one JSON task a line in, one JSON answer a line out."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portproof.sides._process import Opening
from portproof.sides._wire import tell, unpack

if TYPE_CHECKING:
    from portproof.sides._reads import Reading
    from portproof.sides._workplace import Workplace


def main() -> None:
    """Answer tasks until standard input ends. What models and frameworks print goes to standard error."""
    # What ends a command often goes to all its processes: Ctrl-C, a terminal that closes, `timeout`. The parent decides
    # what it means, and may keep something first; where it is gone, so is this one's input.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # importing a framework makes hundreds of thousands of objects, and none of them is garbage
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    place: Any = None
    answer: dict[str, Any]
    reading: Reading | None = None
    for line in sys.stdin:
        request = json.loads(line)
        arguments = request["arguments"]
        try:
            if request["task"] == "_open":
                opening = unpack(arguments, Opening)
                reading = _follow() if opening.followed else None
                place, answer = _open(opening), {"result": None}
            else:
                answer = {"result": place.answer(request["task"], arguments)}
                if reading is not None:
                    answer["read"] = reading.report()
        except BaseException as raised:
            answer = {"error": tell(raised)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if request["task"] != "_open" and not gc.isenabled():
            gc.freeze()  # what is there by now stays, and need not be looked through again
            gc.enable()


def _follow() -> Reading:
    from portproof.sides._reads import Reading

    return Reading()


def _open(opening: Opening) -> Workplace:
    from portproof._machine import bound_memory, unbound_memory
    from portproof.ports._locate import Project, find_port
    from portproof.sides._workplace import Workplace

    if opening.device == "cpu":
        bound_memory()
    else:  # CUDA's driver maps address space by the terabyte
        unbound_memory()
    located = find_port(opening.locator, Project(opening.root))
    port = replace(located.port, kwargs=opening.kwargs)
    port = port if opening.part is None else opening.part.of(port)
    return Workplace(port, opening.side, opening.module, opening.device, opening.threads)


if __name__ == "__main__":
    main()
