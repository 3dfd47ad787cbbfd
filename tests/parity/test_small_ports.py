"""Every kind of port that the contract promises runs through the whole chain."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from portproof import BadInput, Input, Port, Unavailable, WeightMap, assert_equivalent, find_port, verify
from portproof.judge._report import HOLDS
from portproof.sides._tasks import Tasks
from tests import small_ports


def hops(report: Any) -> dict[str, str]:
    return {f"{hop.kind} {hop.target}": hop.verdict for hop in report.hops}


@pytest.mark.parametrize("name", ["MLP", "PACKED", "RAW", "TWO_INPUTS"])
def test_a_two_sided_port_holds_in_this_process_with_both_exports(name: str) -> None:
    report = verify(getattr(small_ports, name))
    assert report, report
    assert sum(kind.startswith("export") for kind in hops(report)) == 2


def test_a_dictionary_of_inputs_holds_and_says_that_paddle_cannot_trace_it() -> None:
    report = verify(small_ports.DICTIONARY)
    found = {hop.target: str(hop.reason) for hop in report.hops if hop.verdict == "unavailable"}
    assert list(found) == ["Paddle export"]
    assert "one dictionary" in found["Paddle export"]
    assert hops(report)["export torch export, ONNX Runtime as written"] in HOLDS
    assert report.exit_code == 4
    assert verify(small_ports.DICTIONARY, quick=True)


@pytest.mark.parametrize(("name", "side"), [("TORCH_ONLY", "torch"), ("PADDLE_ONLY", "paddle")])
def test_a_port_of_one_side_is_judged_along_its_own_chain(name: str, side: str) -> None:
    report = verify(getattr(small_ports, name))
    assert report
    assert {hop.kind for hop in report.hops} == {"numerics", "batch", "graph", "export", "runtime"}
    assert list(report.environment["sides"]) == [side]


def export_torch(path: Path, seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    model = small_ports.torch_mlp().eval()
    batch = ({0: "batch"},)
    torch.onnx.export(
        model, (torch.zeros(2, 8),), path, dynamo=True, input_names=["x"], output_names=["out"],
        dynamic_shapes=batch, verbose=False, external_data=False,
    )  # fmt: skip


def test_a_side_may_be_an_onnx_file(tmp_path: Path) -> None:
    export_torch(tmp_path / "mlp.onnx", seed=0)  # the seed with which the engine builds the other side
    report = verify(replace(small_ports.TORCH_ONLY, paddle=str(tmp_path / "mlp.onnx")))
    assert report
    assert hops(report)["numerics mlp.onnx, ONNX Runtime as written"] in HOLDS
    assert {hop.weights for hop in report.hops} == {"factory"}


@pytest.mark.parametrize("program", ["inference.json", "inference.pdmodel"])
def test_a_side_may_be_a_paddle_program(tmp_path: Path, program: str) -> None:
    import torch

    file, state = tmp_path / program, _saved_program(tmp_path / program)

    def torch_with_the_same_weights() -> Any:
        model = small_ports.torch_mlp()
        for name, array in state.items():
            model.state_dict()[name].copy_(torch.tensor(array.T if array.ndim == 2 else array))
        return model

    port = replace(small_ports.MLP, torch=torch_with_the_same_weights, paddle=str(file))
    report = verify(port, quick=True, runners=["paddle-inference"])
    assert report
    assert hops(report)["numerics Paddle Inference, float32"] in HOLDS
    assert hops(report)[f"numerics {program}, Paddle program"] in HOLDS
    assert {hop.weights for hop in report.hops} == {"factory"}
    report = verify(replace(small_ports.MLP, paddle=str(file)), quick=True)
    assert report.verdict == "divergent"
    assert any(f"{program} holds weights of its own" in note for note in report.notes)


def test_weights_given_to_the_model_beside_a_program_are_judged_once(tmp_path: Path) -> None:
    import torch

    state = _saved_program(tmp_path / "inference.json")
    torch.save({n: torch.tensor(a.T if a.ndim == 2 else a) for n, a in state.items()}, tmp_path / "same.pt")
    port = replace(small_ports.MLP, paddle=str(tmp_path / "inference.json"))
    report = verify(port, weights=tmp_path / "same.pt", quick=True)
    assert report
    assert {hop.weights for hop in report.hops} == {"given (same.pt)"}


def _saved_program(file: Path) -> dict[str, Any]:
    """Save Paddle's perceptron as a program in the representation of its suffix; returns its weights."""
    import paddle

    old = "FLAGS_enable_pir_api=0" if file.suffix == ".pdmodel" else "FLAGS_enable_pir_api=1"
    code = (
        "import sys, paddle; from tests import small_ports; paddle.seed(0); layer = small_ports.paddle_mlp(); "
        "paddle.jit.save(layer, sys.argv[1], input_spec=[paddle.static.InputSpec([-1, 8], 'float32', 'x')]); "
        "paddle.save(layer.state_dict(), sys.argv[1] + '.pdparams')"
    )
    stem = file.with_suffix("")
    environment = os.environ | dict([old.split("=")])
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(stem)], check=True, env=environment)
    return {name: tensor.numpy() for name, tensor in paddle.load(f"{stem}.pdparams").items()}


