"""Runners: one that somebody else registers runs on the weights under judgement."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from portproof import BadInput, Input, Port, export, find_port, runners
from portproof._errors import Unavailable
from portproof._machine import instruction_sets
from portproof._numbers import compare
from portproof.graphs._interpret import load_graph
from portproof.graphs._lowered import graph_of
from portproof.graphs._quantised import meaning_of
from portproof.judge._floor import verdict_of
from portproof.ports._inputs import calibration_rows, make_batch
from portproof.runners import RunnerInfo, RunnerJob, find_runner
from portproof.runners._eager import Eager
from portproof.runners._placement import on_the_cpu
from portproof.runners._torch import Int8
from portproof.sides._tasks import Tasks
from portproof.sides._workplace import Workplace
from tests import small_ports


class Foreign(Eager):
    """A runner of the framework's model that is not the engine's own."""


FOREIGN = RunnerInfo("torch-foreign", "torch", "foreign", "tests.runners.test_runners:Foreign", ("torch",), "torch")


def test_a_foreign_runner_of_the_model_runs_on_the_weights_that_were_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "_OWN", (*runners._OWN, FOREIGN))
    place = Workplace(small_ports.MLP, "torch")
    tasks = Tasks(place)
    inputs, weights = tmp_path / "inputs.safetensors", tmp_path / "weights.safetensors"
    save_file({"x": np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)}, inputs)
    tasks.sensitise(inputs, weights, seed=3)
    tasks.load(weights)
    found = []
    for runner in ("torch-eager", "torch-foreign"):
        tasks.run(runner, inputs, tmp_path / runner, ["float32"])
        found.append(load_file(tmp_path / runner / "float32.safetensors")["out"])
    np.testing.assert_array_equal(*found)
    place.close()


def test_a_name_that_nobody_registered_is_refused() -> None:
    with pytest.raises(BadInput, match="no runner 'torch-foreign'"):
        find_runner("torch-foreign")


def test_what_may_run_on_the_cpu_beside_a_gpu_is_arithmetic_of_shapes_and_nothing_that_carries_a_value() -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Gather", ["s", "zero"], ["rows"], "rows"),
        helper.make_node("Concat", ["rows", "minus"], ["to"], "to"),
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Reshape", ["r", "to"], ["flat"], "reshape"),
        helper.make_node("NonZero", ["flat"], ["found"], "nonzero"),
        helper.make_node("Shape", ["found"], ["count"], "count"),  # how many are not zero is a shape, as ONNX has it
        helper.make_node("Gather", ["flat", "zero"], ["y"], "pick"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("minus", TensorProto.INT64, [1], [-1]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    harmless = [("shape", "Shape"), ("rows", "Gather"), ("to", "Concat"), ("count", "Shape")]
    assert on_the_cpu(graph, harmless) == ({"Shape": 2, "Gather": 1, "Concat": 1}, ())
    assert on_the_cpu(graph, [*harmless, ("pick", "Gather")])[1] == (("pick", "Gather"),)
    # Nodes that an optimiser made: judged by their operator, and one that the graph has not may do anything.
    assert on_the_cpu(graph, [("new", "Concat"), ("made", "Gather"), ("fused", "FusedConv")]) == (
        {"Concat": 1}, (("made", "Gather"), ("fused", "FusedConv")),
    )  # fmt: skip


def test_the_shape_arithmetic_of_an_exported_bert_may_run_on_the_cpu_and_none_of_its_attention(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    from portproof import find_port

    export(find_port("bert"), "paddle", tmp_path / "bert.onnx")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tmp_path / "bert.onnx", options, providers=["CPUExecutionProvider"])
    assigned = [(n.name, n.op_type) for part in session.get_provider_graph_assignment_info() for n in part.get_nodes()]
    shapes, activations = on_the_cpu(onnx.load(tmp_path / "bert.onnx").graph, assigned)
    assert {"Shape", "Range"} <= shapes.keys()
    carrying = {operator for _, operator in activations}
    assert {"MatMul", "Softmax", "LayerNormalization", "Equal"} <= carrying - shapes.keys()  # Equal: where tokens are
    assert sum(shapes.values()) + len(activations) == len(assigned)


def test_tf32_is_off_in_every_process_but_that_of_the_runner_that_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from portproof.sides._warm import TF32, side_environment

    monkeypatch.setenv(TF32, "1")  # a person's own
    assert side_environment(find_runner("torch-eager").variables, "cuda")[TF32] == "0"
    assert side_environment(find_runner("torch-tf32").variables, "cuda")[TF32] == "1"


def test_what_a_number_rests_on_is_read_from_the_kernels_that_ran(tmp_path: Path) -> None:
    from portproof.graphs._lower import lower
    from portproof.runners._onnxruntime import OnnxRuntime
    from portproof.runners._openvino import OpenVino

    plain = tmp_path / "mlp.onnx"
    export(small_ports.MLP, "torch", plain)
    save_file({"x": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)}, tmp_path / "rows.safetensors")
    lower(plain, "onnx-int8", tmp_path / "rows.safetensors", tmp_path / "int8.onnx")
    found = {}
    for kind in (OnnxRuntime, OpenVino):
        for path in (tmp_path / "int8.onnx", plain):  # a float graph under the name of int8 is found out
            job = RunnerJob(small_ports.MLP, "torch", precision="int8", artefact=path)
            with kind(job) as runner:
                found[kind.__name__, path.stem] = runner.evidence()["arithmetic"]
    lower(plain, "onnx-float16-weights", tmp_path / "rows.safetensors", tmp_path / "halves.onnx")
    for path, stored in ((tmp_path / "halves.onnx", "float16"), (plain, "float32")):
        job = RunnerJob(small_ports.MLP, "torch", precision="float16", artefact=path)
        with OnnxRuntime(job) as runner:
            assert (runner.evidence()["stored"], runner.evidence()["arithmetic"]) == (stored, "float32")
    assert [found[name, "int8"] for name in ("OnnxRuntime", "OpenVino")] == ["int8", "int8"]
    assert "int8" not in [found[name, "mlp"] for name in ("OnnxRuntime", "OpenVino")]


def test_products_that_a_quantised_graph_leaves_in_float_are_no_fault_of_its_runtime(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    from portproof.graphs._lower import lower
    from portproof.runners._onnxruntime import OnnxRuntime
    from portproof.runners._openvino import OpenVino

    plain = tmp_path / "mlp.onnx"
    export(small_ports.MLP, "torch", plain)
    proto = onnx.load(plain)
    last = proto.graph.output[0].name
    for node in proto.graph.node:  # a product of activations, as attention has
        node.output[:] = ["before" if name == last else name for name in node.output]
    proto.graph.node.extend(
        [
            helper.make_node("Transpose", ["before"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["before", "turned"], ["square"]),
            helper.make_node("MatMul", ["square", "before"], [last]),
        ]
    )
    onnx.save(proto, plain)
    lower(plain, "onnx-dynamic-int8", tmp_path / "none", tmp_path / "int8.onnx")
    for path, arithmetic in ((tmp_path / "int8.onnx", "int8"), (plain, "float32")):
        with OnnxRuntime(RunnerJob(small_ports.MLP, "torch", precision="int8", artefact=path)) as runner:
            assert runner.evidence()["arithmetic"] == arithmetic, runner.evidence()["products"]
    save_file({"x": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)}, tmp_path / "rows.safetensors")
    lower(plain, "onnx-int8", tmp_path / "rows.safetensors", tmp_path / "static.onnx")
    with OpenVino(RunnerJob(small_ports.MLP, "torch", precision="int8", artefact=tmp_path / "static.onnx")) as runner:
        evidence = runner.evidence()  # it has no kernel for levels of two activations
    assert evidence["arithmetic"] == "int8"
    assert any(kernel.endswith("f32") for kernel in evidence["products"])


def test_a_graph_that_looks_for_its_ranges_as_it_runs_is_held_to_the_request_that_it_was_given(tmp_path: Path) -> None:
    from portproof.graphs._lower import lower
    from portproof.graphs._lowered import claimed_of
    from portproof.runners._onnxruntime import OnnxRuntime

    plain, dynamic = tmp_path / "mlp.onnx", tmp_path / "int8.onnx"
    export(small_ports.MLP, "torch", plain)
    lower(plain, "onnx-dynamic-int8", tmp_path / "none", dynamic)
    rows = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    rows[1] *= 50  # a row that the range of all is made for
    one, name = {"x": rows[:1]}, small_ports.MLP.outputs[0]
    alone = claimed_of(small_ports.MLP, dynamic, one)
    assert alone is not None
    with OnnxRuntime(RunnerJob(small_ports.MLP, "torch", precision="int8", artefact=dynamic)) as runner:
        found = runner.run(one)[name]
    beside = meaning_of(load_graph(dynamic), {"x": rows})
    verdicts = [
        verdict_of(compare(found, expected, "int8"), floor, "int8")
        for expected, floor in (
            (alone.outputs[name], alone.floors[name]), (beside.outputs[name][:1], beside.floors[name])
        )
    ]  # fmt: skip
    assert verdicts == ["equivalent", "divergent"]
    save_file({"x": rows}, tmp_path / "rows.safetensors")
    lower(plain, "onnx-int8", tmp_path / "rows.safetensors", tmp_path / "static.onnx")
    assert (
        claimed_of(small_ports.MLP, tmp_path / "static.onnx", one) is None
    )  # the same for a row, whatever is beside it


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")  # of torch's own lowering
def test_int8_of_torchs_own_is_held_to_the_graph_that_its_program_claims_to_be(tmp_path: Path) -> None:
    from portproof.frameworks._torch_int8 import load_program

    port = replace(find_port("lenet").port, kwargs={"num_classes": 7})
    place = Workplace(port, "torch")
    tasks = Tasks(place)
    inputs, rows, program = (tmp_path / name for name in ("inputs.safetensors", "rows.safetensors", "net.pt2"))
    judged = make_batch(port).arrays
    save_file(judged, inputs)
    save_file(calibration_rows(port, judged), rows)
    tasks.quantise(inputs, rows, program)
    meaning = meaning_of(load_graph(graph_of(program)), judged)

    def verdict(found: Any) -> str:
        error = compare(found, meaning.outputs["logits"], "int8")
        return verdict_of(error, meaning.floors["logits"], "int8")

    with Int8(RunnerJob(port, "torch", "int8", artefact=program, threads=2)) as runner:
        assert verdict(runner.run(judged)["logits"]) != "divergent"
        assert runner.evidence()["products"] == {"int8": 5}
        assert runner.evidence()["arithmetic"] == "int8"
    other = load_program(program)
    with torch.no_grad():
        next(buffer for name, buffer in other.named_buffers() if "scale" in name).mul_(2)
        (x,) = place.model("float32").arguments(judged)[0]
        assert verdict(other(x).numpy()) == "divergent"
    place.close()


@pytest.mark.slow
@pytest.mark.skipif("avx512_vnni" not in instruction_sets(), reason="there is no VNNI to be switched off")
def test_a_processor_whose_vnni_is_off_is_divergent_and_the_instruction_is_named() -> None:
    command = [sys.executable, "-m", "portproof", "verify", "lenet", "--quick", "--runners", "torch-int8-compile"]
    for _ in range(2):  # what was made is taken from the store the second time
        found = subprocess.run(
            command,
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = " ".join(found.stdout.split())
        assert found.returncode == 1, said
        assert re.search(r"torch int8, torch.compile, int8: Conv '\w+'; two products .* vpmaddubsw", said), said


def branching() -> Any:
    class Branching(torch.nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x) if float(x.sum()) > 0 else x

    return Branching(8, 8)


def test_what_torchs_tools_cannot_quantise_is_unavailable_and_leaves_no_file(tmp_path: Path) -> None:
    port = Port(name="branching", torch="tests.runners.test_runners:branching", inputs={"x": Input(("batch", 8))})
    place = Workplace(port, "torch")
    inputs, out = tmp_path / "inputs.safetensors", tmp_path / "net.pt2"
    save_file({"x": np.ones((4, 8), np.float32)}, inputs)
    with pytest.raises(Unavailable, match="make no int8 program"):
        Tasks(place).quantise(inputs, inputs, out)
    assert [path.name for path in tmp_path.iterdir()] == [inputs.name]
    place.close()
