"""A model that changed is judged on the weights of the judgement before where these tell; verdicts are as without."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portproof import Accepted, Input, Port
from portproof.judge._report import Report
from portproof.parity._verify import verify
from tests.parity.test_steady import linear_net

Forward = Callable[[Any, Any, Any], Any]


def _net(side: str, forward: Forward, width: int) -> Callable[[], Any]:
    def prepare(net: Any, framework: Any) -> None:
        net.first, net.act, net.last = framework.nn.Linear(6, width), framework.nn.ReLU(), framework.nn.Linear(width, 3)

    return linear_net(side, forward, prepare)


def _plain(net: Any, x: Any, _: Any) -> Any:
    return net.last(net.act(net.first(x)))


def _rewritten(net: Any, x: Any, framework: Any) -> Any:
    hidden = net.act(net.first(x))
    return framework.matmul(hidden, net.last.weight.T) + net.last.bias


def _shifted(net: Any, x: Any, _: Any) -> Any:
    return net.last(net.act(net.first(x) + 0.25))


def _raising(net: Any, x: Any, _: Any) -> Any:
    raise RuntimeError("not written yet")


def judged(
    folder: Path | None, torch: Forward, paddle: Forward, width: int = 8, seed: int = 0, **fields: Any
) -> Report:  # fmt: skip
    port = Port("net", _net("paddle", paddle, width), _net("torch", torch, width), {"x": Input(("batch", 6))}, **fields)
    return verify(port, quick=True, seed=seed, earlier=folder)


def made_weights(report: Report) -> bool:
    return "torch: sensitising weights" in report.seconds


def says_so(report: Report) -> bool:
    return any("as it was before" in note for note in report.notes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a judgement of two models that are one function left."""
    report = judged(tmp_path / "earlier", _plain, _plain)
    assert report
    assert made_weights(report)
    return tmp_path / "earlier"


@pytest.mark.parametrize("changed", [_plain, _rewritten])
def test_a_model_that_is_the_function_that_it_was_needs_no_new_weights(folder: Path, changed: Forward) -> None:
    report = judged(folder, changed, _plain)
    assert report, report
    assert not made_weights(report)
    assert not says_so(report)


@pytest.mark.parametrize("sides", [(_shifted, _plain), (_plain, _shifted)])
def test_two_functions_are_told_apart_on_the_weights_of_before(folder: Path, sides: tuple[Forward, Forward]) -> None:
    report, alone = judged(folder, *sides), judged(None, *sides)
    assert report.verdict == alone.verdict == "divergent"
    assert [(c.side, c.module, c.kind) for c in report.culprits] == [(c.side, c.module, c.kind) for c in alone.culprits]
    assert not made_weights(report)
    assert says_so(report) == (sides[0] is _shifted)  # of Paddle's model no weights are made


def test_another_function_that_both_are_is_judged_on_weights_of_its_own(folder: Path) -> None:
    report = judged(folder, _shifted, _shifted)
    assert report
    assert made_weights(report)
    assert not says_so(report)
    assert not made_weights(judged(folder, _shifted, _shifted))


def test_an_accepted_deviation_that_is_new_is_judged_on_weights_of_its_own(folder: Path) -> None:
    report = judged(folder, _shifted, _plain, accepted={"": Accepted(1.0, "shifted on purpose")})
    assert made_weights(report)


@pytest.mark.parametrize("what", [{"width": 12}, {"seed": 1}])
def test_weights_that_do_not_fit_the_model_or_the_rows_are_not_used(folder: Path, what: dict[str, int]) -> None:
    assert made_weights(judged(folder, _plain, _plain, **what))


def test_a_model_that_raises_is_told_as_without(folder: Path) -> None:
    report, alone = judged(folder, _raising, _plain), judged(None, _raising, _plain)
    assert report.verdict == alone.verdict == "divergent"
    assert [c.message for c in report.culprits] == [c.message for c in alone.culprits]


def test_without_room_for_them_nothing_is_kept_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "earlier").write_text("a file, where a folder should be")
    assert judged(tmp_path / "earlier", _plain, _plain)


def test_what_was_written_halfway_is_not_there(folder: Path) -> None:
    (folder / "about.json").unlink()
    assert made_weights(judged(folder, _plain, _plain))
