"""A training as one page: what both sides reached, who agrees with the trained weights, and the curves."""

from __future__ import annotations

from portproof.ports._port import SIDES, Side
from portproof.render._layout import rendered
from portproof.render._plots import inline
from portproof.training._trained import TrainAgreement, Trained


def page(trained: Trained, curves: str) -> str:
    """Return the page.

    Args:
        trained: what a training found.
        curves: the SVG that it drew.
    """
    outputs = [name for name in next(iter(trained.tests.values())) if name != "step"]
    return rendered(
        "training",
        trained=trained, headline=headline(trained), outputs=outputs, curves=inline(curves),
        titles={side: Side(side).title for side in SIDES},
        agreements=sorted(trained.agreements, key=lambda found: not _apart(found)),
        apart=[found for found in trained.agreements if _apart(found)],
    )  # fmt: skip


def headline(trained: Trained) -> str:
    """Say in one line what was reached, or what went wrong."""
    if trained.same_bytes is False:
        return f"{trained.port}: the two sides did not see the same batches"
    apart = [found for found in trained.agreements if _apart(found)]
    if apart:
        images = max(apart[0].differing.values())
        return f"{trained.port}: {apart[0].runner} names {images} of {apart[0].images} test images otherwise"
    reached = [f"{Side(side).title} {_accuracy(test):.1%}" for side, test in trained.tests.items()]
    return f"{trained.port}, trained on {trained.data}: {', '.join(reached)} of the test images right"


def _accuracy(test: object) -> float:
    assert isinstance(test, dict)
    return float(next(value for name, value in test.items() if name != "step"))


def _apart(found: TrainAgreement) -> bool:
    return any(found.differing.values())
