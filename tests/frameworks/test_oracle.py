"""Paddle's kernels that round a scalar, computed as what they stand for: torch's in float64 say the same."""

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
import torch

from portproof.frameworks._paddle_oracle import EXACT, computing_in_float64, exact_backward
from portproof.frameworks._torch_oracle import ComputingInFloat64

F, G = paddle.nn.functional, torch.nn.functional
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 8, 6, 6)) * 2
POSITIVE = np.abs(X) + 0.1
W, B = RNG.standard_normal(8), RNG.standard_normal(8)
SQUARE = RNG.standard_normal((3, 6, 6))

p, t = paddle.to_tensor, torch.from_numpy


def _resized(mode: str, array: np.ndarray[Any, Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    size = [13] * (array.ndim - 2)
    layout = {3: "NCW", 4: "NCHW", 5: "NCDHW"}[array.ndim]
    return (
        lambda: F.interpolate(p(array), size=size, mode=mode, data_format=layout),
        lambda: G.interpolate(t(array), size=tuple(size), mode=mode),
    )


#: Paddle's operator to the same in Paddle and in torch.
FUNCTIONS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "addmm": (
        lambda: paddle.addmm(*map(p, SQUARE), beta=0.3, alpha=0.7),
        lambda: torch.addmm(*map(t, SQUARE), beta=0.3, alpha=0.7),
    ),
    "batch_norm": (
        lambda: F.batch_norm(p(X), p(W), p(np.abs(B)), p(W), p(B), epsilon=1e-5),
        lambda: G.batch_norm(t(X), t(W), t(np.abs(B)), t(W), t(B), eps=1e-5),
    ),
    "celu": (lambda: F.celu(p(X), 1.3), lambda: G.celu(t(X), 1.3)),
    "dropout": (lambda: F.dropout(p(X), 0.3, training=False, mode="downscale_in_infer"), lambda: t(X) * 0.7),
    "elu": (lambda: F.elu(p(X), 1.3), lambda: G.elu(t(X), 1.3)),
    "group_norm": (lambda: F.group_norm(p(X), 2, epsilon=1e-5), lambda: G.group_norm(t(X), 2, eps=1e-5)),
    "hardsigmoid": (lambda: F.hardsigmoid(p(X)), lambda: G.hardsigmoid(t(X))),
    "hardtanh": (lambda: F.hardtanh(p(X), -0.7, 0.7), lambda: G.hardtanh(t(X), -0.7, 0.7)),
    "instance_norm": (lambda: F.instance_norm(p(X), eps=1e-5), lambda: G.instance_norm(t(X), eps=1e-5)),
    "label_smooth": (lambda: F.label_smooth(p(X), epsilon=0.1), lambda: t(X) * 0.9 + 0.1 / 6),
    "layer_norm": (lambda: F.layer_norm(p(X), 6, epsilon=1e-5), lambda: G.layer_norm(t(X), (6,), eps=1e-5)),
    "p_norm": (lambda: paddle.norm(p(X), 3.0, axis=1), lambda: torch.linalg.vector_norm(t(X), 3.0, dim=1)),
    "pow": (lambda: paddle.pow(p(POSITIVE), 0.3), lambda: t(POSITIVE) ** 0.3),
    "rms_norm": (lambda: F.rms_norm(p(X), [6], eps=1e-6), lambda: G.rms_norm(t(X), (6,), eps=1e-6)),
    "rrelu": (lambda: F.rrelu(p(X), 0.1, 0.3, training=False), lambda: G.rrelu(t(X), 0.1, 0.3)),
    "selu": (lambda: F.selu(p(X)), lambda: G.selu(t(X))),
    "softshrink": (lambda: F.softshrink(p(X), 0.3), lambda: G.softshrink(t(X), 0.3)),
    "stanh": (lambda: paddle.stanh(p(X)), lambda: 1.7159 * torch.tanh(0.67 * t(X))),
    "thresholded_relu": (lambda: F.thresholded_relu(p(X), 0.3, 0.1), lambda: G.threshold(t(X), 0.3, 0.1)),
    "linear_interp": _resized("linear", X[:, :, 0]),
    "bilinear_interp": _resized("bilinear", X),
    "trilinear_interp": _resized("trilinear", X[:, :, None]),
    "bicubic_interp": _resized("bicubic", X),
}


def test_every_kernel_that_is_replaced_is_held_to_torch_s() -> None:
    assert FUNCTIONS.keys() == EXACT.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_stands_for_a_kernel_is_what_torch_computes(name: str) -> None:
    lifted: Counter[str] = Counter()
    in_paddle, in_torch = FUNCTIONS[name]
    with paddle.no_grad(), computing_in_float64(lifted, lambda: ""):
        found = in_paddle().numpy()
    expected = in_torch().numpy()
    assert lifted[f"kernel {name}"] == 1
    assert found.dtype == np.float64
    # Two honest orders of a few dozen float64 operations: the kernels themselves are 1e-13 to 3e-7 off.
    assert np.abs(found - expected).max() <= 64 * np.finfo(np.float64).eps * np.abs(expected).max()


def _norm(**arguments: Any) -> Callable[[], Any]:
    given = {"weight": p(W), "bias": p(B), "epsilon": 1e-3, **arguments}
    x = X.transpose(0, 2, 3, 1) if given.get("data_format") == "NHWC" else X
    return lambda: F.batch_norm(p(np.ascontiguousarray(x)), p(W), p(np.abs(B) + 1), **given)


def _interp(**arguments: Any) -> Callable[[], Any]:
    return lambda: F.interpolate(p(X), **arguments)


#: Every argument that such an operator has, some other way than by default.
OTHERWISE: dict[str, Callable[[], Any]] = {
    "batch_norm, in training": _norm(training=True),
    "batch_norm, of its own statistics in evaluation": _norm(use_global_stats=False),
    "batch_norm, of the running statistics in training": _norm(training=True, use_global_stats=True),
    "batch_norm, in training of its own": _norm(training=True, use_global_stats=False),
    "batch_norm, channels last": _norm(data_format="NHWC"),
    "batch_norm, without an affine part": _norm(weight=None, bias=None),
    "group_norm": lambda: F.group_norm(
        p(np.ascontiguousarray(X.transpose(0, 2, 3, 1))), 4, 1e-3, p(W), p(B), data_format="NHWC"
    ),
    "layer_norm, of two axes": lambda: F.layer_norm(p(X), [6, 6], p(SQUARE[0].ravel()), p(SQUARE[1].ravel()), 1e-3),
    "instance_norm": lambda: F.instance_norm(p(X[:, :, None]), weight=p(W), bias=p(B), eps=1e-3),
    "addmm, broadcast": lambda: paddle.addmm(p(SQUARE[0][:1]), p(SQUARE[1]), p(SQUARE[2]), beta=0.3, alpha=-0.7),
    "dropout, upscaled": lambda: F.dropout(p(X), 0.3, training=False),
    "elu": lambda: F.elu(p(X), -0.7),
    "celu": lambda: F.celu(p(X), 0.3),
    "selu": lambda: F.selu(p(X), 1.2, 0.3),
    "hardsigmoid": lambda: F.hardsigmoid(p(X), 0.3, 0.4),
    "hardtanh": lambda: F.hardtanh(p(X), -0.1, 0.9),
    "label_smooth, of a prior": lambda: F.label_smooth(p(np.abs(X)), p(np.full((1, 6), 1 / 6)), 0.3),
    "p_norm, of all": lambda: paddle.norm(p(X), 3.3),
    "p_norm, of an axis that stays": lambda: paddle.norm(p(POSITIVE), 0.7, axis=2, keepdim=True),
    "pow, of a tensor": lambda: paddle.pow(p(POSITIVE), p(np.asarray(0.3))),
    "pow, negative": lambda: paddle.pow(p(POSITIVE), -1.3),
    "softshrink": lambda: F.softshrink(p(X), 0.7),
    "stanh": lambda: paddle.stanh(p(X), 0.3, 1.1),
    "thresholded_relu": lambda: F.thresholded_relu(p(X), -0.7, 0.3),
    "linear, in between": lambda: F.interpolate(
        p(X[:, :, 0]), size=[11], mode="linear", data_format="NCW", align_mode=1
    ),
    "bilinear, at the corners": _interp(size=[11, 4], mode="bilinear", align_corners=True),
    "bilinear, in between": _interp(size=[11, 4], mode="bilinear", align_mode=1),
    "bilinear, by factors": _interp(scale_factor=[1.7, 0.6], mode="bilinear"),
    "bilinear, by factors, in between": _interp(scale_factor=[1.7, 0.6], mode="bilinear", align_mode=1),
    "bicubic, at the corners": _interp(size=[11, 4], mode="bicubic", align_corners=True),
    "bicubic, by a factor": _interp(scale_factor=1.7, mode="bicubic"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_stands_for_a_kernel_knows_all_its_arguments(name: str) -> None:
    """The kernel itself is right to the last place but for scalars that it rounds to float32."""
    with paddle.no_grad():
        expected = OTHERWISE[name]().numpy()
        with computing_in_float64(Counter(), lambda: ""):
            found = OTHERWISE[name]().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 64 * np.finfo(np.float32).eps * np.abs(expected).max()


LONG = RNG.random((3, 5, 41, 43))
#: What adds many terms, to the axes that it adds along and whether it divides by their number.
SUMS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], bool]] = {
    "mean": (lambda x: x.mean([2, 3]), (2, 3), True),
    "mean of all": (paddle.mean, (0, 1, 2, 3), True),
    "mean, kept": (lambda x: paddle.mean(x, axis=-1, keepdim=True), (3,), True),
    "mean along the first": (lambda x: x.mean(0), (0,), True),
    "sum": (lambda x: x.sum([1, -1]), (1, 3), False),
    "sum of all": (lambda x: x.sum(), (0, 1, 2, 3), False),
    "sum, torch's names": (lambda x: paddle.sum(x, dim=2, keepdim=True), (2,), False),
    "sum with a dtype": (lambda x: paddle.sum(x, axis=2, dtype="float64"), (2,), False),
    "variance": (lambda x: paddle.var(x, [2, 3], unbiased=False), (), True),
    "pool": (lambda x: F.adaptive_avg_pool2d(x, 1), (2, 3), True),
    "pool in one dimension": (lambda x: F.adaptive_avg_pool1d(x[:, 0], 1), (), True),
    "softmax": (lambda x: F.softmax(x.reshape([3, -1]), -1), (), True),
}


