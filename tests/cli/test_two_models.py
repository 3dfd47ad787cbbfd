"""Two models in files to a verdict, without a port; and the port file that is written of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from portproof import BadInput, Input, find_port
from portproof.checkpoints._onnx import interface
from portproof.ports._files import input_of, model_file, port_source
from tests.conftest import Run
from tests.first_contact import PADDLE, TORCH

TWO = ("my_torch.py:Net", "my_paddle.py:Net")


@pytest.fixture
def models(project: Path) -> Path:
    (project / "pyproject.toml").unlink()
    (project / "my_torch.py").write_text(TORCH)
    (project / "my_paddle.py").write_text(PADDLE)
    return project


@pytest.mark.processes
def test_two_files_are_judged_in_whatever_order(models: Path, run: Run) -> None:
    answer = run("verify", *reversed(TWO), "--input", "1,8", "--quick", "--json", "-")
    assert answer.code == 0, answer
    document = json.loads(answer.out)
    assert (document["port"], document["verdict"]) == ("Net", "equivalent")
    assert sorted(path.name for path in models.iterdir() if path.name != "__pycache__") == [
        "my_paddle.py", "my_torch.py", "tiny.py",
    ]  # fmt: skip


def test_a_difference_between_two_files_is_named_with_its_lines(models: Path, run: Run) -> None:
    (models / "my_paddle.py").write_text(PADDLE.replace("F.relu", "F.sigmoid"))
    answer = run("verify", *TWO, "--input", "1,8", "--quick")
    assert answer.code == 1
    assert "my_paddle.py:" in answer.out


@pytest.mark.processes
def test_a_graph_is_a_model_with_inputs_and_outputs_of_its_own(models: Path, run: Run) -> None:
    """An .onnx file stands for the side that the other model is not of, and needs no --input."""
    assert run("init", "own", "--from-models", *TWO, "--input", "1,8").code == 0
    assert run("export", "own.py", "--from", "torch", "-o", "graph.onnx").code == 0
    alike = run("verify", "graph.onnx", "my_torch.py:Net", "--weights", "graph.onnx", "--json", "-")
    assert (alike.code, json.loads(alike.out)["verdict"]) == (0, "equivalent"), alike
    other = run("verify", "my_paddle.py:Net", "graph.onnx")
    assert other.code == 1
    assert "--like A_CHECKPOINT_OF_THE_MODEL" in " ".join(other.out.split())
    assert run("init", "bound", "--from-models", "my_paddle.py:Net", "graph.onnx").err == ""
    port = find_port("bound.py").port
    assert (port.torch, Path(str(port.paddle)).name) == ("graph.onnx", "my_paddle.py:Net")
    assert (dict(port.inputs), port.outputs) == ({"image": Input(("batch", 8))}, find_port("own.py").port.outputs)


def test_files_import_what_lies_beside_them_and_packages_what_they_have(models: Path, run: Run) -> None:
    for side, text in (("torch", TORCH), ("paddle", PADDLE)):
        folder = models / f"{side}_impl"
        folder.mkdir()
        (folder / "__init__.py").touch()
        head, _, body = text.partition("class Net")
        (folder / f"{side}_parts.py").write_text(head + "SCALE = 1.0\n")
        (folder / "model.py").write_text(f"{head}from .{side}_parts import SCALE\n\nclass Net{body}")
    answer = run(
        "verify", "torch_impl/model.py:Net", "paddle_impl/model.py:Net", "--input", "image=1,8", "--quick", "--quiet"
    )
    assert (answer.code, answer.out) == (0, "verdict: equivalent\n"), answer


def test_several_inputs_go_by_name_where_the_forwards_order_them_otherwise(models: Path, run: Run) -> None:
    (models / "my_torch.py").write_text(TORCH.replace("image, scale=1.0", "image, scale"))
    (models / "my_paddle.py").write_text(PADDLE.replace("image, scale=1.0", "scale, image"))
    inputs = ("--input", "image=1,8", "--input", "scale=1,3:float32:1..4")
    assert run("init", "--from-models", *TWO, *inputs).code == 0
    port = find_port("my_port.py").port
    assert port.call == "keyword"
    assert port.inputs["scale"] == Input(("batch", 3), range=(1.0, 4.0))
    assert run("verify", "my_port.py", "--quick", "--no-modules", "--quiet").code == 0


def test_init_writes_a_port_file_that_holds(models: Path, run: Run) -> None:
    answer = run("init", "--from-models", *TWO, "--input", "1,8")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "wrote my_port.py; now: portproof verify my_port.py --quick\n"
    text = (models / "my_port.py").read_text()
    assert 'torch="my_torch.py:Net"' in text
    assert 'inputs={\n        "image": Input(shape=("batch", 8)),\n    }' in text
    assert run("verify", "my_port.py", "--quick", "--no-modules", "--quiet").code == 0
    run("init", "--from-models", *TWO, "--input", "1,8").refused(2, "my_port.py", "--force")
    assert run("init", "other", "--from-models", *TWO, "--input", "1,8").code == 0
    assert find_port("other.py").port == find_port("my_port.py").port


def test_init_without_inputs_guesses_images_and_says_so(models: Path, run: Run) -> None:
    answer = run("init", "--from-models", *TWO)
    assert answer.code == 0
    assert "the sizes of the inputs are guesses" in answer.err
    assert "torch model raised" in answer.err
    text = (models / "my_port.py").read_text()
    assert "# Look through it: the sizes of the inputs are guesses" in text
    assert '"image": Input(shape=("batch", 3, 224, 224))' in text


def test_outputs_are_told_by_their_keys(models: Path, run: Run) -> None:
    for name, text in (("my_torch.py", TORCH), ("my_paddle.py", PADDLE)):
        (models / name).write_text(
            text.replace("return ", "out = ") + "        return {'logits': out, 'twice': 2 * out}\n"
        )
    assert run("init", "--from-models", *TWO, "--input", "1,8", "--set", "classes=3").code == 2  # Net takes none
    assert run("init", "--from-models", *TWO, "--input", "1,8").code == 0
    assert find_port("my_port.py").port.outputs == ("logits", "twice")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1,3,224,224", ("", Input(("batch", 3, 224, 224)))),
        ("x=8, 3", ("x", Input(("batch", 3)))),
        ("batch,5", ("", Input(("batch", 5)))),
        ("(1,5)", ("", Input(("batch", 5)))),
        ("ids=1,16:int64:0..999", ("ids", Input(("batch", 16), "int64", (0, 999)))),
        ("x=1,4:float32:-1..1.5", ("x", Input(("batch", 4), "float32", (-1.0, 1.5)))),
        ("mask=1,4:bool", ("mask", Input(("batch", 4), "bool"))),
    ],
)
def test_an_input_is_read(spec: str, expected: tuple[str, Input]) -> None:
    assert input_of(spec) == expected


@pytest.mark.parametrize("spec", ["", "x=", "1,-3", "1,0", "1,3:int64:9..1", "1,3:float32:a..b", "1;3", "x=1,3:"])
def test_an_input_that_cannot_be_read_is_refused(spec: str) -> None:
    with pytest.raises(BadInput, match="--input"):
        input_of(spec)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("from torch.nn import Module\nclass Net(Module): pass", "torch"),
        ("from paddle import nn\nclass Net(nn.Layer): pass", "paddle"),
        ("def Net():\n    from paddle import nn\n    return nn.Linear(2, 2)", "paddle"),
        ("import torch\nimport paddle\ndef Net(): return torch.nn.Linear(2, 2)", None),
        ("from blocks import Base\nclass Net(Base): pass", None),
        ("import torch\nNet = torch.nn.Identity", "torch"),
    ],
)
def test_whose_model_it_is_is_told_from_the_text(tmp_path: Path, text: str, side: Any) -> None:
    file = tmp_path / "model.py"
    file.write_text(text)
    assert model_file(f"{file}:Net").side == side


def test_a_port_file_keeps_every_field_and_hostile_names_are_strings(tmp_path: Path) -> None:
    from portproof import Port

    port = Port(
        "odd", "a.py:Net", "b.py:Net", {'x"]) + evil(': Input((3,), "int8", (0, 1))}, ("a'b", "\\"), {"\\": None},
        kwargs={"classes": 3}, call="dictionary",
    )  # fmt: skip
    scope: dict[str, Any] = {}
    exec(port_source(port), scope)
    assert scope["PORT"] == port


def test_a_graph_s_interface_is_read_without_onnx(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    one = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, None, 8])
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 16])
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])
    initializer = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    graph = helper.make_graph([], "g", [one, ids, weight], [out], [initializer])
    (tmp_path / "g.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    inputs, outputs = interface(tmp_path / "g.onnx")
    assert {name: (value.shape, value.dtype) for name, value in inputs.items()} == {
        "image": (("n", 3, None, 8), "float32"), "ids": ((1, 16), "int64"),
    }  # fmt: skip
    assert list(outputs) == ["out"]


def test_a_graph_alone_is_answered_with_a_port_that_is_one(project: Path, run: Run) -> None:
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", 8]),
        helper.make_tensor_value_info('ids"]', TensorProto.INT64, [1, 16]),
    ]
    graph = helper.make_graph([], "g", values, values[:1])
    (project / "g.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    said = run("verify", "g.onnx").err
    source = said[said.index("from portproof") : said.index("; then:")].replace("paddle=..., ", "")
    scope: dict[str, Any] = {}
    exec(source, scope)
    port = scope["PORT"]
    assert port.inputs["image"] == Input(("batch", 3, "size2", 8), sizes={"size2": 16})
    assert port.inputs['ids"]'].range == (0, 999)
    assert port.outputs == ("image",)
