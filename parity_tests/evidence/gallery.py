"""Bugs that ports really have, reproduced small, and what the tool says of each.

``python -m parity_tests.evidence.gallery > docs/gallery.md`` makes the page; a test holds what is said to what is
written here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from portproof import Input, Port, verify

IMAGE = {"x": Input(("batch", 4, 12, 12))}
ROW = {"x": Input(("batch", 6))}
Layers = Callable[[Any], list[Any]]


def stack(framework: str, layers: Layers) -> Callable[[], Any]:
    """Return a factory of layers one after the other."""

    def factory() -> Any:
        nn = import_module(framework).nn
        return nn.Sequential(*layers(nn))

    return factory


@dataclass(frozen=True)
class Bug:
    """One bug.

    Attributes:
        title: what is wrong.
        source: where it is documented, or who found it.
        torch, paddle: the layers of each side.
        said: what the tool must say.
        inputs: of the port.
        options: of ``verify``.
    """

    title: str
    source: str
    torch: Layers
    paddle: Layers
    said: str
    inputs: Mapping[str, Input] = field(default_factory=lambda: IMAGE)
    options: Mapping[str, Any] = field(default_factory=lambda: {"quick": True})

    def port(self) -> Port:
        """Return both sides as a port."""
        return Port("bug", stack("paddle", self.paddle), stack("torch", self.torch), self.inputs)


#: Of ``verify``: with exports.
EXPORT: dict[str, Any] = {}
BUGS = (
    Bug(
        "BatchNorm's momentum is copied over",
        "Paddle weighs what it has by `momentum`, PyTorch what is new: the formulas in the documentation of "
        "`paddle.nn.BatchNorm2D` and `torch.nn.BatchNorm2d`. Nothing shows in evaluation; fine-tuning then keeps the "
        "statistics of the last batch.",
        lambda n: [n.Conv2d(4, 4, 3), n.BatchNorm2d(4, momentum=0.1)],
        lambda n: [n.Conv2D(4, 4, 3), n.BatchNorm2D(4, momentum=0.1)],
        "momentum is 0.1 in torch and 0.9 in Paddle; it acts in training",
    ),
    Bug(
        "An average pool does or does not count its padding",
        "`exclusive=True` is Paddle's default, `count_include_pad=True` PyTorch's, and they are opposites: the "
        "documentation of `paddle.nn.AvgPool2D` and `torch.nn.AvgPool2d`.",
        lambda n: [n.Conv2d(4, 4, 3), n.AvgPool2d(3, 1, 1)],
        lambda n: [n.Conv2D(4, 4, 3), n.AvgPool2D(3, 1, 1)],
        "count_include_pad is True in torch and False in Paddle",
    ),
    Bug(
        "`ceil_mode` rounds up a window that lies in the padding",
        "PyTorch drops a last window that would begin in the padding (`torch.nn.MaxPool2d`, note on `ceil_mode`), "
        "Paddle keeps it: 20 places, and not 19, for a map of 56 with kernel 3, stride 3, padding 1.",
        lambda n: [n.Conv2d(4, 4, 3, padding=1), n.MaxPool2d(3, 3, 1, ceil_mode=True)],
        lambda n: [n.Conv2D(4, 4, 3, padding=1), n.MaxPool2D(3, 3, 1, ceil_mode=True)],
        "its output has shape [16, 4, 20, 20] where [16, 4, 19, 19] was expected",
        {"x": Input(("batch", 4, 56, 56))},
    ),
    Bug(
        "GELU by tanh beside GELU by erf",
        "`approximate` in both frameworks' `GELU`; BERT-like models were published with either. 3e-4 of the scale, "
        "which a tolerance of 1e-3 lets pass.",
        lambda n: [n.Linear(6, 6), n.GELU()],
        lambda n: [n.Linear(6, 6), n.GELU(approximate=True)],
        "1  computes: on the same input its output differs by",
        ROW,
    ),
    Bug(
        "Upsampling aligns the corners on one side",
        "PyTorch changed its default to `align_corners=False` after 0.3.1 (the warning in `torch.nn.Upsample`'s "
        "documentation); segmentation models of that age depend on the other.",
        lambda n: [n.Conv2d(4, 4, 3), n.Upsample(scale_factor=2, mode="bilinear", align_corners=False)],
        lambda n: [n.Conv2D(4, 4, 3), n.Upsample(scale_factor=2, mode="bilinear", align_corners=True)],
        "1  computes: on the same input its output differs by",
    ),
    Bug(
        "Dropout that scales in inference",
        "`mode='downscale_in_infer'` of `paddle.nn.Dropout`. paddle.vision's AlexNet, SqueezeNet and Inception v3 use "
        "it, torchvision's models of those names do not.",
        lambda n: [n.Linear(6, 6), n.Dropout(0.5)],
        lambda n: [n.Linear(6, 6), n.Dropout(0.5, mode="downscale_in_infer")],
        "mode is upscale_in_train in torch and downscale_in_infer in Paddle",
        ROW,
    ),
    Bug(
        "An epsilon from a paper, and the framework's default",
        "LayerNorm of BERT has 1e-12, both frameworks' default is 1e-5; Inception v3's BatchNorm has 1e-3 in "
        "torchvision and 1e-5 in paddle.vision.",
        lambda n: [n.LayerNorm(6)],
        lambda n: [n.LayerNorm(6, epsilon=1e-12)],
        "eps is 1e-05 in torch and 1e-12 in Paddle",
        ROW,
    ),
    Bug(
        "A threshold that is reached only by loud inputs",
        "ReLU6 in MobileNet's papers, ReLU in a port of it: the same function on inputs of unit variance.",
        lambda n: [n.Linear(6, 6), n.ReLU6()],
        lambda n: [n.Linear(6, 6), n.ReLU()],
        "1  computes: on the same input its output differs by",
        ROW,
    ),
    Bug(
        "paddle2onnx loses LeakyReLU's slope",
        "paddle2onnx 2.1.0 with Paddle's `.json` programs. Both sides are right, and the exported file is not.",
        lambda n: [n.Linear(6, 6), n.LeakyReLU(0.1)],
        lambda n: [n.Linear(6, 6), n.LeakyReLU(0.1)],
        "hop Paddle export, interpreted: divergent",
        ROW,
        EXPORT,
    ),
    Bug(
        "paddle2onnx writes a GroupNorm's epsilon from memory that nobody set",
        "paddle2onnx 2.1.0 with Paddle's `.json` programs, found with this tool: `epsilon` of the "
        "InstanceNormalization was 2.9e20 in one export of the same layer and 0 in the next.",
        lambda n: [n.Conv2d(4, 4, 3), n.GroupNorm(2, 4)],
        lambda n: [n.Conv2D(4, 4, 3), n.GroupNorm(2, 4)],
        "hop Paddle export",
        IMAGE,
        EXPORT,
    ),
    Bug(
        "paddle2onnx loses Hardtanh's limits",
        "paddle2onnx 2.1.0 with Paddle's `.json` programs, found with this tool.",
        lambda n: [n.Linear(6, 6), n.Hardtanh(-0.7, 0.9)],
        lambda n: [n.Linear(6, 6), n.Hardtanh(-0.7, 0.9)],
        "hop Paddle export, interpreted: divergent",
        ROW,
        EXPORT,
    ),
)

_HEAD = """# A gallery of port bugs

