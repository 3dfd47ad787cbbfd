"""A found pairing as the :class:`WeightMap` that a person would write: every entry of it checked by applying it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portproof.convert._account import Account, TensorRow, known_parts, match_states
from portproof.frameworks._entries import Entry
from portproof.frameworks._layers import BY_NAME, same_layer
from portproof.maps._names import likeness
from portproof.maps._rules import general, rules_of
from portproof.maps._search import PADDLE, TORCH, Searching
from portproof.maps._told import Pair, assigned
from portproof.maps._units import FLOATS, Unit
from portproof.ports._port import LEADING, Side
from portproof.ports._weightmap import Permute, Reshape, Split, Transform, WeightMap, fill, match
from portproof.sides._tasks import Description

Axes = tuple[int, ...] | None
#: Columns of a map as it is printed.
_WIDTH = 100


@dataclass(frozen=True)
class Link:
    """Tensors that correspond, in whole.

    Attributes:
        torch, paddle: first names, several on the side that holds the parts of the other's.
        axes: from torch's layout to Paddle's, of the tensor or of each part; None: as it is.
        reshaped: whether their shapes differ by more than that.
        pairs: places of the pairs that it was made of.
        cut: of a split: the axis of the whole, sizes of the parts, groups.
    """

    torch: tuple[str, ...]
    paddle: tuple[str, ...]
    axes: Axes
    reshaped: bool
    pairs: tuple[int, ...]
    cut: tuple[int, tuple[int, ...], int] | None = None

    def names(self, side: Side) -> tuple[str, ...]:
        """Return the first names on one side."""
        return self.torch if side is TORCH else self.paddle


def layout(torch: Unit, ours: tuple[int, ...], paddle: Unit, theirs: tuple[int, ...]) -> tuple[Axes, bool]:
    """Return the permutation from torch's layout to Paddle's, None for none, and whether a reshape follows it.

    Args:
        torch, paddle: of the same sizes; Paddle's joins its axes, if it does, in their order.
        ours, theirs: the order of each one's axes (those of more than one element) in which it is canonical.
    """
    axes, reshaped = _turned(torch, ours, paddle, theirs)
    if torch.view is not None:
        wide = [axis for axis in axes or range(len(torch.shape)) if torch.shape[axis] != 1]
        axes = tuple(itertools.chain(*(torch.view.groups[axis] for axis in wide)))
        axes = (*axes, *(axis for axis in range(len(torch.view.shape)) if axis not in axes))
        axes = None if axes == tuple(range(len(axes))) else axes
    return axes, bool(reshaped or torch.view or paddle.view)


def _turned(torch: Unit, ours: tuple[int, ...], paddle: Unit, theirs: tuple[int, ...]) -> tuple[Axes, bool]:
    wide = {unit.side: [axis for axis, size in enumerate(unit.shape) if size != 1] for unit in (torch, paddle)}
    goes = {wide[PADDLE][b]: wide[TORCH][a] for a, b in zip(ours, theirs, strict=True)}
    rest = [axis for axis in range(len(torch.shape)) if axis not in wide[TORCH]]
    plain = [goes[axis] for axis in sorted(goes)] == wide[TORCH]
    if plain and torch.shape == paddle.shape:
        return None, False
    if len(torch.shape) == len(paddle.shape):
        ones = iter(rest)
        return tuple(goes[axis] if axis in goes else next(ones) for axis in range(len(paddle.shape))), False
    return (None if plain else (*(goes[axis] for axis in sorted(goes)), *rest)), True


def links_of(search: Searching) -> tuple[list[Link], list[str]]:
    """Join the parts of tensors that were taken apart; returns also what no map can say, in words."""
    links: list[Link] = []
    odd: list[str] = []
    apart: dict[tuple[Side, str], list[tuple[int, Pair]]] = {}
    for place, pair in enumerate(search.pairs):
        units = [(search.units[side][unit], order) for side in LEADING for unit, order in pair.of(side)]
        whole = next((unit for unit, _ in units if unit.cut is not None), None)
        if whole is not None:
            apart.setdefault((whole.side, whole.entry.name), []).append((place, pair))
        elif len(units) == 2:
            (torch, ours), (paddle, theirs) = units
            if paddle.view is not None and paddle.view.axes != tuple(range(len(paddle.view.shape))):
                odd.append(f"paddle '{paddle}' has its axes in an order that no reshape of '{torch}' has")
                continue
            turned = layout(torch, ours, paddle, theirs)
            links += [Link((one,), (other,), *turned, (place,)) for one, other in _named(torch, paddle)]
        else:
            links += _untied(search, place, pair)
    for (side, name), parts in apart.items():
        link = _joined(search, side, parts)
        if isinstance(link, str):
            odd.append(f"{side} '{name}': {link}")
        else:
            links.append(link)
    return links, odd


def _named(torch: Unit, paddle: Unit) -> list[tuple[str, str]]:
    """Return the names of one tensor in pairs, those of one layer and like name.

    The first names are among them: the further ones of the side that has more go with its first.
    """
    return [(one.name, other.name) for one, other in _alike(torch.entries, paddle.entries)]


def _alike(torch: Sequence[Entry], paddle: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    unlike = np.array(
        [[2 - same_layer(one.layer, other.layer) - likeness(one.name, other.name) for other in paddle] for one in torch]
    )
    if len(torch) != len(paddle):
        unlike[0] -= 4
        unlike[:, 0] -= 4
    return [(torch[i], paddle[j]) for i, j in assigned(unlike)]


def _untied(search: Searching, place: int, pair: Pair) -> list[Link]:
    """Return a link for each name of a tensor that only one side ties."""
    orders = {side: {search.units[side][unit].entry.name: order for unit, order in pair.of(side)} for side in LEADING}
    units = {side: [search.units[side][unit] for unit, _ in pair.of(side)] for side in LEADING}
    entries = {side: [entry for unit in own for entry in unit.entries] for side, own in units.items()}
    made = []
    for torch, paddle in _alike(entries[TORCH], entries[PADDLE]):
        one, other = (replace(units[side][0], entries=(e,)) for side, e in ((TORCH, torch), (PADDLE, paddle)))
        ours = orders[TORCH].get(torch.name) or next(iter(orders[TORCH].values()))
        theirs = orders[PADDLE].get(paddle.name) or next(iter(orders[PADDLE].values()))
        shapes = replace(one, shape=torch.shape), replace(other, shape=paddle.shape)
        made.append(Link((torch.name,), (paddle.name,), *layout(shapes[0], ours, shapes[1], theirs), (place,)))
    return made


def _joined(search: Searching, side: Side, parts: Sequence[tuple[int, Pair]]) -> Link | str:
    """Return the link of a tensor that was taken apart: to one of the other side, or to several."""
    found = sorted((search.units[side][pair.of(side)[0][0]].part, place, pair) for place, pair in parts)
    mine = [search.units[side][pair.of(side)[0][0]] for _, _, pair in found]
    yours = [search.units[side.other][pair.of(side.other)[0][0]] for _, _, pair in found]
    cut = mine[0].cut
    assert cut is not None
    if len(found) != len(cut.sizes):
        return f"only {len(found)} of its {len(cut.sizes)} parts have a partner"
    axes = set()
    for _, _, pair in found:
        ours, theirs = (search.units[one][pair.of(one)[0][0]] for one in LEADING)
        axes.add(layout(ours, pair.torch[0][1], theirs, pair.paddle[0][1]))
    if len(axes) > 1:
        return "its parts are laid out in different ways, which no map can say"
    ((turned, reshaped),) = axes
    names, places = tuple(unit.entry.name for unit in yours), tuple(place for _, place, _ in found)
    if len(set(names)) == 1 and (order := [unit.part for unit in yours]) != sorted(order):
        said = ", ".join(str(part + 1) for part in order)
        return f"its {len(order)} parts are those of '{names[0]}' in the order {said}: gates, say, which no map moves"
    whole = (mine[0].entry.name,)
    if len(set(names)) == 1 and all(unit.part == part for unit, (part, _, _) in zip(yours, found, strict=True)):
        split, others = None, names[:1]
    elif len(set(names)) < len(names) or reshaped or turned not in (None, (1, 0)):
        return f"its parts are {', '.join(map(str, yours))}, which no map can say"
    else:
        split, others = (cut.axis, cut.sizes, cut.groups), names
    torch, paddle = (whole, others) if side is TORCH else (others, whole)
    return Link(torch, paddle, turned, reshaped, places, split)


@dataclass(frozen=True)
class Written:
    """A map, and what it says of the two state dicts.

    Attributes:
        weights: the map.
        account: what follows from it.
        missed: links that it does not express, in words; empty for a map that is right.
    """

    weights: WeightMap
    account: Account
    missed: tuple[str, ...]


def written(
    links: Sequence[Link], described: Mapping[Side, Description], reasons: Mapping[tuple[Side, str], str]
) -> Written:
    """Write links down as a map with few rules, and see that the map says what the links do.

    Args:
        links: tensors that correspond.
        described: both sides.
        reasons: side and name of what is left out, and why.
    """
    entries = {side: {entry.name: entry for entry in described[side].entries} for side in LEADING}
    literal: dict[str, str] = {}
    ignored = {name: reason for (_, name), reason in reasons.items()}
    singles = [link for link in links if link.cut is None]
    wanted = {link.torch[0]: link for link in singles}
    transforms: dict[str, Transform] = {}
    for _ in range(4):
        rename = rules_of([*_paths(links, entries, set(literal)), *literal.items()])
        weights = WeightMap(rename, ignored, {**_splits(links, entries, rename), **transforms})
        account = _account(weights, described)
        before = len(literal), len(transforms), len(ignored)
        unlike = {problem.name for problem in account.problems if problem.kind == "layer"}
        rows = {name: row for row in account.rows for name in row.torch}
        for name, link in wanted.items():
            row = rows.get(name)
            if row is None or not _names_of(row.paddle, entries[PADDLE]) & set(link.paddle):
                literal[name] = link.paddle[0]
            elif _axes(row) != link.axes or (row.transform == "reshape") != link.reshaped or name in unlike:
                transforms[name] = _transform(link, entries)
        ignored |= _surplus(account, entries, links)
        if before == (len(literal), len(transforms), len(ignored)):
            break
    compact = _compact(weights, entries)
    if _same(_account(compact, described), account):
        weights, account = compact, _account(compact, described)
    return Written(weights, account, tuple(_missed(links, account, entries)))


def _account(weights: WeightMap, described: Mapping[Side, Description]) -> Account:
    parts = known_parts(weights, described[TORCH].modules)
    return match_states(described[TORCH].entries, described[PADDLE].entries, parts)


def _paths(
    links: Sequence[Link], entries: Mapping[Side, Mapping[str, Entry]], literal: set[str]
) -> list[tuple[str, str]]:
    """Return the pairs of module paths, or of names where a module's do not go with it, that renames have to make."""
    wanted: dict[str, dict[str, int]] = {}
    alone: list[tuple[str, str]] = []
    homes: list[tuple[Link, str, str]] = []
    for link in links:
        torch, paddle = entries[TORCH][link.torch[0]], entries[PADDLE][link.paddle[0]]
        rule = BY_NAME.get(torch.layer)
        leaf = torch.name.rpartition(".")[2]
        target = paddle.name
        usual = f".{rule.names.get(leaf, leaf) if rule else leaf}"
        if rule is not None and leaf in rule.splits:
            usual = f".{rule.splits[leaf][0][0]}"
        elif link.cut is not None:
            continue  # a split names its parts itself
        if torch.module and target.endswith(usual) and torch.name not in literal:
            home = target.removesuffix(usual)
            wanted.setdefault(torch.module, {}).setdefault(home, 0)
            wanted[torch.module][home] += 1
            homes.append((link, torch.module, home))
        else:
            alone.append((torch.name, target))
    chosen = {module: max(options, key=lambda home: options[home]) for module, options in wanted.items()}
    alone += [(link.torch[0], link.paddle[0]) for link, module, home in homes if home != chosen[module]]
    return [*chosen.items(), *alone]


