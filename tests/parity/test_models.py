"""Two models and their inputs, judged in one line: what is told of them, and that they stay as they were."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import torch

from portproof import BadInput, Input, ModelRaised, Port, convert_state, verify
from portproof.parity._models import models_as_port
from tests import small_ports
from tests.conftest import PORT_FILE, ROOT

ROW = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)


def _same() -> tuple[Any, Any]:
    """Return two live models that hold the same weights."""
    one, other = small_ports.torch_mlp(), small_ports.paddle_mlp()
    made = convert_state(small_ports.MLP, one.state_dict(), to="paddle")
    other.set_state_dict({name: paddle.to_tensor(array) for name, array in made.items()})
    return one, other


@pytest.mark.parametrize("inputs", [ROW, torch.from_numpy(ROW), paddle.to_tensor(ROW), {"input": ROW}, (ROW,)])
def test_two_live_models_are_judged_in_one_line_and_stay_as_they_were(inputs: Any) -> None:
    one, other = _same()
    one.train()
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    theirs = {name: tensor.numpy().copy() for name, tensor in other.state_dict().items()}
    report = verify(one, other, inputs, quick=True)
    assert report, report
    assert "given" in report.inputs
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.state_dict().items())
    assert all(np.array_equal(tensor.numpy(), theirs[name]) for name, tensor in other.state_dict().items())
    assert one.training
    assert other.training


def test_live_models_that_hold_other_weights_are_not_the_same() -> None:
    one, other = _same()
    other[2].bias.set_value(other[2].bias + 1)
    report = verify(one, other, ROW, quick=True)
    assert report.verdict == "divergent"
    assert [(culprit.module, culprit.kind) for culprit in report.culprits] == [("2", "weights")]
    assert "1 of 4 tensors, first paddle's '2.bias'" in report.culprits[0].message
    assert verify(small_ports.torch_mlp, small_ports.paddle_mlp, ROW, quick=True)  # as functions they are


def test_a_fault_between_two_live_models_is_found_where_it_is() -> None:
    one, other = _same()
    other[1] = paddle.nn.Tanh()
    assert [culprit.module for culprit in verify(one, other, ROW, quick=True).culprits] == ["1"]


def test_the_rows_that_were_given_are_judged() -> None:
    """A fault that acts beyond 100 alone, where no row that is drawn lies."""

    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 3)

        def forward(self, x: Any) -> Any:
            return self.layer(x) + (x.abs().max(1, keepdim=True)[0] > 100)

    class Even(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.layer = paddle.nn.Linear(8, 3)

        def forward(self, x):
            return self.layer(x)

    assert verify(Odd, Even, ROW, quick=True)
    assert verify(Odd, Even, np.concatenate([ROW, ROW * 1000]), quick=True).verdict == "divergent"


def test_names_calls_and_rows_are_told_by_the_forwards() -> None:
    tokens, mask = np.array([[1, 2, 3], [4, 10, 0]]), np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    both = small_ports.torch_two_inputs, small_ports.paddle_two_inputs
    port = models_as_port(*both, {"tokens": tokens, "mask": mask}).port
    assert (port.call, tuple(port.outputs)) == ("keyword", ("logits", "pooled"))
    assert port.inputs["tokens"] == Input(("batch", 3), "int64", range=(0, 10))
    assert port.inputs["mask"] == Input(("batch", 3), values=(0.0, 1.0))
    assert tuple(models_as_port(*both, (tokens, mask)).port.inputs) == ("tokens", "mask")
    row = np.ones((2, 4), np.float32)
    both = small_ports.torch_dictionary, small_ports.paddle_dictionary
    assert models_as_port(*both, {"a": row, "b": row}).port.call == "dictionary"
    recurrent = models_as_port(
        lambda: torch.nn.GRU(4, 3, batch_first=True), lambda: paddle.nn.GRU(4, 3), np.ones((2, 5, 4), np.float32)
    ).port
    assert (tuple(recurrent.outputs), recurrent.batch_axes) == (("out0", "out1"), {"out1": 1})


def test_one_model_alone_is_judged_through_its_export() -> None:
    assert verify(small_ports.torch_mlp(), inputs=ROW)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((small_ports.paddle_mlp(), small_ports.torch_mlp(), ROW), "expected the torch model, found one of paddle"),
        ((small_ports.torch_mlp(), small_ports.paddle_mlp()), "inputs are missing"),
        ((small_ports.torch_mlp(), 3, ROW), "expected a paddle model or a callable that makes one, found a int"),
        ((small_ports.torch_mlp(), small_ports.paddle_mlp(), "text"), "inputs: expected an array or a tensor"),
        ((small_ports.torch_mlp(), small_ports.paddle_mlp(), 3.0), "whose first axis counts rows"),
        ((torch.nn.Embedding(4, 2), None, np.zeros((2, 3), np.int64)), "'input' holds 0 alone"),
        ((small_ports.MLP, small_ports.paddle_mlp(), ROW), "a port has its models and inputs"),
        ((lambda: torch.nn.GRU(8, 3), small_ports.paddle_mlp, ROW[None]), "torch 2 .*paddle 1"),
    ],
)
def test_what_is_no_pair_is_refused_in_a_line(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        verify(*arguments)


def test_inputs_that_no_model_takes_are_said_so() -> None:
    with pytest.raises(ModelRaised, match="torch model raised in module '0'"):
        verify(small_ports.torch_mlp, small_ports.paddle_mlp, ROW[:, :5])


def test_a_model_that_cannot_be_copied_asks_for_a_factory() -> None:
    model = small_ports.torch_mlp()
    model.lock = (value for value in ())
    with pytest.raises(BadInput, match=r"cannot be copied .*give a factory"):
        verify(model, small_ports.paddle_mlp(), ROW)


def test_a_file_and_a_name_are_ports_in_python_too(project: Path) -> None:
    (project / "my_port.py").write_text(PORT_FILE.replace("tiny:", "my_port:"))
    assert verify("tiny", quick=True, modules=False)
    assert verify("my_port.py", quick=True, modules=False)
    assert verify(project / "my_port.py", quick=True, modules=False)
    with pytest.raises(BadInput, match="verify the port alone"):
        verify("tiny", inputs=ROW)
    assert isinstance(small_ports.MLP, Port)


def test_the_tutorial_s_models_at_hand_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "tutorial.md").read_text()
    exec(re.findall(r'```python title="at_hand.py"\n(.*?)```', text, re.DOTALL)[0], {})
    assert "culprit 1  computes" in capsys.readouterr().out
    assert (tmp_path / "report.html").is_file()
