"""Find the map of a port's two models, and prove it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from portproof._disk import finite, save_arrays
from portproof._errors import BadInput
from portproof.convert._account import Account
from portproof.frameworks._entries import Entry
from portproof.judge._floor import FLOOR_MULTIPLE
from portproof.maps._guesses import dead, likely
from portproof.maps._names import Crossed, crossed
from portproof.maps._probing import Probing
from portproof.maps._proof import Proof, prove
from portproof.maps._search import PADDLE, TORCH, Searching
from portproof.maps._splits import GATES, TRIES, choices, cut_apart, gate_axes, gates_apart, packed
from portproof.maps._tasks import MapTasks
from portproof.maps._told import Pair, Seen, outputs_apart
from portproof.maps._units import Sizes, Unit, as_built, sizes_of, units_of
from portproof.maps._views import seen_joined
from portproof.maps._written import Link, links_of, written
from portproof.ports import _weightmap as weightmap
from portproof.ports._inputs import make_batch
from portproof.ports._port import LEADING, Port, Side
from portproof.ports._weightmap import WeightMap
from portproof.sides._sides import Sides

#: Rows that both sides are run on, and those of a model whose rows have few elements.
_ROWS, _MANY_ROWS, _FEW_ELEMENTS = 2, 8, 4096


def write_rows(port: Port, folder: Path, seed: int) -> Path:
    """Write the few rows that both sides are run on."""
    elements = sum(math.prod(declared.concrete(1)) for declared in port.inputs.values())
    rows = _MANY_ROWS if elements <= _FEW_ELEMENTS else _ROWS
    path = folder / "map-inputs.safetensors"
    save_arrays(path, make_batch(port, seed=seed, rows=rows).arrays)
    return path


@dataclass(frozen=True)
class Doubt:
    """A pair that the proof says nothing about.

    Attributes:
        torch, paddle: the tensors.
        reason: why.
    """

    torch: str
    paddle: str
    reason: str


@dataclass(frozen=True)
class Undecided:
    """Tensors that could not be told apart, or have no partner.

    Attributes:
        names: side to its tensors, each with its shape.
        reason: why they are left.
        alone: whether they act on the outputs and the other side has none for them.
    """

    names: Mapping[Side, tuple[tuple[str, tuple[int, ...]], ...]]
    reason: str
    alone: bool = False


@dataclass(frozen=True)
class FoundMap:
    """A map and what was proven of it.

    Attributes:
        verdict: ``proven``; ``proven but`` for the doubts; ``crossed``: only against the names; ``differs``: the map is
            certain and the functions are not one; ``undecided``.
        weights, account: the map, and the two state dicts paired by it.
        tensors: how many of torch's were to be paired.
        outputs: noise floors between the sides, by output, with every tensor random and distinct.
        gradient: the most noise floors between the two gradients of any tensor, and whose.
        doubts: what the proof says nothing about.
        crossed: parts that the map pairs against their names.
        undecided: groups that are left.
        notes: for a person.
        guesses: torch names whose rows are guessed.
        passes: runs of each side. seconds: of all.
    """

    verdict: Literal["proven", "proven but", "crossed", "differs", "undecided"]
    weights: WeightMap
    account: Account
    tensors: int
    outputs: Mapping[str, float]
    gradient: tuple[float, str]
    doubts: tuple[Doubt, ...] = ()
    crossed: tuple[Crossed, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    notes: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()
    passes: int = 0
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """What ``portproof map`` ends with."""
        return {"proven": 0, "proven but": 0, "differs": 1, "crossed": 3, "undecided": 3}[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the document, with null for what is no number; its map is read back by ``_weightmap.from_json``."""
        cleaned: dict[str, Any] = finite(
            {"schema_version": 1, **asdict(self), "weights": weightmap.to_json(self.weights)}
        )
        return cleaned

    @property
    def same(self) -> bool:
        """Whether both sides put out the same with every tensor that acts paired, whether or not a map can say it.

        Where one has no partner, one side has a freedom that the other lacks: under some weights they part.
        """
        every = bool(self.outputs) and not any(group.names for group in self.undecided)
        return every and max(self.outputs.values()) <= FLOOR_MULTIPLE

    @property
    def guessed(self) -> bool:
        """Whether every tensor has a partner, some a likely one only: the functions differ, whichever is whose."""
        return self.verdict == "undecided" and all(group.names and not group.alone for group in self.undecided)

    @property
    def holds(self) -> bool:
        """Whether both sides are one function under it."""
        return self.verdict in ("proven", "proven but")

    @property
    def rules(self) -> int:
        """How many entries a person would have to write."""
        return sum(map(len, (self.weights.rename, self.weights.ignore, self.weights.transforms)))

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.verdict == "proven but":
            return f"proven but for {len(self.doubts)} of {self.tensors} tensors"
        if self.verdict == "crossed":
            return f"proven only against the names ({len(self.crossed)} crossed)"
        if self.verdict == "undecided":
            return f"undecided: {self.undecided[0].reason}" if self.undecided else "undecided"
        return {"proven": "proven", "differs": "the map is certain, and the two are not one function"}[self.verdict]