def _splits(
    links: Sequence[Link], entries: Mapping[Side, Mapping[str, Entry]], rename: Mapping[str, str]
) -> dict[str, Transform]:
    """Return the splits that no layer's type makes by itself."""
    found: dict[str, Transform] = {}
    weights = WeightMap(rename)
    for link in links:
        if link.cut is None:
            continue
        side = TORCH if len(link.torch) == 1 else PADDLE
        whole, parts = entries[side][link.names(side)[0]], link.names(side.other)
        rule, leaf = BY_NAME.get(whole.layer), whole.name.rpartition(".")[2]
        axis, sizes, groups = link.cut
        if side is TORCH and rule is not None and leaf in rule.splits and groups == 1 and len(set(sizes)) == 1:
            usual = tuple(f"{weights.paddle_path(whole.module)}.{name}".lstrip(".") for name in rule.splits[leaf][0])
            if usual == parts and axis == 0:
                continue
        equal = None if len(set(sizes)) == 1 else sizes
        found[whole.name] = Split(
            parts, axis, link.axes == (1, 0), "torch" if side is TORCH else "paddle", equal, groups
        )
    return found


def _transform(link: Link, entries: Mapping[Side, Mapping[str, Entry]]) -> Transform:
    vector = link.axes is None and len(entries[TORCH][link.torch[0]].shape) < 2
    if link.reshaped or vector:  # said to be right, whatever layers the two belong to
        return Reshape(link.axes)
    return Permute(link.axes or tuple(range(len(entries[TORCH][link.torch[0]].shape))))


