"""Judge every port of the zoo and every namesake, and print the first tables of ``docs/zoo.md``.

``python -m parity_tests.evidence.zoo FOLDER`` runs what FOLDER has no result of yet, then prints the tables. About half
an hour on two cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CLASSIFIERS = (
    "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg16", "alexnet", "lenet", "squeezenet1_1",
    "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "densenet121",
    "inception_v3",
)  # fmt: skip
OTHERS = ("crnn", "unet", "fcos_head", "bert", "decoder", "diffusion_block")
NAMESAKES = ("mobilenet_v3_small", "alexnet", "inception_v3", "squeezenet1_1")

_WORDS = {"identical": "same", "equivalent": "same", "divergent": "**differs**", "unavailable": "cannot run"}


def judged(port: str, out: Path, *options: str) -> dict[str, Any]:
    """Return the report of a port, made in a process of its own if it is not there yet."""
    if not out.is_file():
        command = [sys.executable, "-m", "portproof", "verify", port, "--json", str(out), *options]
        print(" ".join(command[2:]), file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if not out.is_file():
            raise SystemExit(f"{port}: exit {done.returncode}")
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def said(report: dict[str, Any], kinds: tuple[str, ...], title: str = "") -> str:
    """Put the gravest verdict of some hops into a cell, with the farthest ratio."""
    hops = [hop for hop in report["hops"] if hop["kind"] in kinds and title in hop["to"]]
    if not hops:
        return ""
    order = ("divergent", "unavailable", "inconclusive", "equivalent", "identical")
    worst = min(hops, key=lambda hop: order.index(hop["verdict"]))
    ratios = [(hop["worst"] or {}).get("ratio") for hop in hops if hop["verdict"] == worst["verdict"]]
    known = [ratio for ratio in ratios if ratio is not None]
    number = "" if not known else f" {max(known):.1f}" if max(known) < 1e4 else f" {max(known):.0e}"
    return f"{_WORDS.get(worst['verdict'], worst['verdict'])}{number}"


def row(name: str, report: dict[str, Any]) -> str:
    """Return a port's line of the table."""
    cells = [
        name,
        said(report, ("semantics",)),
        said(report, ("gradients",)),
        said(report, ("numerics", "batch"), "float32"),
        said(report, ("graph",), "torch"),
        said(report, ("graph",), "Paddle"),
        said(report, ("export", "runtime"), "torch"),
        said(report, ("export", "runtime"), "Paddle"),
        f"{report['sight']['located']} of {report['sight']['planted']}" if report["sight"] else "",
        f"{report['seconds']['total']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(folder: Path) -> None:
    """Print the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    head = "| port | float64 | backward | float32 | torch's export | Paddle's | in ONNX Runtime: torch's | Paddle's "
    print(f"{head}| faults located | s |\n|{' --- |' * 10}")
    for port in (*CLASSIFIERS, *OTHERS):
        print(row(port, judged(port, folder / f"{port}.json", "--gradients")), flush=True)
    print("\n| models of one name | verdict | the first culprit | modules |\n| --- | --- | --- | --- |")
    for index, name in enumerate(NAMESAKES):
        locator = f"convert.zoo:{name.upper().partition('1_1')[0].rstrip('_')}_NAMESAKE"
        report = judged(locator, folder / f"namesake-{index}.json", "--quick")
        first = report["culprits"][0]
        print(f"| {name} | {report['verdict']} | `{first['module']}`: {first['message']} | {len(report['culprits'])} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