Twelve bugs that ports really have, each reproduced in two layers, and what the tool says of it, word for word. The
sources are the frameworks' own documentation of the versions named below, and what this tool found; the page is made by
`python -m parity_tests.evidence.gallery`, and a test holds every answer.
"""

_FOUND = """
## Found in frameworks, with a reproduction

Beside those above, found or measured with this tool, with torch 2.13.0, paddlepaddle 3.3.1 and paddle2onnx
2.1.0.

**Paddle's `AdaptiveLogSoftmaxWithLoss` leaves its tail out of the state dict.** The projections of the tail
are kept in a plain list: they are not saved, not loaded, and no optimiser sees them.

```python
import paddle

layer = paddle.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10])
print(list(layer.state_dict()), len(layer.parameters()))  # ['head_weight'] 1
```

**`paddle.nn.utils.weight_norm` hands back a gradient with an epsilon in it.** The norm's backward pass adds
1e-12 to the norm: 1e-13 of the gradient of `weight_v` (`tests/frameworks/test_layers.py`).

**Paddle's average pool hands gradients back through a float32 reciprocal**, in float64 too: 2.05e-8 with
windows of 7x7 ([training](training.md)).

**Paddle's average pool adds one term after the other**, and so do some of ONNX Runtime's kernels: over a map
of 56x56 they err up to fifty times as far as torch's. Honest, and the floor knows of it ([the
rule](noise-floor.md)).

**Scalars that kernels keep in float32, in float64 too**: 23 of Paddle's (eps of norms, ELU's alpha, SELU's
constants, `1 - p` of `Dropout(mode="downscale_in_infer")`, where a resized map is sampled), and torch's gradients
of CELU and Hardsigmoid. Hardsigmoid's slope is written 0.1666667 in Paddle: 5e-8 of the scale in every
squeeze-and-excitation block of MobileNet v3. Nobody can mend them in a port; the oracle computes what they stand for
([the rule](noise-floor.md)).

**paddle2onnx on two-layer, two-way LSTM and GRU** returns the states of the last layer alone: shape `[2, N,
H]` where `[4, N, H]` was expected. **SimpleRNN** fails with `Input p2o.pd_op.rnn.0.2_0 is undefined`.

**Paddle's `to_static` cannot trace `zip(..., strict=True)`**, nor a lambda as a layer's forward.
"""


def answer(bug: Bug) -> str:
    """Return what the tool says of a bug."""
    from portproof._api import failure

    return failure(verify(bug.port(), **bug.options))


def main() -> None:
    """Print the page."""
    from portproof._machine import host, package_versions

    print(_HEAD)
    for bug in BUGS:
        print(f"## {bug.title}\n\n{textwrap.fill(bug.source, 120)}\n\n```\n{answer(bug)}\n```\n")
    names = ("torch", "paddlepaddle", "onnxruntime", "paddle2onnx")
    made = ", ".join(f"{name} {version}" for name, version in package_versions(*names).items())
    print(f"Made with {made} on {host()['processor']}.")
    print(_FOUND.rstrip())


if __name__ == "__main__":
    main()