def _surplus(account: Account, entries: Mapping[Side, Mapping[str, Entry]], links: Sequence[Link]) -> dict[str, str]:
    """Return reasons for what one side alone keeps beside its parameters, or keeps in another form."""
    linked = {name for link in links for side in LEADING for name in link.names(side)}
    found: dict[str, str] = {}
    for problem in account.problems:
        for side in LEADING:
            entry = entries[side].get(problem.name)
            if entry is None or entry.name in linked or (entry.kind == "parameter" and entry.dtype in FLOATS):
                continue
            found[entry.name] = f"a buffer that {side.title} computes for itself"
    return found


def _names_of(names: Sequence[str], entries: Mapping[str, Entry]) -> set[str]:
    """Return all names of some tensors."""
    first = {entries[name].tied or name for name in names}
    return first | {entry.name for entry in entries.values() if entry.tied in first}


def _missed(links: Sequence[Link], account: Account, entries: Mapping[Side, Mapping[str, Entry]]) -> list[str]:
    """Return, in words, what a map does not say as the links do."""
    said = [problem.message for problem in account.problems]
    rows = {name: row for row in account.rows for name in row.torch}
    for link in links:
        for torch in link.torch:
            row = rows.get(torch)
            if row is None:
                said.append(f"torch '{torch}' has no row")
            elif not _names_of(row.paddle, entries[PADDLE]) >= set(link.paddle):
                said.append(f"torch '{torch}' goes to '{row.paddle[0]}', not to '{link.paddle[0]}'")
            elif link.cut is None and row.transform != "tied" and _axes(row) != link.axes:
                said.append(f"torch '{torch}' is turned by {row.axes}, not by {link.axes}")
    return said


