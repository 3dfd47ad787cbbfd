"""The table of docs/survival.md: every command that writes or runs long, under every fault.

    python -m docs.evidence.survival                        # all cells, about a quarter of an hour
    python -m docs.evidence.survival --commands agree,train --faults killed

Exit code 1 where a cell does not hold. ``tests/survival.py`` is the harness.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from portproof._environment import processor
from tests.survival import COMMANDS, FAULTS, Cell, Harness

PAGE = Path(__file__).parents[1] / "survival.md"
_BEGIN, _END = "<!-- made by docs/evidence/survival.py -->", "<!-- end -->"


def table(cells: Sequence[Cell]) -> str:
    """Return the cells as a Markdown table, a row a command."""
    faults = list(dict.fromkeys(cell.fault for cell in cells))
    lines = [f"| | {' | '.join(faults)} |", f"| --- |{' --- |' * len(faults)}"]
    for command in dict.fromkeys(cell.command for cell in cells):
        mine = {cell.fault: cell for cell in cells if cell.command == command}
        said = [("**FAILED**: " if mine[fault].wrong else "") + mine[fault].outcome for fault in faults]
        lines.append(f"| `{command}` | {' | '.join(said)} |")
    return "\n".join(lines)


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
    if commands == list(COMMANDS) and faults == list(FAULTS):
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(_BEGIN)
        after = rest.split(_END)[1]
        made = f"{table(cells)}\n\nMade on {processor()}, moments of seed {given.seed}."
        PAGE.write_text(f"{before}{_BEGIN}\n{made}\n{_END}{after}", encoding="utf-8")
    sys.exit(1 if any(cell.wrong for cell in cells) else 0)


if __name__ == "__main__":
    main()