def test_an_onnx_file_with_other_weights_is_divergent(tmp_path: Path) -> None:
    export_torch(tmp_path / "m.onnx", seed=1)
    assert verify(replace(small_ports.TORCH_ONLY, paddle=str(tmp_path / "m.onnx"))).verdict == "divergent"


def test_a_missing_artefact_is_bad_input() -> None:
    with pytest.raises(BadInput, match="is no file"):
        verify(replace(small_ports.TORCH_ONLY, paddle="nowhere.onnx"))


@pytest.mark.processes
def test_the_same_port_holds_through_processes() -> None:
    report = verify(find_port("tests.small_ports:MLP"), quick=True)
    assert report
    assert set(report.environment["sides"]) == {"torch", "paddle"}


def test_a_forgotten_transpose_of_a_square_linear_fails() -> None:
    def paddle_without_transpose() -> Any:
        import paddle
        from paddle import nn

        class Wrong(nn.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.square = nn.Linear(4, 4)

            def forward(self, x: Any) -> Any:
                return x @ paddle.transpose(self.square.weight, [1, 0]) + self.square.bias

        return Wrong()

    def torch_square() -> Any:
        from torch import nn

        class Square(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.square = nn.Linear(4, 4)

            def forward(self, x: Any) -> Any:
                return self.square(x)

        return Square()

    port = Port("square", paddle_without_transpose, torch_square, {"x": Input(("batch", 4))})
    assert verify(port, quick=True).verdict == "divergent"


def test_one_part_of_a_half_finished_port_is_judged_alone() -> None:
    def broken_paddle() -> Any:
        from paddle import nn

        class Broken(nn.Sequential):
            def forward(self, x: Any) -> Any:
                raise NotImplementedError("the head is not written yet")

        return Broken(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    port = replace(small_ports.MLP, paddle=broken_paddle)
    whole = verify(port, quick=True)
    assert whole.verdict == "divergent"
    assert [(c.side, c.kind) for c in whole.culprits] == [("unknown", "raises")]
    assert verify(port, module="2", quick=True)
    with pytest.raises(BadInput, match="no module '7'"):
        verify(port, module="7", quick=True)


def test_one_part_is_found_under_its_other_name() -> None:
    def torch_model() -> Any:
        from torch import nn

        return nn.Sequential(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 3))

    def paddle_model() -> Any:
        from paddle import nn

        class Named(nn.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.stem, self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 3)

            def forward(self, x: Any) -> Any:
                return self.head(self.stem(x))

        return Named()

    port = replace(
        small_ports.MLP, torch=torch_model, paddle=paddle_model, weights=WeightMap(rename={"0": "stem", "1": "head"})
    )
    for module in ("", "0", "1"):
        report = verify(port, module=module, quick=True)
        assert report, (module, report.culprits)
        assert report.modules is not None
        assert report.modules.unseen == ()


def test_assert_equivalent_names_the_culprit() -> None:
    def without_relu() -> Any:
        from paddle import nn

        return nn.Sequential(nn.Linear(8, 8), nn.Identity(), nn.Linear(8, 3))

    with pytest.raises(AssertionError, match=r"1  computes: .*\n +what to do: compare"):
        assert_equivalent(replace(small_ports.MLP, paddle=without_relu), quick=True)


def test_state_dicts_that_are_no_bijection_are_divergent_with_their_tensors() -> None:
    report = verify(replace(small_ports.MLP, paddle=lambda: small_ports.paddle_mlp(bias=False)), quick=True)
    assert report.verdict == "divergent"
    assert [c.module for c in report.culprits] == ["0"]
    assert "'0.bias' [8] float32" in report.culprits[0].message


def test_a_side_that_raises_alone_is_the_culprit() -> None:
    def narrow() -> Any:
        from torch import nn

        class Narrow(nn.Sequential):
            def forward(self, x: Any) -> Any:
                return super().forward(x[:, :4])

        return Narrow(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    report = verify(replace(small_ports.MLP, torch=narrow), quick=True)
    assert report.verdict == "divergent"
    assert report.culprits[0].module == ""
    assert "receives another input" in report.culprits[0].message


def test_a_constant_output_is_inconclusive() -> None:
    def dead_torch() -> Any:
        from torch import nn

        class Dead(nn.Sequential):
            def forward(self, x: Any) -> Any:
                return super().forward(x * 0)

        return Dead(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    def dead_paddle() -> Any:
        from paddle import nn

        class Dead(nn.Sequential):
            def forward(self, x: Any) -> Any:
                return super().forward(x * 0)

        return Dead(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    report = verify(replace(small_ports.MLP, torch=dead_torch, paddle=dead_paddle), quick=True)
    assert report.verdict == "inconclusive"
    assert report.exit_code == 3
    assert not report


def test_an_accepted_deviation_holds_within_its_bound_and_fails_when_it_is_gone() -> None:
    from portproof import Accepted

    def slightly_off() -> Any:
        from paddle import nn

        class Off(nn.ReLU):
            def forward(self, x: Any) -> Any:
                return super().forward(x) * (1 + 1e-9)

        return nn.Sequential(nn.Linear(8, 8), Off(), nn.Linear(8, 3))

    port = replace(small_ports.MLP, paddle=slightly_off)
    assert [c.module for c in verify(port, quick=True).culprits] == ["1"]
    accepted = replace(port, accepted={"1": Accepted(1e-8, "the kernel scales")})
    report = verify(accepted, quick=True)
    assert report.culprits == ()
    assert report
    assert report.accepted[0].found == pytest.approx(1e-9, rel=0.1)
    tight = replace(port, accepted={"1": Accepted(1e-10, "the kernel scales")})
    assert [c.module for c in verify(tight, quick=True).culprits] == ["1"]
    stale = verify(replace(small_ports.MLP, accepted={"1": Accepted(1e-8, "the kernel scales")}), quick=True)
    assert stale.verdict == "divergent"
    assert stale.accepted[0].stale


@pytest.mark.parametrize(
    ("port", "side"),
    [
        ("torch_functional", "torch"),
        pytest.param("torch_adaptive", "torch", marks=pytest.mark.slow),
        pytest.param("paddle_functional", "paddle", marks=pytest.mark.slow),
    ],
)
def test_an_honest_rewrite_of_googlenet_raises_no_alarm(port: str, side: str) -> None:
    googlenet = find_port("convert.googlenet:GOOGLENET").port
    report = verify(replace(googlenet, **{side: f"parity_tests.evidence.rewrites:{port}"}), quick=True)
    assert report, report.culprits
    assert report.modules is not None
    assert bool(report.modules.recut) == ("functional" in port)


def test_two_faults_in_one_whole_are_not_taken_for_another_cut() -> None:
    def torch_twice_wrong() -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(-1))

    def paddle_right() -> Any:
        from paddle import nn

        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3), nn.Identity())

    report = verify(replace(small_ports.MLP, torch=torch_twice_wrong, paddle=paddle_right), quick=True)
    assert report.verdict == "divergent"
    assert {culprit.module for culprit in report.culprits} == {"1", "3"}


def test_a_setting_that_acts_in_training_only_is_compared_all_the_same() -> None:
    def net(framework: str, rate: float) -> Any:
        def build() -> Any:
            import importlib

            nn = importlib.import_module(f"{framework}.nn")
            return nn.Sequential(nn.Linear(8, 8), nn.Dropout(rate), nn.Linear(8, 3))

        return build

    port = replace(small_ports.MLP, torch=net("torch", 0.4), paddle=net("paddle", 0.5))
    report = verify(port, quick=True)
    assert report.verdict == "divergent"
    (culprit,) = report.culprits
    assert (culprit.module, culprit.kind) == ("1", "setting")
    assert "p is 0.4 in torch and 0.5 in Paddle" in culprit.message


def test_a_culprit_s_message_says_which_setting_differs_and_where_it_first_shows() -> None:
    def torch_net() -> Any:
        from torch import nn

        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))

    def paddle_net() -> Any:
        from paddle import nn

        return nn.Sequential(
            nn.Conv2D(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2D(4, 2, 3, padding=1, padding_mode="replicate")
        )

    inputs = {"x": Input(("batch", 3, 9, 9))}
    report = verify(Port("padded", paddle_net, torch_net, inputs), quick=True)
    (culprit,) = report.culprits
    assert "padding_mode is zeros in torch and replicate in Paddle" in culprit.message
    assert report.modules is not None
    assert report.modules.first_divergence == "2"


def test_saturation_beyond_unit_variance_is_probed() -> None:
    def torch_net() -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU6(), nn.Linear(8, 3))

    def paddle_net() -> Any:
        from paddle import nn

        return nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))

    port = replace(small_ports.MLP, torch=torch_net, paddle=paddle_net)
    report = verify(port, quick=True)
    assert report
    assert report.culprits == ()  # no output is reached behind a LayerNorm, whatever the input
    (latent,) = report.latent
    assert (latent.module, latent.kind) == ("2", "saturates")
    assert "16 times as large" in latent.message
    assert "from an absolute value of 6" in latent.message
    strict = verify(port, quick=True, strict=True)
    assert (strict.verdict, strict.culprits) == ("divergent", (latent,))


