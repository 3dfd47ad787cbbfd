"""The steps of a check. Each runs in a process of its own and tells what it found as it goes.

python -m benchmarks.gpu_check._steps STEP FOLDER DEVICE SECONDS
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from safetensors.numpy import load_file

from benchmarks.gpu_check._bundle import Kit, kits
from benchmarks.gpu_check._rows import Expected, Row
from portproof._errors import PortproofError, Unavailable, one_line
from portproof._machine import thread_budget
from portproof.bench import Suite
from portproof.bench._gpu import gpu_state
from portproof.bench._proof import Asked, prove
from portproof.bench._result import BenchResult
from portproof.bench._run import Stage, run_interleaved
from portproof.bench._stats import compare_paired
from portproof.bench._timed import time_runner
from portproof.frameworks import load_framework
from portproof.judge._hops import judge_outputs
from portproof.judge._report import Hop, gravest
from portproof.runners import RunnerInfo, RunnerJob, find_runner
from portproof.sides._session import Sessions

#: Ports of torch's TransformerEncoderLayer with the exact GELU. On CUDA its fused path computes the tanh approximation,
#: in float64 too (the epilogue of cuBLASLt's product): another function, which the check has to tell.
_FUSED = ("bert",)
#: A row, or a document by name.
Told = Row | tuple[str, Any]


@dataclass(frozen=True)
class Asking:
    """What a step is given.

    Attributes:
        kits: the ports, the flagship first.
        device: ``cuda`` or ``cpu``.
        seconds: that it may take.
    """

    kits: dict[str, Kit]
    device: str
    seconds: float

    @property
    def cuda(self) -> bool:
        """Whether CUDA's own steps are taken."""
        return self.device == "cuda"

    @property
    def flagship(self) -> Kit:
        """The port that every runner runs."""
        return next(iter(self.kits.values()))

    @property
    def smallest(self) -> Kit:
        """The port of fewest tensors, for what is costly on a CPU."""
        return min(self.kits.values(), key=lambda kit: len(load_file(kit.prepared.weights["torch"])))


def doctor(asking: Asking) -> Iterator[Told]:
    """What is installed, which providers truly load, and the state of the GPU before anything has used it."""
    from portproof.cli._doctor import examine
    from portproof.ports._locate import Project

    found = examine(Project()).to_json() | {"gpu": gpu_state()}
    yield "doctor", {name: value for name, value in found.items() if name != "project"}  # a path of this machine
    import torch

    device: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    if asking.cuda:
        properties = torch.cuda.get_device_properties(0)
        device |= {
            "cudnn": torch.backends.cudnn.version(), "device": properties.name,
            "multiprocessors": properties.multi_processor_count, "memory_gib": properties.total_memory / 2**30,
        }  # fmt: skip
    yield "torch", device


def parity_torch(asking: Asking) -> Iterator[Told]:
    """The flagship, by every torch runner that needs no compiling, in every precision."""
    names = ["torch-eager", "torch-channels-last", *(["torch-cuda-graph"] if asking.cuda else [])]
    for name in names:
        for precision in (*(["float64"] if name == "torch-eager" else []), "float32", "bfloat16", "float16"):
            yield _parity(asking, asking.flagship, name, precision)
        if asking.cuda:
            yield _parity(asking, asking.flagship, name, "float32", tf32=True)


def parity_compiled(asking: Asking) -> Iterator[Told]:
    """What ``torch.compile`` makes, with and without CUDA graphs. On a CPU the smallest port has to do."""
    if not asking.cuda:
        yield _parity(asking, asking.smallest, "torch-compile", "float32")
        return
    yield _parity(asking, asking.flagship, "torch-compile-graphs", "float32")
    yield _parity(asking, asking.flagship, "torch-compile", "float32")
    yield _parity(asking, asking.flagship, "torch-compile", "float32", tf32=True)
    yield _parity(asking, asking.flagship, "torch-compile", "bfloat16")
    yield _parity(asking, asking.flagship, "torch-compile", "float16")


def parity_ports(asking: Asking) -> Iterator[Told]:
    """The other ports in torch, and what torch's fused encoder layer makes of those that have one."""
    for kit in list(asking.kits.values())[1:]:
        with load_framework("torch").module_by_module():
            for precision in ("float64", "float32", "bfloat16", "float16"):
                yield _parity(asking, kit, "torch-eager", precision)
            if asking.cuda:
                yield _parity(asking, kit, "torch-cuda-graph", "float32")
                yield _parity(asking, kit, "torch-eager", "float32", tf32=True)
        if asking.cuda and kit.located.port.name in _FUSED:
            # A float64 run is watched function by function, where torch takes no fused path.
            yield _parity(asking, kit, "torch-eager", "float64", planted="fused encoder")
            yield _parity(asking, kit, "torch-eager", "float32", expected="told", planted="fused encoder")


