"""``convert --like``: file to file without a model, by names and shapes; what they do not tell is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint
from tests.conftest import Run

Arrays = dict[str, np.ndarray[Any, Any]]


def _torch() -> Arrays:
    rng = np.random.default_rng(0)
    shapes = {
        "embed.weight": (11, 6), "conv.weight": (6, 3, 3, 3), "bn.weight": (6,), "bn.bias": (6,),
        "bn.running_mean": (6,), "bn.running_var": (6,), "fc.weight": (4, 6), "fc.bias": (4,),
        "mix.weight": (5, 5), "mix.bias": (5,),
    }  # fmt: skip
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {**tensors, "bn.num_batches_tracked": np.array(3)}


def _paddle(torch: Arrays) -> Arrays:
    ends = {"running_mean": "_mean", "running_var": "_variance"}
    found = {}
    for name, array in torch.items():
        module, _, leaf = name.rpartition(".")
        if leaf != "num_batches_tracked":
            found[f"{module}.{ends.get(leaf, leaf)}"] = array.T.copy() if name in ("fc.weight", "mix.weight") else array
    return found


def write(name: str, tensors: Arrays, side: str) -> Path:
    write_checkpoint(Path(name), {n: Stored.of(array) for n, array in tensors.items()}, side)
    return Path(name)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Arrays, Arrays]:
    monkeypatch.chdir(tmp_path)
    torch = _torch()
    paddle = _paddle(torch)
    write("own.pt", torch, "torch")
    write("example.pdparams", {name: np.zeros_like(array) for name, array in paddle.items()}, "paddle")
    return torch, paddle


def test_a_file_becomes_one_like_another_and_says_that_nothing_proves_it(
    files: tuple[Arrays, Arrays], run: Run
) -> None:
    torch, paddle = files
    answer = run("convert", "own.pt", "new.pdparams", "--like", "example.pdparams")
    assert answer.code == 0, answer
    assert "unproven: 10 tensors paired by name, 0 by a shape that stands once, 0 by order" in answer.out
    found = open_checkpoint(Path("new.pdparams"))
    assert "paired by name" in found.about["unproven"]
    assert {name: array.tobytes() for name, array in found.arrays().items()} == {
        n: a.tobytes() for n, a in paddle.items()
    }
    write("example.pt", {name: np.zeros_like(array) for name, array in torch.items()}, "torch")
    assert run("convert", "new.pdparams", "back.pt", "--like", "example.pt").code == 0
    back = open_checkpoint(Path("back.pt")).arrays()
    assert back.pop("bn.num_batches_tracked") == 0
    assert all(back[name].tobytes() == array.tobytes() for name, array in torch.items() if name in back)
    assert len(back) == 10


def test_other_names_are_paired_by_a_shape_that_stands_once(files: tuple[Arrays, Arrays], run: Run) -> None:
    renamed = {name.replace("fc.", "head.fc."): array for name, array in _paddle(files[0]).items()}
    write("example.pdparams", renamed, "paddle")
    answer = run("convert", "own.pt", "new.pdparams", "--like", "example.pdparams")
    assert answer.code == 0, answer
    assert "8 tensors paired by name, 2 by a shape that stands once" in answer.out
    assert (
        open_checkpoint(Path("new.pdparams")).tensors["head.fc.weight"].read().tobytes()
        == files[1]["fc.weight"].tobytes()
    )


def test_what_names_and_shapes_do_not_tell_is_refused(files: tuple[Arrays, Arrays], run: Run) -> None:
    torch, paddle = files
    asked = ("convert", "own.pt", "new.pdparams", "--like", "example.pdparams")
    without = {name: array for name, array in torch.items() if name != "mix.bias"}
    write("own.pt", without, "torch")
    write("example.pdparams", {name: array for name, array in paddle.items() if name != "mix.bias"}, "paddle")
    run(*asked).refused(2, "not certain: 'mix.weight' is square and has no bias", "--suggest FILE")
    answer = run(*asked, "--suggest", "map.csv")
    assert answer.code == 0, answer
    Path("map.csv").write_text(
        Path("map.csv").read_text().replace("mix.weight,mix.weight,transpose", "mix.weight,mix.weight,copy")
    )
    assert run("convert", "own.pt", "new.pdparams", "--map", "map.csv").code == 0
    np.testing.assert_array_equal(
        open_checkpoint(Path("new.pdparams")).tensors["mix.weight"].read(), torch["mix.weight"]
    )
    assert "unproven" not in open_checkpoint(Path("new.pdparams")).about
    two = {f"{lead}.fc.weight": torch["fc.weight"] for lead in "ab"}
    write("own.pt", two, "torch")
    write("example.pdparams", {f"{lead}.fc.weight": paddle["fc.weight"] for lead in "xy"}, "paddle")
    run(*asked, "--force").refused(2, "not certain: 'a.fc.weight' and 'x.fc.weight' by their order alone (and 1 more)")
    write("example.pdparams", {"x.fc.weight": paddle["fc.weight"]}, "paddle")
    run(*asked, "--force").refused(2, "2 such in torch, 1 in paddle; nothing tells which is which")
    write("other.pt", two, "torch")
    run("convert", "own.pt", "n.pt", "--like", "other.pt").refused(2, "both hold torch's")


def test_a_folder_as_hugging_face_has_it(files: tuple[Arrays, Arrays], run: Run) -> None:
    Path("hub").mkdir()
    Path("hub/config.json").write_text("{}")
    write("example.pt", files[0], "torch")
    write("own.pdparams", files[1], "paddle")
    answer = run("convert", "own.pdparams", "hub", "--like", "example.pt", "--to", "torch", "--shard-size", "0.5kB")
    assert answer.code == 0, answer
    names = sorted(file.name for file in Path("hub").iterdir())
    assert names[0] == "config.json"
    assert names[-1] == "model.safetensors.index.json"
    assert len(names) > 3
    found = open_checkpoint(Path("hub"))
    assert found.side == "torch"
    assert found.tensors["fc.weight"].read().tobytes() == files[0]["fc.weight"].tobytes()
    run("convert", "own.pdparams", "hub", "--like", "example.pt", "--to", "torch").refused(
        2, "exists and is kept; --force"
    )
    from safetensors import safe_open

    with safe_open(next(Path("hub").glob("model-00001*")), "np") as opened:
        assert opened.metadata()["format"] == "pt"  # transformers reads no file without it


def test_a_tied_head_is_left_out_of_a_folder_and_found_again(files: tuple[Arrays, Arrays], run: Run) -> None:
    """As save_pretrained writes it: one of the names of a tensor."""
    Path("map.csv").write_text(
        "torch,paddle,transform,torch_shape,paddle_shape,dtype\n"
        "embed.weight + head.weight,embed.weight,tied,11x6 + 11x6,11x6,float32\n"
    )
    write("own.pdparams", {"embed.weight": files[1]["embed.weight"]}, "paddle")
    Path("hub").mkdir()
    answer = run("convert", "own.pdparams", "hub", "--to", "torch", "--map", "map.csv", "--verify")
    assert answer.code == 0, answer
    assert set(open_checkpoint(Path("hub/model.safetensors")).tensors) == {"embed.weight"}
    assert run("convert", "hub", "back.pdparams", "--map", "map.csv").code == 0
    assert run("convert", "own.pdparams", "whole.pt", "--map", "map.csv").code == 0
    assert set(open_checkpoint(Path("whole.pt")).tensors) == {"embed.weight", "head.weight"}
