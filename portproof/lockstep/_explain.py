"""Says in words why two trainings part, from what they touched at the step where they part.

What comes first is looked at first: the mode and settings of modules, the learning rate, the losses of the heads, how
the heads are weighted, the gradients, and last the optimiser. Its rule is not read from its settings alone but fitted
to what it did: the new state is a sum of the old one, the gradient and the weight, and the factors are the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from portproof._numbers import EPSILON, Array
from portproof.judge._floor import FLOOR_MULTIPLE

#: Elements of a tensor that a rule is fitted to, and the fewest that it needs.
_SAMPLE, _FEWEST = 4096, 12
#: Two fitted factors are the same where they agree to this share of the larger; a fit in float64 is good to about
#: 1e-9. It decides words and no verdict.
_SAME = 1e-7
#: The same for settings as they are stated: one of the two may have been stored as a float32.
_STORED = 1e-6


#: Paddle's cross-entropy on the CPU takes the logarithm of nothing below exp(-64).
_PADDLES_MOST = 64


@dataclass(frozen=True)
class Step:
    """What one side did at a step, in the lead's names and layouts.

    Attributes:
        arrays: ``KIND|NAME`` to array.
        said: learning rate, modules in evaluation mode, their settings, parameters without a gradient.
        settings: of the optimiser.
    """

    arrays: Mapping[str, Array]
    said: Mapping[str, Any]
    settings: Mapping[str, Any]

    def of(self, kind: str) -> dict[str, Array]:
        """Return the arrays of one kind by name."""
        prefix = f"{kind}|"
        return {name.removeprefix(prefix): array for name, array in self.arrays.items() if name.startswith(prefix)}


def explain(
    names: tuple[str, str], steps: tuple[Step, Step], before: tuple[Step, Step] | None, apart: Sequence[str],
    rates: tuple[Sequence[float], Sequence[float]], labels: Array,
) -> str:  # fmt: skip
    """Return why two trainings part.

    Args:
        names: of the two sides, for people.
        steps: what they did at the first step where something lies apart.
        before: at the step before; None at the first.
        apart: ``KIND|NAME`` of what lies apart.
        rates: learning rates, from the first step to some after this.
        labels: ``(N,)`` of the batch.
    """
    kinds = {name.partition("|")[0] for name in apart}
    causes: list[Callable[[], str]] = [
        lambda: _modes(names, steps),
        lambda: _rates(names, rates),
        lambda: _losses(names, steps, labels) if kinds & {"output", "loss", "pulled"} else "",
        lambda: _gradients(names, steps, before, apart) if "gradient" in kinds else "",
        lambda: (
            _rule(names, steps, before, apart) if kinds & {"weight", "momentum_buffer", "exp_avg", "exp_avg_sq"} else ""
        ),
        lambda: _written(names, steps, apart),
    ]
    for cause in causes:
        said = cause()
        if said:
            return said
    return f"'{apart[0].replace('|', ' ')}' lies apart first"


def _two(names: tuple[str, str], what: str, one: Any, other: Any) -> str:
    return f"{what} is {_number(one)} in {names[0]} and {_number(other)} in {names[1]}"


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if abs(value) > 1e-12 else "0"


def _modes(names: tuple[str, str], steps: tuple[Step, Step]) -> str:
    """Modules that are in evaluation mode on one side alone, or built otherwise in a way that acts in training."""
    one, other = (set(step.said["evaluating"]) for step in steps)
    if one != other:
        odd = sorted(one ^ other)
        side = names[0] if odd[0] in one else names[1]
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        return f"module '{odd[0]}'{more} is in evaluation mode in {side}"
    mine, theirs = (step.said["module_settings"] for step in steps)
    for key in mine:
        for setting, value in mine[key].items():
            found = theirs.get(key, {}).get(setting, value)
            if found != value and not _close(found, value, _STORED):
                return f"module '{key}': " + _two(names, setting, value, found)
    return ""


def _close(one: Any, other: Any, share: float = _SAME) -> bool:
    return isinstance(one, float) and isinstance(other, float) and abs(one - other) <= share * max(abs(one), abs(other))


def same_rates(one: Sequence[float] | Array, other: Sequence[float] | Array) -> bool:
    """Whether learning rates are the same but for rounding: within 32 units in float64's last place."""
    mine, theirs = np.asarray(one), np.asarray(other)
    bound = FLOOR_MULTIPLE * EPSILON["float64"] * np.maximum(np.abs(mine), np.abs(theirs))
    return bool(np.all(np.abs(mine - theirs) <= bound))


