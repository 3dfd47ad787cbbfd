"""Judge every layer of ``tests/frameworks/test_layers.py`` with its exports: the last table of ``docs/zoo.md``.

``python -m tests.layer_table FOLDER`` runs what FOLDER has no result of yet. A few minutes on two cores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from portproof import PortproofError, verify
from tests.frameworks.test_layers import LAYERS, OUTPUTS, _port


def main(folder: Path) -> None:
    """Print what does not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "layers.json"
    found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    for name, made in LAYERS.items():
        if name not in found:
            print(name, file=sys.stderr, flush=True)
            try:
                report = verify(_port(*made, OUTPUTS.get(name.partition(",")[0], ("out",))), gradients=True)
                found[name] = report.to_json()
            except PortproofError as error:
                found[name] = {"error": str(error)}
            out.write_text(json.dumps(found))
    odd = {name: report for name, report in found.items() if report.get("verdict") not in ("equivalent", "identical")}
    print(f"\n{len(found)} layers; {len(found) - len(odd)} hold in every hop. The others:\n")
    print("| layer | hop | what |\n| --- | --- | --- |")
    for name, report in odd.items():
        for hop in report.get("hops", ()):
            if hop["verdict"] in ("divergent", "unavailable") and hop["kind"] != "batch":
                worst = hop["worst"] or {}
                what = hop["reason"] or worst.get("note") or f"{worst.get('ratio') or float('inf'):.0e} floors"
                print(f"| {name} | {hop['to']} | `{what[:160]}` |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