def test_saturation_that_a_loud_input_reaches_is_a_fault() -> None:
    def net(framework: str, activation: str) -> Any:
        def build() -> Any:
            import importlib

            nn = importlib.import_module(f"{framework}.nn")
            return nn.Sequential(nn.Linear(8, 8), getattr(nn, activation)(), nn.Linear(8, 3))

        return build

    report = verify(replace(small_ports.MLP, torch=net("torch", "ReLU6"), paddle=net("paddle", "ReLU")), quick=True)
    assert report.verdict == "divergent"
    assert [culprit.module for culprit in report.culprits] == ["1"]


@pytest.mark.parametrize("sides", [("torch",), ("torch", "paddle")])
def test_a_layer_that_computes_in_less_than_float32_is_named_even_where_both_sides_do(sides: tuple[str, ...]) -> None:
    def torch_net() -> Any:
        import torch
        from torch import nn

        class Rounded(nn.Linear):
            def forward(self, x: Any) -> Any:
                y = super().forward(x)
                return y.half().float() if y.dtype == torch.float32 and "torch" in sides else y

        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Rounded(8, 3))

    def paddle_net() -> Any:
        import paddle
        from paddle import nn

        class Rounded(nn.Linear):
            def forward(self, x: Any) -> Any:
                y = super().forward(x)
                return y.astype("float16").astype("float32") if y.dtype == paddle.float32 and len(sides) > 1 else y

        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Rounded(8, 3))

    report = verify(replace(small_ports.MLP, torch=torch_net, paddle=paddle_net), quick=True)
    assert report.verdict == "divergent"
    assert {(culprit.module, culprit.kind, culprit.side) for culprit in report.culprits} == {
        ("2", "precision", side) for side in sides
    }


