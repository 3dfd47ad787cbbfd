"""From differences to verdicts. Every threshold is a multiple of an error that was measured; none is a tolerance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from portproof._numerics import EPSILON, Array, Difference, compare, extreme_factor
from portproof._report import Culprit, Hop, Modules, Verdict, Worst, gravest
from portproof._settings import SettingDifference
from portproof._taps import LOUD, LOUDNESS, OTHER_COUNT, OTHER_SHAPE, RECEIVED, RETURNED, SAME_SIZE, TapDifference

#: How many noise floors away two honest computations of a tensor may lie. Honest ratios of GoogLeNet's modules and
#: outputs reach 7 (a Linear over two rows, which Paddle sums one term after the other and torch in blocks); the
#: smallest planted faults begin at 1e4. docs/noise-floor.md has the distribution and the command that makes it.
FLOOR_MULTIPLE = 32.0
#: The same for bfloat16 and float16, whose kernels add in float32: honest ratios stay below 3, and 32 floors of
#: bfloat16 are an eighth of a tensor's scale, which would hide a cast to eight bits.
LOWER_MULTIPLE = 8.0


def multiple(precision: str) -> float:
    """Return how many noise floors begin a divergence in a precision."""
    return FLOOR_MULTIPLE if precision in ("float64", "float32") else LOWER_MULTIPLE


#: Differences in float64 that are worth a word, and decide nothing.
_LIKE_FLOAT32 = (EPSILON["float32"] / 32, EPSILON["float32"] * 32)

#: From how many elements on an error of exactly zero is a property of the module (ReLU, max-pool, concat) and not
#: luck; such a module must agree exactly.
_EXACT_COUNT = 64


@dataclass(frozen=True)
class Floor:
    """The error that honest rounding makes at a tensor, measured in float32.

    Attributes:
        rms: relative to the tensor's row scale.
        tail: the largest error over ``rms``. Where few elements of a tensor carry all of its errors (behind a ReLU that
            leaves little), that is more than a normal distribution of its size would have.
        exact: whether float32 makes no error here at all, on any side.
    """

    rms: float
    exact: bool = False
    tail: float = 0.0

    def at(self, precision: str) -> float:
        """Carry the floor to another precision by the ratio of the epsilons; at least half an ULP of the scale."""
        return max(self.rms, EPSILON["float32"] / 2) * EPSILON[precision] / EPSILON["float32"]


def measure_floor(errors: Iterable[Difference], cap: float | None = None) -> Floor:
    """Return the floor at a tensor: the smaller of the sides' own float32 errors.

    The smaller, so that a side that computes in less than float32 cannot raise the floor that it is judged with.

    Args:
        errors: per side, float32 against float64 of the same side.
        cap: what float32 can honestly do here, where that is known; nothing raises the floor beyond it.
    """
    counted = [error for error in errors if error.mismatch is None]
    if not counted:
        return Floor(EPSILON["float32"] / 2)
    exact = all(error.peak == 0.0 and error.count >= _EXACT_COUNT for error in counted)
    rms = min(error.rms for error in counted)
    tail = min((error.peak / error.rms for error in counted if error.rms), default=0.0)
    return Floor(rms if cap is None else min(rms, cap), exact, tail)


def ratio(difference: Difference, floor: Floor, precision: str) -> float:
    """Return how many noise floors a difference is: of its root mean square, or of its peak if that is farther out.

    The peak is measured against the same floor times the extreme-value factor of the tensor's size, or times the
    farthest that float32 itself went on the side that went less far, if that is more.
    """
    if difference.mismatch is not None:
        return math.inf
    if difference.peak == 0.0:
        return 0.0
    # What float32 does exactly (ReLU, max-pool) a lower precision does not: it rounds what comes in.
    if floor.exact and precision in ("float64", "float32"):
        return math.inf
    unit = floor.at(precision)
    return max(difference.rms / unit, difference.peak / (unit * max(extreme_factor(difference.count), floor.tail)))


def verdict_of(difference: Difference, floor: Floor, precision: str) -> Verdict:
    """Return the verdict on one tensor."""
    value = ratio(difference, floor, precision)
    if value > multiple(precision):
        return "divergent"
    if is_blind(difference, floor, precision):
        return "inconclusive"
    return "identical" if value == 0.0 else "equivalent"


def is_blind(difference: Difference, floor: Floor, precision: str) -> bool:
    """Whether a tensor hardly moves with the input: less than the noise that it is judged with."""
    return difference.spread <= multiple(precision) * floor.at(precision)


def judge_outputs(
    kind: str,
    source: str,
    target: str,
    precision: str,
    weights: str,
    found: Mapping[str, Array],
    expected: Mapping[str, Array],
    floors: Mapping[str, Floor],
) -> Hop:
    """Judge one hop on the outputs.

    Args:
        kind, source, target, precision, weights: see :class:`Hop`.
        found, expected: outputs by name, rows first; the same names.
        floors: by output.
    """
    judged: list[tuple[float, Verdict, Worst]] = []
    for name in expected:
        difference = compare(found[name], expected[name], precision)
        floor = floors[name]
        value, verdict = ratio(difference, floor, precision), verdict_of(difference, floor, precision)
        note = difference.mismatch
        if verdict == "inconclusive":
            note = f"'{name}' moves by {difference.spread:.0e} of its scale over all inputs, less than rounding does"
        judged.append((value, verdict, _worst(name, difference, value, floor.at(precision), note)))
    verdict = gravest([verdict for _, verdict, _ in judged])
    _, _, worst = max((entry for entry in judged if entry[1] == verdict), key=lambda entry: entry[0])
    return Hop(kind, source, target, precision, weights, verdict, worst, worst.note)


def _worst(name: str, difference: Difference, value: float, floor: float, note: str | None) -> Worst:
    if difference.mismatch is not None:
        return Worst(name, None, None, None, None, note=note)
    return Worst(
        name, value, difference.max_abs, difference.max_rel, difference.max_ulp,
        difference.cosine, difference.scale, floor, note,
    )  # fmt: skip


def output_floors(
    runs: Sequence[tuple[Mapping[str, Array], Mapping[str, Array]]],
) -> dict[str, Floor]:
    """Measure the floor of every output from each side's float32 and float64 run.

    Args:
        runs: per side, its float32 and its float64 outputs on the same rows.
    """
    names = list(runs[0][0])
    errors = {name: [compare(low[name], high[name], "float32") for low, high in runs] for name in names}
    return {name: measure_floor(errors[name]) for name in names}


def slower_floors(
    floors: Mapping[str, Floor], slow: Mapping[str, Array], oracle: Mapping[str, Array]
) -> dict[str, Floor]:
    """Widen floors by a run that adds its averages term by term; see :mod:`portproof._pools`."""
    own = {name: measure_floor([compare(slow[name], oracle[name], "float32")]) for name in floors}
    return {
        name: Floor(max(floor.rms, own[name].rms), floor.exact and own[name].exact, max(floor.tail, own[name].tail))
        for name, floor in floors.items()
    }


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
        errors = self.errors.get(entry.name, {})
        return measure_floor((error.difference for error in errors.values()), self._caps.get(entry.name))

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
) -> tuple[Modules, list[Culprit]]:
    """Judge the forced replay of one side in float64, tensor by tensor, and name where faults enter.

    Args:
        found: the forced float64 differences of the side that follows.
        floors: of the taps.
        unseen: module paths without a partner.
        settings: that paired modules do not share.

    Returns:
        The coverage, and the culprits in the order in which they are reached.
    """
    worst_module, worst_ratio = "", 0.0
    called = {entry.key for entry in found}
    blind: set[str] = set()
    culprits: dict[tuple[str, str], Culprit] = {}
    for entry in found:
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
    merged = [_with_settings(culprit, settings) for culprit in _merge(list(culprits.values()))]
    named = {culprit.module for culprit in merged}
    hidden = [difference for difference in settings if difference.training and difference.key not in named]
    merged += [Culprit("unknown", d.key, "setting", "forward", f"{d.text}; it acts in training") for d in hidden]
    return Modules(len(found), worst_module, worst_ratio, tuple(unseen), tuple(sorted(blind))), merged


def _with_settings(culprit: Culprit, settings: Sequence[SettingDifference]) -> Culprit:
    """Add to a culprit what differs in how the two modules were built."""
    said = [difference.text for difference in settings if difference.key == culprit.module]
    return replace(culprit, message=f"{culprit.message}; {', '.join(said)}") if said else culprit


def _culprit(entry: TapDifference, value: float, called: Set[str]) -> Culprit:
    """Put one difference into words. ``called``: the modules that run; a list of modules is none, its owner is."""
    difference = entry.difference
    number = value if math.isfinite(value) else None
    amount = difference.mismatch or f"differs by {difference.rms:.1e} of its scale"
    said = f"has {amount}" if amount.startswith(OTHER_SHAPE) else amount
    if not difference.mismatch and _LIKE_FLOAT32[0] < difference.rms < _LIKE_FLOAT32[1] and entry.role != LOUD:
        said = f"{amount}, about what float32 rounds: something in it may be computed in float32"
    if OTHER_COUNT in amount or amount.endswith(SAME_SIZE):
        verb = "receives" if entry.role == RECEIVED else "returns"
        return Culprit("unknown", entry.key, "signature", "forward", f"it {verb} {amount}", number)
    if entry.role == RECEIVED:
        parent = owner(entry.key, called)
        text = f"its part '{entry.key}' receives another input: {amount}"
        return Culprit("unknown", parent, "wiring", "forward", text, number)
    if (difference.mismatch or "").startswith("raised"):
        return Culprit("unknown", entry.key, "raises", "forward", f"on the other side's input it {amount}", number)
    if entry.role == LOUD:
        text = f"on an input {LOUDNESS:.0f} times as large its output {amount}"
        return Culprit("unknown", entry.key, "saturates", "forward", text, number)
    return Culprit("unknown", entry.key, "computes", "forward", f"on the same input its output {said}", number)


def owner(path: str, called: Set[str]) -> str:
    """Return the nearest module around one that runs, "" for the root; lists of modules do not."""
    found = path.rpartition(".")[0]
    while found and found not in called:
        found = found.rpartition(".")[0]
    return found


def _merge(culprits: list[Culprit]) -> list[Culprit]:
    """Keep one culprit a module: that a module returns something else says less than why."""
    kept: dict[str, Culprit] = {}
    for culprit in culprits:
        if culprit.module not in kept or (kept[culprit.module].kind, culprit.kind) == ("computes", "wiring"):
            kept[culprit.module] = culprit
    return list(kept.values())
