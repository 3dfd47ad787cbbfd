"""Every published GoogLeNet is a port, and each is judged by code that nobody here wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

from convert.googlenet import GOOGLENET
from convert.googlenet_bn import GOOGLENET_BN
from convert.googlenet_bvlc import GOOGLENET_BVLC, ZOO_MAP, zoo_name
from convert.googlenet_paddle import GOOGLENET_PADDLE
from parity_tests.conftest import Run
from parity_tests.evidence.outside_judge import LIGHT
from portproof import Port, verify
from portproof._disk import save_arrays
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from portproof.convert._account import match_states
from portproof.convert._table import map_csv
from portproof.frameworks import load_framework
from portproof.frameworks._model import Model
from portproof.judge._floor import output_floors
from portproof.judge._hops import judge_outputs
from portproof.judge._report import HOLDS
from portproof.ports._inputs import make_batch
from portproof.ports._locate import find_port, resolve_factory
from portproof.runners._onnxruntime import run_bytes
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

FAMILY = ("googlenet_paddle", "googlenet_bn", "googlenet_bn_heads", "googlenet_bvlc")


#: ``googlenet_bn`` is ``googlenet_bn_heads`` without its heads, so it is slow.
@pytest.mark.parametrize(
    "name", ["googlenet_paddle", *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILY[1:])]
)
def test_both_sides_are_the_same_function(name: str) -> None:
    report = verify(find_port(name), quick=True)
    assert report.verdict in HOLDS, report.to_json()
    assert not report.culprits


@pytest.mark.parametrize("port", [GOOGLENET_PADDLE, GOOGLENET_BN, GOOGLENET_BVLC], ids=lambda port: port.name)
def test_the_committed_map_is_the_one_in_force(port: Port) -> None:
    models = {
        side: Model(load_framework(side), port, resolve_factory(port, side), "float32") for side in ("torch", "paddle")
    }
    entries = {side: model.entries() for side, model in models.items()}
    account = match_states(entries["torch"], entries["paddle"], port.weights)
    assert account.problems == ()
    assert port.mapping is not None
    assert map_csv(account, entries) == Path(port.mapping).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_the_whole_chain_holds(name: str) -> None:
    report = verify(find_port(name))
    assert report.verdict in HOLDS, report.to_json()


@pytest.mark.slow
def test_faults_are_located_beside_an_accepted_deviation(run: Run, tmp_path: Path) -> None:
    counts = ("--count", 24, "--groups", 4, "--seeds", 1)
    answer = run("faults", "googlenet_paddle", *counts, "--json", tmp_path / "f.json")
    assert answer.code == 0, answer
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["effective"] > 15
    assert found["located"] == found["caught"] == found["effective"]
    assert found["precision"] == 1


# The judges ---------------------------------------------------------------------------------------------------------


def test_paddle_s_own_class_is_the_paddle_side_and_its_file_is_taken(tmp_path: Path, run: Run) -> None:
    import paddle
    import torch
    from paddle.vision.models import GoogLeNet

    from torch_impl.googlenet_paddle import GoogLeNet as Ours

    assert type(resolve_factory(GOOGLENET_PADDLE, "paddle")()) is GoogLeNet
    upstream = GoogLeNet()
    paddle.save(upstream.state_dict(), str(tmp_path / "GoogLeNet_pretrained.pdparams"))
    answer = run(
        "convert", tmp_path / "GoogLeNet_pretrained.pdparams", tmp_path / "ours.pt", "--port", "googlenet_paddle"
    )
    assert answer.code == 0, answer
    ours = Ours()
    ours.load_state_dict(torch.load(tmp_path / "ours.pt", weights_only=True))
    image = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    ours.eval(), upstream.eval()
    with torch.no_grad(), paddle.no_grad():
        for mine, theirs in zip(ours(torch.from_numpy(image)), upstream(paddle.to_tensor(image)), strict=True):
            assert np.abs(mine.numpy() - theirs.numpy()).max() < 1e-4 * np.abs(theirs.numpy()).max()


@pytest.fixture(scope="module")
def torchvision_googlenet() -> Callable[..., Any]:
    """torchvision's own factory."""
    from torch_impl.zoo import torchvision_model

    return lambda **more: torchvision_model("googlenet", init_weights=False, aux_logits=True, **more)