@pytest.mark.parametrize("order", ["drawn", "in turn"])
def test_a_layer_whose_terms_cancel_errs_far_in_float32_and_is_right(order: str, tmp_path: Path) -> None:
    """What float32 can carry there is more than the least that any such layer can.

    In turn, one kernel cancels each term with the next and errs little, and another adds up every second one first.
    """
    rng = np.random.default_rng(0)
    signs = np.tile([3e6, -3e6], 256)
    large = (signs if order == "in turn" else rng.permutation(signs))[None].repeat(4, 0) + rng.standard_normal((4, 512))
    state = {"0.weight": large, "0.bias": np.zeros(4), "1.weight": rng.standard_normal((3, 4)), "1.bias": np.zeros(3)}
    save_file({n: array.astype(np.float32) for n, array in state.items()}, tmp_path / "w.safetensors")

    def net(framework: str) -> Any:
        nn = import_module(f"{framework}.nn")
        return nn.Sequential(nn.Linear(512, 4), nn.Linear(4, 3))

    images = {"x": 1 + 1e-3 * rng.random((8, 512)).astype(np.float32)}
    port = Port("cancels", lambda: net("paddle"), lambda: net("torch"), {"x": Input(("batch", 512))})
    report = verify(port, quick=True, weights=tmp_path / "w.safetensors", rows=images)
    assert (report.verdict, report.culprits) == ("equivalent", ()), report


