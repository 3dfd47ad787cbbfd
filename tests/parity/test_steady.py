"""Models that are no functions, and outputs and tensors of an unusual form."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from portproof import BadInput, Input, Port, verify
from portproof.judge._report import HOLDS, Report
from portproof.maps._find import find_map
from portproof.parity._verify import verify as judged
from portproof.ports._locate import Located, Project
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks

ROW = {"x": Input(("batch", 6))}
Forward = Callable[[Any, Any, Any], Any]


def linear_net(side: str, forward: Forward, prepare: Callable[[Any, Any], None] | None = None) -> Callable[[], Any]:
    """Return a factory of a model of two Linear layers; ``forward``: of the model, its input and the framework."""

    def make() -> Any:
        framework = __import__(side)
        base = framework.nn.Module if side == "torch" else framework.nn.Layer

        class Net(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last, self.calls = framework.nn.Linear(6, 6), framework.nn.Linear(6, 3), 0
                if prepare is not None:
                    prepare(self, framework)

            def forward(self, x: Any) -> Any:
                return forward(self, x, framework)

        return Net()

    return make


def _port(torch: Forward, paddle: Forward | None = None, outputs: tuple[str, ...] = ("out",), **fields: Any) -> Port:
    return Port("net", linear_net("paddle", paddle or torch), linear_net("torch", torch), ROW, outputs, **fields)


def _plain(net: Any, x: Any, _: Any) -> Any:
    return net.last(net.first(x))


def _dropping(net: Any, x: Any, framework: Any) -> Any:
    return net.last(framework.nn.functional.dropout(net.first(x), 0.5))  # training=True is what both default to


def _counting(net: Any, x: Any, _: Any) -> Any:
    net.calls += 1
    return net.last(net.first(x)) * net.calls


@pytest.mark.parametrize(
    ("forward", "said"), [(_dropping, "draws random numbers"), (_counting, "keeps something from one call to the next")]
)
def test_two_models_that_are_no_functions_are_not_told_apart(forward: Forward, said: str) -> None:
    report = verify(_port(forward), quick=True)
    assert report.verdict == "inconclusive"
    assert not report.culprits
    assert any(f"torch {said} in '(root)' and Paddle {said}" in note for note in report.notes)


def _drifting(net: Any, x: Any, _: Any) -> Any:
    net.calls += 1
    return net.last(net.first(x)) * (1 + 1e-5 * net.calls)


def _doubled(forward: Forward) -> Forward:
    return lambda net, x, framework: forward(net, x, framework) * 2


@pytest.mark.parametrize(
    ("torch", "paddle", "told"),
    [(_plain, _doubled(_plain), 2), (_plain, _dropping, 2), (_drifting, _doubled(_drifting), 1)],
    ids=["two functions", "one is a function", "none is"],
)
def test_a_verdict_is_told_before_its_culprits_where_it_stands(torch: Forward, paddle: Forward, told: int) -> None:
    heard: list[Report] = []
    found = judged(_port(torch, paddle), quick=True, first=heard.append)
    assert [report.verdict for report in heard] == [found.verdict] * told
    assert told == 1 or heard[0].modules is None
    assert heard[-1].modules == found.modules


def test_one_side_that_draws_random_numbers_is_the_finding() -> None:
    report = verify(_port(_plain, _dropping), quick=True)
    assert report.verdict == "divergent"
    assert [(c.side, c.kind) for c in report.culprits] == [("paddle", "unsteady")]
    assert "draws random numbers" in report.culprits[0].message


@pytest.mark.parametrize(("forward", "said"), [(_dropping, "random numb"), (_counting, "keeps something")])
def test_the_map_of_a_model_that_is_no_function_is_refused(forward: Forward, said: str) -> None:
    """Its noise would be taken for rounding, and every map proven."""
    with Sessions(Located(_port(forward), None, Project())) as sessions, pytest.raises(BadInput, match=said):
        find_map(Sides(sessions))


def test_two_functions_are_not_run_twice_for_their_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a nudge of the weights hardly moves draws nothing and keeps nothing."""
    monkeypatch.delattr(Tasks, "run_twice")
    with Sessions(Located(_port(_plain), None, Project())) as sessions:
        assert find_map(Sides(sessions)).holds


def _with_loss(net: Any, x: Any, _: Any) -> Any:
    out = _plain(net, x, _)
    return out.mean(), out


def test_an_output_without_an_axis_has_no_rows() -> None:
    """Its export is interpreted on all rows: the mean of a part of the batch is another one."""
    port = _port(_with_loss, outputs=("loss", "out"))
    assert verify(port, quick=True)
    report = verify(replace(port, paddle=None))
    assert report
    assert any(hop.kind == "graph" for hop in report.hops)


