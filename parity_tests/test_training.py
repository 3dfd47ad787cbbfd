"""GoogLeNet's two sides learn alike: the same gradients, and the same training, step by step."""

import pytest

from portproof import Report, find_port, verify
from portproof.judge._report import HOLDS

#: Three and a half minutes; the ports of tests/lockstep and of the zoo do the same in seconds.
pytestmark = pytest.mark.slow

PORT = "convert.googlenet:GOOGLENET"
HEADS = ("out", "out1", "out2", "loss")


@pytest.fixture(scope="module")
def report() -> Report:
    return verify(find_port(PORT), kwargs={"num_classes": 10}, quick=True, gradients=True, steps=3)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_of_every_parameter_and_of_the_image(report: Report, head: str) -> None:
    hop = next(hop for hop in report.hops if hop.target == f"Paddle gradients of {head}")
    assert hop.verdict in HOLDS
    assert hop.reason is None  # no gradient is left unjudged


def test_gradients_module_by_module(report: Report) -> None:
    hop = next(hop for hop in report.hops if hop.target == "Paddle gradients, module by module")
    assert hop.verdict in HOLDS
    assert report.culprits == ()


def test_the_average_pools_are_the_only_deviation_of_the_backward_pass(report: Report) -> None:
    found = {d.module: d.size for d in report.deviations if d.direction == "backward" and d.module}
    assert found == {
        "out_main.0": pytest.approx(2.05e-8, rel=0.01),
        "out1.0": pytest.approx(2.24e-8, rel=0.01),
        "out2.0": pytest.approx(2.24e-8, rel=0.01),
    }


def test_the_first_steps_of_a_training(report: Report) -> None:
    hops = [hop for hop in report.hops if hop.kind == "training"]
    assert [(hop.precision, hop.verdict in HOLDS) for hop in hops] == [("float64", True), ("float32", True)]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_hundred_steps(optimizer: str) -> None:
    """Minutes each: about three seconds a step on two cores."""
    settings = {"optimizer": optimizer, "learning_rate": 1e-3 if optimizer == "sgd" else 3e-4}
    found = verify(find_port(PORT), kwargs={"num_classes": 10}, quick=True, modules=False, steps=100, training=settings)
    hops = [hop for hop in found.hops if hop.kind == "training"]
    assert [hop.verdict in HOLDS for hop in hops] == [True, True]
    if optimizer == "sgd":  # Adam divides a gradient by its own size, and with it what is nothing but rounding
        assert hops[0].worst is not None
        assert hops[0].worst.max_rel < 1e-12
