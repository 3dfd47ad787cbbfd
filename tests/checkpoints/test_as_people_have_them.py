"""Checkpoints in the forms that people have: converted from the command line alone, and what was chosen is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof.checkpoints import open_checkpoint
from tests.checkpoints.as_people_have_them import PADDLE, TORCH, Case, make_paddle, make_torch, write_port
from tests.conftest import Run

Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Arrays, Arrays]:
    """The files, and the state dict of each side that they hold."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return folder, make_torch(folder), make_paddle(folder)


@pytest.fixture
def mapped(
    made: tuple[Path, Arrays, Arrays], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> Path:  # fmt: skip
    """A folder with the port and its map, as the working directory; nothing may be built or started from here on."""
    write_port(tmp_path)
    monkeypatch.chdir(tmp_path)
    kept = made[0] / "map.csv"
    if not kept.exists():
        assert run("account", "ck.py:PORT", "-o", kept).code == 0
    monkeypatch.setattr("portproof.sides._session.Sessions.open", None)
    return kept


def _side(name: str, arrays: Arrays) -> Arrays:
    """Return torch's state dict as Paddle has it, or back, written out by hand for this model."""
    ends = {"running_mean": "_mean", "running_var": "_variance"}
    ends = ends if name == "paddle" else {theirs: ours for ours, theirs in ends.items()}
    turned = {}
    for key, array in arrays.items():
        lead, _, leaf = key.rpartition(".")
        if leaf != "num_batches_tracked":
            turned[f"{lead}.{ends.get(leaf, leaf)}"] = array.T if key == "4.weight" else array
    return turned


@pytest.mark.parametrize("case", [*TORCH, *PADDLE], ids=lambda case: case.file)
def test_a_form_that_people_have_converts_or_says_what_would(
    made: tuple[Path, Arrays, Arrays], mapped: Path, run: Run, case: Case
) -> None:
    source, target = made[0] / case.file, "out.pdparams" if case in TORCH else "out.pt"
    answer = run("convert", source, target, "--map", mapped)
    if case.refused:
        answer.refused(2, *case.words)
        assert not Path(target).exists()
        return
    assert answer.code == 0, answer
    for word in case.words:
        assert word in answer.out
    found = open_checkpoint(Path(target)).arrays()
    expected = _side("paddle", made[1]) if case in TORCH else _side("torch", made[2])
    if case.file == "parameters_only.pt":
        expected = {name: array for name, array in expected.items() if not name.startswith("1._")}
    assert {n for n in found if "num_batches" not in n} == set(expected)
    if case.exact:
        assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items())


def test_no_framework_is_loaded_for_any_of_them(made: tuple[Path, Arrays, Arrays]) -> None:
    files = [str(made[0] / case.file) for case in (*TORCH, *PADDLE) if not case.refused]
    code = (
        "import sys; from pathlib import Path; from portproof.checkpoints import open_checkpoint\n"
        f"for file in {files!r}: open_checkpoint(Path(file)).arrays()\n"
        "assert not {'torch', 'paddle', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_key_takes_what_was_left(made: tuple[Path, Arrays, Arrays], mapped: Path, run: Run) -> None:
    for file, key, shift in (("ema_namespace.pth", "ema", 1), ("imagenet.pth.tar", "state_dict", 0)):
        answer = run("convert", made[0] / file, "out.pdparams", "--map", mapped, "--key", key, "--force")
        assert f"weights under '{key}', as --key says" in answer.out
        found = open_checkpoint(Path("out.pdparams")).arrays()
        np.testing.assert_array_equal(found["4.bias"], made[1]["4.bias"] + np.float32(shift))
    answer = run("convert", made[0] / "distilled.pdparams", "out.pt", "--map", mapped, "--key", "Teacher")
    assert "weights whose names begin with 'Teacher.', as --key says" in answer.out
    run("convert", made[0] / "dino.pth", "no.pdparams", "--map", mapped, "--key", "studnet").refused(
        2, "it holds no tensors under 'studnet'; it has 'student', 'teacher'"
    )


def test_dtypes_are_widened_exactly_and_rounding_is_counted(
    made: tuple[Path, Arrays, Arrays], mapped: Path, run: Run
) -> None:
    import torch

    answer = run("convert", made[0] / "bf16.pt", "wide.pdparams", "--map", mapped, "--dtype", "float32")
    assert answer.code == 0, answer
    assert "'0.weight' and 7 more from bfloat16 to float32" in answer.out
    state = torch.load(made[0] / "bf16.pt", weights_only=True)
    wide = open_checkpoint(Path("wide.pdparams")).arrays()
    np.testing.assert_array_equal(wide["4.weight"].T, state["4.weight"].float().numpy())
    answer = run(
        "convert", made[0] / "legacy.pt", "half.pt", "--to", "torch", "--map", mapped, "--dtype", "float16", "--verify"
    )
    assert "numbers rounded, at most by 4." in answer.out  # 2^-11 of themselves, in numbers that are normal
    half = torch.load("half.pt", weights_only=True)
    assert torch.equal(half["4.weight"], torch.from_numpy(made[1]["4.weight"]).half())
    big = {**made[1], "4.bias": np.full(5, 1e6, np.float32)}
    np.savez("big.npz", **big)
    run(
        "convert", "big.npz", "big.pt", "--from", "torch", "--to", "torch", "--map", mapped, "--dtype", "float16"
    ).refused(2, "'4.bias' holds 1e+06, which is infinite in float16")
    assert not Path("big.pt").exists()


def test_counters_that_a_cast_of_everything_took_along_are_whole_numbers(
    made: tuple[Path, Arrays, Arrays], mapped: Path, run: Run
) -> None:
    """``{name: tensor.half() for …}`` halves the counters of BatchNorm, too."""
    import torch

    state = torch.load(made[0] / "legacy.pt", weights_only=True)
    torch.save({name: tensor.half() for name, tensor in state.items()}, "half.pt")
    answer = run("convert", "half.pt", "back.pt", "--to", "torch", "--map", mapped)
    assert answer.code == 0, answer
    assert "counters stored as floats, read as whole numbers: 1" in answer.out
    assert torch.load("back.pt", weights_only=True)["1.num_batches_tracked"].dtype == torch.int64


def test_shards_of_pytorch_s_own_behind_an_index(made: tuple[Path, Arrays, Arrays], mapped: Path, run: Run) -> None:
    """As save_pretrained wrote them before safetensors."""
    import torch

    state = torch.load(made[0] / "legacy.pt", weights_only=True)
    Path("hub").mkdir()
    placed = {name: f"pytorch_model-0000{1 + (name > '1')}-of-00002.bin" for name in state}
    for file in set(placed.values()):
        torch.save({name: state[name] for name in state if placed[name] == file}, f"hub/{file}")
    Path("hub/pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": placed}))
    answer = run("convert", "hub", "out.pdparams", "--map", mapped)
    assert answer.code == 0, answer
    found = open_checkpoint(Path("out.pdparams")).arrays()
    assert all(found[name].tobytes() == array.tobytes() for name, array in _side("paddle", made[1]).items())
    Path("hub/pytorch_model-00002-of-00002.bin").unlink()
    run("convert", "hub", "other.pdparams", "--map", mapped).refused(
        2, "its file 'pytorch_model-00002-of-00002.bin' is missing"
    )
