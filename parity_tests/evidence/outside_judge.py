"""A GoogLeNet that nobody here wrote as a judge of ours: light_inception_v1, which the onnx package carries.

Run from the repository's root: ``python -m parity_tests.evidence.outside_judge``. Its weights are constants and its
expected output is the same everywhere, so its numbers see nothing. Its graph does: it is matched with our export node
by node, and then the differences that were found, no others, are made in it, our weights are put in, and it is run.
Where it then computes what our model computes, the list of differences is complete.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file

from convert.googlenet import GOOGLENET
from portproof._disk import save_arrays
from portproof.graphs._match import Match, match_graphs, renamed
from portproof.judge._floor import output_floors
from portproof.judge._hops import judge_outputs
from portproof.judge._report import Hop
from portproof.ports._inputs import make_batch
from portproof.ports._locate import find_port
from portproof.runners._onnxruntime import run_bytes
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = {"data_0": "image", "prob_1": "out"}
#: What each difference is, and why it is there.
WHY = {
    "LRN": "the paper's local response normalisation; ours leaves it out on purpose",
    "Softmax": "ours returns logits, which the loss and the decision need",
    "MaxPool": "Caffe's pools round up; this file pads nothing and rounds down, ours pads by 1: 55 cells beside 56",
    "AveragePool": "on the smaller map its 7x7 window is padded to fit",
    "out1": "the first auxiliary classifier; the file keeps the main head alone",
    "out2": "the second auxiliary classifier",
}


@dataclass(frozen=True)
class Outcome:
    """What the outside judge said.

    Attributes:
        match: of our export with the judge's graph.
        steps: that the judge's graph has.
        blind: the spread of the judge's own expected output over its classes, relative to its scale.
        hop: the judge's graph, changed by the differences and given our weights, run by ONNX Runtime.
    """

    match: Match
    steps: int
    blind: float
    hop: Hop


def judge() -> Outcome:
    """Match our torch export with the judge, and run the judge on our weights."""
    light = renamed(onnx.load(LIGHT / "light_inception_v1.onnx"), NAMES)
    expected = onnx.TensorProto.FromString((LIGHT / "light_inception_v1_output_0.pb").read_bytes())
    given = numpy_helper.to_array(expected)
    rows = {name: array[:1] for name, array in make_batch(GOOGLENET, rows=4).arrays.items()}
    with tempfile.TemporaryDirectory() as folder, Sessions(find_port("convert.googlenet:GOOGLENET")) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        inputs, path = sides.folder / "inputs.safetensors", Path(folder) / "torch.onnx"
        batch = make_batch(GOOGLENET).arrays
        save_arrays(inputs, batch)
        files = sides.spread(*sides.sensitise(inputs, 0))
        torch = sides.open["torch"]
        torch.call(Tasks.load, weights=files["torch"])
        torch.call(Tasks.export, inputs=inputs, out=path)
        out = Path(folder) / "torch"
        torch.call(
            Tasks.run, runner="torch-eager", inputs=inputs, out=out, precisions=["float64", "float32"], single=0,
        )  # fmt: skip
        high, low = (load_file(out / f"{precision}.safetensors") for precision in ("float64", "float32"))
        ours = onnx.load(path)
    match = match_graphs(ours, light, rows, ("ours", "light_inception_v1"), weights="shapes")
    floors = output_floors([(low, high)])
    changed = with_our_weights(without_differences(light), ours, match)
    found = [run_bytes(changed, True, (), {"image": row[None]})["out"] for row in batch["image"]]
    hop = judge_outputs(
        "numerics", "torch float64 (oracle)", "light_inception_v1 with our weights", "float32", "sensitised",
        {"out": np.concatenate(found)}, {"out": high["out"]}, floors,
    )  # fmt: skip
    steps = sum(node.op_type not in ("ConstantOfShape", "Dropout") for node in light.graph.node) - 1
    return Outcome(match, steps, float(np.ptp(given) / np.sqrt(np.mean(given**2))), hop)


def without_differences(light: onnx.ModelProto) -> onnx.ModelProto:
    """Make the differences that the match names in the judge's graph, and no others."""
    changed = onnx.ModelProto()
    changed.CopyFrom(light)
    passed: dict[str, str] = {}
    kept = []
    for node in changed.graph.node:
        node.input[:] = [passed.get(name, name) for name in node.input]
        if node.op_type in ("LRN", "Softmax"):
            passed[node.output[0]] = node.input[0]
            continue
        if node.op_type == "MaxPool" and _ints(node, "strides") == [2, 2]:
            _set(node, pads=[1, 1, 1, 1])
        if node.op_type == "AveragePool":
            _set(node, pads=[0, 0, 0, 0], strides=[7, 7])
        kept.append(node)
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    last = passed["out"]
    for node in changed.graph.node:
        node.output[:] = ["out" if name == last else name for name in node.output]
    del changed.graph.value_info[:]
    return changed


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [])


def _set(node: onnx.NodeProto, **values: list[int]) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in values.items())])


def with_our_weights(light: onnx.ModelProto, ours: onnx.ModelProto, match: Match) -> bytes:
    """Put our weights where the match says that they belong."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in ours.graph.initializer}
    taken: dict[str, Any] = {theirs: stored[mine] for mine, theirs in match.tensors}
    nodes = [node for node in light.graph.node if node.output[0] not in taken]
    constants = [tensor for tensor in light.graph.initializer if tensor.name not in taken]
    inputs = [value for value in light.graph.input if value.name not in taken]
    del light.graph.node[:], light.graph.initializer[:], light.graph.input[:]
    light.graph.node.extend(nodes)
    light.graph.input.extend(inputs)
    light.graph.initializer.extend([*constants, *(numpy_helper.from_array(a, name) for name, a in taken.items())])
    serialised: bytes = light.SerializeToString()
    return serialised


def main() -> None:
    """Print the match, the differences with their reasons, and what the judge computes on our weights."""
    found = judge()
    print(f"{len(found.match.matched)} of the {found.steps} steps of light_inception_v1 match ours one to one")
    for difference in found.match.differences:
        print(f"  {difference}\n    {next(why for key, why in WHY.items() if key in difference)}")
    print(f"its own expected output moves by {found.blind:.0e} of its scale: those numbers see nothing")
    worst = found.hop.worst
    assert worst is not None
    print(f"with these differences made and our weights put in: {found.hop.verdict}, {worst.ratio:.1f} noise floors")


if __name__ == "__main__":
    main()