def test_what_holds_no_number_is_said_so() -> None:
    report = verify(_port(lambda net, x, _: _plain(net, x, _) * float("nan")), quick=True)
    assert report.verdict == "inconclusive"
    assert report.hops[0].reason == "'out' holds no number but NaN and infinity"


def test_a_weight_that_a_forward_makes_anew_is_no_table() -> None:
    def normed(net: Any, framework: Any) -> None:
        axis = {"dim": 1} if framework.__name__ == "paddle" else {}  # Paddle's matrix is turned
        net.first = framework.nn.utils.weight_norm(net.first, **axis)

    report = verify(
        Port("normed", linear_net("paddle", _plain, normed), linear_net("torch", _plain, normed), ROW), quick=True
    )
    assert report
    assert not any("table" in note for note in report.notes)


def test_what_computes_in_less_in_float32_alone_leaves_the_float64_hop_alone() -> None:
    def autocast(net: Any, x: Any, framework: Any) -> Any:
        with framework.autocast("cpu", dtype=framework.bfloat16):
            hidden = net.first(x)
        return net.last(hidden.float())

    report = verify(_port(autocast, _plain), quick=True)
    assert report.verdict == "divergent"
    assert [c.kind for c in report.culprits] == ["precision"]
    assert {hop.kind: hop.verdict for hop in report.hops}["semantics"] in HOLDS


def test_an_output_without_elements_agrees() -> None:
    report = verify(
        _port(lambda net, x, _: (_plain(net, x, _), net.first(x)[:, :0]), outputs=("out", "none")), quick=True
    )
    assert report


def _turned(net: Any, x: Any, framework: Any, sign: float = 1.0) -> Any:
    pairs = net.turn(net.first(x).reshape([-1, 3, 2]), net.angles(framework.arange(3), sign))
    return net.last(pairs.reshape([-1, 6]))


def _turning(net: Any, framework: Any) -> None:
    """Rotary embeddings as the original LLaMA has them: a module makes complex numbers, another multiplies by them."""
    base = framework.nn.Module if framework.__name__ == "torch" else framework.nn.Layer
    to, back = (
        (framework.view_as_complex, framework.view_as_real)
        if framework.__name__ == "torch"
        else (framework.as_complex, framework.as_real)
    )

    class Angles(base):  # type: ignore[misc, valid-type]
        def forward(self, steps: Any, sign: float) -> Any:
            angles = steps.astype("float32") if framework.__name__ == "paddle" else steps.float()
            return framework.complex(framework.cos(angles), framework.sin(angles) * sign)

    class Turn(base):  # type: ignore[misc, valid-type]
        def forward(self, pairs: Any, angles: Any) -> Any:
            return back(to(pairs) * angles)

    net.angles, net.turn = Angles(), Turn()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_complex_numbers_pass_between_modules(sign: float) -> None:
    def other(net: Any, x: Any, framework: Any) -> Any:
        return _turned(net, x, framework, sign)

    report = verify(
        Port("net", linear_net("paddle", other, _turning), linear_net("torch", _turned, _turning), ROW), quick=True
    )
    assert bool(report) == (sign == 1.0)
    assert [c.module for c in report.culprits] == ([] if report else ["angles"])


def test_complex_outputs_are_compared() -> None:
    def spectrum(net: Any, x: Any, framework: Any) -> Any:
        return framework.fft.fft(net.first(x))

    assert verify(_port(spectrum), quick=True)
    report = verify(_port(spectrum, lambda net, x, framework: spectrum(net, x, framework).conj()), quick=True)
    assert report.verdict == "divergent"


def test_gradients_are_pulled_back_from_the_outputs_that_have_any() -> None:
    def classified(net: Any, x: Any, _: Any) -> Any:
        out = _plain(net, x, _)
        return out, out.argmax(-1)

    report = verify(_port(classified, outputs=("out", "class")), quick=True, gradients=True)
    assert report
    assert [hop.target for hop in report.hops if hop.kind == "gradients"][1:] == ["Paddle gradients of out"]


def test_gradients_where_no_output_has_any_are_unavailable() -> None:
    report = verify(_port(lambda net, x, _: _plain(net, x, _).argmax(-1)), quick=True, gradients=True)
    hops = [hop for hop in report.hops if hop.kind == "gradients"]
    assert [(hop.verdict, hop.reason) for hop in hops] == [
        ("unavailable", "no gradient reaches any output of the port")
    ]


def test_gradients_pass_through_complex_numbers() -> None:
    port = Port("net", linear_net("paddle", _turned, _turning), linear_net("torch", _turned, _turning), ROW)
    assert verify(port, quick=True, gradients=True)
    assert verify(_port(lambda net, x, framework: framework.fft.fft(net.first(x))), quick=True, gradients=True)