def find_map(sides: Sides, *, accept_crossed: bool = False, seed: int = 0) -> FoundMap:
    """Find which tensor of one side is which of the other, without reading a name, and prove it.

    Args:
        sides: of the port, both models.
        accept_crossed: take a map that goes against the names.
        seed: of the inputs.

    Raises:
        BadInput: the port has no two models, or its outputs are no floating numbers.
        ModelRaised: a side does not run.
    """
    begun = time.perf_counter()
    port = sides.sessions.located.port
    if len(sides.live) < 2:
        raise BadInput(f"port '{port.name}' has not two models; a map is found between two.")
    if not sides.described:
        described = {side: sides.do(side, "building the model", MapTasks.describe) for side in sides.live}
        sides.described = {side: future.result() for side, future in described.items()}
    search, seen, proof = search_for(sides, {side: sides.described[side].entries for side in LEADING}, seed)
    found = _concluded(sides, search, seen, proof, accept_crossed=accept_crossed)
    return replace(found, passes=search.probing.passes, seconds=time.perf_counter() - begun)


def _concluded(
    sides: Sides, search: Searching, seen: Mapping[Side, Seen], proof: Proof, *, accept_crossed: bool
) -> FoundMap:
    """Write the map down and say what was proven of it."""
    links, odd = links_of(search)
    reasons, left = _left(search, seen)
    made = written(links, {side: sides.described[side] for side in LEADING}, reasons)
    guessed = [pair for pair in search.pairs if pair.how == "guess"]
    undecided = [*left, *_guesses(search)]
    undecided += [Undecided({}, said) for said in odd]
    if proof.same and not odd and not left:
        undecided += [Undecided({}, f"no map says it: {said}") for said in made.missed]
    against = crossed([(link.torch[0], link.paddle[0], _sizes(sides, link)) for link in links if link.cut is None])
    doubts = _doubts(search, proof)
    worst = max(proof.gradients, key=lambda place: proof.gradients[place], default=None)
    gradient = (0.0, "") if worst is None else (proof.gradients[worst], _name(search, search.pairs[worst], TORCH))
    verdict: Literal["proven", "proven but", "crossed", "differs", "undecided"]
    if undecided:
        verdict = "undecided"
    elif not proof.same:
        verdict = "differs"
    elif against and not accept_crossed:
        verdict = "crossed"
    else:
        verdict = "proven but" if doubts else "proven"
    notes = [f"no backward pass ({search.probing.backward}); tensors were told by one perturbation at a time"]
    return FoundMap(
        verdict, made.weights, made.account, len(search.units[TORCH]), proof.outputs, gradient, tuple(doubts),
        tuple(against), tuple(undecided), tuple(notes if search.probing.backward else ()),
        tuple(name for pair in guessed for name in [_name(search, pair, TORCH)]),
    )  # fmt: skip


def _sizes(sides: Sides, link: Link) -> Sizes:
    entries = sides.described[TORCH].entries
    return next(sizes_of(entry.shape) for entry in entries if entry.name == link.torch[0])


def _name(search: Searching, pair: Pair, side: Side) -> str:
    return " + ".join(str(search.units[side][unit]) for unit, _ in pair.of(side))


def _doubts(search: Searching, proof: Proof) -> list[Doubt]:
    """Return the pairs that reach no output, that any other pairing would do for, and whose gradients differ."""
    found = []
    for place, pair in enumerate(search.pairs):
        reason = ""
        if place in proof.silent:
            reason = "reaches no output; paired by its module" if pair.how == "module" else "reaches no output; by name"
        elif pair.how == "interchangeable":
            reason = "any other of the same role would do"
        elif proof.same and proof.gradients.get(place, 0.0) > FLOOR_MULTIPLE:
            reason = f"the outputs agree, its gradients are {proof.gradients[place]:.0e} floors apart"
        if reason:
            found.append(Doubt(_name(search, pair, TORCH), _name(search, pair, PADDLE), reason))
    for side, unit in proof.beside:
        pair = next(pair for pair in search.pairs if unit in dict(pair.of(side)))
        names = {side: str(search.units[side][unit]), side.other: _name(search, pair, side.other)}
        found.append(Doubt(names[TORCH], names[PADDLE], "reaches no output; by name"))
    return found


