"""Two recordings side by side: which values of one are in the other, and where they part."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portproof._numbers import Array
from portproof.lines._calls import RETURN, Call, Given, Recording, Value
from portproof.lines._values import SAME, alike, arranged, canonical, equal, is_constant

#: Canonical values that are held at a time.
_HELD = 256
#: Names of one function; others are the same but for underscores.
_NAMES = {
    "concatenate": "cat", "concat": "cat",
    "view": "reshape", "flatten": "reshape", "unflatten": "reshape", "rmul": "mul", "multiply": "mul",
    "imul": "mul", "radd": "add", "iadd": "add", "elementwise_add": "add", "truediv": "div", "divide": "div",
    "rtruediv": "div", "itruediv": "div", "scale": "mul", "subtract": "sub", "rsub": "sub", "isub": "sub",
    "bmm": "matmul", "mm": "matmul", "rmatmul": "matmul", "permute": "transpose", "t": "transpose",
    "swapaxes": "transpose", "T": "transpose", "mT": "transpose", "upsample": "interpolate",
    "expand_as": "expand", "broadcast_to": "expand", "tile": "repeat", "addmm": "linear",
    "elementwise_pow": "pow", "take": "gather", "index_select": "gather", "chunk": "split",
    "tensor_split": "split", "unbind": "split", "negative": "neg", "absolute": "abs", "masked_fill": "where",
    "greater_than": "gt", "less_than": "lt", "equal": "eq", "not_equal": "ne", "greater_equal": "ge",
    "less_equal": "le", "logical_not": "invert", "bitwise_not": "invert",
    "hardtanh": "relu6", "swish": "silu",
    "amax": "max", "amin": "min", "clamp": "clip", "clamp_min": "clip",
}  # fmt: skip
#: What only arranges values: that it is matched again tells nothing.
LAYOUT = {
    "reshape", "transpose", "expand", "unsqueeze", "squeeze", "contiguous", "getitem", "split", "cat", "stack", "clone",
    "cast", "astype", "to", "assign", "detach", "repeat", "gather",
}  # fmt: skip


#: What multiplies matrices, to the place of the first.
PRODUCTS = {"matmul": 0, "baddbmm": 1, "scaled_dot_product_attention": 0}
#: What cuts a tensor into parts, or takes one.
PARTS = {"split", "getitem", "gather"}


def one_function(one: str, other: str) -> bool:
    """Whether two names are of one function, or both take parts of a tensor."""
    return base(one) == base(other) or {base(one), base(other)} <= PARTS


def base(name: str) -> str:
    """Return what a function is called, whatever the framework."""
    own = name.partition(": ")[0].strip("_")
    return _NAMES.get(own, own)


@dataclass(frozen=True)
class Look:
    """How closely two forwards are compared.

    Attributes:
        strict: shapes and orders of axes, too.
        counted: how often a value is computed, too.
    """

    strict: bool
    counted: bool = False


class Partners:
    """Which values of two forwards are one.

    Args:
        recordings: by side.
        folders: by side, of its values.
        tolerance: of sameness, relative to a value's scale.
        known: what was found about pairs of files before, by their paths; filled here.
        partners: paths of torch's modules to those of Paddle's that stand for them.

    Attributes:
        how: side to value to how it is matched best: "same", "flat" (another shape), "arranged" (another order of
            axes).
    """

    def __init__(
        self, recordings: Mapping[str, Recording], folders: Mapping[str, Path], tolerance: float = SAME,
        known: dict[tuple[Path, Path], str] | None = None, partners: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.of, self._folders, self._tolerance = recordings, folders, tolerance
        self._known = {} if known is None else known
        self._partners = {"": "", **(partners or {})}
        self._partners_of = {path: own for own, path in self._partners.items()}
        self.how: dict[str, dict[int, str]] = {"torch": {}, "paddle": {}}
        self._root: dict[tuple[str, int], tuple[str, int]] = {}
        self.canonical = functools.lru_cache(_HELD)(self._canonical)
        self._constants = {
            side: {_number(value) for value in self.of[other].values if is_constant(value.features)}
            for side, other in (("torch", "paddle"), ("paddle", "torch"))
        }
        self._match()

    def _match(self) -> None:
        buckets: dict[float, list[int]] = defaultdict(list)
        for number, value in enumerate(self.of["paddle"].values):
            buckets[value.features[0]].append(number)
        tables = {
            size: np.array([self.of["paddle"].values[n].features for n in numbers]) for size, numbers in buckets.items()
        }
        for mine, value in enumerate(self.of["torch"].values):
            numbers = buckets.get(value.features[0])
            if numbers is None:
                continue
            for place in np.nonzero(alike(value.features, tables[value.features[0]], self._tolerance))[0]:
                theirs = numbers[int(place)]
                how = self._arranged(mine, theirs)
                if how:
                    self._note("torch", mine, how)
                    self._note("paddle", theirs, how)
                    self._join(("torch", mine), ("paddle", theirs))

    def _note(self, side: str, number: int, how: str) -> None:
        known = self.how[side].get(number)
        order = ("same", "flat", "arranged")
        if known is None or order.index(how) < order.index(known):
            self.how[side][number] = how

    def _arranged(self, mine: int, theirs: int) -> str:
        one, other = self.of["torch"].values[mine], self.of["paddle"].values[theirs]
        if not (one.file and other.file):
            return "same" if one.shape == other.shape else "flat"  # so many numbers alike are no chance
        key = (self.file("torch", mine), self.file("paddle", theirs))
        if key not in self._known:
            if one.shape == other.shape and equal(np.load(key[0]), np.load(key[1]), self._tolerance * one.features[2]):
                self._known[key] = "same"  # most are, and this is the cheapest way to know
                return "same"
            how = arranged(self.canonical("torch", mine), self.canonical("paddle", theirs), self._tolerance)
            self._known[key] = "flat" if how == "same" and not is_one_shape(one.shape, other.shape) else how
        return self._known[key]

    def file(self, side: str, number: int) -> Path:
        """Return the file of a value."""
        return self._folders[side] / self.of[side].values[number].file

    def array(self, side: str, number: int) -> Array | None:
        """Return a value, None where it was too much to keep."""
        return np.load(self.file(side, number)) if self.of[side].values[number].file else None

    def _canonical(self, side: str, number: int) -> Array:
        array = self.array(side, number)
        return np.zeros(0) if array is None else canonical(array)

    def _find(self, node: tuple[str, int]) -> tuple[str, int]:
        while self._root.get(node, node) != node:
            node = self._root[node]
        return node

    def _join(self, one: tuple[str, int], other: tuple[str, int]) -> None:
        self._root[self._find(one)] = self._find(other)

    def kind(self, side: str, number: int) -> tuple[str, int]:
        """Return what is the same for values that are one, on either side."""
        return self._find((side, number))

    def in_shape(self, kind: tuple[str, int], shape: tuple[int, ...]) -> int | None:
        """Return a value of some kind and shape that a call of torch's makes; None where none does."""
        values = self.of["torch"].values
        made = (value for call in self.of["torch"].calls if not call.part for value in call.made)
        return next(
            (value for value in made if values[value].shape == shape and self.kind("torch", value) == kind), None
        )

    def maker(self, side: str, value: int) -> Call | None:
        """Return the first call that makes a value; None where none does."""
        return next((call for call in self.of[side].calls if value in call.made and not call.part), None)

    def agrees(self, side: str, number: int, *, strict: bool = False) -> bool:
        """Whether a value is one that the other side has too, ``strict``: in the same shape and order.

        A number alone is nobody's; many that are one must be as many on the other side.
        """
        value = self.of[side].values[number]
        if is_constant(value.features):
            return self.is_lone(side, number) or _number(value) in self._constants[side]
        how = self.how[side].get(number)
        return how == "same" if strict else how is not None

    def is_lone(self, side: str, number: int) -> bool:
        """Whether a value is one finite number: whether it is right cannot be told."""
        value = self.of[side].values[number]
        return is_constant(value.features) and _count(value) <= 1 and value.features[1] == 0

    def partner(self, module: str) -> str | None:
        """Return the path of Paddle's module that stands for torch's; None where none does."""
        return self._partners.get(module)

    def partner_of(self, module: str) -> str | None:
        """Return the path of torch's module that stands for Paddle's; None where none does."""
        return self._partners_of.get(module)

    def made_in(self, partner: str, name: str) -> list[Call]:
        """Return torch's calls of a function in the modules that one of Paddle's stands for."""
        return [
            call for call in self.of["torch"].calls
            if not call.part and base(call.name) == base(name) and self._partners.get(call.module) == partner
        ]  # fmt: skip

    def last_in(self, module: str) -> Call | None:
        """Return the last of torch's calls inside a module; None where there is none."""
        calls = (call for call in self.of["torch"].calls[::-1] if not call.part)
        return next((call for call in calls if f"{call.module}.".startswith(f"{module}.")), None)

    def standing_for(self, paddle: Call) -> Call | None:
        """Return torch's call that stands for one of Paddle's: with its weights, or in the module that its module has.

        None where the two sides make not as many such calls.
        """
        return self._standing[0].get(paddle.index)

    def counterpart(self, torch: Call) -> Call | None:
        """Return Paddle's call for which one of torch's stands."""
        return None if torch.part else self._standing[1].get(torch.index)

    def is_made_before(self, torch: Sequence[Call], paddle: Call) -> bool:
        """Whether Paddle makes one of torch's calls that have weights before another call."""
        twins = [self.counterpart(call) for call in torch if self._weights("torch", call)]
        return any(twin is not None and twin.index < paddle.index for twin in twins)

    @functools.cached_property
    def _standing(self) -> tuple[dict[int, Call], dict[int, Call]]:
        """Indices of Paddle's calls to torch's that stand for them, and the other way round."""
        groups: dict[tuple[object, ...], tuple[list[Call], list[Call]]] = defaultdict(lambda: ([], []))
        for place, side in enumerate(("torch", "paddle")):
            for call in self.of[side].calls:
                module = call.module if side == "paddle" else self._partners.get(call.module)
                weights = self._weights(side, call)
                if not call.part and (weights or module is not None):
                    groups[base(call.name), weights or module][place].append(call)
        pairs = [
            pair for torch, paddle in groups.values() if len(torch) == len(paddle)
            for pair in zip(torch, paddle, strict=True)
        ]  # fmt: skip
        return {theirs.index: mine for mine, theirs in pairs}, {mine.index: theirs for mine, theirs in pairs}

    def _weights(self, side: str, call: Call) -> frozenset[tuple[str, int]]:
        """Return the kinds of parameters and tables that a call is given, numbers alone apart.

        Those with most axes: a bias may be added by a call of its own.
        """
        values = self.of[side].values
        given = [
            one.value for one in call.given
            if one.leaf and not one.leaf.startswith("input ") and not is_constant(values[one.value].features)
        ]  # fmt: skip
        axes = max((len(values[value].shape) for value in given), default=0)
        return frozenset(self.kind(side, value) for value in given if len(values[value].shape) == axes)

    def skipped(self, module: str) -> str | None:
        """Return the outermost of torch's modules around one that Paddle has and does not run; None where it does."""
        for end in _ends(module):
            partner = self._partners.get(module[:end])
            if partner is not None and partner not in self._ran:
                return module[:end]
        return None

    def idle(self, module: str) -> str | None:
        """Return the outermost of Paddle's modules that does not run, around what one of torch's stands for."""
        skipped = self.skipped(module)
        path = self._partners[skipped] if skipped is not None else ""
        return next((path[:end] for end in _ends(path) if path[:end] not in self._ran), None) if path else None

    @functools.cached_property
    def _ran(self) -> set[str]:
        """Return the paths of Paddle's modules that run."""
        modules = {call.module for call in self.of["paddle"].calls}
        return {path[:end] for path in modules for end in _ends(path)} | {""}


