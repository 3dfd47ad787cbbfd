"""Judge every published pair and print the table of docs/wild.md.

    python -m parity_tests.wild            all of them, planted faults beside
    QUICK=1 python -m parity_tests.wild    ten small ones, verdicts alone

Exit code 1 where a verdict is another than the one that was checked by hand.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

from parity_tests.wild import backbones, classifiers, detection, diffusion, language, sequences
from portproof import Port, PortproofError, find_port, verify
from portproof.faults._campaign import FaultOptions, plant_faults
from portproof.judge._report import HOLDS
from portproof.parity._mapped import with_map

MODULES = (language, sequences, classifiers, diffusion, backbones, detection)
#: Pairs that are not one function, and what differs: each by hand, in float64, against the two libraries' code.
DIFFERENT = {
    "fnet": "paddlenlp transforms all axes, the rows of the batch among them: `fftn` without `axes`",
    "fasternet-t0": "paddleclas gives its first BatchNorm torch's momentum, .1, which in Paddle means the opposite",
    "blip-vision": "transformers norms the pooled row twice, paddlenlp once",
    "autoencoder-tiny": "ppdiffusers multiplies latents by what it should divide by; its bytes are int8 and wrap",
    "codegen": "paddlenlp gives `where` a mask of floats, which Paddle 3 refuses: it does not run",
    "mixtral": "paddlenlp's experts multiply shapes that Paddle 3 does not broadcast: it does not run",
    "rembert": "paddlenlp hands the attention's tuple to a Linear: it does not run",
    "mobilenet-v1": "timm's has ReLU6 where paddleclas has ReLU",
    "efficientnet-b0": "the BatchNorms' momentum: paddleclas' .99 is .01 in torch, where timm has .1",
    "dpn68": "timm's BatchNorms have an eps of .001, paddleclas' 1e-5",
    "mobilevit-xxs": "the last norm of each block has an eps of 1e-6 in paddleclas, 1e-5 in timm",
    "inception-v3": "timm's BatchNorms have an eps of .001, paddleclas' 1e-5",
    "segformer-b0": "20 LayerNorms of transformers' have torch's eps of 1e-5, whatever is configured, paddleseg's 1e-6",
    "vision-alexnet": "Paddle's has the older Dropout, which scales in inference; its pools need larger images",
    "vision-squeezenet1-1": "Paddle's first convolution is padded, and its Dropout scales in inference",
}
#: Whose verdicts the engine was mended on; every other pair was declared first and judged once.
TUNED = {
    "bert", "roberta", "convbert", "deberta", "nezha", "roformer", "gpt2", "llama", "vit", "convnext", "pp-hgnet-tiny",
    "resnet50-vd", "repvgg-a0", "vision-resnext50-32x4d", "vision-wide-resnet50-2", "vision-mobilenet-v2",
    "vision-mobilenet-v3-small", "vision-mobilenet-v3-large", "vision-densenet121", "vision-shufflenet-v2-x1-0",
    "vision-alexnet", "vision-squeezenet1-1", "segformer-b0",
}  # fmt: skip
QUICK = ("BERT", "ROBERTA", "GPT2", "LLAMA", "T5", "MPNET", "VIT", "CONVNEXT", "PVT", "FNET")
FAULTS = 24


@dataclass(frozen=True)
class Row:
    """What became of one pair.

    Attributes:
        name: of the port.
        lines: of its declaration.
        verdict: of the two sides; "error" where there is none.
        said: the first culprit, or the error.
        organised: kinds of modules that are organised otherwise.
        lifted: what is float32 inside.
        seconds: that the verdict took.
        effective, caught, located: of the planted faults.
        precision, recall: of the culprits named for them.
    """

    name: str
    lines: int
    verdict: str
    said: str = ""
    organised: int = 0
    lifted: str = ""
    seconds: float = 0.0
    effective: int = 0
    caught: int = 0
    located: int = 0
    precision: float = 1.0
    recall: float = 1.0

    @property
    def right(self) -> bool:
        """Whether the verdict is what it was found to be by hand."""
        return self.verdict == "divergent" if self.name in DIFFERENT else self.verdict in HOLDS


def ports(module: ModuleType) -> dict[str, Port]:
    """Return the ports of a module by the name of their variable."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Port)}


def lines_of(module: ModuleType, variable: str) -> int:
    """Count the lines of a port's declaration."""
    statements = ast.parse(inspect.getsource(module)).body
    return next(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for node in statements
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == variable
    )


def judged(module: ModuleType, variable: str, *, faults: int) -> Row:
    """Judge one pair, its two sides in processes of their own, and plant faults where it holds."""
    located = find_port(f"{module.__name__}:{variable}")
    lines, begun = lines_of(module, variable), time.monotonic()
    try:
        report = verify(located, quick=True)
    except PortproofError as error:
        return Row(located.port.name, lines, "error", str(error), seconds=time.monotonic() - begun)
    said = f"`{report.culprits[0].module}`: {report.culprits[0].message}" if report.culprits else ""
    lifted = next((note.partition(": ")[2] for note in report.notes if note.startswith("float32 inside")), "")
    organised = len(report.modules.organised) if report.modules is not None else 0
    row = Row(located.port.name, lines, report.verdict, said, organised, lifted, time.monotonic() - begun)
    if not report or not faults:
        return row
    mapped = with_map(located, {}, lambda *_: None)
    found = plant_faults(mapped, FaultOptions(count=faults, groups=0, seeds=1), lambda *_: None).to_json()
    return replace(row, **{what: found[what] for what in ("effective", "caught", "located", "precision", "recall")})


def main() -> int:
    """Print the table, and how many are right."""
    quick, asked = bool(os.environ.get("QUICK")), set(sys.argv[1:])
    unknown = asked - {name for module in MODULES for name in ports(module)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise SystemExit(f"no pair is called {names}; they are the variables of parity_tests/wild/*.py.")
    rows: list[Row] = []
    print("| pair | verdict | organised otherwise | float32 inside | lines | s | faults caught | located |")
    print(f"|{' --- |' * 8}")
    for module in MODULES:
        for variable in ports(module):
            if (quick and variable not in QUICK) or (asked and variable not in asked):
                continue
            row = judged(module, variable, faults=0 if quick else FAULTS)
            rows.append(row)
            verdict = row.verdict if row.right else f"**{row.verdict}** ({row.said})"
            planted = f"{row.caught} of {row.effective} | {row.located}" if row.effective else " | "
            print(
                f"| {row.name} | {verdict} | {row.organised or ''} | {row.lifted} | {row.lines} | {row.seconds:.0f} "
                f"| {planted} |", flush=True,
            )  # fmt: skip
    wrong = [row for row in rows if not row.right]
    effective, caught = sum(row.effective for row in rows), sum(row.caught for row in rows)
    untuned = [row for row in rows if row.name not in TUNED]
    said = f"{len(rows) - len(wrong)} of {len(rows)} right"
    if untuned:
        said += f"; of the {len(untuned)} that the engine was not mended on, {sum(row.right for row in untuned)}"
    print(f"\n{said}")
    if effective:
        share = [
            sum(getattr(row, what) * row.effective for row in rows) / effective for what in ("precision", "recall")
        ]
        print(f"{caught} of {effective} effective faults caught; precision {share[0]:.3f}, recall {share[1]:.3f}")
    kept = os.environ.get("RESULTS")
    if kept:
        Path(kept).write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
