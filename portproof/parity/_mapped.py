"""Where names do not fit and no map is given, the map is found; where a given one fails, it is held against that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portproof._errors import BadInput, ModelRaised, PortproofError
from portproof._machine import thread_budget
from portproof.convert._account import Account, Problem
from portproof.judge._found import Found
from portproof.judge._report import Culprit, Hop
from portproof.parity._options import Options
from portproof.parity._outputs import unmatched
from portproof.ports._locate import Located
from portproof.ports._weightmap import WeightMap
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides, Watch

if TYPE_CHECKING:
    from portproof.maps._find import FoundMap

#: Differences between two maps that are said.
_SAID = 3


def find_map(sides: Sides, **options: Any) -> FoundMap:
    """Look for the map; the search is imported where it is needed, which is seldom."""
    from portproof.maps._find import find_map as find

    return find(sides, **options)


def match_or_find(sides: Sides, options: Options) -> tuple[bool, Found]:
    """Pair the two state dicts: by the port's map, else, where it has none and names do not fit, by one that is found.

    Returns:
        Whether they are paired, and what is to be said; where they are not, as a divergence with its culprits.
    """
    problems = sides.match(ahead=not options.blockwise).problems
    if not problems:
        return True, Found()
    refused = unmatched(problems)
    if not _possible(sides, options):
        return False, refused
    given = sides.sessions.located.port.weights != WeightMap()
    try:
        found = find_map(sides, seed=options.seed)
    except PortproofError as error:
        refused.notes.append(f"no map was found either: {error}")
        if isinstance(error, ModelRaised):
            refused.culprits.insert(0, Culprit(error.side, error.module, "raises", "forward", f"raises {error.reason}"))
        return False, refused
    if not given and found.verdict == "undecided" and found.same:
        return False, _open(problems, found)
    if not given and found.verdict == "undecided":
        refused = _alone(found, len(problems)) or refused
    judged = not given and (found.holds or found.guessed or found.verdict == "differs")
    if judged and sides.use(found.weights).problems:
        sides.use(WeightMap())
        judged = False
    if not judged:
        refused.notes.extend(_beside(problems, found, given=given))
        return False, refused
    verb = "shows" if found.guessed else "writes"
    said = [f"map found: {found.rules} rules, {found.said}; `portproof map` {verb} it"]
    said += [f"the map is not proven for '{d.torch}' and '{d.paddle}': {d.reason}" for d in found.doubts[:_SAID]]
    if len(found.doubts) > _SAID:
        said.append(f"nor for {len(found.doubts) - _SAID} more; `portproof map` lists them")
    if found.guesses:
        said.append(
            f"{len(found.guesses)} tensors are paired as is likely, '{found.guesses[0]}' among them: where two "
            "functions differ, not all can be told apart; what is said of modules holds as far as that"
        )
    return True, Found(notes=said)


def _alone(found: FoundMap, named: int) -> Found | None:
    """Name the tensors that act and have no partner, where names leave far more of them over than that."""
    culprits = [
        Culprit(side, name.rpartition(".")[0], "weights", "forward",
                f"'{name}' {list(shape)} acts on the outputs, and {side.other.title} has no tensor for it")
        for group in found.undecided if group.alone
        for side, tensors in group.names.items()
        for name, shape in tensors
    ]  # fmt: skip
    if not 0 < 2 * len(culprits) < named:
        return None
    reason = f"{len(culprits)} tensors have no partner, whatever their names: {culprits[0].message}"
    return Found([Hop("semantics", "torch", "Paddle", "float64", "none", "divergent", None, reason)], culprits)


def _open(problems: Sequence[Problem], found: FoundMap) -> Found:
    """Return what is said of two sides that put out the same, and whose map cannot be told to its end: no fault."""
    reason = (
        f"names leave {len(problems)} tensors over, and the map that was looked for is {found.said}; under what was "
        "told of it both sides put out the same. `portproof map` shows it; write what is left into `weights`"
    )
    return Found([Hop("semantics", "torch", "Paddle", "float64", "none", "inconclusive", None, reason)])


def with_map(located: Located, kwargs: Mapping[str, Any], watch: Watch) -> Located:
    """Return a port as it is judged: with the map that is found where it has none and names do not fit.

    Raises:
        BadInput: names do not fit, and no map makes one function of both sides.
    """
    port = located.port
    if len(port.sides) < 2 or port.weights != WeightMap() or any(port.artefact(side) for side in port.sides):
        return located
    with Sessions(located, kwargs, threads=max(1, thread_budget() // 2)) as sessions:
        sides = Sides(sessions, watch)
        if not sides.match().problems:
            return located
        found = find_map(sides)
    if not found.holds:
        raise BadInput(f"names do not fit, and the map that was looked for is {found.said}; see `portproof verify`.")
    return replace(located, port=replace(port, weights=found.weights))


def against_given(sides: Sides, options: Options, hops: Sequence[Hop]) -> Found:
    """Where two sides are not one function under the map that the port has, look whether they are under another."""
    differs = any(hop.kind == "semantics" and hop.verdict == "divergent" and hop.worst is not None for hop in hops)
    given = sides.sessions.located.port.weights
    if not differs or given == WeightMap() or not _possible(sides, options):
        return Found()
    try:
        found = find_map(sides, accept_crossed=True, seed=options.seed)
    except PortproofError:
        return Found()  # the verdict stands as it is
    return Found(notes=_compared(sides.account, found.account) if found.holds else [])


def _possible(sides: Sides, options: Options) -> bool:
    return options.find_map and not options.module and not options.blockwise and len(sides.live) == 2


def _beside(problems: Sequence[Problem], found: FoundMap, *, given: bool) -> list[str]:
    """Say what was found beside a map, or names, that leave tensors over."""
    if found.holds:
        return [f"a map of {found.rules} rules is {found.said}; `portproof map` writes it"]
    if found.verdict == "crossed":
        one = found.crossed[0]
        return [
            f"the two are one function only against the names ('{one.torch}' goes to '{one.paddle}'); look at both "
            "before `portproof map --accept-crossed` takes that"
        ]
    what = "the given map leaves" if given else "names leave"
    return [f"{what} {len(problems)} tensors over, and the map that was looked for is {found.said}"]


def _compared(given: Account, found: Account) -> list[str]:
    """Return where a given map pairs otherwise than one that is proven."""
    proven = _rows(found)
    other = {torch: paddle for torch, paddle in _rows(given).items() if proven.get(torch, paddle) != paddle}
    if not other:
        return []
    circle = set(other.values()) == {proven[torch] for torch in other}
    said = [
        f"your map pairs '{torch}' with '{paddle}': " + ("crossed; " if circle else "") + f"proven is '{proven[torch]}'"
        for torch, paddle in list(_modules(other, proven).items())[:_SAID]
    ]
    more = f"; {len(other)} tensors in all" if len(other) > 1 else ""
    return [f"under another map the two are one function: {'; '.join(said)}{more}"]


def _rows(account: Account) -> dict[str, str]:
    return {row.torch[0]: " + ".join(row.paddle) for row in account.rows}


def _modules(other: Mapping[str, str], proven: Mapping[str, str]) -> Mapping[str, str]:
    """Return one tensor of each module that a map pairs otherwise."""
    seen, kept = set[str](), dict[str, str]()
    for torch, paddle in other.items():
        module = torch.rpartition(".")[0]
        if module not in seen and torch in proven:
            seen.add(module)
            kept[torch] = paddle
    return kept