def _axes(row: TensorRow) -> Axes:
    """Return a row's permutation, None where it leaves the axes as they are."""
    return None if row.axes == tuple(range(len(row.axes or ()))) else row.axes


def _same(one: Account, other: Account) -> bool:
    key = lambda row: (row.torch, row.paddle)  # noqa: E731
    alike = sorted(one.rows, key=key) == sorted(other.rows, key=key)
    return alike and not one.problems and sorted(one.ignored) == sorted(other.ignored)


def _compact(weights: WeightMap, entries: Mapping[Side, Mapping[str, Entry]]) -> WeightMap:
    """Return a map whose transforms and ignores have placeholders where they repeat."""
    everywhere = {*entries[TORCH], *entries[PADDLE]}
    ignore: dict[str, str] = {}
    for reason in dict.fromkeys(weights.ignore.values()):
        ignore |= dict.fromkeys(general([n for n, why in weights.ignore.items() if why == reason], everywhere), reason)
    transforms: dict[str, Transform] = {}
    left = dict(weights.transforms)
    while left:
        name, transform = next(iter(left.items()))
        pattern, covered, general_ = _shared(name, transform, left)
        transforms[pattern] = general_
        for one in covered:
            del left[one]
    return WeightMap(weights.rename, ignore, transforms)


