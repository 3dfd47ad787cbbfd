"""Gradients and trainings in float64: right ports agree, and what is wrong is caught where it acts, and named."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from portproof import Report, find_port, verify
from portproof._disk import save_arrays
from portproof.judge._report import HOLDS
from portproof.lockstep._deviations import BACKWARD
from portproof.lockstep._faults import TRAINING_FAULTS, fault_named
from portproof.lockstep._tasks import TrajectoryTasks
from portproof.lockstep._trajectory import Trajectories, TrajectoryOptions
from portproof.ports._inputs import make_batch
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.training._tasks import TrainingTasks
from tests import learning_ports

PORT = "tests.learning_ports:LEARNER"
SETTINGS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "warmup": 3, "weight_decay": 1e-3},
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3, "warmup": 3, "weight_decay": 1e-2},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3, "warmup": 3, "weight_decay": 1e-2},
    "steps": {"optimizer": "sgd", "learning_rate": 0.01, "warmup": 0, "schedule": "step", "step_size": 7},
}


@pytest.fixture(scope="module")
def report() -> Report:
    return verify(find_port(PORT), quick=True, gradients=True, steps=10)


def test_gradients_of_every_head_and_of_the_loss_agree(report: Report) -> None:
    hops = {hop.target.removeprefix("Paddle gradients"): hop.verdict for hop in report.hops if hop.kind == "gradients"}
    names = (", module by module", " of out", " of out1", " of out2", " of loss")
    assert hops.keys() == set(names)
    assert set(hops.values()) <= set(HOLDS)
    assert report


def test_trainings_are_judged_in_float64_and_in_float32(report: Report) -> None:
    assert [hop.precision for hop in report.hops if hop.kind == "training"] == ["float64", "float32"]


def test_known_deviations_are_found_measured_and_leave_nothing(report: Report) -> None:
    found = {(d.module, d.layer): d for d in report.deviations}
    pool = found["stem.3", "AvgPool2d"]
    assert pool.size == pytest.approx(abs(float(np.float32(1 / 9)) * 9 - 1), rel=1e-3)
    assert pool.rest == 0.0
    assert ("main.0", "AdaptiveAvgPool2d") in found
    assert ("", "BatchNorm") in found
    assert not any(d.module == "aux2.0" for d in report.deviations)  # a quarter is a float32


def broken(name: str, **changes: Any) -> Any:
    return replace(learning_ports.LEARNER, name=name, **changes)


def torch_scaled() -> Any:
    """A ReLU whose own backward pass is a percent off, as a hand-written kernel may be."""
    import torch

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            context.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return gradient * (context.saved_tensors[0] > 0) * 1.01

    model = learning_ports.torch_learner()
    model.left[1].forward = Scaled.apply
    return model


def torch_detached() -> Any:
    """The gradient of an auxiliary head does not reach the trunk."""
    model = learning_ports.torch_learner()
    head = model.aux1.forward
    model.aux1.forward = lambda x: head(x.detach())
    return model


def paddle_detached() -> Any:
    model = learning_ports.paddle_learner()
    head = model.aux1.forward
    model.aux1.forward = lambda x: head(x.detach())
    return model


def torch_wired() -> Any:
    """The root hands one of its parts a value without its gradient."""
    import types

    import torch

    model = learning_ports.torch_learner()

    def forward(self: Any, image: Any) -> Any:
        x = self.stem(image)
        y = torch.cat([self.left(x), self.right(x.detach())], 1)
        return self.main(y), self.aux1(x), self.aux2(y)

    model.forward = types.MethodType(forward, model)
    return model


def paddle_twice() -> Any:
    """A module that is called once more in training, and to no effect."""
    model = learning_ports.paddle_learner()
    head = model.aux1.forward

    def forward(x: Any) -> Any:
        if model.training:
            model.left[0](x)
        return head(x)

    model.aux1.forward = forward
    return model


def test_a_call_that_only_one_training_makes_is_named() -> None:
    found = verify(broken("twice", paddle=paddle_twice), quick=True, gradients=True)
    assert found.exit_code == 1
    assert ("left.0", "wiring", "backward") in {(c.module, c.kind, c.direction) for c in found.culprits}


def torch_frozen() -> Any:
    model = learning_ports.torch_learner()
    model.right[1].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("side", "factory", "module"),
    [
        ("torch", torch_scaled, "left.1"),
        ("torch", torch_detached, "aux1"),
        ("paddle", paddle_detached, "aux1"),
        ("torch", torch_wired, ""),
        ("torch", torch_frozen, "right.1"),
    ],
)
def test_a_fault_of_the_backward_pass_is_named_where_it_is(side: str, factory: Any, module: str) -> None:
    found = verify(broken(factory.__name__, **{side: factory}), quick=True, gradients=True)
    assert found.exit_code == 1
    culprits = [culprit for culprit in found.culprits if culprit.direction == "backward"]
    assert [culprit.module for culprit in culprits] == [module]
    assert not any(culprit.direction == "forward" for culprit in found.culprits)


def torch_random() -> Any:
    """A dropout that is no layer: nobody can give both sides its mask."""
    import torch

    model = learning_ports.torch_learner()
    head = model.main.forward
    model.main.forward = lambda x: head(torch.nn.functional.dropout(x, 0.5, model.main.training))
    return model


def test_what_is_drawn_at_random_cannot_be_judged_and_is_not_called_right() -> None:
    found = verify(broken("random", torch=torch_random), quick=True, gradients=True, steps=3)
    judged = {
        hop.target: (hop.verdict, hop.reason or "") for hop in found.hops if hop.kind in ("gradients", "training")
    }
    for head in ("out1", "out2"):  # nothing is drawn on the way to these
        assert judged.pop(f"Paddle gradients of {head}")[0] in HOLDS
    assert [verdict for verdict, _ in judged.values()] == ["inconclusive"] * len(judged)
    assert all("random" in reason for _, reason in judged.values())
    assert found.exit_code == 3


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trajectories]:
    port = find_port(PORT)
    with Sessions(port) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        folder = tmp_path_factory.mktemp("trajectories")
        inputs, out = folder / "inputs.safetensors", folder / "start.safetensors"
        save_arrays(inputs, make_batch(port.port).arrays)
        sides.do("torch", "", TrainingTasks.normalise, inputs=inputs, out=out, seed=0).result()
        yield Trajectories(sides, sides.pairs().keys, sides.spread(load_file(out), "torch"), folder / "steps")


@pytest.mark.parametrize(("optimizer", "dropout"), [("sgd", "shared"), ("adamw", "off")])
def test_many_steps_in_float64_agree(trajectories: Trajectories, optimizer: str, dropout: str) -> None:
    _agree(trajectories, 25, optimizer, dropout)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", ["shared", "off"])
@pytest.mark.parametrize("optimizer", SETTINGS)
def test_a_hundred_steps_in_float64_agree(trajectories: Trajectories, optimizer: str, dropout: str) -> None:
    _agree(trajectories, 100, optimizer, dropout)


def _agree(trajectories: Trajectories, steps: int, optimizer: str, dropout: str) -> None:
    found = trajectories.compare(TrajectoryOptions(steps=steps, dropout=dropout, settings=SETTINGS[optimizer]))
    assert found.parting is None, found.parting
    assert found.steps == steps
    lead, follower = (np.array(found.losses[side]) for side in ("torch", "paddle"))
    assert np.abs(lead - follower).max() < 1e-12 * lead.max()
    assert lead[-5:].mean() != lead[0]


def test_masks_are_shared_and_not_merely_left_out(trajectories: Trajectories) -> None:
    runs = [trajectories.compare(TrajectoryOptions(steps=2, dropout=dropout)) for dropout in ("shared", "off")]
    assert runs[0].losses["torch"][0] != runs[1].losses["torch"][0]


#: One in the fast suite; all of it is slow.
_WRONG = [("torch", "sgd")]
_ALL_WRONG = [(side, optimizer) for side in ("torch", "paddle") for optimizer in ("sgd", "adamw", "adam")]


@pytest.mark.parametrize(
    ("side", "optimizer"),
    [*_WRONG, *(pytest.param(*case, marks=pytest.mark.slow) for case in _ALL_WRONG if case not in _WRONG)],
)
def test_every_wrong_setting_is_caught_at_once_and_named(trajectories: Trajectories, side: str, optimizer: str) -> None:
    options = TrajectoryOptions(steps=6, settings=SETTINGS[optimizer])
    trajectories.begin(side, "probe", options).result()
    kinds = trajectories.sides.do(side, "", TrajectoryTasks.faults, run="probe").result()
    assert len(kinds) >= 20
    for name in kinds:
        kind = fault_named(name)
        found = trajectories.compare(replace(options, faults={side: [name]})).parting
        assert found is not None, name
        assert found.step == kind.acts, (name, found)
        assert any(word in found.why for word in kind.named), (name, found.why)
        title = "Paddle" if side == "paddle" else "torch"
        assert title in found.why, (name, found.why)


def test_there_are_more_than_twenty_kinds() -> None:
    assert len({kind.name for kind in TRAINING_FAULTS}) == len(TRAINING_FAULTS) >= 20


@pytest.mark.parametrize(
    ("torch_pool", "paddle_pool"),
    [
        ("AvgPool2d(3, 2, 1)", "AvgPool2D(3, 2, 1, exclusive=False)"),
        ("AvgPool2d(3, 2, 1, count_include_pad=False)", "AvgPool2D(3, 2, 1)"),
        ("AvgPool2d(3, 2, ceil_mode=True)", "AvgPool2D(3, 2, ceil_mode=True)"),
        ("AvgPool2d((5, 3), (3, 2))", "AvgPool2D((5, 3), (3, 2))"),
        ("AdaptiveAvgPool2d((3, 5))", "AdaptiveAvgPool2D((3, 5))"),
    ],
)
def test_the_table_of_causes_is_what_paddle_does(torch_pool: str, paddle_pool: str) -> None:
    import paddle
    import torch

    x = np.random.default_rng(0).standard_normal((2, 3, 14, 11))
    ours, theirs = torch.tensor(x, requires_grad=True), paddle.to_tensor(x, stop_gradient=False)
    pool = eval(f"torch.nn.{torch_pool}")
    out, other = pool(ours), eval(f"paddle.nn.{paddle_pool}")(theirs)
    pulled = np.random.default_rng(1).standard_normal(tuple(out.shape))
    other.backward(paddle.to_tensor(pulled))
    factors = BACKWARD[type(pool).__name__][1](pool, x.shape)
    plain, corrected = (
        torch.autograd.grad(out, ours, torch.tensor(back), retain_graph=True)[0].numpy()
        for back in (pulled, pulled * factors)
    )
    found = theirs.grad.numpy()
    scale = np.abs(found).max()
    assert np.abs(found - plain).max() > 1e-10 * scale
    assert np.abs(found - corrected).max() < 1e-15 * scale


def test_paddles_cross_entropy_counts_no_row_higher_than_64(trajectories: Trajectories) -> None:
    """Not absorbed anywhere: a training that runs away parts in its losses, and this is why."""
    runaway = {"optimizer": "sgd", "learning_rate": 30.0, "momentum": 0.0, "warmup": 0, "schedule": "constant"}
    found = trajectories.compare(TrajectoryOptions(steps=6, settings=runaway)).parting
    assert found is not None
    assert "Paddle's cross-entropy counts a row as 64 at most" in found.why


def test_a_port_without_a_training_says_so(tmp_path: Path) -> None:
    from portproof import BadInput

    port = replace(find_port(PORT).port, training={})
    with pytest.raises(BadInput, match="has no training on the paddle side"):
        verify(port, quick=True, steps=2)
    assert verify(port, quick=True, gradients=True)  # outputs have gradients all the same
