"""The table of docs/survival.md: every command that writes or runs long, under every fault.

    python -m tests.survive                                 # all cells, about a quarter of an hour
    python -m tests.survive --commands agree,train --faults killed

Exit code 1 where a cell does not hold. What each came to is kept in survival.json beside this file, so that some cells
can be run again; the table is made of all. ``tests/survival.py`` is the harness.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from portproof._machine import processor
from tests.survival import COMMANDS, FAULTS, Cell, Harness

PAGE = Path(__file__).parents[1] / "docs" / "survival.md"
KEPT = Path(__file__).with_name("survival.json")
_BEGIN, _END = "<!-- made by tests/survive.py -->", "<!-- end -->"


def table(cells: Sequence[Cell]) -> str:
    """Return the cells as a Markdown table, a row a command."""
    faults = [fault for fault in FAULTS if any(cell.fault == fault for cell in cells)]
    lines = [f"| | {' | '.join(faults)} |", f"| --- |{' --- |' * len(faults)}"]
    for command in (name for name in COMMANDS if any(cell.command == name for cell in cells)):
        mine = {cell.fault: cell for cell in cells if cell.command == command}
        said = [
            ("**FAILED**: " if mine[fault].wrong else "") + mine[fault].outcome if fault in mine else "not run"
            for fault in faults
        ]
        lines.append(f"| `{command}` | {' | '.join(said)} |")
    return "\n".join(lines)


def read() -> list[Cell]:
    """Return the cells that were run before."""
    return [Cell(**entry) for entry in json.loads(KEPT.read_text())] if KEPT.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    commands, faults = given.commands.split(","), given.faults.split(",")
    cells = []
    with tempfile.TemporaryDirectory(prefix="survival-") as folder:
        harness = Harness(Path(folder), given.seed)
        for command in commands:
            for fault in faults:
                cell = harness.cell(COMMANDS[command], fault)
                print(f"{cell.command}, {cell.fault}: {cell.outcome}", cell.said and f"({cell.said})", flush=True)
                for wrong in cell.wrong:
                    print(f"  DOES NOT HOLD: {wrong}", flush=True)
                cells.append(cell)
    kept = {(cell.command, cell.fault): cell for cell in (*read(), *cells)}
    KEPT.write_text(json.dumps([asdict(cell) for cell in kept.values()], indent=1) + "\n")
    before, rest = PAGE.read_text(encoding="utf-8").split(_BEGIN)
    made = f"{table(list(kept.values()))}\n\nMade on {processor()}, moments of seed {given.seed}."
    PAGE.write_text(f"{before}{_BEGIN}\n{made}\n{_END}{rest.split(_END)[1]}", encoding="utf-8")
    sys.exit(1 if any(cell.wrong for cell in cells) else 0)


if __name__ == "__main__":
    main()