def parity_onnx(asking: Asking) -> Iterator[Told]:
    """Both exports of every port in ONNX Runtime."""
    for kit in asking.kits.values():
        for side in ("torch", "paddle"):
            yield _parity(asking, kit, f"onnxruntime-{side}", "float32")
            if asking.cuda and kit is asking.flagship:
                yield _parity(asking, kit, f"onnxruntime-{side}", "float32", tf32=True)
        if asking.cuda or kit is asking.flagship:  # its CPU kernels end the process for some graphs in halves
            yield _parity(asking, kit, "onnxruntime-float16-torch", "float16")


def out_of_sight(asking: Asking) -> Iterator[Told]:
    """A provider that fell back. Alone in its process: CUDA looks once which GPUs it may see."""
    yield _fallback(asking)


def misconfigured(asking: Asking) -> Iterator[Told]:
    """What else must be refused, each beside its right twin: a clock that does not wait, TF32 left on."""
    from benchmarks.gpu_check import _planted

    late = _planted.Unsynchronised if asking.cuda else _planted.Deferred
    right = find_runner("torch-cuda-graph" if asking.cuda else "torch-eager")
    yield _proven(asking, right, "a clock that waits", "clock", "holds")
    yield _proven(asking, _planted.planted(late), "a clock that does not wait", "clock", "told")
    if asking.cuda:
        yield _proven(asking, find_runner("torch-eager"), "TF32 off", "precision", "holds")
        yield _proven(asking, _planted.planted(_planted.Tf32), "TF32 left on", "precision", "told")
        yield _unsupported(asking)


def against_itself(asking: Asking) -> Iterator[Told]:
    """One runner against itself, in pairs of fresh processes: what is called different where nothing is."""
    name = "torch-cuda-graph" if asking.cuda else "torch-eager"
    begun = time.perf_counter()
    with _stage(asking) as stage:
        suite = _suite(asking, (name,), (1,), "device")
        one, two = run_interleaved([stage, stage], replace(suite, processes=3 if asking.cuda else 2))
    times = [row.compared_ms for result in (one, two) for row in result.rows]
    if len(times) < 2 or len(times[0]) != len(times[1]) or not times[0]:
        reason = next((row.reason for row in one.rows if row.reason), "") or str(one.skipped)
        yield _failed("against itself", asking.flagship, name, "A/A", reason, begun)
        return
    found = compare_paired(times[0], times[1])
    yield Row(
        "against itself", asking.flagship.located.port.name, name, f"A/A, {len(times[0])} pairs", "any", found.change,
        None, f"{found.ratio:.3f} times its own time", time.perf_counter() - begun,
    )  # fmt: skip


def latency(asking: Asking) -> Iterator[Told]:
    """The latency suite at both boundaries, and what compiles longest last: a round of each, more while time lasts."""
    until = time.perf_counter() + asking.seconds
    names: tuple[str, ...] = ("torch-eager", "torch-channels-last", "onnxruntime-torch")
    batches: tuple[int, ...] = (1, 8)
    if asking.cuda:
        names, batches = (*names, "torch-cuda-graph"), (1, 8, 32)
    suites = {
        f"latency, {boundary} to {boundary}": _suite(asking, names, batches, boundary)
        for boundary in ("host", "device")
    }
    if asking.cuda:
        compiled = ("torch-compile-graphs", "torch-compile", "onnxruntime-paddle")
        suites["latency, device to device, slow to build"] = _suite(asking, compiled, (1,), "device")
    results: dict[str, BenchResult] = {}
    with _stage(asking) as stage:
        for number in range(1, 6 if asking.cuda else 2):
            for title, suite in suites.items():
                begun = time.perf_counter()
                if number > 1 and begun + 1.1 * results[title].seconds["wall"] / (number - 1) > until:
                    return
                # Told after every process, so that a step that is cut off keeps it.
                seen = functools.partial(_tell_result, title)
                results[title] = stage.run(replace(suite, processes=number), seen, results.get(title))
                yield title, results[title].to_json()


