"""Nested tuples, lists, dictionaries and dataclasses of tensors, taken apart and put together again.

A type of a framework's own that is more than a tuple (torch's ``PackedSequence``) stays whole: its tensors depend on
each other.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def leaves(tree: Any, is_leaf: Callable[[object], bool]) -> Iterator[Any]:
    """Yield the tensors of a nested structure, in order."""
    if is_leaf(tree):
        yield tree
        return
    for value in _parts(tree).values():
        yield from leaves(value, is_leaf)


def rebuild(tree: Any, is_leaf: Callable[[object], bool], replacements: Iterator[Any]) -> Any:
    """Return the same structure with its tensors replaced, in order; what holds none is handed on as it is."""
    if is_leaf(tree):
        return next(replacements)
    parts = _parts(tree)
    if not parts:
        return tree
    made = {key: rebuild(value, is_leaf, replacements) for key, value in parts.items()}
    if all(made[key] is value for key, value in parts.items()):
        return tree
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*made.values())
    if isinstance(tree, (tuple, list)):
        return type(tree)(tuple(made.values()))
    other = copy.copy(tree)
    for key, value in made.items():
        if isinstance(other, Mapping):
            other[key] = value  # type: ignore[index]
        else:
            object.__setattr__(other, key, value)
    return other


def _parts(tree: Any) -> dict[Any, Any]:
    """Return what a container holds, by key, field or place; nothing for what is none."""
    if isinstance(tree, Mapping):
        return dict(tree)
    if isinstance(tree, (tuple, list)):
        return {} if _is_of_a_framework(type(tree)) else dict(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return {}


def _is_of_a_framework(kind: type) -> bool:
    """Whether a tuple or list is a framework's own, but for what its functions return, which are plain."""
    package, _, rest = kind.__module__.partition(".")
    return package in ("torch", "paddle") and rest != "return_types"


def name_outputs(result: Any, names: tuple[str, ...], is_leaf: Callable[[object], bool]) -> dict[str, Any]:
    """Name what a model returned.

    A dictionary must have the names among its keys; anything else is taken apart in order. What has no name is left
    out.

    Raises:
        ValueError: the model returned fewer outputs than the port names.
    """
    if isinstance(result, Mapping):
        if not set(names) <= set(result):
            raise ValueError(f"the port names the outputs {list(names)}, the model returned {sorted(map(str, result))}")
        return {name: result[name] for name in names}
    tensors = list(leaves(result, is_leaf))
    if len(tensors) < len(names):
        raise ValueError(f"the port names {len(names)} outputs ({', '.join(names)}), the model returned {len(tensors)}")
    return dict(zip(names, tensors[: len(names)], strict=True))


def unnamed_outputs(result: Any, names: tuple[str, ...], is_leaf: Callable[[object], bool]) -> list[str]:
    """Return what :func:`name_outputs` leaves out: the keys of a dictionary, else how many tensors."""
    if isinstance(result, Mapping):
        return [str(key) for key, value in result.items() if key not in names and list(leaves(value, is_leaf))]
    more = len(list(leaves(result, is_leaf))) - len(names)
    return [f"{more} more"] if more > 0 else []


def names_of(result: Any, is_leaf: Callable[[object], bool]) -> dict[str, Any]:
    """Name all tensors that a model returned: a dictionary's or a dataclass's by key, others "out", or by place."""
    parts = _parts(result) if not isinstance(result, (tuple, list)) or hasattr(result, "_fields") else {}
    named = {str(key): value for key, value in parts.items() if is_leaf(value)}
    if isinstance(result, Mapping) or (named and len(named) == len(list(leaves(result, is_leaf)))):
        return named
    tensors = list(leaves(result, is_leaf))
    return {"out": tensors[0]} if len(tensors) == 1 else {f"out{place}": t for place, t in enumerate(tensors)}
