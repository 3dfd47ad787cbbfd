"""The default gates of other tools, as formulas: what each would say of a pair of outputs.

Taken from their releases: PaDiff 0.2.0 (``padiff/utils.py``, ``compare_mode="mean"``), Polygraphy 0.53.6
(``polygraphy/comparator/compare.py``), torch 2.13.0 (``torch/onnx/_internal/exporter/_core.py``, ``verify=True``),
optimum-onnx 0.1.0 (``optimum/exporters/onnx/convert.py``), timm 1.0.31 (``timm/utils/onnx.py``).
"""

from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray


def _padiff(found: Array, expected: Array) -> bool:
    return bool(np.allclose(found.mean(), expected.mean(), atol=0, rtol=1e-7))


def _polygraphy(found: Array, expected: Array) -> bool:
    apart = np.abs(found - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = apart / np.abs(expected)
    return not bool(((apart > 1e-5) & (relative > 1e-5) | np.isnan(apart)).any())


def _torch_onnx(found: Array, expected: Array) -> bool:
    apart = np.abs(found - expected)
    relative = apart / (np.abs(expected) + 1e-7)
    return not (apart.max() >= 5e-3 or relative.max() >= 1e-1)


def _optimum(found: Array, expected: Array) -> bool:
    return bool(np.allclose(expected, found, atol=1e-5))


def _timm(found: Array, expected: Array) -> bool:
    return bool((np.abs(found - expected) < 1.5e-3).all())  # numpy's assert_almost_equal, decimal=3


GATES: dict[str, Callable[[Array, Array], bool]] = {
    "PaDiff (means, rtol 1e-7)": _padiff,
    "Polygraphy (1e-5 and 1e-5)": _polygraphy,
    "torch.onnx verify (warns at 5e-3, 1e-1)": _torch_onnx,
    "optimum (atol 1e-5, rtol 1e-5)": _optimum,
    "timm (3 decimals)": _timm,
}


def judged(found: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, bool]:
    """Return which gates let all outputs pass. A shape that differs is refused by every tool."""
    if any(found[name].shape != expected[name].shape for name in expected):
        return dict.fromkeys(GATES, False)
    return {name: all(gate(found[key], expected[key]) for key in expected) for name, gate in GATES.items()}