def latency_lower(asking: Asking) -> Iterator[Told]:
    """What lower precision brings: halves and TF32 in torch, ONNX Runtime's float16 graph; two rounds if time lasts."""
    until = time.perf_counter() + asking.seconds
    names: tuple[str, ...] = ("torch-bfloat16-eager", "onnxruntime-float16-torch")
    if asking.cuda:
        names = (
            "torch-float16-cuda-graph", "torch-bfloat16-cuda-graph", "torch-float16-channels-last", "torch-tf32",
            "onnxruntime-float16-torch", "torch-float16-compile-graphs",
        )  # fmt: skip
    title, result = "latency, device to device, lower precision", None
    with _stage(asking) as stage:
        suite = _suite(asking, names, (1, 8, 32) if asking.cuda else (1,), "device")
        for number in (1, 2):
            begun = time.perf_counter()
            if result is not None and begun + 1.1 * result.seconds["wall"] > until:
                return
            result = stage.run(replace(suite, processes=number), functools.partial(_tell_result, title), result)
            yield title, result.to_json()


def _tell_result(title: str, result: BenchResult) -> None:
    _tell((title, result.to_json()))


def _suite(asking: Asking, names: tuple[str, ...], batches: tuple[int, ...], boundary: str) -> Suite:
    which: Literal["host", "device"] = "host" if boundary == "host" else "device"
    return Suite(
        asking.flagship.located.port.name, names, batches, 1, 0.3 if asking.cuda else 0.1, device=asking.device,
        boundary=which,
    )  # fmt: skip


@contextlib.contextmanager
def _stage(asking: Asking) -> Iterator[Stage]:
    """Offer the flagship to the benchmarks, with what the bundle has in place of what they would prepare."""
    kit = asking.flagship
    with Sessions(kit.located, {}, asking.device, thread_budget()) as sessions:
        yield Stage(kit.located, sessions, kit.prepared, 0.0, lambda *_: None)


def _parity(
    asking: Asking,
    kit: Kit,
    name: str,
    precision: str,
    *,
    tf32: bool = False,
    planted: str = "",
    expected: Expected = "holds",
) -> Row:
    """Run a port once and judge it against Paddle's float64 run."""
    info, begun = find_runner(name), time.perf_counter()
    port = kit.located.port
    setting = f"{precision}, TF32 on" if tf32 else f"{precision}, {planted}" if planted else precision
    if expected == "holds" and precision == "float64" and port.accepted:
        expected = "any"  # they are of one framework's float32 inside, and reach float64's outputs
    elif expected == "holds" and precision in ("bfloat16", "float16"):
        expected = "not told"
    try:
        found = _outputs(asking, kit, info, precision, tf32)
        prepared = kit.prepared
        hop = judge_outputs(
            "numerics", "oracle", info.title, precision, "sensitised", found, prepared.oracle, prepared.floors
        )
    except Exception as error:
        return _failed("parity", kit, info.title, setting, _said(error), begun)
    ratio = hop.worst.ratio if hop.worst is not None else None
    note = f"accepted deviations of {', '.join(port.accepted)}" if expected == "any" else ""
    return Row(
        "parity", port.name, info.title, setting, "told" if tf32 else expected, hop.verdict, ratio, hop.reason or note,
        time.perf_counter() - begun,
    )  # fmt: skip


def _outputs(asking: Asking, kit: Kit, info: RunnerInfo, precision: str, tf32: bool) -> dict[str, Any]:
    job = _job(asking, kit, info, precision)
    kind: Any = info.load()
    if tf32 and info.artefact == "onnx":
        kind = _with_tf32(kind)
    with kind(job) as runner:
        if tf32 and info.artefact == "model":
            from benchmarks.gpu_check._planted import switch_tf32_on

            switch_tf32_on()
        outputs: dict[str, Any] = kit.located.port.rows_first(runner.run(kit.prepared.rows))
    gc.collect()
    return outputs


def _with_tf32(kind: Any) -> Any:
    class WithTf32(kind):  # type: ignore[misc]
        """ONNX Runtime as it comes: its CUDA provider has TF32 on."""

        def _provider_options(self, provider: str) -> dict[str, str]:
            return {name: value for name, value in super()._provider_options(provider).items() if name != "use_tf32"}

    return WithTf32


def _job(asking: Asking, kit: Kit, info: RunnerInfo, precision: str) -> RunnerJob:
    artefact = None if info.artefact == "model" else kit.prepared.artefacts[info.artefact, info.side]
    if isinstance(artefact, PortproofError):
        raise artefact
    settings = {name: values[0] for name, values in info.settings.items()}
    weights = kit.prepared.weights["torch"] if artefact is None else None
    return RunnerJob(
        kit.located.port, info.side, precision, weights, artefact, device=asking.device, threads=thread_budget(),
        settings=settings,
    )  # fmt: skip


