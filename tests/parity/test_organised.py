"""Outputs decide, modules explain: what is organised otherwise is no fault, and hides none beside it."""

import importlib
from collections.abc import Callable
from typing import Any

from portproof import Input, Port, Report, verify

ROW = {"x": Input(("batch", 6))}


def sides(make: Callable[[Any, Any, bool], Any]) -> dict[str, Callable[[], Any]]:
    """Return two factories; ``make`` is given a framework, its base class of modules, and whether it is torch."""

    def of(name: str) -> Callable[[], Any]:
        def build() -> Any:
            framework = importlib.import_module(name)
            return make(framework, framework.nn.Module if name == "torch" else framework.nn.Layer, name == "torch")

        return build

    return {"torch": of("torch"), "paddle": of("paddle")}


def judged(make: Callable[[Any, Any, bool], Any], **more: Any) -> Report:
    return verify(Port("organised", inputs=ROW, **sides(make)), quick=True, **more)


def organised(report: Report) -> tuple[str, ...]:
    assert report.modules is not None
    return report.modules.organised


def mixing(framework: Any, base: Any, in_torch: bool) -> Any:
    """A part with two arguments, in another order on each side, one of them called by keyword in torch."""

    class InTorch(base):  # type: ignore[misc]
        def forward(self, first: Any, second: Any) -> Any:
            return first - 2 * second

    class InPaddle(base):  # type: ignore[misc]
        def forward(self, second: Any, first: Any) -> Any:
            return first - 2 * second

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = framework.nn.Linear(6, 4), framework.nn.Linear(6, 4)
            self.mix = InTorch() if in_torch else InPaddle()

        def forward(self, x: Any) -> Any:
            if in_torch:
                return self.mix(self.a(x), second=self.b(x))
            return self.mix(self.b(x), self.a(x))

    return Net()


def test_arguments_are_matched_by_name() -> None:
    report = judged(mixing)
    assert report
    assert organised(report) == ()


def broadcasting(framework: Any, base: Any, in_torch: bool) -> Any:
    """Positions for one row in torch, for every row in Paddle."""

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.table = framework.nn.Linear(6, 4), framework.nn.Embedding(3, 4)

        def forward(self, x: Any) -> Any:
            places = framework.arange(3).reshape([1, 3])
            if not in_torch:
                places = places.expand([x.shape[0], 3])
            return self.fc(x).unsqueeze(1) * self.table(places)

    return Net()


def test_one_row_stands_for_every_row() -> None:
    report = judged(broadcasting)
    assert report
    assert organised(report) == ()


def fused(framework: Any, base: Any, in_torch: bool, *, wrong: bool = False) -> Any:
    """Torch's linear applies the ReLU itself and its activation does nothing; ``wrong``: another part differs, too."""
    functional = framework.nn.functional

    class Rectified(framework.nn.Linear):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return functional.relu(super().forward(x))

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc = Rectified(6, 6) if in_torch else framework.nn.Linear(6, 6)
            self.act = framework.nn.Identity() if in_torch else framework.nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.act(self.fc(x))

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.block, self.last = Block(), framework.nn.Linear(6, 3)
            self.end = framework.nn.Softsign() if wrong and in_torch else framework.nn.Tanh()

        def forward(self, x: Any) -> Any:
            return self.end(self.last(self.block(x)))

    return Net()


def test_what_a_whole_absolves_is_listed() -> None:
    report = judged(fused)
    assert report
    assert report.culprits == ()
    assert organised(report) == ("Linear returns something else ('block.fc')",)


def test_a_fault_beside_what_is_organised_otherwise_is_named_alone() -> None:
    report = judged(lambda *side: fused(*side, wrong=True))
    assert report.verdict == "divergent"
    assert [(culprit.module, culprit.kind) for culprit in report.culprits] == [("end", "computes")]
    assert report.modules is not None
    assert report.modules.recut == ("block",)
    assert report.modules.first_divergence == "end"


def test_an_export_is_held_against_its_own_side() -> None:
    report = verify(Port("organised", inputs=ROW, **sides(lambda *side: fused(*side, wrong=True))))
    assert {hop.kind for hop in report.hops if hop.verdict == "divergent"} == {"semantics"}
    assert [culprit.module for culprit in report.culprits] == ["end"]


def halves(framework: Any, base: Any, in_torch: bool) -> Any:
    """The scale before the product in torch, behind it in Paddle; backward, too, the whole agrees and no part does."""

    class Scaled(base):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x * 0.5

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scaled, self.fc = Scaled(), framework.nn.Linear(6, 3, **{"bias" if in_torch else "bias_attr": False})

        def forward(self, x: Any) -> Any:
            return self.fc(self.scaled(x)) if in_torch else self.scaled(self.fc(x))

    return Net()


def test_gradients_follow_the_same_principle() -> None:
    report = judged(halves, gradients=True)
    assert report, report.culprits
    assert report.culprits == ()


def backbone(framework: Any, base: Any, in_torch: bool) -> Any:
    """Features of two sizes, in torch behind the image itself; a part of it is cut otherwise; the head differs."""

    class Part(base):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x if in_torch else 2 * x

    class Backbone(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.part = framework.nn.Linear(6, 4), framework.nn.Linear(4, 3), Part()

        def forward(self, x: Any) -> Any:
            one = self.part(self.one(x))
            one = 2 * one if in_torch else one
            return [x, one, self.two(one)] if in_torch else [one, self.two(one)]

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = Backbone(), framework.nn.Linear(7, 2)
            self.act = framework.nn.ReLU() if in_torch else framework.nn.LeakyReLU()

        def forward(self, x: Any) -> Any:
            features = self.backbone(x)[-2:]
            joined = framework.cat(features, 1) if in_torch else framework.concat(features, 1)
            return self.act(self.head(joined))

    return Net()


def test_a_backbone_that_returns_more_is_the_same_where_what_both_return_is() -> None:
    report = judged(backbone)
    assert report.verdict == "divergent"
    assert [culprit.module for culprit in report.culprits] == ["act"]