@pytest.mark.parametrize("name", SUMS)
def test_long_sums_err_by_a_few_roundings_and_not_by_one_a_term(name: str) -> None:
    function, axes, divides = SUMS[name]
    with paddle.no_grad(), computing_in_float64(Counter(), lambda: ""):
        found = function(p(LONG))
    kernel = function(p(LONG))
    assert (found.shape, found.dtype) == (kernel.shape, paddle.float64)
    if axes:
        moved = np.moveaxis(LONG, axes, range(-len(axes), 0))
        count = int(np.prod(moved.shape[-len(axes) :]))
        rows = moved.reshape(-1, count)
        exact = np.array([math.fsum(row) for row in rows]) / (count if divides else 1)
        assert np.abs(found.numpy().reshape(-1) / exact - 1).max() < 4 * np.finfo(np.float64).eps
    assert np.allclose(found.numpy(), kernel.numpy(), rtol=1e-12, atol=0)


def test_the_gradient_of_a_long_sum_reaches_every_term() -> None:
    x = paddle.to_tensor(LONG, stop_gradient=False)
    with computing_in_float64(Counter(), lambda: ""):
        (x.mean([2, 3]) * paddle.to_tensor(np.arange(15.0).reshape(3, 5))).sum().backward()
    wanted = np.broadcast_to(np.arange(15.0).reshape(3, 5, 1, 1) / (41 * 43), LONG.shape)
    assert np.allclose(x.grad.numpy(), wanted, rtol=1e-14, atol=0)