def test_a_buffer_that_one_side_has_alone_keeps_the_model_s_own_value() -> None:
    """Noise on a mask of infinities would be no number, and with it every weight behind the mask."""
    masked = [0.0] * 7 + [-float("inf")]

    def torch_masked() -> Any:
        import torch
        from torch import nn

        class Masked(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.fc = nn.Linear(8, 8)
                self.register_buffer("mask", torch.tensor(masked))

            def forward(self, x: Any) -> Any:
                return torch.softmax(self.fc(x) + self.mask, -1)

        return nn.Sequential(Masked(), nn.Linear(8, 3))

    def paddle_masked() -> Any:
        import paddle
        from paddle import nn

        class Masked(nn.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.fc = nn.Linear(8, 8)

            def forward(self, x: Any) -> Any:
                return nn.functional.softmax(self.fc(x) + paddle.to_tensor(masked).astype(x.dtype), -1)

        return nn.Sequential(Masked(), nn.Linear(8, 3))

    weights = WeightMap(ignore={"0.mask": "Paddle's side writes the numbers out"})
    assert verify(replace(small_ports.MLP, torch=torch_masked, paddle=paddle_masked, weights=weights), quick=True)


def test_taps_pair_modules_whose_paths_differ() -> None:
    def torch_named() -> Any:
        from torch import nn

        return nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Tanh()), nn.Linear(8, 3))

    def paddle_named() -> Any:
        from paddle import nn

        return nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))

    port = replace(small_ports.MLP, torch=torch_named, paddle=paddle_named, taps={"1.0": "1", "1": "none"})
    report = verify(port, quick=True)
    assert [culprit.module for culprit in report.culprits] == ["1.0"]
    assert report.modules is not None
    assert report.modules.unseen == ("torch '1' (Sequential)",)


def two_files(folder: Path) -> Port:
    """Both exports of one small port under the same weights, as a port of files alone."""
    from portproof._disk import save_arrays
    from portproof.ports._inputs import make_batch
    from portproof.ports._locate import Located, Project
    from portproof.sides._session import Sessions
    from portproof.sides._sides import Sides

    with Sessions(Located(small_ports.MLP, None, Project())) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        inputs = sides.folder / "inputs.safetensors"
        save_arrays(inputs, make_batch(small_ports.MLP).arrays)
        for side, file in sides.spread(*sides.sensitise(inputs, 0)).items():
            sides.open[side].call(Tasks.load, weights=file)
            sides.open[side].call(Tasks.export, inputs=inputs, out=folder / f"{side}.onnx")
    return replace(small_ports.MLP, torch=str(folder / "torch.onnx"), paddle=str(folder / "paddle.onnx"))


def test_a_port_of_two_files_is_judged_with_the_graph_as_its_oracle(tmp_path: Path) -> None:
    port = two_files(tmp_path)
    report = verify(port)
    assert report, report
    found = hops(report)
    assert found["semantics paddle.onnx, interpreted in float64"] in HOLDS
    assert {f"export {side}.onnx, ONNX Runtime as written" for side in ("torch", "paddle")} <= found.keys()
    assert verify(replace(port, paddle=None))
    with pytest.raises(BadInput, match="is made of files"):
        verify(port, quick=True)


def test_a_file_with_one_other_weight_is_divergent_and_the_weight_is_named(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    port = two_files(tmp_path)
    wrong = onnx.load(tmp_path / "paddle.onnx")
    tensor = next(t for t in wrong.graph.initializer if t.name.endswith("weight"))
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] += np.float32(0.25)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(wrong, tmp_path / "paddle.onnx")
    report = verify(port)
    assert report.verdict == "divergent"
    assert [(c.kind, "1 of 64 elements" in c.message) for c in report.culprits] == [("graph", True)]
    assert [hop.verdict in HOLDS for hop in report.hops if hop.kind == "export"] == [True, True]


def test_a_paddle_program_alone_has_no_oracle_and_says_so(tmp_path: Path) -> None:
    import paddle

    spec = [paddle.static.InputSpec([-1, 8], "float32", "x")]
    paddle.jit.save(small_ports.paddle_mlp(), str(tmp_path / "inference"), input_spec=spec)
    with pytest.raises(Unavailable, match="there is no oracle"):
        verify(replace(small_ports.PADDLE_ONLY, paddle=str(tmp_path / "inference.json")))


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    import onnx

    port = two_files(tmp_path)
    proto = onnx.load(tmp_path / "torch.onnx")
    onnx.save(proto, tmp_path / "external.onnx", save_as_external_data=True, size_threshold=0, location="data.bin")
    assert verify(replace(port, torch=str(tmp_path / "external.onnx")))
    proto = onnx.load(tmp_path / "external.onnx", load_external_data=False)
    (tmp_path / "inside").mkdir()
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../data.bin" if entry.key == "location" else entry.value
    (tmp_path / "inside" / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(BadInput, match="no file of its folder"):
        verify(replace(port, torch=str(tmp_path / "inside" / "m.onnx")))
