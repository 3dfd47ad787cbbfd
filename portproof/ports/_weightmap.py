"""How the names and layouts of two state dicts correspond: what a port's author writes down."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from portproof._errors import BadInput


@dataclass(frozen=True)
class Split:
    """One tensor of one side is several of the other, cut along an axis (a packed QKV projection).

    Args:
        into: names of the parts on the other side, in order. They may use the placeholders of the key.
        axis: axis of the whole along which it is cut.
        transpose: whether each part (a matrix) is stored transposed.
        whole: the side that holds the tensor in one piece.
        sizes: of the parts along ``axis``, in order; default: equal parts.
        groups: in how many groups the whole is first cut, each with its share of every part: a projection that keeps
            query, key and value of each head together has as many groups as heads.
    """

    into: Sequence[str]
    axis: int = 0
    transpose: bool = False
    whole: Literal["paddle", "torch"] = "torch"
    sizes: Sequence[int] | None = None
    groups: int = 1

    def __post_init__(self) -> None:
        if not self.into or self.axis < 0 or self.groups < 1 or min(self.sizes or (0,)) < 0:
            raise BadInput(
                "Split: name at least one part, an axis and sizes from 0 on, and groups from 1 on; found "
                f"{len(self.into)} parts, axis {self.axis}, sizes {self.sizes}, groups {self.groups}."
            )


@dataclass(frozen=True)
class Permute:
    """One tensor's axes are ordered otherwise: ``paddle = torch.transpose(axes)``."""

    axes: Sequence[int]


@dataclass(frozen=True)
class Reshape:
    """One tensor's elements, in the same order, under another shape.

    Args:
        axes: the order into which torch's axes are put first; default: as they are. A 1x1 convolution that is a Linear
            in Paddle is ``Reshape((1, 0, 2, 3))``.
    """

    axes: Sequence[int] | None = None


Transform = Split | Permute | Reshape


