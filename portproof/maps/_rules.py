"""From pairs of names to the few rules that a person would write, each kept only where it helps."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from portproof.ports._weightmap import fill, match

_NAMES = "nmk"
#: Candidates that are looked at in a round: those that most wrong names would propose.
_BEST = 80


@dataclass(frozen=True)
class _Rule:
    """A rule, and what it makes of the names that it fits.

    Attributes:
        source, target: patterns.
        made: place of a pair to the name that the rule makes of it.
    """

    source: str
    target: str
    made: dict[int, str] = field(compare=False, hash=False)

    @property
    def rank(self) -> tuple[int, int]:
        """The order in which :meth:`WeightMap.paddle_path` prefers rules."""
        return len(self.source.split(".")), -self.source.count("{")


def rules_of(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return few renames that make each first name its second, by the longest path that fits.

    Args:
        pairs: torch path to Paddle path, of modules or tensors; a name that is the same needs no rule, but no rule may
            change it.
    """
    pairs = sorted(set(pairs))
    chosen: list[_Rule] = []
    known: dict[tuple[str, str], _Rule] = {}

    def rule(source: str, target: str) -> _Rule:
        if (source, target) not in known:
            known[source, target] = _Rule(source, target, _applied(source, target, pairs))
        return known[source, target]

    while True:
        now = _renamed(chosen, pairs)
        wrong = [place for place, (name, _) in enumerate(now) if name != pairs[place][1]]
        if not wrong or len(chosen) > len(pairs):
            break
        votes = Counter(candidate for place in wrong for candidate in _candidates(*pairs[place]))
        proposed = [*(candidate for candidate, _ in votes.most_common(_BEST)), *_candidates(*pairs[wrong[0]])]
        taken = {(one.source, one.target) for one in chosen}
        options = [rule(*candidate) for candidate in dict.fromkeys(proposed) if candidate not in taken]
        best = max(options, key=lambda one: _worth(one, now, pairs))
        if _worth(best, now, pairs)[0] <= 0:
            best = rule(*pairs[wrong[0]])
        chosen = [one for one in chosen if one.source != best.source] + [best]
    for one in list(chosen):  # what later rules made needless
        rest = [other for other in chosen if other is not one]
        if all(name == pairs[place][1] for place, (name, _) in enumerate(_renamed(rest, pairs))):
            chosen = rest
    return {one.source: one.target for one in sorted(chosen, key=lambda one: _natural(one.source))}


def _applied(source: str, target: str, pairs: Sequence[tuple[str, str]]) -> dict[int, str]:
    made = {}
    for place, (name, _) in enumerate(pairs):
        found = match(source, name, prefix=True)
        if found is not None and all(
            found[0][one].isdecimal() and int(found[0][one]) + int(by) >= 0
            for one, by in re.findall(r"\{(\w+?)([+-]\d+)\}", target)
        ):
            made[place] = ".".join(filter(None, (fill(target, found[0]), found[1])))
    return made


def _renamed(rules: Sequence[_Rule], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, tuple[int, int]]]:
    """Return what the rules make of every first name, and the rank of the rule that did."""
    now = [(name, (-1, 0)) for name, _ in pairs]
    for one in rules:
        for place, made in one.made.items():
            if one.rank > now[place][1]:
                now[place] = made, one.rank
    return now


def _worth(
    rule: _Rule, now: Sequence[tuple[str, tuple[int, int]]], pairs: Sequence[tuple[str, str]]
) -> tuple[int, int, int]:
    """Return how many names a rule sets right; of equal ones, the shorter is better, and the wider if it is used."""
    gain, wide = _gain(rule, now, pairs), rule.source.count("{")
    return gain, -len(rule.source.split(".")), wide if gain > 1 else -wide


def _gain(rule: _Rule, now: Sequence[tuple[str, tuple[int, int]]], pairs: Sequence[tuple[str, str]]) -> int:
    return sum(
        (made == pairs[place][1]) - (now[place][0] == pairs[place][1])
        for place, made in rule.made.items()
        if rule.rank > now[place][1]
    )


def _candidates(torch: str, paddle: str) -> Iterator[tuple[str, str]]:
    """Yield rules under which one name becomes the other: of its head, with numbers as they are or as placeholders."""
    ours, theirs = torch.split("."), paddle.split(".")
    for cut in range(min(len(ours), len(theirs))):
        if cut and ours[-cut] != theirs[-cut]:
            return
        yield from _generalised(".".join(ours[: len(ours) - cut]), ".".join(theirs[: len(theirs) - cut]))


def _generalised(source: str, target: str) -> Iterator[tuple[str, str]]:
    ours, theirs = re.split(r"(\d+)", source), re.split(r"(\d+)", target)
    numbers, others = range(1, len(ours), 2), range(1, len(theirs), 2)
    options: list[list[tuple[int, int] | None]] = []
    for i in numbers:
        fitting: list[tuple[int, int] | None] = [None]
        fitting += [(j, int(theirs[j]) - int(ours[i])) for j in others if theirs[j] == str(int(theirs[j]))]
        options.append(fitting)
    for chosen in itertools.product(*options):
        used = [one[0] for one in chosen if one is not None]
        if len(used) > len(_NAMES) or used != sorted(set(used)):
            continue
        left, right, names = list(ours), list(theirs), iter(_NAMES)
        for i, one in zip(numbers, chosen, strict=True):
            if one is not None:
                name, by = next(names), f"{one[1]:+d}" if one[1] else ""
                left[i], right[one[0]] = f"{{{name}}}", f"{{{name}{by}}}"
        yield "".join(left), "".join(right)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def general(names: Collection[str], everywhere: Collection[str]) -> dict[str, list[str]]:
    """Return patterns that fit some names and no others: each with the names that it stands for.

    Args:
        names: to be covered.
        everywhere: all names of both sides that a pattern might fit.
    """
    left, found = set(names), dict[str, list[str]]()
    for name in sorted(names, key=_natural):
        if name not in left:
            continue
        parts = re.split(r"(\d+)", name)
        places = range(1, len(parts), 2)
        masks = sorted(itertools.product((True, False), repeat=min(len(places), 4)), key=sum, reverse=True)
        for mask in masks:
            letters = iter("nmkj")
            pattern = list(parts)
            for place, wide in zip(places, mask, strict=False):
                if wide:
                    pattern[place] = f"{{{next(letters)}}}"
            fits = {other for other in everywhere if match("".join(pattern), other) is not None}
            if fits <= left and name in fits:
                found["".join(pattern)] = sorted(fits, key=_natural)
                left -= fits
                break
        else:
            found[name] = [name]
            left.discard(name)
    return found
