"""Floors and verdicts of modules, culprits, and what a report shows of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from portproof._disk import finite
from portproof._numbers import EPSILON
from portproof.frameworks._settings import SettingDifference
from portproof.judge._floor import FLOOR_MULTIPLE, Floor, is_blind, measure_floor, multiple, ratio
from portproof.judge._report import AcceptedDeviation, Culprit, ModuleDetail, ModulePicture, Modules
from portproof.ports._port import Accepted
from portproof.replay._taps import (
    LOUD,
    LOUDNESS,
    OTHER_COUNT,
    OTHER_SHAPE,
    RECEIVED,
    RECEIVES,
    RETURNED,
    SAME_SIZE,
    WROTE,
    TapDifference,
)

#: Differences in float64 that are worth a word, and decide nothing.
_LIKE_FLOAT32 = (EPSILON["float32"] / 32, EPSILON["float32"] * 32)


#: Kinds of culprits, those first that say most of a module.
_TELLING = ("raises", "wiring", "computes", "saturates", "signature")


@dataclass(frozen=True)
class _Seen:
    ratio: float
    entry: TapDifference


def module_details(
    found: Sequence[TapDifference],
    floors: ModuleFloors,
    described: Mapping[str, tuple[str, Mapping[str, Any]]],
    paddle: Mapping[str, str],
) -> tuple[ModuleDetail, ...]:
    """Return every paired module that ran, in the order in which they returned.

    Args:
        found: the forced float64 differences.
        floors: of the taps.
        described: key to layer type and settings, of torch.
        paddle: key to Paddle's path.
    """
    worst: dict[str, _Seen] = {}
    for entry in found:
        if entry.role not in (RETURNED, LOUD):
            continue
        value = ratio(entry.difference, floors.of(entry), "float32" if entry.role == LOUD else "float64")
        if entry.role == RETURNED and (entry.key not in worst or value > worst[entry.key].ratio):
            worst[entry.key] = _Seen(value, entry)
    return tuple(
        ModuleDetail(
            module=key,
            paddle=paddle.get(key, key),
            layer=described[key][0] if key in described else "",
            ratio=finite(seen.ratio),
            rms=finite(seen.entry.difference.rms),
            scale=finite(seen.entry.difference.scale),
            note=seen.entry.difference.mismatch,
            picture=ModulePicture(**seen.entry.picture) if seen.entry.picture else None,
        )
        for key, seen in worst.items()
    )


class ModuleFloors:
    """The floor of every tap, from the forced float32 runs of the clean sides.

    Args:
        float32_errors: side to its forced float32 differences.
        found: forced float64 differences, which carry the analytic caps.
    """

    def __init__(self, float32_errors: Mapping[str, Sequence[TapDifference]], found: Sequence[TapDifference]) -> None:
        self.errors: dict[tuple[str, int, str, int], dict[str, TapDifference]] = {}
        for side, entries in float32_errors.items():
            for entry in entries:
                self.errors.setdefault(entry.name, {})[side] = entry
        self._caps = {entry.name: entry.cap for entry in found}
        self._found = {entry.name: entry for entry in found}

    def of(self, entry: TapDifference) -> Floor:
        """Return the floor at a tap."""
        errors, apart = self.errors.get(entry.name, {}), self._found.get(entry.name)
        return measure_floor(
            (error.difference for error in errors.values()), self._caps.get(entry.name),
            None if apart is None or apart.role == LOUD else apart.difference,
        )  # fmt: skip

    def beyond_caps(self) -> list[str]:
        """Return the modules where a side's float32 errs by more than the cap, so that it matters what that is."""
        beyond = set()
        for name, cap in self._caps.items():
            errors = (error.difference for error in self.errors.get(name, {}).values())
            if cap is not None and any(error.mismatch is None and error.rms > cap for error in errors):
                beyond.add(name[0])
        return sorted(beyond)

    def is_divergent(self, entry: TapDifference, precision: str) -> bool:
        """Whether a tap lies farther out than honest rounding in a precision."""
        return ratio(entry.difference, self.of(entry), precision) > multiple(precision)

    def diverged_by(self, entry: TapDifference) -> bool:
        """Whether a tap of a run that nothing was forced in shows more than float32's rounding of the recorded taps."""
        return ratio(entry.difference, Floor(self.of(entry).rms), "float32") > FLOOR_MULTIPLE

    def low_precision(self) -> list[Culprit]:
        """Name the modules whose float32 error is more than float32 makes: something in them computes in less.

        It has to lie both beyond the floor, which the other side sets, and beyond the analytic cap.
        """
        named: dict[tuple[str, str], Culprit] = {}
        for name, sides in self.errors.items():
            if name not in self._found or self.is_divergent(self._found[name], "float64"):
                continue  # another function, not another precision
            for side, entry in sides.items():
                if entry.role != RETURNED or entry.difference.mismatch is not None:
                    continue
                value, cap = ratio(entry.difference, self.of(entry), "float32"), self._caps.get(name)
                if FLOOR_MULTIPLE < value < math.inf and (cap is None or entry.difference.rms > cap):
                    text = f"in float32 it errs by {entry.difference.rms:.1e} of its scale: it computes in less"
                    named.setdefault((side, entry.key), Culprit(side, entry.key, "precision", "forward", text, value))
        return list(named.values())