def _rates(names: tuple[str, str], rates: tuple[Sequence[float], Sequence[float]]) -> str:
    one, other = (np.asarray(rate) for rate in rates)
    if same_rates(one, other):
        return ""
    at = next(step for step in range(len(one)) if not same_rates(one[step : step + 1], other[step : step + 1]))
    text = f"the learning rate of step {at + 1} is {one[at]:.6g} in {names[0]} and {other[at]:.6g} in {names[1]}"
    for index, (rate, right) in enumerate(((one, other), (other, one))):
        if len(rate) > 1 and same_rates(rate[:-1], right[1:]):
            # Which of the two is right nobody can say; the one that is ahead at the very first step is odd.
            if at == 0:
                return f"{text}: the schedule of {names[index]} is a step early"
            return f"{text}: the schedule of {names[1 - index]} is a step late"
        if len(rate) > 2 and at > 0 and np.ptp(rate) == 0 and np.ptp(right) > 0:
            return f"{text}: the schedule of {names[index]} is never stepped"
        if len(rate) > at + 1 and at > 0 and same_rates(rate[at:], right[at - 1 : -1]):
            return f"{text}: the schedule of {names[index]} is a step late"
    return text


def _losses(names: tuple[str, str], steps: tuple[Step, Step], labels: Array) -> str:
    """How each side's gradient at its outputs relates to that of a mean cross-entropy."""
    factors = [{head: _head(step, head, labels) for head in step.of("output")} for step in steps]
    rows = len(labels)
    for head in factors[0]:
        (one, odd_one), (other, odd_other) = (found[head] for found in factors)
        for index, odd in enumerate((odd_one, odd_other)):
            smooth = _smoothing(steps[index], head, labels) if odd else None
            if odd and smooth is not None:
                return f"the labels of '{head}' are smoothed by {smooth:.3g} in {names[index]}"
            if odd and not (odd_one and odd_other):
                return f"the loss of '{head}' in {names[index]} is no cross-entropy with these labels"
        if not _close(one, other) and max(abs(one), abs(other)) > 0:
            for index, (mine, theirs) in enumerate(((one, other), (other, one))):
                if theirs and _close(mine / theirs, float(rows)):
                    return f"the loss is a sum over the {rows} rows in {names[index]} and a mean in {names[1 - index]}"
            return _two(names, f"the weight of the loss of '{head}'", one, other)
    for head, logits in steps[0].of("output").items():
        highest = float((np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
                         - logits[np.arange(rows), labels]).max())  # fmt: skip
        if highest > _PADDLES_MOST:
            return (
                f"a row of '{head}' has a loss of {highest:.3g}, and Paddle's cross-entropy counts a row as "
                f"{_PADDLES_MOST} at most: the training runs away"
            )
    return ""


def _head(step: Step, head: str, labels: Array) -> tuple[float, bool]:
    """Return the factor on a head's mean cross-entropy, and whether its gradient is anything else."""
    pulled = step.of("pulled").get(head)
    logits = step.of("output")[head]
    if pulled is None or logits.ndim != 2:
        return 0.0, False
    right = _softmax(logits)
    right[np.arange(len(labels)), labels] -= 1
    right /= len(labels)
    factor = float(np.vdot(right, pulled) / np.vdot(right, right))
    rest = np.linalg.norm(pulled - factor * right)
    return factor, bool(rest > 1e-9 * np.linalg.norm(pulled))


