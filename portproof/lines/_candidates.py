"""Candidates for the first faults, the likeliest first.

Four shapes of a fault: a call that computes another result; one that only torch makes; one that only Paddle makes; one
that is given another tensor. Each is a value of torch's and a place in Paddle's run; whether it is the fault is for a
run to show.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from portproof.lines._arguments import Arguments
from portproof.lines._candidate import Candidate
from portproof.lines._match import Look, Matched
from portproof.lines._orders import Orders
from portproof.lines._parting import Parting
from portproof.lines._results import Results

#: Candidates of one look that are looked at, and that are worth a run.
_MOST, _OF_ONE_LOOK = 80, 8


def candidates(matched: Matched) -> list[Candidate]:
    """Return the candidates of the first faults, the likeliest first."""
    found: dict[tuple[object, ...], Candidate] = {}
    for look in (Look(True), Look(True, True), Look(False)):
        own: dict[tuple[object, ...], Candidate] = {}
        places: set[object] = set()
        for candidate in sorted(_all(Parting(matched, look)), key=lambda candidate: candidate.cost)[:_MOST]:
            stands = candidate.owner is not None and matched.standing_for(candidate.targets[0]) is candidate.owner
            place = (candidate.given, stands, all(candidate.regions), *(call.index for call in candidate.targets))
            if len(own) < _OF_ONE_LOOK or place not in places:  # of several faults each is somewhere else
                own.setdefault(candidate.key(matched), candidate)
                places.add(place)
            if len(own) == 2 * _OF_ONE_LOOK:
                break
        for key, candidate in own.items():
            if key not in found or candidate.cost < found[key].cost:
                found[key] = candidate
    return sorted(found.values(), key=lambda candidate: candidate.cost)


def _all(parting: Parting) -> Iterable[Candidate]:
    return itertools.chain(*(kind(parting).all() for kind in (Results, Arguments, Orders)))
