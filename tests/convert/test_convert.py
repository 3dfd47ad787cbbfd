"""``convert``: bit for bit, with an account, and nothing by guess."""

import csv
import hashlib
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from portproof import BadInput
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from portproof.convert._table import COLUMNS, map_csv, read_map
from tests.conftest import Run


def test_torch_to_paddle_to_torch_is_bit_exact_and_reproducible(checkpoint: Path, run: Run) -> None:
    for target in ("a.pdparams", "b.pdparams"):
        answer = run("convert", checkpoint, target)
        assert answer.code == 0, answer
    assert "2 copy, 2 transpose" in answer.out
    assert Path("a.pdparams").read_bytes() == Path("b.pdparams").read_bytes()
    assert run("convert", "a.pdparams", "back.pt").code == 0
    assert run("convert", "back.pt", "back.safetensors", "--to", "torch").code == 0
    before, after = load_file(checkpoint), load_file("back.safetensors")
    assert {n: a.tobytes() for n, a in before.items()} == {n: a.tobytes() for n, a in after.items()}


def test_each_framework_loads_what_was_converted(checkpoint: Path, run: Run) -> None:
    import paddle
    import torch

    from tests.small_ports import paddle_mlp

    run("convert", checkpoint, "a.pdparams")
    run("convert", "a.pdparams", "back.pt")
    expected = load_file(checkpoint)
    loaded = paddle.load("a.pdparams")
    np.testing.assert_array_equal(loaded["0.weight"].numpy(), expected["0.weight"].T)
    layer = paddle_mlp()
    assert layer.set_state_dict(loaded) == ([], [])
    state = torch.load("back.pt", weights_only=True)
    np.testing.assert_array_equal(state["2.weight"].numpy(), expected["2.weight"])


def test_frameworks_own_files_are_read(checkpoint: Path, run: Run) -> None:
    import paddle

    from tests.small_ports import paddle_mlp

    layer = paddle_mlp()
    paddle.save(layer.state_dict(), "own.pdparams")
    assert run("convert", "own.pdparams", "own.safetensors").code == 0
    np.testing.assert_array_equal(load_file("own.safetensors")["0.weight"], layer.state_dict()["0.weight"].numpy().T)


def test_a_dry_run_writes_nothing(checkpoint: Path, run: Run) -> None:
    answer = run("convert", checkpoint, "a.pdparams", "--dry-run")
    assert answer.code == 0
    assert not Path("a.pdparams").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("0.bias"), ["'0.bias' [8] float32", "missing"]),
        (lambda t: t.update(extra=np.zeros(2, np.float32)), ["'extra' [2]", "not in the model"]),
        (lambda t: t.update({"2.bias": np.zeros(5, np.float32)}), ["'2.bias' is [3]", "[5] in the file"]),
        (lambda t: t.update({"2.bias": np.zeros(3)}), ["'2.bias' is float32", "float64 in the file"]),
    ],
)
def test_a_tensor_without_its_equal_is_named_and_the_old_file_kept(checkpoint: Path, run: Run, change, words) -> None:
    tensors = load_file(checkpoint)
    change(tensors)
    save_file(tensors, "changed.safetensors", {"portproof.side": "torch"})
    Path("out.pdparams").write_text("old")
    run("convert", "changed.safetensors", "out.pdparams").refused(2, "'out.pdparams' exists and is kept; --force")
    run("convert", "changed.safetensors", "out.pdparams", "--force").refused(2, *words)
    assert Path("out.pdparams").read_text() == "old"
    assert {p.name for p in Path().iterdir() if p.name.startswith(".out")} == set()
    run("verify", "--quick", "--weights", "changed.safetensors").refused(2, *words)


def test_another_class_count_is_named(checkpoint: Path, run: Run) -> None:
    run("convert", checkpoint, "a.pdparams", "--set", "classes=5").refused(2, "'2.weight' is [5, 8]", "[3, 8]")