def _smoothing(step: Step, head: str, labels: Array) -> float | None:
    """Return the share by which labels are smoothed, where that explains a head's gradient."""
    pulled, right = step.of("pulled")[head], _softmax(step.of("output")[head])
    target = np.zeros_like(right)
    target[np.arange(len(labels)), labels] = 1
    columns = np.stack([right.ravel(), target.ravel(), np.full(right.size, 1 / right.shape[1])], axis=1)
    found, *_ = np.linalg.lstsq(columns, pulled.ravel(), rcond=None)
    rest = np.linalg.norm(columns @ found - pulled.ravel())
    if rest > 1e-9 * np.linalg.norm(pulled) or found[0] == 0 or not 1e-9 < -found[2] / found[0] < 1:
        return None
    return float(-found[2] / found[0])


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _gradients(
    names: tuple[str, str], steps: tuple[Step, Step], before: tuple[Step, Step] | None, apart: Sequence[str]
) -> str:
    gradients = [step.of("gradient") for step in steps]
    missing = [
        set(step.said["without_gradient"]) | (gradients[1 - index].keys() - gradients[index].keys())
        for index, step in enumerate(steps)
    ]
    for index, (mine, theirs) in enumerate(((missing[0], missing[1]), (missing[1], missing[0]))):
        if mine - theirs:
            return f"'{sorted(mine - theirs)[0]}' gets no gradient in {names[index]}"
    odd = [name.partition("|")[2] for name in apart if name.startswith("gradient|")]
    if before is not None:
        for index in (0, 1):
            last = before[index].of("gradient")
            if all(_near(gradients[index][n] - last[n], gradients[1 - index][n]) for n in odd):
                return f"the gradients in {names[index]} are not cleared: each has that of the step before added to it"
    # A bias before a BatchNorm has no gradient but rounding, which no factor explains.
    sizes = {name: max(float(np.linalg.norm(step[name])) for step in gradients) for name in odd}
    felt = [name for name in odd if sizes[name] > _SAME * max(sizes.values())]
    factors = [_factor(gradients[0][name], gradients[1][name]) for name in felt]
    if all(factor is not None and _close(factor, factors[0]) for factor in factors):
        return f"all gradients in {names[0]} are those in {names[1]} scaled by {factors[0]:.6g}"
    module = odd[-1].rpartition(".")[0]
    return (
        f"the gradients of {len(odd)} parameters differ, those at the outputs do not; the last in the order of the "
        f"backward pass is behind '{module}': `portproof verify --gradients` names the module"
    )


def _factor(one: Array, other: Array) -> float | None:
    square = float(np.vdot(other, other))
    if square == 0:
        return None
    factor = float(np.vdot(one, other)) / square
    return factor if _near(one, factor * other) else None


def _near(one: Array, other: Array) -> bool:
    return bool(np.linalg.norm(one - other) <= 1e-7 * np.linalg.norm(other))