def _left(search: Searching, seen: Mapping[Side, Seen]) -> tuple[dict[tuple[Side, str], str], list[Undecided]]:
    """Say of every tensor without a partner why it may be left out; those that act and are learned may not."""
    reasons: dict[tuple[Side, str], str] = {}
    acting: dict[Side, list[Unit]] = {side: [] for side in LEADING}
    for side in LEADING:
        for place in search.free(side):
            unit = search.units[side][place]
            if unit.table:
                reasons[side, unit.entry.name] = f"not learned: {side.title} computes it itself"
            elif seen[side].is_silent(place):
                reasons[side, unit.entry.name] = f"reaches no output, and {side.other.title} has none"
            else:
                acting[side].append(unit)
    if not any(acting.values()):
        return reasons, []
    names = {side: tuple((str(unit), unit.shape) for unit in units) for side, units in acting.items()}
    counts = " and ".join(f"{len(units)} in {side.title}" for side, units in acting.items() if units)
    return reasons, [Undecided(names, f"{counts} act on the outputs and have no partner", alone=True)]


def _guesses(search: Searching) -> list[Undecided]:
    """Group what is guessed by sizes."""
    groups: dict[Sizes, list[Pair]] = {}
    for pair in search.pairs:
        if pair.how == "guess":
            groups.setdefault(search.units[TORCH][pair.torch[0][0]].sizes, []).append(pair)
    found = []
    for pairs in groups.values():
        names = {
            side: tuple(
                (str(search.units[side][unit]), search.units[side][unit].shape)
                for pair in pairs
                for unit, _ in pair.of(side)
            )
            for side in LEADING
        }
        found.append(Undecided(names, f"{len(pairs)} cannot be told apart: the functions differ, and draws disagree"))
    return found


def search_for(
    sides: Sides, entries: dict[Side, Sequence[Entry]], seed: int = 0
) -> tuple[Searching, dict[Side, Seen], Proof]:
    """Search and prove; returns also what was seen last.

    Args:
        sides: of the port, both models.
        entries: of both state dicts.
        seed: of the inputs.

    Raises:
        BadInput: a side is no function.
        ModelRaised: a side does not run.
    """
    inputs = write_rows(sides.sessions.located.port, sides.folder, seed)
    probing = Probing(sides, inputs)
    looks = probing.look()
    whole = {side: units_of(side, entries[side]) for side in LEADING}
    whole = as_built(whole, {side: looks[side].built for side in LEADING})
    search = Searching(probing, whole, looks)
    try:
        _lay_out(search)
        seen = search.solve()
        if not search.same and _gates_moved(search):
            seen = search.solve()
        if all(search.free(side) for side in LEADING) and not search.same:
            likely(search)
        dead(search, seen)
        return search, seen, prove(search)
    finally:
        for future in [sides.do(side, "putting back", MapTasks.restore) for side in LEADING]:
            future.result()


def _lay_out(search: Searching) -> None:
    """Join what one side takes apart and cut what one side packs, in the first way that makes both one function.

    Where none does, the two may differ elsewhere: then one way is nearer than all that lay out one kind otherwise, by
    more than rounding could explain, and no more are tried.
    """
    ways = [
        (cut_apart(joined, found, chosen), several)
        for joined in seen_joined(search.units)
        for found in [packed(joined)]
        for chosen, several in choices(found)
    ][:TRIES]
    apart: list[float] = []
    for search.units, several in ways if len(ways) > 1 else []:
        if several and _stands_out(apart):
            break
        seen = search.probing.run(search.fills(), again=1, backward=False)
        apart.append(max(outputs_apart(seen[TORCH], seen[PADDLE]).values(), default=math.inf))
        if apart[-1] <= FLOOR_MULTIPLE:
            return
    search.units = ways[apart.index(min(apart)) if _stands_out(apart) else 0][0]


def _stands_out(apart: Sequence[float]) -> bool:
    least, *others = sorted(apart) if len(apart) > 1 else (math.inf,)
    return bool(others) and least * FLOOR_MULTIPLE < others[0]


def _gates_moved(search: Searching) -> bool:
    """Cut what may hold gates into them, where that makes one function of both sides; the search begins anew then.

    Gates that all hold the same values are the same in every order.
    """
    whole, pairs, shown = search.units, search.pairs, search.shown

    def same(gates: int, axes: Sequence[int]) -> bool:
        search.units = gates_apart(whole, gates, axes)
        return search.agree([], shown)

    search.pairs = []
    for gates in GATES:
        every = gate_axes(whole, gates)
        if every and same(gates, every):
            for axis in every if len(every) > 1 else []:
                if same(gates, [axis]):
                    break
            else:
                search.units = gates_apart(whole, gates, every)
            search.seen = {}
            return True
    search.units, search.pairs = whole, pairs
    return False