def test_truncated_and_foreign_files(checkpoint: Path, run: Run) -> None:
    run("convert", checkpoint, "a.pdparams")
    run("convert", "a.pdparams", "a.pt")
    for name in ("a.pdparams", "a.pt", "torch.safetensors"):
        content = Path(name).read_bytes()
        cut = f"cut{Path(name).suffix}"
        Path(cut).write_bytes(content[: len(content) // 2])
        run("convert", cut, "out.safetensors").refused(2, cut)
        Path(cut).write_bytes(b"this is no checkpoint")
        run("convert", cut, "out.safetensors").refused(2, cut)
        run("verify", "--quick", "--weights", cut).refused(2, cut)
    run("convert", "none.pt", "out.safetensors").refused(2, "no such file")
    run("convert", "tiny.py", "out.safetensors").refused(2, "expected one of .pdparams")
    assert not Path("out.safetensors").exists()


def test_a_safetensors_file_that_does_not_say_whose_it_is_needs_from_where_it_fits_both(
    checkpoint: Path, run: Run
) -> None:
    save_file(load_file(checkpoint), "mute.safetensors")
    answer = run("convert", "mute.safetensors", "a.pdparams")
    assert answer.code == 0, answer
    assert "names and shapes are torch's and not the other side's" in answer.out
    square = {name: np.ones((8, 8) if "weight" in name else 8, np.float32) for name in load_file(checkpoint)}
    save_file(square, "square.safetensors")
    both = ("convert", "square.safetensors", "a.pdparams", "--set", "classes=8", "--force")
    run(*both).refused(2, "does not say whose names and layouts it holds; add --from torch or --from paddle")
    assert run(*both, "--from", "torch").code == 0
    run("convert", checkpoint, "b.pdparams", "--from", "paddle").refused(2, "--from says paddle")


# Maps ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(checkpoint: Path, run: Run) -> Path:
    """The map of the small port's two state dicts, as a file."""
    assert run("account", "-o", "map.csv").code == 0
    return checkpoint.parent / "map.csv"


def test_a_map_alone_converts_without_port_or_framework(
    checkpoint: Path, mapped: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("convert", checkpoint, "by-models.pdparams").code == 0
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("portproof.sides._session.Sessions.open", None)  # nothing may be started
    (checkpoint.parent / "pyproject.toml").unlink()
    answer = run("convert", checkpoint, "by-map.pdparams", "--map", mapped)
    assert answer.code == 0, answer
    assert "2 copy, 2 transpose; 0 renamed; by map.csv" in answer.out
    assert Path("by-map.pdparams").read_bytes() == Path("by-models.pdparams").read_bytes()


def test_a_port_with_a_map_needs_no_model(checkpoint: Path, mapped: Path, run: Run) -> None:
    file = checkpoint.parent / "tiny.py"
    broken = file.read_text().replace("return nn.Sequential", "raise RuntimeError; nn.Sequential")
    file.write_text(broken.replace('name="tiny"', 'name="tiny", mapping="map.csv"'))
    assert run("convert", checkpoint, "a.pdparams").code == 0
    run("convert", checkpoint, "b.pdparams", "--set", "classes=3").refused(2, "RuntimeError")  # other models: built


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_target_says_where_it_comes_from(checkpoint: Path, mapped: Path, run: Run) -> None:
    run("convert", checkpoint, "a.pdparams", "--map", mapped)
    run("convert", "a.pdparams", "b.safetensors", "--map", mapped)
    with safe_open("b.safetensors", "np") as file:
        said = file.metadata()
    source = Path("a.pdparams").read_bytes()
    assert said["portproof.source_crc32"] == f"{zlib.crc32(source):08x}"
    assert said["portproof.source_bytes"] == str(len(source))
    assert said["portproof.map_sha256"] == _sha256(mapped)
    about = open_checkpoint(Path("a.pdparams")).about
    assert about["source_crc32"] == f"{zlib.crc32(checkpoint.read_bytes()):08x}"
    assert "source_sha256" not in about
    run("convert", checkpoint, "certain.pdparams", "--map", mapped, "--verify")
    assert open_checkpoint(Path("certain.pdparams")).about["source_sha256"] == _sha256(checkpoint)
    Path("renamed.pdparams").write_bytes(Path("a.pdparams").read_bytes())
    run("convert", "renamed.pdparams", "c.safetensors", "--map", mapped)
    assert Path("b.safetensors").read_bytes() == Path("c.safetensors").read_bytes()


def test_verify_proves_the_round_trip_and_the_outputs(checkpoint: Path, run: Run) -> None:
    tensors = load_file(checkpoint)
    tensors["0.bias"][:2] = 0.5
    save_file(tensors, "finite.safetensors", {"portproof.side": "torch"})
    answer = run("convert", "finite.safetensors", "a.pdparams", "--verify")
    assert answer.code == 0, answer
    assert "4 tensors read back and turned again: every bit as in the source" in answer.out
    assert "given (a.pdparams) weights" in " ".join(answer.out.split())


def test_a_target_that_does_not_come_back_is_told(checkpoint: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import portproof.convert._convert as module

    def wrong(path: Path, tensors: dict[str, Stored], *rest: object) -> None:
        changed = np.array(tensors["2.bias"].read())
        changed.view(np.uint8)[0] ^= 1
        write_checkpoint(path, {**tensors, "2.bias": Stored.of(changed)}, "paddle")

    monkeypatch.setattr(module, "write_checkpoint", wrong)
    run("convert", checkpoint, "a.pdparams", "--verify").refused(
        2, "'2.bias' does not come back", "do not use the file"
    )


def test_names_that_differ_are_suggested_and_never_applied(checkpoint: Path, mapped: Path, run: Run) -> None:
    theirs = {name.replace("0.", "backbone.fc0."): array for name, array in load_file(checkpoint).items()}
    save_file(theirs, "theirs.safetensors", {"portproof.side": "torch"})
    run("convert", "theirs.safetensors", "a.pdparams").refused(
        2, "'0.weight' [8, 8] float32 of the model is missing", "the file has 'backbone.fc0.weight': map it with --map"
    )
    assert not Path("a.pdparams").exists()
    answer = run("convert", "theirs.safetensors", "--suggest", "theirs.csv")
    assert answer.code == 0
    assert "'backbone.fc0.weight' in place of '0.weight'?" in answer.out
    assert run("convert", "theirs.safetensors", "a.pdparams", "--map", "theirs.csv").code == 0
    np.testing.assert_array_equal(
        open_checkpoint(Path("a.pdparams")).tensors["0.weight"].read(), load_file(checkpoint)["0.weight"].T
    )
    # To the same side: out of the file's names, into the port's.
    answer = run(
        "convert", "theirs.safetensors", "ours.pt", "--port", "tiny", "--map", "theirs.csv", "--to", "torch", "--verify"
    )
    assert answer.code in (0, 1, 3), answer  # the outputs hold a NaN; what counts is the file
    ours = open_checkpoint(Path("ours.pt")).arrays()
    assert {n: a.tobytes() for n, a in ours.items()} == {n: a.tobytes() for n, a in load_file(checkpoint).items()}


def test_shards_go_both_ways(checkpoint: Path, run: Run) -> None:
    answer = run("convert", checkpoint, "big.safetensors.index.json", "--to", "paddle", "--shard", "0.2kB")
    assert answer.code == 0, answer
    assert len(list(Path().glob("big-*.safetensors"))) > 1
    assert run("convert", "big.safetensors.index.json", "back.safetensors").code == 0
    after = load_file("back.safetensors")
    assert {n: a.tobytes() for n, a in after.items()} == {n: a.tobytes() for n, a in load_file(checkpoint).items()}
    run("convert", checkpoint, "a.pdparams", "--shard", "5").refused(2, "--shard takes a size such as 500MB or 5GB")


def test_batch_norm_s_counter_is_left_out_and_put_back_as_zero(project: Path, run: Run) -> None:
    import torch

    (project / "tiny.py").write_text(
        (project / "tiny.py").read_text()
        .replace("nn.ReLU(), nn.Linear(8, classes))", "nn.BatchNorm1d(8), nn.Linear(8, classes))", 1)
        .replace("nn.ReLU(), nn.Linear(8, classes))", "nn.BatchNorm1D(8), nn.Linear(8, classes))", 1)
    )  # fmt: skip
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
    torch.save(net.state_dict(), "t.pt")
    answer = run("convert", "t.pt", "p.pdparams")
    assert answer.code == 0, answer
    assert "left out: torch '1.num_batches_tracked': a counter that only torch keeps" in answer.out
    assert run("convert", "p.pdparams", "back.pt").code == 0
    assert net.load_state_dict(torch.load("back.pt", weights_only=True)).missing_keys == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,b,copy,2,2", "expected 6 columns, found 5"),
        ("a,b,turn,2,2,float32", "a transform is copy, transpose"),
        ("a,b,copy,2,3,float32", "copy of torch 2 gives 2, not 3"),
        ("a,b,transpose,2x3,2x3,float32", "transpose of torch 2x3 gives 3x2, not 2x3"),
        ("a,b,transpose,6,6,float32", "transpose does not fit a tensor of shape 6"),
        ("a,b,permute 0 0,2x3,2x3,float32", "are not axes, each once"),
        ("a,b + c,split 0,3,1 + 1,float32", "is not 2 equal parts along axis 0"),
        ("a,b + c,copy,2,1 + 1,float32", "several names need the transform split"),
        ("a,b,split 0,2,2,float32", "one name on one side and several on the other"),
        ("a,,copy,2,,float32", "a tensor without its equal"),
        ("a,b,left out: why,2,2,float32", "a name on one side only"),
        ("0.bias,b,copy,2,2,float32", "torch '0.bias' stands in the map twice"),
        ("a,b,copy,2*2,4,float32", "a shape is written as 64x3x7x7"),
        ("a + b,c,split 0,4x3 + 2x1,6x3,float32", "4x3 + 2x1 cannot be joined along axis 0"),
        ("a,b,copy,99999999999999999999,99999999999999999999,float32", "no tensor has a size of 20 digits"),
        ("a,b,copy,2,2,complex65", "dtype 'complex65' is none of"),
    ],
)
def test_a_map_that_says_nonsense_is_refused_by_its_line(mapped: Path, run: Run, line: str, words: str) -> None:
    mapped.write_text(mapped.read_text() + line + "\n")
    run("convert", "torch.safetensors", "a.pdparams", "--map", mapped).refused(2, "map.csv', line 6", words)


def test_what_is_no_map_is_refused(mapped: Path, run: Run) -> None:
    convert = ("convert", "torch.safetensors", "a.pdparams", "--map")
    run(*convert, "none.csv").refused(2, "no such map")
    run(*convert, "tiny.py").refused(2, "is no map: expected the columns torch,paddle,transform")
    Path("empty.csv").write_text(",".join(COLUMNS) + "\n")
    run(*convert, "empty.csv").refused(2, "maps no tensor")
    run("convert", "torch.safetensors").refused(2, "DST is missing")


def test_a_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    from portproof.convert._account import Account, TensorRow
    from portproof.frameworks._entries import Entry

    rows = (
        TensorRow(("qkv",), ("q", "k", "v"), "split", (1, 0), 0), TensorRow(("a", "b"), ("ab",), "split", None, 1),
        TensorRow(("t",), ("p",), "permute", (2, 0, 1)), TensorRow(("s",), ("s",), "copy"),
    )  # fmt: skip
    shapes = {
        "torch": {"qkv": (6, 4), "a": (2, 3), "b": (2, 3), "t": (1, 2, 3), "s": (), "n": (5,)},
        "paddle": {"q": (4, 2), "k": (4, 2), "v": (4, 2), "ab": (2, 6), "p": (3, 1, 2), "s": ()},
    }
    entries = {
        side: [Entry(name, shape, "float32", "", "", "") for name, shape in known.items()]
        for side, known in shapes.items()
    }
    account = Account(rows, (("torch", "n", "a counter, not used"),), ())
    file = tmp_path / "map.csv"
    file.write_text(map_csv(account, entries))
    found, known = read_map(file)
    assert found == account
    assert {side: {e.name: e.shape for e in listed} for side, listed in known.items()} == shapes
    with pytest.raises(BadInput, match="cannot be read as a map"):
        read_map(tmp_path)


# Optimisers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Momentum", "AdamW"])
def test_an_optimiser_s_state_goes_to_torch_and_comes_back(checkpoint: Path, run: Run, kind: str) -> None:
    import paddle
    import torch

    from tests.small_ports import paddle_mlp

    layer = paddle_mlp()
    schedule = paddle.optimizer.lr.StepDecay(0.1, 2)
    optimiser = getattr(paddle.optimizer, kind)(parameters=layer.parameters(), learning_rate=schedule)
    for _ in range(3):
        layer(paddle.rand([4, 8])).square().sum().backward()
        optimiser.step()
        optimiser.clear_grad()
        schedule.step()
    paddle.save(layer.state_dict(), "m.pdparams")
    paddle.save(optimiser.state_dict(), "m.pdopt")
    answer = run("convert", "m.pdopt", "m.safetensors", "--params", "m.pdparams")
    assert answer.code == 0, answer
    state, slot = load_file("m.safetensors"), "momentum_buffer" if kind == "Momentum" else "exp_avg"
    theirs = optimiser.state_dict()
    theirs_slot = "velocity_0" if kind == "Momentum" else "moment1_0"
    weight = layer[0].weight
    np.testing.assert_array_equal(state[f"0.weight.{slot}"], theirs[f"{weight.name}_{theirs_slot}"].numpy().T)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    assert all(state[f"{n}.{slot}"].shape == tuple(p.shape) for n, p in net.named_parameters())
    assert run("convert", "m.safetensors", "back.pdopt", "--params", "m.pdparams").code == 0
    back = paddle.load("back.pdopt")
    assert back.keys() == theirs.keys()
    for name, value in theirs.items():
        if name == "LR_Scheduler":
            assert back[name] == value
        else:
            assert back[name].numpy().tobytes() == value.numpy().tobytes()
    optimiser.set_state_dict(back)


def test_an_optimiser_s_state_that_does_not_fit_is_refused(checkpoint: Path, run: Run) -> None:
    import paddle

    from tests.small_ports import paddle_mlp

    layer, other = paddle_mlp(), paddle.nn.Linear(2, 2)
    for name, model in (("m", layer), ("other", other)):
        paddle.save(model.state_dict(), f"{name}.pdparams")
        optimiser = paddle.optimizer.Momentum(parameters=model.parameters())
        model(paddle.rand([1, 8 if name == "m" else 2])).sum().backward()
        optimiser.step()
        paddle.save(optimiser.state_dict(), f"{name}.pdopt")
    run("convert", "m.pdopt", "m.safetensors").refused(2, "needs --params")
    run("convert", "m.pdopt", "m.safetensors", "--params", "m.pt").refused(2, "--params takes the .pdparams")
    run("convert", "m.pdopt", "m.pt", "--params", "m.pdparams").refused(2, "from .pdopt to .safetensors or back")
    run("convert", "other.pdopt", "m.safetensors", "--params", "m.pdparams").refused(2, "belongs to no parameter")
    run("convert", "other.pdopt", "m.safetensors", "--params", "other.pdparams").refused(
        2, "is no parameter of the model"
    )
    Path("cut.pdopt").write_bytes(Path("m.pdopt").read_bytes()[:200])
    run("convert", "cut.pdopt", "m.safetensors", "--params", "m.pdparams").refused(2, "'cut.pdopt'", "cut short")
    assert not Path("m.safetensors").exists()


def test_the_zoo_s_names_lead_to_ours() -> None:
    from convert.googlenet_bvlc import GOOGLENET_BVLC, ZOO_MAP, zoo_name

    assert GOOGLENET_BVLC.mapping is not None
    ours = list(csv.DictReader(Path(GOOGLENET_BVLC.mapping).read_text().splitlines()))
    zoo = list(csv.DictReader(ZOO_MAP.read_text().splitlines()))
    weights = [line for line in zoo if line["paddle"]]
    assert weights == [{**line, "torch": zoo_name(line["torch"])} for line in ours]
    assert len({line["torch"] for line in weights}) == len(weights) == 116
    assert [line["torch"] for line in zoo if not line["paddle"]] == ["OC2_DUMMY_1", "OC2_DUMMY_3"]  # of Reshapes


def test_a_tensor_of_several_names_and_one_of_another_shape_come_back_bit_for_bit(project: Path, run: Run) -> None:
    """Paddle's LSTM holds each tensor twice, and the bias of its Bilinear has two axes."""
    import paddle

    (project / "ports.py").write_text(
        "from portproof import Input, Port\n"
        "def torch_model():\n"
        "    from torch import nn\n"
        "    return nn.ModuleDict({'lstm': nn.LSTM(3, 2), 'pair': nn.Bilinear(2, 3, 4)})\n"
        "def paddle_model():\n"
        "    from paddle import nn\n"
        "    return nn.LayerDict({'lstm': nn.LSTM(3, 2), 'pair': nn.Bilinear(2, 3, 4)})\n"
        "PORT = Port('p', paddle_model, torch_model, {'x': Input(('batch', 3))})\n"
    )
    layer = paddle.nn.LayerDict({"lstm": paddle.nn.LSTM(3, 2), "pair": paddle.nn.Bilinear(2, 3, 4)})
    paddle.save(layer.state_dict(), "own.pdparams")
    assert run("account", "ports.py", "-o", "map.csv").code == 0
    text = Path("map.csv").read_text()
    assert "lstm.weight_ih_l0,lstm.weight_ih_l0 + lstm.0.cell.weight_ih,tied,8x3,8x3 + 8x3,float32" in text
    assert "pair.bias,pair.bias,reshape,4,1x4,float32" in text
    for port in (["--port", "ports.py"], ["--map", "map.csv"]):
        assert run("convert", "own.pdparams", "there.safetensors", *port, "--force").code == 0
        assert run("convert", "there.safetensors", "back.pdparams", *port, "--force").code == 0
        names = [f"lstm.{kind}_{where}_l0" for kind in ("weight", "bias") for where in ("ih", "hh")]
        assert set(load_file("there.safetensors")) == {*names, "pair.weight", "pair.bias"}
        back = paddle.load("back.pdparams")
        assert all((back[name].numpy() == tensor.numpy()).all() for name, tensor in layer.state_dict().items())
        assert layer.set_state_dict(back) == ([], [])
    torn = {name: np.array(tensor.numpy()) for name, tensor in layer.state_dict().items()}
    torn["lstm.0.cell.bias_ih"] += 1
    paddle.save({name: paddle.to_tensor(array) for name, array in torn.items()}, "torn.pdparams")
    run("convert", "torn.pdparams", "torn.safetensors", "--port", "ports.py").refused(
        2, "'lstm.0.cell.bias_ih' and 'lstm.bias_ih_l0' are one tensor"
    )
    assert not Path("torn.safetensors").exists()


def test_the_flagship_s_folder_converts_by_itself(tmp_path: Path) -> None:
    import subprocess

    import torch

    import convert
    from torch_impl.googlenet import GoogLeNet

    state = GoogLeNet(num_classes=1000).state_dict()
    there = convert.to_paddle(state)
    back = convert.to_torch(there)
    assert all(back[name].tobytes() == tensor.numpy().tobytes() for name, tensor in state.items())
    torch.save(state, tmp_path / "googlenet.pt")
    command = [sys.executable, "-m", "convert", tmp_path / "googlenet.pt", tmp_path / "googlenet.pdparams"]
    said = subprocess.run(command, cwd=Path(convert.__file__).parents[1], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said
    found = open_checkpoint(tmp_path / "googlenet.pdparams").tensors
    assert {name: stored.read().tobytes() for name, stored in found.items()} == {
        name: array.tobytes() for name, array in there.items()
    }


# A second reading, and files that are kept --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pdparams", ".safetensors", ".npz"])
def test_verify_reads_the_source_by_other_means(
    checkpoint: Path, mapped: Path, run: Run, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    from portproof.checkpoints import _stored

    source, target = f"own{suffix}", "out.pt" if suffix == ".pdparams" else "out.pdparams"
    run("convert", checkpoint, "paddle.pdparams", "--map", mapped)
    if suffix != ".safetensors":
        same = "paddle" if suffix == ".pdparams" else "torch"
        assert run("convert", "paddle.pdparams", source, "--to", same, "--map", mapped).code == 0
    else:
        Path(source).write_bytes(checkpoint.read_bytes())
    asked = ("convert", source, target, "--map", mapped, "--verify")
    readers = {".pt": "torch.load(weights_only=True)", ".pdparams": "Python's unpickler and NumPy"}
    answer = run(*asked)
    assert answer.code == 0, answer
    by = readers.get(suffix, {".npz": "numpy.load", ".safetensors": "safetensors"}.get(suffix))
    assert f"4 tensors of the source read again by {by}: every bit alike" in answer.out
    true = _stored.FilePart.map  # a reader that is wrong in itself is wrong both ways, and agrees with itself

    def negated(part: _stored.FilePart) -> np.ndarray:
        found = np.array(true(part))
        if part.path.name == source:
            found[3::4] ^= 128
        return found

    monkeypatch.setattr(_stored.FilePart, "map", negated)
    answer = run(*asked, "--force")
    assert answer.code == 2, answer
    assert f"is another tensor as {by} reads it; do not use the target" in answer.err


def test_verify_says_where_no_second_reading_stands_beside_it(checkpoint: Path, mapped: Path, run: Run) -> None:
    import pickle

    import torch

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    torch.jit.save(torch.jit.script(net), "script.pt")
    cut = {f"0.bias@@.{i}": np.ones(4, np.float32) for i in range(2)}
    table = {"UnpackBigParamInfor@@": {"0.bias": {"OriginShape": (8,), "slices": list(cut)}}}
    shapes = {"0.weight": (8, 8), "2.weight": (8, 3), "2.bias": (3,)}
    Path("cut.pdparams").write_bytes(
        pickle.dumps({**{n: np.ones(s, np.float32) for n, s in shapes.items()}, **cut, **table})
    )
    torch.save({"model": net.state_dict(), "odd": torch.distributions.Normal}, "odd.pt")
    for source, target, reason in (
        ("script.pt", "a.pdparams", "made up of parts, or named by other files"),
        ("cut.pdparams", "b.pt", "made up of parts"), ("odd.pt", "c.pdparams", "UnpicklingError"),
    ):  # fmt: skip
        answer = run("convert", source, target, "--map", mapped, "--verify")
        assert answer.code == 0, answer
        assert "read by portproof alone, and no second reading stands beside it" in answer.out
        assert reason in answer.out


def test_a_file_that_exists_is_kept_unless_a_person_says_force(checkpoint: Path, mapped: Path, run: Run) -> None:
    trained = Path("trained.pdparams")
    trained.write_text("weeks of work")
    for asked in (
        ("convert", checkpoint, trained, "--map", mapped), ("account", "-o", trained), ("doctor", "--json", trained),
        ("convert", checkpoint, "--suggest", trained), ("verify", "--json", trained),
        ("bench", "run", "-o", trained), ("bench", "selfcheck", "-o", trained), ("bench", "recommend", "-o", trained),
        ("bench", "report", trained, "--html", trained), ("faults", "--json", trained),
        ("train", "--data", "digits", "-o", "t", "--json", trained),
        ("agree", "--images", ".", "--json", trained), ("agree", "--images", ".", "--costs", trained),
        ("compare", "a", "b", "--json", trained), ("map", "-o", trained),
    ):  # fmt: skip
        run(*asked).refused(2, "'trained.pdparams' exists and is kept; --force replaces it")
        assert trained.read_text() == "weeks of work"
    Path("e.onnx").write_text("x")
    run("export", "--from", "torch", "-o", "e.onnx").refused(2, "'e.onnx' exists and is kept")
    Path("m.safetensors").write_text("x")
    optimiser = ("convert", "m.pdopt", "m.safetensors", "--params", "m.pdparams", "--map", mapped)
    run(*optimiser).refused(2, "'m.safetensors' exists and is kept")
    Path("r.html").write_text("x")
    run("verify", "--report", "r.html").refused(2, "'r.html' exists and is kept")
    Path("c").mkdir()
    Path("c/manifest.json").write_text("x")
    run("capture", "--runner", "torch-eager", "-o", "c").refused(2, "'c/manifest.json' exists and is kept")
    assert run("convert", checkpoint, trained, "--map", mapped, "--force").code == 0
    assert open_checkpoint(trained).tensors
    Path("empty.pdparams").touch()  # as mktemp makes it
    assert run("convert", checkpoint, "empty.pdparams", "--map", mapped).code == 0
    run("convert", checkpoint, checkpoint, "--map", mapped, "--force").refused(2, "are one file; name another DST")


def test_what_is_replaced_leaves_its_mode_and_a_link_stays_one(checkpoint: Path, mapped: Path, run: Run) -> None:
    Path("store").mkdir()
    real, link = Path("store/real.pdparams"), Path("link.pdparams")
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    run("convert", checkpoint, link, "--map", mapped).refused(2, "exists and is kept")
    assert run("convert", checkpoint, link, "--map", mapped, "--force").code == 0
    assert link.is_symlink()
    assert open_checkpoint(real).tensors
    assert real.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in Path("store").iterdir()] == ["real.pdparams"]
    dangling = Path("dangling.pdparams")
    dangling.symlink_to("store/new.pdparams")
    assert run("convert", checkpoint, dangling, "--map", mapped).code == 0
    assert dangling.is_symlink()
    assert open_checkpoint(Path("store/new.pdparams")).tensors


def test_a_device_is_written_to_and_not_replaced(checkpoint: Path, run: Run) -> None:
    import os
    import stat
    import threading

    os.mkfifo("pipe")
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.append(Path("pipe").read_text()))
    reader.start()
    assert run("doctor", "--json", "pipe").code == 0
    reader.join(10)
    assert said[0].startswith("{")
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    assert run("doctor", "--json", "/dev/null").code == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_weights_are_taken_in_the_forms_that_people_have_by_every_command(project: Path, run: Run) -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    half = {f"module.{name}": tensor.half() for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": half, "epoch": 3}, "c.pth.tar")
    said = (
        "portproof: c.pth.tar: weights under 'state_dict'",
        "portproof: c.pth.tar: beginning 'module.' of names taken off",
    )
    for asked in (
        ("verify", "--quick", "--weights", "c.pth.tar"),
        ("capture", "--runner", "torch-eager", "--weights", "c.pth.tar", "-o", "a"),
    ):
        answer = run(*asked)
        assert answer.code == 0, answer
        for line in said:
            assert line in answer.err
    taken = load_file("a/weights.safetensors")
    np.testing.assert_array_equal(taken["0.bias"], half["module.0.bias"].float().numpy())


def test_names_from_a_file_obey_no_terminal(checkpoint: Path, mapped: Path, run: Run) -> None:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    hostile = "\x1b]52;c;aGk=\x07\u202e"
    torch.save({"model": net.state_dict(), hostile: 1, "epoch": 2}, "c.pt")
    answer = run("convert", "c.pt", "a.pdparams", "--map", mapped)
    assert answer.code == 0, answer
    torch.save({f"{hostile}.{name}": tensor for name, tensor in net.state_dict().items()}, "c.pt")
    other = run("convert", "c.pt", "b.pdparams", "--map", mapped)
    torch.save({**net.state_dict(), hostile: torch.ones(2)}, "c.pt")
    refused = run("convert", "c.pt", "c.pdparams", "--map", mapped)
    assert refused.code == 2
    for text in (answer.out, answer.err, other.out, other.err, refused.err):
        assert not set("\x1b\x07\u202e") & set(text)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize(
    ("kind", "said"), [("sparse", "to_dense()"), ("csr", "to_dense()"), ("meta", "without values")]
)
def test_a_tensor_of_a_kind_that_is_not_read_is_not_called_missing(
    checkpoint: Path, run: Run, kind: str, said: str
) -> None:
    import torch

    tensors = {name: torch.tensor(array) for name, array in load_file(checkpoint).items()}
    odd = {"sparse": torch.Tensor.to_sparse, "csr": torch.Tensor.to_sparse_csr, "meta": lambda t: t.to("meta")}[kind]
    torch.save(tensors | {"2.weight": odd(tensors["2.weight"])}, "odd.pt")
    answer = run("convert", "odd.pt", "out.pdparams")
    answer.refused(2, "'2.weight' [3, 8] float32 of the model stands in the file as a")
    assert said in answer.err
    assert not Path("out.pdparams").exists()
