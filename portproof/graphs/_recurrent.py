"""LSTM and GRU of a graph, step by step in NumPy: the reference evaluator knows one direction only.

Source: the operators' own definitions (ONNX operators LSTM and GRU, default activations, layout 0).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx.reference.op_run import OpRun

from portproof._numbers import Array


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _require_plain(given: dict[str, Any]) -> None:
    """Refuse what is not computed here."""
    for name, usual in (("layout", 0), ("clip", None), ("input_forget", 0), ("activations", None)):
        if given.get(name) not in (usual, None):
            raise NotImplementedError(f"{name}={given[name]!r}")


def _both_ways(
    x: Array, direction: str, run: Callable[[Array, int], tuple[Array, list[Array]]]
) -> tuple[Array, list[Array]]:
    """Run each direction and stack them: ``Y`` is ``(T, D, N, H)``, each state ``(D, N, H)``."""
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    outputs, states = [], []
    for index, turned in enumerate(backward):
        y, last = run(x[::-1] if turned else x, index)
        outputs.append(y[::-1] if turned else y)
        states.append(last)
    return np.stack(outputs, axis=1), [np.stack(parts) for parts in zip(*states, strict=True)]


class LSTM(OpRun):  # type: ignore[misc]
    """Gates stand in the order i o f c."""

    op_domain = ""

    def _run(
        self, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None,
        h: Array | None = None, c: Array | None = None, p: Array | None = None, direction: str = "forward",
        hidden_size: int | None = None, **given: Any,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        _require_plain(given)
        if lengths is not None or (p is not None and np.any(p)):
            raise NotImplementedError("sequence_lens or peepholes")

        def run(sequence: Array, d: int) -> tuple[Array, list[Array]]:
            bias = 0.0 if b is None else b[d, : b.shape[1] // 2] + b[d, b.shape[1] // 2 :]
            hidden = np.zeros((x.shape[1], r.shape[2]), x.dtype) if h is None else h[d]
            cell = np.zeros_like(hidden) if c is None else c[d]
            outputs = []
            for step in sequence:
                i, o, f, g = np.split(step @ w[d].T + hidden @ r[d].T + bias, 4, axis=-1)
                cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
                hidden = _sigmoid(o) * np.tanh(cell)
                outputs.append(hidden)
            return np.stack(outputs), [hidden, cell]

        y, (hidden, cell) = _both_ways(x, direction, run)
        return y, hidden, cell


class GRU(OpRun):  # type: ignore[misc]
    """Gates stand in the order z r h."""

    op_domain = ""

    def _run(
        self, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None,
        h: Array | None = None, direction: str = "forward", linear_before_reset: int = 0,
        hidden_size: int | None = None, **given: Any,
    ) -> tuple[Array, Array]:  # fmt: skip
        _require_plain(given)
        if lengths is not None:
            raise NotImplementedError("sequence_lens")

        def run(sequence: Array, d: int) -> tuple[Array, list[Array]]:
            size = r.shape[2]
            wb, rb = (np.zeros(3 * size), np.zeros(3 * size)) if b is None else np.split(b[d], 2)
            hidden = np.zeros((x.shape[1], size), x.dtype) if h is None else h[d]
            outputs = []
            for step in sequence:
                given_in = step @ w[d].T + wb
                z, reset = (
                    _sigmoid(given_in[:, k * size : (k + 1) * size] + hidden @ r[d, k * size : (k + 1) * size].T
                             + rb[k * size : (k + 1) * size])
                    for k in (0, 1)
                )  # fmt: skip
                last, bias = r[d, 2 * size :].T, rb[2 * size :]
                inner = reset * (hidden @ last + bias) if linear_before_reset else (reset * hidden) @ last + bias
                hidden = (1 - z) * np.tanh(given_in[:, 2 * size :] + inner) + z * hidden
                outputs.append(hidden)
            return np.stack(outputs), [hidden]

        y, (hidden,) = _both_ways(x, direction, run)
        return y, hidden