def judge_modules(
    found: Sequence[TapDifference],
    floors: ModuleFloors,
    unseen: Sequence[str] = (),
    settings: Sequence[SettingDifference] = (),
    called: Set[str] = frozenset(),
) -> tuple[Modules, list[Culprit]]:
    """Judge the forced replay of one side in float64, tensor by tensor, and name where faults enter.

    Args:
        found: the forced float64 differences of the side that follows.
        floors: of the taps.
        unseen: module paths without a partner.
        settings: that paired modules do not share.
        called: modules that run, beside those of ``found``.

    Returns:
        The coverage, and the culprits in the order in which they are reached.
    """
    worst_module, worst_ratio = "", 0.0
    called = called | {entry.key for entry in found}
    blind: set[str] = set()
    culprits: dict[tuple[str, str], Culprit] = {}
    for entry in found:
        if entry.role == WROTE:
            continue
        floor = floors.of(entry)
        # So far out, what is asked is where a layer saturates, not how its kernel rounds: float32's floor tells.
        value = ratio(entry.difference, floor, "float32" if entry.role == LOUD else "float64")
        if entry.role == RETURNED and entry.difference.count and is_blind(entry.difference, floor, "float64"):
            blind.add(entry.key)
        if value > FLOOR_MULTIPLE:
            culprit = _culprit(entry, value, called)
            culprits.setdefault((culprit.module, culprit.kind), culprit)
        elif value > worst_ratio:
            worst_module, worst_ratio = entry.key, value
    merged = _written_over(_merge(list(culprits.values())), [e for e in found if e.role == WROTE], called)
    merged = [_with_settings(culprit, settings) for culprit in merged]
    named = {culprit.module for culprit in merged}
    hidden = [difference for difference in settings if difference.training and difference.key not in named]
    merged += [
        Culprit("unknown", d.key, "setting", "forward", f"{d.text}; it acts in training", cause=d.text) for d in hidden
    ]
    return Modules(len(found), worst_module, worst_ratio, tuple(unseen), tuple(sorted(blind))), merged


def _written_over(culprits: list[Culprit], wrote: Sequence[TapDifference], called: Set[str]) -> list[Culprit]:
    """Name the part that writes into what it was given, on one side only, in place of the whole that differs by it."""
    whole = {culprit.module: culprit for culprit in culprits if culprit.kind in ("computes", "wiring")}
    named: dict[str, Culprit] = {}
    for entry in wrote:
        owning = whole.get(owner(entry.key, called))
        if owning is not None and entry.key not in named:
            text = f"{entry.difference.mismatch}: what else reads that tensor gets another value"
            named[entry.key] = Culprit("unknown", entry.key, "wiring", "forward", text, owning.ratio)
    replaced = {owner(key, called) for key in named}
    return [*named.values(), *(c for c in culprits if c.module not in replaced or c.module not in whole)]