def test_nothing_is_left_behind() -> None:
    def patched() -> list[Any]:
        made = sys.modules["paddle.tensor.creation"]._to_tensor_non_static
        return [
            paddle._C_ops.cast,
            made,
            *(getattr(paddle.Tensor, f"__{name}__") for name in ("pow", "truediv", "add")),
        ]

    before = patched()
    with pytest.raises(KeyError), computing_in_float64(Counter(), lambda: ""), computing_in_float64(Counter(), str):
        raise KeyError
    assert patched() == before


def _root(x: torch.Tensor) -> torch.Tensor:
    return x / torch.sqrt(torch.tensor(3.0, dtype=torch.float32))


def test_a_function_that_is_scripted_is_lifted_as_it_was_written() -> None:
    scripted, lifted = torch.jit.script(_root), Counter[str]()
    before = torch.jit.ScriptFunction.__call__
    with ComputingInFloat64(lifted, lambda: "there"):
        made = scripted(t(X))
    assert np.array_equal(made.numpy(), X / np.sqrt(3.0))
    assert lifted["there"] == 1
    assert torch.jit.ScriptFunction.__call__ is before
    assert not np.array_equal(scripted(t(X)).numpy(), X / np.sqrt(3.0))


@pytest.mark.parametrize(
    "made",
    [
        lambda n: n / 3, lambda n: 1 / (n + 1), lambda n: n / (n + 1), lambda n: n * 0.1, lambda n: 0.1 - n,
        lambda n: 10000 ** (n / 7), lambda n: 1.1**n, lambda n: n**0.3,
        lambda n: F.one_hot(n, 5) @ p(np.eye(5)) if isinstance(n, paddle.Tensor) else np.eye(5),
    ],
)  # fmt: skip
def test_integers_that_paddle_makes_float32_of_are_float64(made: Callable[[Any], Any]) -> None:
    with computing_in_float64(Counter(), lambda: ""):
        found = made(paddle.arange(5)).numpy()
    np.testing.assert_allclose(found, made(np.arange(5)), rtol=1e-15)
    assert found.dtype == np.float64