def _rule(
    names: tuple[str, str], steps: tuple[Step, Step], before: tuple[Step, Step] | None, apart: Sequence[str]
) -> str:
    """What the two optimisers did, fitted: the factor that differs most is the one that is named."""
    odd = list(dict.fromkeys(n.partition("|")[2] for n in apart if not n.startswith(("loss", "output", "buffer"))))
    weights = [(step.of("weight"), step.of("before")) for step in steps]
    sizes = {name: float(np.linalg.norm(gradient)) for name, gradient in steps[0].of("gradient").items()}
    # A gradient that is nothing but rounding (that of a bias before a BatchNorm) moves no weight and fits any rule.
    odd = [name for name in odd if sizes.get(name, 0.0) > _NOTHING * max(sizes.values())] or odd
    for index in (0, 1):
        now, was = weights[index]
        others_now, others_was = weights[1 - index]
        still = [n for n in odd if np.array_equal(now[n], was[n]) and not np.array_equal(others_now[n], others_was[n])]
        if still:
            return f"'{still[0]}' is not learned in {names[index]}: the optimiser does not have it, or leaves it out"
    for index in (0, 1):
        now, was = weights[index][0], weights[1 - index][0]
        if (
            odd
            and all(np.array_equal(now[n], now[n].astype(np.float32)) for n in odd)
            and not all(np.array_equal(was[n], was[n].astype(np.float32)) for n in odd)
        ):
            return f"every weight in {names[index]} is a float32 number: it is rounded, or kept in float32"
    adam = "exp_avg" in {name.partition("|")[0] for name in steps[0].arrays}
    fit = _fit_adam if adam else _fit_sgd
    found: dict[str, tuple[str, float, float]] = {}
    apart_by: dict[str, float] = {}
    counts: dict[str, int] = {}
    tried = 0
    for name in odd:
        rules = [fit(steps[i], before[i] if before else None, name) for i in (0, 1)]
        if rules[0] is None or rules[1] is None:
            continue
        tried += 1
        for factor, one in rules[0].items():
            other = rules[1].get(factor, one)
            if abs(one - other) > 1e-6 * max(abs(one), abs(other), 1.0 if factor in _OF_ONE else 1e-6):
                counts[factor] = counts.get(factor, 0) + 1
                share = abs(one - other) / max(abs(one), abs(other))
                apart_by[factor] = max(apart_by.get(factor, 0.0), round(share, 1))
                found.setdefault(factor, (name, one, other))
    stated = _stated(names, steps)
    if not found:
        return stated
    common = [name for name, count in counts.items() if 2 * count > tried]
    # What differs most is the cause: a fit of one factor that is far out moves the others a little.
    factor = max(common or found, key=lambda name: (apart_by[name], -_ORDER.index(name)))
    name, one, other = found[factor]
    where = "" if counts[factor] == tried else f", for {counts[factor]} of {tried} parameters, the first '{name}'"
    text = _two(names, f"the update acts as if {factor}", one, other) + where
    return f"{text}; as the optimisers say it: {stated}" if stated else text


#: Below this share of the largest, a parameter's gradient is nothing but rounding.
_NOTHING = 1e-11
#: Factors that are of the order of one where they are not nought.
_OF_ONE = ("momentum", "1 - dampening", "nesterov", "the step")
#: Factors in the order in which they are named: an early one changes what is fitted for a later.
_ORDER = ("weight decay", "momentum", "1 - dampening", "beta1", "1 - beta1", "beta2", "1 - beta2", "nesterov", "eps",
          "weight decay on the weights", "the step")  # fmt: skip


def _stated(names: tuple[str, str], steps: tuple[Step, Step]) -> str:
    """Return the settings that the two optimisers state otherwise."""
    one, other = steps[0].settings, steps[1].settings
    said = []
    for name, value in one.items():
        found = other.get(name, value)
        same = (
            all(_close(float(a), float(b)) or a == b for a, b in zip(value, found, strict=True))
            if isinstance(value, (list, tuple))
            else found == value or _close(float(value), float(found))
            if isinstance(value, (int, float)) and isinstance(found, (int, float))
            else found == value
        )
        if not same:
            said.append(_two(names, name.replace("_", " "), value, found))
    return ", ".join(said)


def _picked(*arrays: Array) -> list[Array]:
    """Return the same elements of some arrays."""
    size = arrays[0].size
    chosen = np.linspace(0, size - 1, min(size, _SAMPLE)).astype(int)
    return [array.reshape(-1)[chosen].astype(np.float64) for array in arrays]