@pytest.mark.parametrize("transform", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_torchvision_s_class_computes_what_ours_does(
    torchvision_googlenet: Callable[..., Any], transform: bool, training: bool
) -> None:
    import torch

    from torch_impl.googlenet_bn import GoogLeNet as Ours

    theirs, ours = torchvision_googlenet(transform_input=transform), Ours(transform_input=transform)
    assert {n: t.shape for n, t in theirs.state_dict().items()} == {n: t.shape for n, t in ours.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = []
    for model in (theirs, ours):
        model.train(training)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with torch.no_grad():
            result = model(image)
        found.append(tuple(result) if training else (result,))
    assert len(found[0]) == len(found[1]) == (3 if training else 1)
    assert all(torch.equal(mine, other) for mine, other in zip(*found, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), ours.state_dict().values(), strict=True))


def test_torchvision_s_file_is_taken(torchvision_googlenet: Callable[..., Any], tmp_path: Path, run: Run) -> None:
    import paddle
    import torch

    from paddle_impl.googlenet_bn import GoogLeNet

    theirs = torchvision_googlenet(transform_input=True).eval()
    torch.save(theirs.state_dict(), tmp_path / "googlenet-1378be20.pth")
    answer = run("convert", tmp_path / "googlenet-1378be20.pth", tmp_path / "g.pdparams", "--port", "googlenet_bn")
    assert answer.code == 0, answer
    ours = GoogLeNet(transform_input=True)
    assert ours.set_state_dict(paddle.load(str(tmp_path / "g.pdparams"))) == ([], [])
    ours.eval()
    image = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad(), paddle.no_grad():
        expected, found = theirs(torch.from_numpy(image)).numpy(), ours(paddle.to_tensor(image)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def zoo_file(weights: dict[str, np.ndarray[Any, Any]], path: Path) -> None:
    """Write the zoo's graph, as the onnx package carries it, with weights in place of its constants."""
    model = onnx.load(LIGHT / "light_inception_v1.onnx")
    taken = {zoo_name(name): array for name, array in weights.items()}
    nodes = [node for node in model.graph.node if node.output[0] not in taken]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in taken and "__SHAPE" not in tensor.name]
    given = {tensor.name for tensor in kept} | {"data_0"}
    inputs = [value for value in model.graph.input if value.name in given]
    del model.graph.node[:], model.graph.initializer[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    model.graph.initializer.extend([*kept, *(numpy_helper.from_array(a, name) for name, a in taken.items())])
    onnx.save(model, path)


@pytest.mark.slow
def test_the_zoo_s_graph_computes_what_ours_does_and_its_initialisers_are_taken(tmp_path: Path, run: Run) -> None:
    with Sessions(find_port("googlenet_bvlc")) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        batch = make_batch(GOOGLENET_BVLC).arrays
        inputs = sides.folder / "inputs.safetensors"
        save_arrays(inputs, batch)
        files = sides.spread(*sides.sensitise(inputs, 0))
        weights = {side: load_file(file) for side, file in files.items()}
        torch = sides.open["torch"]
        torch.call(Tasks.load, weights=files["torch"])
        torch.call(
            Tasks.run, runner="torch-eager", inputs=inputs, out=tmp_path / "torch",
            precisions=["float64", "float32"], single=0,
        )  # fmt: skip
    high, low = (load_file(tmp_path / "torch" / f"{precision}.safetensors") for precision in ("float64", "float32"))
    zoo_file(weights["torch"], tmp_path / "zoo.onnx")
    proto = (tmp_path / "zoo.onnx").read_bytes()
    found = [run_bytes(proto, True, (), {"data_0": row[None]})["prob_1"] for row in batch["image"]]
    hop = judge_outputs(
        "numerics", "torch float64 (oracle)", "the zoo's graph", "float32", "sensitised",
        {"prob": np.concatenate(found)}, high, output_floors([(low, high)]),
    )  # fmt: skip
    assert hop.verdict in HOLDS, hop
    for side, name in (("torch", "z.pt"), ("paddle", "z.pdparams")):
        answer = run(
            "convert", tmp_path / "zoo.onnx", tmp_path / name, "--port", "googlenet_bvlc", "--from", "torch",
            "--map", ZOO_MAP,
        )  # fmt: skip
        assert answer.code == 0, answer
        taken = open_checkpoint(tmp_path / name).arrays()
        assert {n: a.tobytes() for n, a in taken.items()} == {n: a.tobytes() for n, a in weights[side].items()}


@pytest.mark.parametrize("side", ["torch", pytest.param("paddle", marks=pytest.mark.slow)])
def test_our_own_exports_lead_back_to_the_weights(tmp_path: Path, run: Run, side: str) -> None:
    """Also where biases were folded into convolutions, and constants that are no weights stand beside them."""
    model = Model(load_framework(side), GOOGLENET, resolve_factory(GOOGLENET, side), "float32")
    rng = np.random.default_rng(0)  # exporters drop a bias of zeros, which a fresh model has
    stored = {e.name: Stored.of(rng.standard_normal(e.shape).astype(np.float32)) for e in model.entries()}
    write_checkpoint(tmp_path / "w.safetensors", stored, side)
    answer = run(
        "export", "googlenet", "--from", side, "-o", tmp_path / "m.onnx", "--weights", tmp_path / "w.safetensors"
    )
    assert answer.code == 0, answer
    sides = ("--from", side, "--to", side)
    answer = run("convert", tmp_path / "m.onnx", tmp_path / "back.safetensors", "--port", "googlenet", *sides)
    assert answer.code == 0, answer
    assert "integers of the graph, no weights" in answer.out
    before, after = (open_checkpoint(tmp_path / f"{name}.safetensors").arrays() for name in ("w", "back"))
    assert {n: a.tobytes() for n, a in before.items()} == {n: a.tobytes() for n, a in after.items()}