def _with_settings(culprit: Culprit, settings: Sequence[SettingDifference]) -> Culprit:
    """Add to a culprit what differs in how the two modules were built."""
    said = [difference.text for difference in settings if difference.key == culprit.module]
    if not said:
        return culprit
    cause = ", ".join(said)
    return replace(
        culprit, message=f"{culprit.message}; {cause}", cause="; ".join(filter(None, (culprit.cause, cause)))
    )


def _culprit(entry: TapDifference, value: float, called: Set[str]) -> Culprit:
    """Put one difference into words. ``called``: the modules that run; a list of modules is none, its owner is."""
    difference, why = entry.difference, entry.order
    number = value if math.isfinite(value) else None
    amount = difference.mismatch or f"differs by {difference.rms:.1e} of its scale"
    said = f"has {amount}" if amount.startswith(OTHER_SHAPE) else amount
    if not difference.mismatch and _LIKE_FLOAT32[0] < difference.rms < _LIKE_FLOAT32[1] and entry.role != LOUD:
        said = f"{amount}, about what float32 rounds: something in it may be computed in float32"
    because = f"; {why}" if why else ""
    if OTHER_COUNT in amount or SAME_SIZE in amount:
        begun = RECEIVES if entry.role == RECEIVED else "it returns"
        return Culprit("unknown", entry.key, "signature", "forward", f"{begun} {amount}{because}", number, why)
    if entry.role == RECEIVED:
        parent = owner(entry.key, called)
        text = f"its part '{entry.key}' receives another input: {amount}{because}"
        return Culprit("unknown", parent, "wiring", "forward", text, number, why)
    if (difference.mismatch or "").startswith("raised"):
        return Culprit("unknown", entry.key, "raises", "forward", f"on the other side's input it {amount}", number)
    if entry.role == LOUD:
        begin = "" if entry.acts_from is None else f", from an absolute value of {entry.acts_from:.3g} on"
        text = f"on an input {LOUDNESS:.0f} times as large its output {amount}{begin}"
        return Culprit("unknown", entry.key, "saturates", "forward", text, number)
    text = f"on the same input its output {said}{because}"
    return Culprit("unknown", entry.key, "computes", "forward", text, number, why)


def owner(path: str, called: Set[str]) -> str:
    """Return the nearest module around one that runs, "" for the root; lists of modules do not."""
    found = path.rpartition(".")[0]
    while found and found not in called:
        found = found.rpartition(".")[0]
    return found


def _merge(culprits: list[Culprit]) -> list[Culprit]:
    """Keep one culprit a module, that which says most: how it hands on tensors, before that it returns others."""
    kept: dict[str, Culprit] = {}
    for culprit in culprits:
        known = kept.setdefault(culprit.module, culprit)
        if _TELLING.index(culprit.kind) < _TELLING.index(known.kind):
            kept[culprit.module] = culprit
    return list(kept.values())


def settle_accepted(
    accepted: Mapping[str, Accepted],
    culprits: Sequence[Culprit],
    found: Sequence[TapDifference],
    absolved: Set[str] = frozenset(),
) -> tuple[list[Culprit], list[AcceptedDeviation]]:
    """Take out the culprits that the port's author accepts, and add those accepted that no longer occur.

    Args:
        accepted: module to what is accepted there.
        culprits: of the replay.
        found: the differences behind them.
        absolved: modules that differ, and need no acceptance: they do where the whole does not.
    """
    kept = list(culprits)
    settled: list[AcceptedDeviation] = []
    for module, entry in accepted.items():
        largest = max((tap.difference.rms for tap in found if tap.key == module), default=0.0)
        met = module in absolved or any(culprit.module == module for culprit in culprits)
        if met and largest <= entry.bound:
            kept = [culprit for culprit in kept if culprit.module != module]
        if not met:
            text = f"the accepted deviation no longer occurs; remove it from the port ({entry.reason})"
            kept.append(Culprit("unknown", module, "accepted", "forward", text))
        settled.append(AcceptedDeviation(module, entry.reason, entry.bound, largest, stale=not met))
    return kept, settled