def test_a_table_that_a_constructor_makes_in_float32_is_float64_and_said() -> None:
    lifted = Counter[str]()
    with computing_in_float64(lifted, lambda: "there"):
        tables = [p(W, dtype="float32"), p(list(W), dtype=paddle.float32)]
    assert all(np.array_equal(table.numpy(), W) for table in tables)
    assert lifted["there"] == 2


@pytest.mark.parametrize(
    ("in_paddle", "in_torch"),
    [
        (lambda x: F.avg_pool2d(x, 3), lambda x: G.avg_pool2d(x, 3)),
        (lambda x: F.avg_pool2d(x, 3, 2, 1, exclusive=False), lambda x: G.avg_pool2d(x, 3, 2, 1)),
        (lambda x: F.avg_pool2d(x, 3, 2, 1), lambda x: G.avg_pool2d(x, 3, 2, 1, count_include_pad=False)),
        (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), lambda x: G.avg_pool2d(x, 3, 2, 1, True)),
        (lambda x: F.adaptive_avg_pool2d(x, 5), lambda x: G.adaptive_avg_pool2d(x, 5)),
        (lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: G.adaptive_avg_pool2d(x, 1)),
    ],
)
def test_an_average_pool_hands_exact_gradients_back_where_that_is_asked_for(in_paddle: Any, in_torch: Any) -> None:
    def gradient(exact: bool) -> Any:
        x = p(np.pad(X, ((0, 0), (0, 0), (0, 1), (0, 1))), stop_gradient=False)
        with computing_in_float64(Counter(), lambda: ""), exact_backward() if exact else contextlib.nullcontext():
            made = in_paddle(x)
            return made.numpy(), paddle.grad((made * made).sum(), x)[0].numpy()

    x = t(np.pad(X, ((0, 0), (0, 0), (0, 1), (0, 1)))).requires_grad_()
    expected = in_torch(x)
    (wanted,) = torch.autograd.grad((expected * expected).sum(), x)
    made, found = gradient(exact=True)
    assert np.abs(made - expected.detach().numpy()).max() < 64 * np.finfo(float).eps * np.abs(made).max()
    assert np.abs(found - wanted.numpy()).max() < 64 * np.finfo(float).eps * np.abs(found).max()
    assert gradient(exact=False)[1].shape == found.shape  # as the kernel has it: some are 2e-8 off


def test_running_statistics_have_a_gradient_where_it_is_asked_for() -> None:
    mean, variance = (t(a.copy()).requires_grad_() for a in (W, np.abs(B) + 0.1))
    with ComputingInFloat64(Counter(), lambda: ""):
        made = G.batch_norm(t(X), mean, variance, t(W), t(B), eps=1e-5)
    plain = G.batch_norm(t(X), mean.detach(), variance.detach(), t(W), t(B), eps=1e-5)
    assert torch.allclose(made, plain, rtol=1e-13)
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(made.square().sum(), [mean, variance]))
