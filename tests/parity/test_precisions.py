"""bfloat16 and float16: judged in floors carried by the ratio of the epsilons, by module where outputs tell nothing."""

from typing import Any

import numpy as np
import pytest

from portproof import BadInput, Input, Port, verify
from portproof.judge._report import HOLDS
from tests import small_ports
from tests.conftest import Run


def torch_deep(coarse: bool = False) -> Any:
    import torch
    from torch import nn

    class Coarse(nn.ReLU):
        def forward(self, x: Any) -> Any:
            low = x.dtype in (torch.bfloat16, torch.float16)
            return super().forward(x.to(torch.float8_e5m2).to(x.dtype) if low else x)

    layers = [nn.Linear(16, 64), Coarse() if coarse else nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)]
    return nn.Sequential(*layers)


def paddle_deep() -> Any:
    from paddle import nn

    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


def numerics(report: Any, precision: str) -> dict[str, str]:
    return {hop.target: hop.verdict for hop in report.hops if hop.precision == precision}


DEEP = Port("deep", paddle_deep, torch_deep, {"x": Input(("batch", 16))})


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_side_is_judged_in_a_lower_precision_and_one_without_kernels_is_unavailable(precision: str) -> None:
    report = verify(DEEP, quick=True, precisions=(precision,))
    found = numerics(report, precision)
    assert found.pop(f"torch eager {precision}") in HOLDS
    assert found == {f"Paddle dygraph {precision}": "unavailable"}
    reason = next(hop.reason for hop in report.hops if hop.verdict == "unavailable")
    assert reason is not None
    assert "0" in reason  # the module, and what Paddle has kernels for
    assert "Hint" not in reason
    assert report.exit_code == 4
    assert not report.culprits


def test_a_module_that_computes_in_less_than_the_lower_precision_is_named() -> None:
    port = Port("coarse", paddle_deep, lambda: torch_deep(coarse=True), {"x": Input(("batch", 16))})
    assert verify(port, quick=True)
    report = verify(port, quick=True, precisions=("bfloat16",))
    assert numerics(report, "bfloat16")["torch eager bfloat16"] == "divergent"
    assert [(c.side, c.module, c.kind) for c in report.culprits] == [("torch", "1", "precision")]
    assert report.exit_code == 1


def test_one_side_alone_is_judged_on_its_outputs() -> None:
    report = verify(small_ports.TORCH_ONLY, precisions=("bfloat16",), quick=True)
    assert set(numerics(report, "bfloat16").values()) <= {*HOLDS, "inconclusive"}


def test_another_precision_is_refused(run: Run) -> None:
    with pytest.raises(BadInput, match="float64 and float32 are always judged"):
        verify(DEEP, precisions=("float32",))
    run("verify", "tests.parity.test_precisions:DEEP", "--precision", "half").refused(
        2, "bfloat16 or float16, found 'half'"
    )


def test_bfloat16_becomes_float32_in_numpy() -> None:
    from portproof.frameworks import load_framework

    values = np.array([1.0, -2.5, 0.1], np.float32)
    for side in ("torch", "paddle"):
        framework = load_framework(side)
        found = framework.to_array(framework.to_tensor(values, "bfloat16"))
        assert found.dtype == np.float32
        assert found[:2].tolist() == [1.0, -2.5]
        assert 0 < abs(found[2] - values[2]) < 2**-9