def _proven(asking: Asking, info: RunnerInfo, what: str, claim: str, expected: Literal["holds", "told"]) -> Row:
    """Time a runner as a benchmark does, where its data is, and see whether a claim of the proof is refuted."""
    kit, begun = asking.flagship, time.perf_counter()
    try:
        prepared, job = kit.prepared, _job(asking, kit, info, "float32")
        answer = time_runner(info, job, prepared.request(1, 0), prepared.out, 0.2, boundary="device")
        hops: list[Hop] = prepared.judge(info.title, info, 1, 0)
        ratio = max((hop.worst.ratio for hop in hops if hop.worst and hop.worst.ratio is not None), default=None)
        asked = Asked(job.threads, asking.device, "float32", "device", "single", info.claims)
        found = next(found for found in prove(asked, answer, ratio) if found.what == claim)
    except Exception as error:
        return _failed("misconfigured", kit, info.title, what, _said(error), begun)
    wrong = gravest([hop.verdict for hop in hops]) == "divergent"
    verdict = "refused" if found.state == "refuted" or wrong else "accepted"
    note = f"{found.what} {found.state}: {found.text}"
    return Row(
        "misconfigured", kit.located.port.name, info.title, what, expected, verdict, ratio, note,
        time.perf_counter() - begun,
    )  # fmt: skip


def _fallback(asking: Asking) -> Row:
    """Ask ONNX Runtime for a GPU that this process cannot see: it would run on the CPU and say nothing."""
    begun, kit, info = time.perf_counter(), asking.flagship, find_runner("onnxruntime-torch")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    setting = "a provider that fell back"
    try:
        with info.load()(replace(_job(asking, kit, info, "float32"), device="cuda")):
            verdict, note = "accepted", "it ran"
    except Unavailable as error:
        verdict, note = "refused", str(error)
    except Exception as error:
        return _failed("misconfigured", kit, info.title, setting, _said(error), begun)
    port = kit.located.port.name
    return Row("misconfigured", port, info.title, setting, "told", verdict, None, note, time.perf_counter() - begun)


def _unsupported(asking: Asking) -> Row:
    """Run a graph with an operator that ONNX Runtime has for the CPU alone: it must be named, not copied to and fro."""
    import tempfile

    import onnx
    from onnx import TensorProto, helper

    from portproof import Input, Port

    begun, info, setting = time.perf_counter(), find_runner("onnxruntime-torch"), "a node without a GPU kernel"
    nodes = [helper.make_node("Relu", ["x"], ["r"], "relu"), helper.make_node("Det", ["r"], ["y"], "det")]
    graph = helper.make_graph(
        nodes, "det",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
    )  # fmt: skip
    port = Port("det", torch="builtins:object", inputs={"x": Input(("batch", 3, 3))}, outputs=("y",))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "det.onnx")
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        try:
            with info.load()(RunnerJob(port, "torch", artefact=path, device=asking.device, threads=1)):
                verdict, note = "accepted", "it ran"
        except Unavailable as error:
            verdict, note = "refused", str(error)
        except Exception as error:
            return _failed("misconfigured", asking.flagship, info.title, setting, _said(error), begun)
    return Row("misconfigured", "det", info.title, setting, "told", verdict, None, note, time.perf_counter() - begun)


def _failed(step: str, kit: Kit, what: str, setting: str, note: str, begun: float) -> Row:
    name = kit.located.port.name
    return Row(step, name, what, setting, "any", "failed", None, note, time.perf_counter() - begun)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, PortproofError) else one_line(error, 200)


STEPS: dict[str, Callable[[Asking], Iterator[Told]]] = {
    "doctor": doctor,
    "parity, torch": parity_torch,
    "parity, compiled": parity_compiled,
    "parity, other ports": parity_ports,
    "parity, ONNX Runtime": parity_onnx,
    "misconfigured, provider": out_of_sight,
    "misconfigured": misconfigured,
    "against itself": against_itself,
    "latency": latency,
    "latency, lower precision": latency_lower,
}


def _tell(told: Told) -> None:
    line = {"row": asdict(told)} if isinstance(told, Row) else {"document": told[0], "value": told[1]}
    _answers.write(json.dumps(line) + "\n")
    _answers.flush()


_answers = sys.stdout


def main() -> None:
    """Run one step; a JSON line a finding on standard output, all else on standard error."""
    global _answers
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what frameworks print
    name, folder, device, seconds = sys.argv[1:]
    for told in STEPS[name](Asking(kits(Path(folder)), device, float(seconds))):
        _tell(told)


if __name__ == "__main__":
    main()