def _solve(columns: Sequence[Array], target: Array) -> Array | None:
    """Return the factors of a sum; None where the columns cannot be told apart, or do not explain the target."""
    scales = [float(np.linalg.norm(column)) or 1.0 for column in columns]
    matrix = np.stack([column / scale for column, scale in zip(columns, scales, strict=True)], axis=1)
    found, _, rank, _ = np.linalg.lstsq(matrix, target, rcond=1e-11)
    if rank < len(columns):
        return None
    return np.asarray(found / np.array(scales))


def _fit_sgd(step: Step, before: Step | None, name: str) -> dict[str, float] | None:
    """Fit ``buffer = momentum * old + (1 - dampening) * (gradient + decay * weight)`` and the step along it."""
    gradient, was, now = (step.of(kind)[name] for kind in ("gradient", "before", "weight"))
    buffer = step.of("momentum_buffer").get(name)
    if gradient.size < _FEWEST:
        return None
    g, w, n = _picked(gradient, was, now)
    moved, rate = w - n, step.said["learning_rate"]
    if buffer is None:
        factors = _solve([g, w], moved)
        return None if factors is None else {"the step": factors[0] / rate, "weight decay": factors[1] / factors[0]}
    (b,) = _picked(buffer)
    old = before.of("momentum_buffer").get(name) if before is not None else None
    rule: dict[str, float] = {}
    columns = [g, w] if old is None else [g, w, *_picked(old)]
    factors = _solve(columns, b)
    if factors is None:
        return None
    rule["weight decay"] = factors[1] / factors[0]
    rule["1 - dampening"] = factors[0]
    if old is not None:
        rule["momentum"] = factors[2]
    decayed = g + rule["weight decay"] * w
    along = _solve([b, decayed], moved) if old is not None or abs(factors[0] - 1) > 1e-6 else None
    if along is not None:
        rule["the step"], rule["nesterov"] = along[0] / rate, along[1] / rate
    else:  # at the first step the buffer is the gradient, so that only their sum shows
        one = _solve([b], moved)
        if one is not None:
            rule["nesterov"] = one[0] / rate - 1
    return rule


def _fit_adam(step: Step, before: Step | None, name: str) -> dict[str, float] | None:
    """Fit the two running means, and the step along their quotient."""
    gradient, was, now = (step.of(kind)[name] for kind in ("gradient", "before", "weight"))
    if gradient.size < _FEWEST:
        return None
    first, second = (step.of(kind).get(name) for kind in ("exp_avg", "exp_avg_sq"))
    if first is None or second is None:
        return None
    g, w, n, m, root = _picked(gradient, was, now, first, second)  # the second comes as its root
    v = root**2
    rule: dict[str, float] = {}
    olds = [before.of(kind).get(name) if before is not None else None for kind in ("exp_avg", "exp_avg_sq")]
    columns = [g, w] if olds[0] is None else [g, w, *_picked(olds[0])]
    factors = _solve(columns, m)
    if factors is None:
        return None
    decay = factors[1] / factors[0]
    rule["weight decay"], rule["1 - beta1"] = decay, factors[0]
    decayed = g + decay * w
    columns = [decayed**2] if olds[1] is None else [decayed**2, _picked(olds[1])[0] ** 2]
    squares = _solve(columns, v)
    if squares is not None:
        rule["1 - beta2"] = squares[0]
    moved = n - w
    # moved * (root + eps') = -step' * mean - decay' * weight * (root + eps'), which is linear in what is not known.
    along = _solve([m, moved, w * root, w], -moved * root)
    if along is not None and along[0]:
        rule["weight decay on the weights"] = along[2] / step.said["learning_rate"]
        rule["eps"] = along[1]
        rule["the step"] = along[0] / step.said["learning_rate"]
    return rule


def _written(names: tuple[str, str], steps: tuple[Step, Step], apart: Sequence[str]) -> str:
    """What a module keeps for itself in training."""
    kept = [name.partition("|")[2] for name in apart if name.startswith("buffer|")]
    if not kept:
        return ""
    return f"the statistics '{kept[0]}' are kept otherwise, though what is learned is the same"