class Matched(Partners):
    """Two forwards whose values are matched, and the ways through them.

    Args:
        recordings, folders, tolerance, known, partners: see :class:`Partners`.

    Attributes:
        behind: side to what is looked at as the outputs are: what lies behind values that were carried over.
        repaired: side to lines of code that are known to differ.
    """

    def __init__(
        self, recordings: Mapping[str, Recording], folders: Mapping[str, Path], tolerance: float = SAME,
        known: dict[tuple[Path, Path], str] | None = None, partners: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(recordings, folders, tolerance, known, partners)
        self.behind: dict[str, list[Given]] = {"torch": [], "paddle": []}
        self.repaired: dict[str, set[tuple[str, int]]] = {"torch": set(), "paddle": set()}
        self._calls = {side: {c.index: c for c in r.calls if not c.part} for side, r in recordings.items()}
        self._makers: dict[str, dict[tuple[str, int], list[int]]] = defaultdict(lambda: defaultdict(list))
        self._users: dict[str, dict[int, list[Call]]] = {}

    def call(self, side: str, index: int) -> Call | None:
        """Return the call of an index, None where it was looked through."""
        return self._calls[side].get(index)

    def differing(self) -> list[int]:
        """Return the places of outputs that are not the same."""
        returned = {side: r.calls[-1].given for side, r in self.of.items()}
        pairs = zip(returned["torch"], returned["paddle"], strict=True)
        return [i for i, (one, other) in enumerate(pairs) if self._arranged(one.value, other.value) != "same"]

    def is_fine(self, side: str, given: Given, look: Look) -> bool:
        """Whether what a call is given agrees; of parameters, however they are arranged."""
        strict = look.strict and not self._is_parameter(side, given)
        return self.agrees(side, given.value, strict=strict) and not (look.counted and self._is_surplus(side, given))

    def _is_parameter(self, side: str, given: Given) -> bool:
        if given.leaf:
            return True
        call = self.call(side, given.maker)
        return call is not None and base(call.name) in LAYOUT and all(one.leaf for one in call.given)

    def _is_surplus(self, side: str, given: Given) -> bool:
        """Whether a value was computed before, more often than on the other side: the same call twice, not two."""
        call = self.call(side, given.maker)
        if call is None or base(call.name) in LAYOUT:
            return False
        if not self._makers:
            for which in ("torch", "paddle"):
                for one in self.of[which].calls:
                    if not one.part and base(one.name) not in LAYOUT:
                        for value in one.made[:1]:
                            self._makers[which][self.kind(which, value)].append(one.index)
        other = "paddle" if side == "torch" else "torch"
        kind = self.kind(side, given.value)
        there, here = len(self._makers[other].get(kind, ())), self._makers[side].get(kind, [])
        return there > 0 and call.index in here and here.index(call.index) >= there

    def slice(self, side: str, look: Look) -> set[int]:
        """Return the calls on the way to outputs that differ through values that the other side has not."""
        return self._walked(side, look)[0]

    def frontier(self, side: str, look: Look) -> list[Call]:
        """Return the calls on that way whose inputs agree and whose result does not, the earliest first."""
        return self._walked(side, look)[1]

    def _walked(self, side: str, look: Look) -> tuple[set[int], list[Call]]:
        last = self.of[side].calls[-1]
        differing = [last.given[place] for place in self.differing()]
        seen: set[int] = set()
        found: list[Call] = []
        waiting = [given for given in differing if not self.is_fine(side, given, look)]
        if len(waiting) < len(differing):  # the value is one that the other side has: it puts out another
            found.append(last)
        waiting += [given for given in self.behind[side] if not self.is_fine(side, given, look)]
        while waiting:
            given = waiting.pop()
            call = self._calls[side].get(given.maker)
            if call is None or call.index in seen:
                continue
            seen.add(call.index)
            unmatched = [g for g in call.given if not self.is_fine(side, g, look)]
            waiting += [g for g in unmatched if g.maker >= 0]
            if not any(g.maker in self._calls[side] for g in unmatched) and not self._is_repaired(side, call):
                found.append(call)
        return seen, sorted(found, key=lambda call: call.index)

    def _is_repaired(self, side: str, call: Call) -> bool:
        return bool(self.lines(side, [call]) & self.repaired[side])

    def lines(self, side: str, calls: Sequence[Call]) -> set[tuple[str, int]]:
        """Return the files and lines, innermost, of calls."""
        places = [self.of[side].places[place] for call in calls for place in call.places[:1]]
        return {(place.file, place.line) for place in places}

    def reach(self, side: str, call: Call, look: Look) -> list[Call]:
        """Return the calls between values that agree and a call's result, which does not; none if it does."""
        if all(self.is_fine(side, Given(value, call.index), look) for value in call.made):
            return []
        found: dict[int, Call] = {}
        waiting = [call]
        while waiting:
            one = waiting.pop()
            if one.index in found:
                continue
            found[one.index] = one
            for given in one.given:
                maker = self._calls[side].get(given.maker)
                if maker is not None and not self.is_fine(side, given, look):
                    waiting.append(maker)
        return [found[index] for index in sorted(found)]

    def entering(self, side: str, calls: Sequence[Call]) -> set[tuple[str, int]]:
        """Return the kinds of values that some calls are given from outside."""
        inside = {call.index for call in calls}
        values = {g.value for call in calls for g in call.given if g.maker not in inside}
        return {self.kind(side, v) for v in values if not is_constant(self.of[side].values[v].features)}

    def after(self, side: str, calls: Sequence[Call], within: Set[int], most: int) -> list[Call]:
        """Return the next calls of a way that depend on some, those among them."""
        reached = {call.index for call in calls}
        found = list(calls)
        for call in self.of[side].calls:
            if len(found) >= most:
                break
            depends = not call.part and any(given.maker in reached for given in call.given)
            if depends and call.index in within and call.index not in reached:
                reached.add(call.index)
                found.append(call)
        return found

    def users(self, side: str, index: int) -> list[Call]:
        """Return the calls that are given what a call made."""
        if side not in self._users:
            table = self._users[side] = defaultdict(list)
            for call in self.of[side].calls:
                for maker in {g.maker for g in call.given if g.maker >= 0}:
                    if not call.part:
                        table[maker].append(call)
        return self._users[side].get(index, [])

    def alike(self, side: str, call: Call) -> list[Call]:
        """Return the calls of one function that are made on the same line of code, in order."""
        key = self._line(side, call)
        return [one for one in self.of[side].calls if one.name == call.name and self._line(side, one) == key]

    def _line(self, side: str, call: Call) -> tuple[object, ...]:
        places = [self.of[side].places[place] for place in call.places[:1]]
        return tuple((place.file, place.line, place.text) for place in places)

    def ordinal(self, side: str, call: Call) -> tuple[int, int]:
        """Return which of the calls of its function a call is, and of how many."""
        name = base(call.name)
        same = [one.index for one in self.of[side].calls if not one.part and base(one.name) == name]
        return (same.index(call.index), len(same)) if call.index in same else (0, 0)

    def unarranged(self, side: str, given: Given) -> Given:
        """Return what a value is made of by calls that only arrange it, or multiply it with a number."""
        while (maker := self.call(side, given.maker)) is not None:
            arranges = base(maker.name) in LAYOUT - PARTS
            wide = [one for one in maker.given if not self.is_lone(side, one.value)]
            if len(wide) != 1 or not (arranges or base(maker.name) in ("mul", "div")):
                break
            given = wide[0]
        return given

    def is_crossed(self, torch: Call, paddle: Call) -> bool:
        """Whether two products multiply the same two values in each other's places."""
        kinds = []
        for side, call in (("torch", torch), ("paddle", paddle)):
            first = PRODUCTS.get(base(call.name), len(call.given))
            operands = [self.unarranged(side, given) for given in call.given[first : first + 2]]
            kinds.append([self.kind(side, given.value) for given in operands])
        return len(kinds[0]) == 2 and kinds[0] == kinds[1][::-1] != kinds[1]

    def steps(self, side: str, index: int) -> list[Call]:
        """Return what a fused call computes on its way."""
        return [call for call in self.of[side].calls if call.part and call.index == index]

    def is_mirrored(self, one: Given, other: Given) -> bool:
        """Whether torch's argument is Paddle's in another order of axes, and of the same shape."""
        values = self.of["torch"].values[one.value], self.of["paddle"].values[other.value]
        alike = self.kind("torch", one.value) == self.kind("paddle", other.value)
        return alike and values[0].shape == values[1].shape and self._arranged(one.value, other.value) != "same"

    def same(self, one: Given, other: Given) -> bool:
        """Whether torch's argument is Paddle's, constants by their number."""
        mine, theirs = self.of["torch"].values[one.value], self.of["paddle"].values[other.value]
        if is_constant(mine.features) or is_constant(theirs.features):
            return bool(np.allclose(mine.features[2:4], theirs.features[2:4], rtol=self._tolerance, atol=0.0))
        return self.kind("torch", one.value) == self.kind("paddle", other.value)


def is_in_place(call: Call) -> bool:
    """Whether a call's name says that it writes into what it is given."""
    return call.name.endswith("_") and not call.name.endswith("__")


def _ends(path: str) -> list[int]:
    """Return where the paths of the modules around one end, the outermost first, its own last."""
    return [place for place, letter in enumerate(path) if letter == "."] + [len(path)]


def is_one_shape(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes are one, or one is the other repeated as broadcasting does: ``[1, n]`` and ``[b, n]``."""
    try:
        both = np.broadcast_shapes(one, other)
    except ValueError:
        return False
    return len(both) in {len(one), len(other)} and any(both == (1,) * (len(both) - len(s)) + s for s in (one, other))


def _number(value: Value) -> tuple[int, str]:
    """Return how many a constant has, and of which number: of infinities and NaN, that it is none."""
    odd = value.features[1] > 0
    return _count(value), "none" if odd else f"{value.features[2] * value.features[3]:.9g}"


def _count(value: Value) -> int:
    return int(np.prod(value.shape))


def computed_alike(matched: Matched, side: str) -> set[int]:
    """Return the calls that compute something and whose result the other side has."""
    values = matched.of[side].values
    return {
        call.index for call in matched.of[side].calls
        if base(call.name) not in LAYOUT and call.name != RETURN and not call.part and call.made
        and all(matched.agrees(side, made) and not is_constant(values[made].features) for made in call.made)
    }  # fmt: skip