@dataclass(frozen=True)
class WeightMap:
    """Names that differ, tensors left out on purpose, and layouts that no layer type explains.

    What a layer's type does to its tensors (a Linear is transposed, BatchNorm's statistics are renamed) is known
    and need not be said.

    Args:
        rename: torch path to paddle path, of modules or tensors; literal but for ``{placeholders}``, each of
            which stands for one dotted component, and may be left out on the right. The longest path that fits
            wins, of two the one with fewer placeholders.
        ignore: path of a tensor, or of a module with all that is in it, on either side, to the reason why it is left
            out. It may have placeholders.
        transforms: torch name to :class:`Split`, :class:`Permute` or :class:`Reshape`; for
            ``Split(whole="paddle")`` the key is the paddle name.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    ignore: Mapping[str, str] = field(default_factory=dict)
    transforms: Mapping[str, Transform] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for source, target in self.rename.items():
            for path in (source, target):
                _require_placeholders(path)
            _require_known("rename", source, target)
        for path in (*self.ignore, *self.transforms):
            _require_placeholders(path)
        for name, transform in self.transforms.items():
            for part in transform.into if isinstance(transform, Split) else ():
                _require_known("transforms", name, part)
        for name, reason in self.ignore.items():
            if not reason.strip():
                raise BadInput(f"WeightMap: ignore['{name}'] needs a reason; it is printed with every account.")

    def paddle_path(self, torch_path: str) -> str:
        """Translate a torch module or tensor path by the longest rename that fits it."""
        best, renamed = (-1, 0), torch_path
        for source, target in self.rename.items():
            found = match(source, torch_path, prefix=True)
            rank = (len(source.split(".")), -len(_placeholders(source)))
            if found is not None and rank > best and _counts(target, found[0]):
                values, rest = found
                best, renamed = rank, ".".join(filter(None, (fill(target, values), rest)))
        return renamed

    def reason_to_ignore(self, name: str) -> str | None:
        """Return why a tensor is left out, None where it is not."""
        for pattern, reason in self.ignore.items():
            if match(pattern, name, prefix=True) is not None:
                return reason
        return None

    def unused(self, names: Mapping[str, Collection[str]]) -> list[str]:
        """Say which entries of the map fit nothing, and what comes nearest.

        Args:
            names: side to the paths of its modules and tensors.
        """
        everywhere = {*names["torch"], *names["paddle"]}
        wholes = {k: names[t.whole if isinstance(t, Split) else "torch"] for k, t in self.transforms.items()}
        asked = [
            *(("rename", pattern, names["torch"], True) for pattern in self.rename),
            *(("ignore", pattern, everywhere, True) for pattern in self.ignore),
            *(("transforms", pattern, wholes[pattern], False) for pattern in self.transforms),
        ]
        return [
            f"{what}['{pattern}'] fits nothing{_nearest(pattern, known)}"
            for what, pattern, known, prefix in asked
            if all(match(pattern, name, prefix=prefix) is None for name in known)
        ]


def to_json(weights: WeightMap) -> dict[str, Any]:
    """Return the map as plain dictionaries."""
    transforms = {name: {"type": type(t).__name__, **asdict(t)} for name, t in weights.transforms.items()}
    return {"rename": dict(weights.rename), "ignore": dict(weights.ignore), "transforms": transforms}


def from_json(document: Mapping[str, Any]) -> WeightMap:
    """Read back what :func:`to_json` wrote.

    Raises:
        ValueError, BadInput: it is something else.
    """
    from portproof._disk import as_kind

    kinds: dict[str, type[Transform]] = {"Split": Split, "Permute": Permute, "Reshape": Reshape}
    transforms: dict[str, Transform] = {}
    for name, fields in as_kind(dict[str, dict[str, Any]], document.get("transforms", {})).items():
        kind = kinds.get(as_kind(str, fields.get("type")))
        if kind is None:
            raise ValueError(f"'{fields['type'][:40]}' is no transform; there are {', '.join(kinds)}")
        transforms[name] = as_kind(kind, {key: value for key, value in fields.items() if key != "type"})
    rename, ignore = (as_kind(dict[str, str], document.get(key, {})) for key in ("rename", "ignore"))
    return WeightMap(rename, ignore, transforms)


def _nearest(pattern: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(re.sub(r"\{\w+\}", "0", pattern), names, n=1)
    return f"; the nearest name is '{near[0]}'" if near else ""


#: A placeholder, and what is added to the number that it stands for.
_PLACE = re.compile(r"\{(\w+?)([+-]\d+)?\}")


def _placeholders(pattern: str) -> list[str]:
    return [name for name, _ in _PLACE.findall(pattern)]


def _require_known(what: str, source: str, target: str) -> None:
    unknown = set(_placeholders(target)) - set(_placeholders(source))
    if unknown:
        raise BadInput(
            f"WeightMap: {what} '{source}' to '{target}': nothing says what {{{', '.join(sorted(unknown))}}} "
            "stands for; the left side has it not."
        )


def _require_placeholders(pattern: str) -> None:
    wrong = [name for name in re.findall(r"\{(\w+)\}", pattern) if not name.isidentifier() or name == "_rest"]
    if wrong:
        raise BadInput(f"WeightMap: '{pattern}': a placeholder is a word, such as {{n}}; '{wrong[0]}' is none.")


def _counts(pattern: str, values: Mapping[str, str]) -> bool:
    """Whether every placeholder that is counted otherwise stands for a number, and gives one."""
    moved = [(values[name], int(by)) for name, by in _PLACE.findall(pattern) if by]
    return all(value.isdecimal() and int(value) + by >= 0 for value, by in moved)


def match(pattern: str, name: str, *, prefix: bool = False) -> tuple[dict[str, str], str] | None:
    """Match a dotted name, or the head of it, against a pattern with ``{placeholders}``.

    Returns:
        The placeholders' values and what follows the matched head; None where it does not fit.
    """
    parts = re.split(r"\{(\w+)\}", pattern)
    regex = "".join(
        (f"(?P={part})" if part in parts[1:index:2] else f"(?P<{part}>[^.]+)") if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )
    found = re.fullmatch(regex + (r"(?:\.(?P<_rest>.*))?" if prefix else ""), name)
    if found is None:
        return None
    values = found.groupdict()
    return values, values.pop("_rest", None) or ""


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Put the placeholders' values into a pattern."""
    return _PLACE.sub(
        lambda found: str(int(values[found[1]]) + int(found[2])) if found[2] else values[found[1]], pattern
    )
