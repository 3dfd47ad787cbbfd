"""What only Paddle's exporter needs: a program, paddle2onnx, and names put right."""

from __future__ import annotations

import bisect
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portproof._errors import ExportFailed
from portproof.frameworks._paddle_origins import Operator, note_stacks, noting_operators, stacks
from portproof.ports._port import Port

#: Opset of the Paddle export; torch chooses its own.
PADDLE_OPSET = 18


def paddle_program(layer: Any, port: Port, target: Path) -> None:
    """Save a Paddle layer as a program: ``target`` with ``.json`` and ``.pdiparams``.

    Raises:
        ExportFailed: Paddle cannot trace it.
    """
    import paddle

    if port.call == "dictionary":
        raise ExportFailed("Paddle cannot trace a model that takes one dictionary; wrap it to take its entries.")
    specs = [
        paddle.static.InputSpec([-1 if isinstance(n, str) else n for n in declared.shape], declared.dtype, name)
        for name, declared in port.inputs.items()
    ]
    try:
        paddle.jit.save(layer, str(target), input_spec=specs)
    finally:
        layer.eval()


def paddle_to_onnx(layer: Any, port: Port) -> Any:
    """Export a Paddle layer: ``paddle.jit.save``, paddle2onnx, then constants folded and biases fused here.

    ``paddle.onnx.export`` is not used: it lets paddle2onnx fold through Polygraphy, which tries to install packages
    from an outside index while it runs. paddle2onnx itself runs in a process of its own: it aborts where it does not
    know an operator's attribute, and would take a test run with it.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        ExportFailed: paddle2onnx gave up.
    """
    import onnx
    import onnxoptimizer
    import onnxscript.optimizer

    names = {parameter.name: name for name, parameter in layer.state_dict().items()}
    operators: list[Operator] = []
    with tempfile.TemporaryDirectory(prefix="portproof-") as folder:
        program, raw = Path(folder) / "inference", Path(folder) / "raw.onnx"
        with noting_operators(operators):
            paddle_program(layer, port, program)
        _run_paddle2onnx(program, raw, port.name)
        written = onnx.load(raw)
        origins = stacks(written, operators)
        proto = onnxscript.optimizer.optimize(written, num_iterations=1)  # once more below
    fusions = ["fuse_add_bias_into_conv", "fuse_matmul_add_bias_into_gemm", "eliminate_unused_initializer"]
    proto = onnxscript.optimizer.optimize(onnxoptimizer.optimize(proto, fusions))
    _rename(proto, names)
    _rename(proto, _folded_biases(proto, set(names.values())))
    note_stacks(proto, origins)
    return proto


#: What converts is one library that needs Paddle's: importing both packages around them takes a second. Where they lie
#: elsewhere, or take other arguments, the packages know.
_CONVERT = """
import ctypes, importlib.util, pathlib, sys
program, parameters, target, opset = sys.argv[1:]
try:
    paddle, home = (pathlib.Path(importlib.util.find_spec(n).origin).parent for n in ("paddle", "paddle2onnx"))
    ctypes.CDLL(str(paddle / "base" / "libpaddle.so"), ctypes.RTLD_GLOBAL)
    (library,) = home.glob("paddle2onnx_cpp2py_export.*")
    spec = importlib.util.spec_from_file_location("paddle2onnx_cpp2py_export", library)
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    made = converter.export(
        program, parameters, int(opset), True, False, True, True, True, {}, "onnxruntime", "", "", False
    )
    pathlib.Path(target).write_bytes(made)
except (AttributeError, ImportError, OSError, TypeError, ValueError):
    import paddle2onnx
    paddle2onnx.export(program, parameters, target, opset_version=int(opset), optimize_tool="None")
"""


def _run_paddle2onnx(program: Path, raw: Path, name: str) -> None:
    """Convert a program that was saved; raises ExportFailed with paddle2onnx's own last words and the operator."""
    done = _converted(program, raw)
    if done.returncode == 0 and raw.is_file():
        return
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    said = [_STAMP.sub("", line.strip()) for line in plain.splitlines() if _WORDS.search(line)]
    how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"gave up (exit {done.returncode})"
    operator = _refused(program, raw)
    where = f" at operator '{operator}'" if operator else ""
    raise ExportFailed(f"paddle2onnx {how} on port '{name}'{where}{': ' + said[-1][:300] if said else ''}")


def _converted(program: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run paddle2onnx on ``program`` with ``.json`` and ``.pdiparams``, in a process of its own."""
    arguments = [f"{program}.json", f"{program}.pdiparams", str(target), str(PADDLE_OPSET)]
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _CONVERT, *arguments], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, errors="replace",
    )  # fmt: skip


def _refused(program: Path, target: Path) -> str:
    """Return the type of the first operator that paddle2onnx cannot convert, which it does not say itself.

    The program is cut behind an operator, which then is its output, until the shortest that fails is found.
    """
    document = json.loads(Path(f"{program}.json").read_text(encoding="utf-8"))
    try:
        block = document["program"]["regions"][0]["blocks"][0]
        operators = block["ops"]
        fetch = next(each for each in operators if each["#"].endswith(".fetch"))
        steps = [i for i, each in enumerate(operators) if each["#"] not in ("p", "1.data", fetch["#"]) and each["O"]]
    except (KeyError, IndexError, StopIteration, TypeError):  # a form that a later Paddle writes
        return ""
    cut = program.with_name("cut")
    shutil.copyfile(f"{program}.pdiparams", f"{cut}.pdiparams")

    def fails(at: int) -> bool:
        target.unlink(missing_ok=True)
        last = operators[at]["O"][0]
        end = fetch | {"I": [{"%": last["%"]}], "O": [fetch["O"][0] | {"TT": last["TT"]}]}
        block["ops"] = [*operators[: at + 1], end]
        Path(f"{cut}.json").write_text(json.dumps(document), encoding="utf-8")
        return _converted(cut, target).returncode != 0 or not target.is_file()

    if not steps or not fails(steps[-1]):
        return ""
    first = steps[bisect.bisect_left(steps, True, key=fails)]
    return str(operators[first]["#"]).partition(".")[2]


#: What stands before an error in paddle2onnx's log.
_STAMP = re.compile(r"^[\d-]+ [\d:]+ \[ERROR\]\s*")
_WORDS = re.compile(r"\[ERROR\]|Error|error:|what\(\)|not support|unsupported|Assert|Oops|failed", re.IGNORECASE)


def _rename(proto: Any, names: Mapping[str, str]) -> None:
    for initializer in proto.graph.initializer:
        initializer.name = names.get(initializer.name, initializer.name)
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _folded_biases(proto: Any, parameters: set[str]) -> dict[str, str]:
    """Return new names for biases that lost theirs when they were folded into convolutions: their layer's."""
    stored = {initializer.name for initializer in proto.graph.initializer}
    found: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or len(node.input) < 3:
            continue
        weight, bias = node.input[1:3]
        name = f"{weight.removesuffix('weight')}bias"
        if weight in parameters and name in parameters - stored and bias in stored - parameters:
            found[bias] = name
    return found
