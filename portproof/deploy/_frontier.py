"""Which candidates nothing beats, which of them are allowed, and which is recommended, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from portproof.bench._recommend import keeping
from portproof.bench._result import BenchResult
from portproof.deploy._options import DeployOptions, images_needed
from portproof.deploy._result import Candidate


def placed(found: Sequence[Candidate]) -> list[Candidate]:
    """Say of each candidate whether another is at least as fast, loses no more, holds no more, and is better in one.

    Returns:
        The frontier, fastest first, then those dominated, then those without a number.
    """
    numbered = sorted((one for one in found if one.has_number), key=_axes)
    told: list[Candidate] = []
    for one in numbered:
        beater = next((other for other in numbered if _beats(other, one)), None)
        place = "frontier" if beater is None else "dominated"
        told.append(replace(one, place=place, beaten_by=None if beater is None else beater.runner))  # type: ignore[arg-type]
    told.sort(key=lambda one: one.place != "frontier")  # stable: the fastest first in each
    return [*told, *(one for one in found if not one.has_number)]


def _axes(one: Candidate) -> tuple[float, float, int]:
    """Return what candidates are held against each other by: less is better."""
    assert one.latency is not None
    assert one.cost is not None
    return one.latency.median_ms, one.cost.lost / max(1, one.cost.images), one.peak_memory or 0


def _beats(one: Candidate, other: Candidate) -> bool:
    mine, theirs = _axes(one), _axes(other)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


@dataclass(frozen=True)
class Chosen:
    """What is recommended.

    Attributes:
        candidates: with what is allowed.
        runner: to deploy; None where none is allowed.
        why, remedy: in words, a sentence each.
        undecided: whether more images or samples could decide.
    """

    candidates: tuple[Candidate, ...]
    runner: str | None
    why: tuple[str, ...]
    remedy: tuple[str, ...]
    undecided: bool


def chosen(found: Sequence[Candidate], result: BenchResult, options: DeployOptions) -> Chosen:
    """Choose the fastest candidate whose loss is known to be within the limit, and whose latency keeps what it must.

    Without a limit for the loss only those that compute in float32 are allowed: no other precision is taken unasked.
    """
    numbered = [one for one in found if one.has_number]
    faithful = [one for one in numbered if _loses_little(one, options.at_most_loss)]
    why: list[str] = []
    remedy: list[str] = []
    lacking = False
    kept = {one.runner for one in faithful}
    if options.slo is not None and faithful:
        rows = [row for row in result.rows if row.runner in kept and row.processes]
        keeps, said, lacking = keeping(rows, options.slo)
        kept = {row.runner for row in keeps}
        if not kept:
            why += said
            remedy.append(
                "give a longer --budget" if lacking else "allow more with --slo, or a loss with --at-most-loss"
            )
    told = tuple(replace(one, allowed=one.runner in kept) for one in found)
    allowed = [one for one in told if one.allowed]
    if allowed:
        best = min(allowed, key=_axes)
        return Chosen(told, best.runner, (*why, *_reasons(best, told, options)), (), False)
    limit = options.at_most_loss
    undecided = lacking
    if not numbered:
        why.append("each candidate has its reason")
    elif not faithful and limit is None:
        why.append("no candidate computes in float32, and no loss was allowed")
        remedy.append("allow one: --at-most-loss 1%")
    elif not faithful and limit is not None:
        said_too, remedies, undecided = _too_lossy(numbered, limit)
        why, remedy = [*why, *said_too], [*remedy, *remedies]
    return Chosen(told, None, tuple(why), tuple(remedy), undecided)


def _loses_little(one: Candidate, limit: float | None) -> bool:
    if limit is None:
        return one.precision in ("float32", "float64")
    return one.cost is not None and one.cost.high <= limit


def _too_lossy(numbered: Sequence[Candidate], limit: float) -> tuple[list[str], list[str], bool]:
    """Say why no candidate's bound lies within a limit, what to do, and whether more images could decide."""
    best = min(numbered, key=lambda one: (one.cost.high if one.cost else 1.0, *_axes(one)))
    assert best.cost is not None
    rate = best.cost.lost / max(1, best.cost.images)
    why = [
        f"no candidate is known to lose at most {limit:.2%}: {best.title} loses {best.cost.lost} of "
        f"{best.cost.images:,} images, which bounds its loss by {best.cost.high:.2%}"
    ]
    if rate >= limit:
        return why, [f"allow more: --at-most-loss {best.cost.high:.2%} would take it"], False
    need = images_needed(limit)
    more = f"give more images: {need:,} would do if none is lost" if best.cost.images < need else (
        f"give more images, --count {2 * max(best.cost.images, need):,} or more"
    )  # fmt: skip
    return why, [f"{more}; or allow more with --at-most-loss {best.cost.high:.2%}"], True


def _reasons(best: Candidate, told: Sequence[Candidate], options: DeployOptions) -> list[str]:
    assert best.latency is not None
    assert best.cost is not None
    allowed = [one for one in told if one.allowed]
    why = [f"median {best.latency.median_ms:.2f} ms, the lowest of the {len(allowed)} that are allowed"]
    bound = f"{best.cost.lost} of {best.cost.images:,} images lost, at most {best.cost.high:.2%} with 95% confidence"
    why.append(bound if options.at_most_loss is None else f"{bound}: within {options.at_most_loss:.2%}")
    faster = [one for one in told if one.has_number and not one.allowed and _axes(one) < _axes(best)]
    for one in faster[:2]:
        assert one.cost is not None
        assert one.latency is not None
        gain = best.latency.median_ms / one.latency.median_ms
        if options.at_most_loss is None:
            why.append(f"{one.runner} is {gain:.2f} times as fast, for --at-most-loss {one.cost.high:.2%} or more")
        else:
            why.append(f"{one.runner} is {gain:.2f} times as fast, and may lose up to {one.cost.high:.2%}")
    return why


def neighbours(found: Sequence[Candidate], runner: str) -> list[str]:
    """Return what the recommended one is measured again beside: the next on the frontier, and the next allowed."""
    frontier = [one.runner for one in sorted((one for one in found if one.place == "frontier"), key=_axes)]
    near: list[str] = []
    if runner in frontier:
        at = frontier.index(runner)
        near = frontier[max(0, at - 1) : at] + frontier[at + 1 : at + 2]
    rival = next(
        (one.runner for one in sorted((o for o in found if o.allowed and o.runner != runner), key=_axes)), None
    )
    return list(dict.fromkeys([*near, *([rival] if rival is not None else [])]))