def _shared(name: str, transform: Transform, left: Mapping[str, Transform]) -> tuple[str, list[str], Transform]:
    """Return the widest pattern of a transform's name under which others are the same one."""
    for pattern in general([name], [name]):
        values = match(pattern, name)
        assert values is not None
        made = _with_places(transform, values[0])
        covered = [
            other for other, own in left.items()
            if (found := match(pattern, other)) is not None and _filled(made, found[0]) == own
        ]  # fmt: skip
        fits = [other for other in left if match(pattern, other) is not None]
        if len(covered) > 1 and covered == fits:
            return pattern, covered, made
    return name, [name], transform


def _with_places(transform: Transform, values: Mapping[str, str]) -> Transform:
    """Return a split whose parts have the placeholders of its key: the first number that is equal, each once."""
    if not isinstance(transform, Split):
        return transform
    made = []
    for part in transform.into:
        pieces = part.split(".")
        for place, value in values.items():
            if value in pieces:
                pieces[pieces.index(value)] = f"{{{place}}}"
        made.append(".".join(pieces))
    return replace(transform, into=tuple(made))


def _filled(transform: Transform, values: Mapping[str, str]) -> Transform:
    if not isinstance(transform, Split):
        return transform
    return replace(transform, into=tuple(fill(part, values) for part in transform.into))


def source_of(weights: WeightMap) -> str:
    """Return a map as a person would type it."""
    renames = [f"    {_quoted(k)}: {_quoted(v)}," for k, v in weights.rename.items()]
    more = [
        (name, [_entry(key, value) for key, value in entries.items()])
        for name, entries in (("ignore", weights.ignore), ("transforms", weights.transforms))
        if entries
    ]
    text = "WeightMap({\n" + "\n".join(renames) + "\n}" if renames else "WeightMap({}" if more else "WeightMap("
    for name, lines in more:
        text += f", {name}={{\n" + "\n".join(lines) + "\n}"
    return text + ")"


def _entry(key: str, value: str | Transform) -> str:
    """Return a line of a dictionary; the parts of a split a line each where they are long."""
    line = f"    {_quoted(key)}: {_spelt(value)},"
    if len(line) <= _WIDTH or not isinstance(value, Split):
        return line
    parts = ", ".join(map(_quoted, value.into))
    apart = "".join(f"\n        {_quoted(part)}," for part in value.into)
    return line.replace(f"({parts})", f"({apart}\n    )")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _spelt(value: str | Transform) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Permute):
        return f"Permute({tuple(value.axes)})"
    if isinstance(value, Reshape):
        return "Reshape()" if value.axes is None else f"Reshape({tuple(value.axes)})"
    said = [f"({', '.join(map(_quoted, value.into))})"]
    said += [f"axis={value.axis}"] if value.axis else []
    said += ["transpose=True"] if value.transpose else []
    said += ['whole="paddle"'] if value.whole == "paddle" else []
    said += [f"sizes={tuple(value.sizes)}"] if value.sizes is not None else []
    said += [f"groups={value.groups}"] if value.groups > 1 else []
    return f"Split({', '.join(said)})"


def shown(row: TensorRow) -> str:
    """Return a row in words."""
    return f"{' + '.join(row.torch)} ↔ {' + '.join(row.paddle)}"
