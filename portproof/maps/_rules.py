"""From pairs of names to the few rules that a person would write, each kept only where it helps."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from portproof.ports._weightmap import fill, match

_NAMES = "nmk"
#: How much otherwise the two sides may count what repeats, for one rule to say it.
_MOVED = 2
#: Candidates that are looked at in a round: those that most wrong names would propose.
_BEST = 80


@dataclass(frozen=True)
class _Rule:
    """A rule, and what it makes of the names that it fits.

    Attributes:
        source, target: patterns.
        rank: the order in which :meth:`WeightMap.paddle_path` prefers rules.
        made: place of a pair, the name that the rule makes of it, and whether that is the right one.
    """

    source: str
    target: str
    rank: tuple[int, int]
    made: tuple[tuple[int, str, bool], ...]

    @classmethod
    def of(cls, source: str, target: str, pairs: Sequence[tuple[str, str]]) -> _Rule:
        """Apply a rule to all names."""
        rank, made = (len(source.split(".")), -source.count("{")), []
        counted = re.findall(r"\{(\w+?)([+-]\d+)\}", target)
        for place, (name, wanted) in enumerate(pairs):
            found = match(source, name, prefix=True)
            if found is None:
                continue
            values, rest = found
            if all(values[one].isdecimal() and int(values[one]) + int(by) >= 0 for one, by in counted):
                new = ".".join(filter(None, (fill(target, values), rest)))
                made.append((place, new, new == wanted))
        return cls(source, target, rank, tuple(made))


def rules_of(pairs: Sequence[tuple[str, str]], least: int = 1) -> dict[str, str]:
    """Return few renames that make each first name its second, by the longest path that fits.

    Args:
        pairs: torch path to Paddle path, of modules or tensors; a name that is the same needs no rule, but no rule may
            change it.
        least: names that a rule has to set right; from 2 on, names that follow no rule are left as they are.
    """
    pairs = sorted(set(pairs))
    chosen: list[_Rule] = []
    known: dict[tuple[str, str], _Rule] = {}
    proposals = [list(dict.fromkeys(_candidates(*pair))) for pair in pairs]

    def rule(source: str, target: str) -> _Rule:
        if (source, target) not in known:
            known[source, target] = _Rule.of(source, target, pairs)
        return known[source, target]

    while True:
        now = _renamed(chosen, pairs)
        wrong = [place for place, (_, right, _) in enumerate(now) if not right]
        if not wrong or len(chosen) > len(pairs):
            break
        votes = Counter(candidate for place in wrong for candidate in proposals[place])
        proposed = [*(candidate for candidate, _ in votes.most_common(_BEST)), *proposals[wrong[0]]]
        taken = {(one.source, one.target) for one in chosen}
        options = [rule(*candidate) for candidate in dict.fromkeys(proposed) if candidate not in taken]
        worth, place = max((_worth(one, now), -at) for at, one in enumerate(options))
        if worth[0] < least and least > 1:
            break
        best = options[-place] if worth[0] > 0 else rule(*pairs[wrong[0]])
        chosen = [one for one in chosen if one.source != best.source] + [best]
    reached = sum(right for _, right, _ in _renamed(chosen, pairs))
    for one in list(chosen):  # what later rules made needless
        rest = [other for other in chosen if other is not one]
        if sum(right for _, right, _ in _renamed(rest, pairs)) >= reached:
            chosen = rest
    return {one.source: one.target for one in sorted(chosen, key=lambda one: _natural(one.source))}


def _renamed(rules: Sequence[_Rule], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, bool, tuple[int, int]]]:
    """Return what the rules make of every first name, whether it is right, and the rank of the rule that did."""
    now = [(name, name == wanted, (-1, 0)) for name, wanted in pairs]
    for one in rules:
        for place, made, right in one.made:
            if one.rank > now[place][2]:
                now[place] = made, right, one.rank
    return now


def _worth(rule: _Rule, now: Sequence[tuple[str, bool, tuple[int, int]]]) -> tuple[int, int, int]:
    """Return how many names a rule sets right; of equal ones, the shorter is better, and the wider if it is used."""
    rank = rule.rank
    gain = sum(right - now[place][1] for place, _, right in rule.made if rank > now[place][2])
    return gain, -rank[0], -rank[1] if gain > 1 else rank[1]


def _candidates(torch: str, paddle: str) -> Iterator[tuple[str, str]]:
    """Yield rules under which one name becomes the other: of its head, with numbers as they are or as placeholders."""
    ours, theirs = torch.split("."), paddle.split(".")
    for cut in range(min(len(ours), len(theirs))):
        if cut and ours[-cut] != theirs[-cut]:
            return
        yield from _generalised(".".join(ours[: len(ours) - cut]), ".".join(theirs[: len(theirs) - cut]))


def _generalised(source: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield both names with some of their numbers as placeholders; one of torch's may stand in Paddle's name twice."""
    ours, theirs = re.split(r"(\d+)", source), re.split(r"(\d+)", target)
    options: list[list[tuple[int, int] | None]] = []
    for j in range(1, len(theirs), 2):
        fitting: list[tuple[int, int] | None] = [None]
        if theirs[j] == str(int(theirs[j])):
            moved = [(i, int(theirs[j]) - int(ours[i])) for i in range(1, len(ours), 2)]
            fitting += [(i, by) for i, by in moved if abs(by) <= _MOVED]
        options.append(fitting)
    for chosen in itertools.product(*options):
        used = sorted({one[0] for one in chosen if one is not None})
        if len(used) > len(_NAMES):
            continue
        names = dict(zip(used, _NAMES, strict=False))
        left, right = list(ours), list(theirs)
        for i, name in names.items():
            left[i] = f"{{{name}}}"
        for place, one in enumerate(chosen):
            if one is not None:
                right[2 * place + 1] = f"{{{names[one[0]]}{f'{one[1]:+d}' if one[1] else ''}}}"
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
