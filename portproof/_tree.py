"""Nested tuples, lists and dictionaries of tensors, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def leaves(tree: Any, is_leaf: Callable[[object], bool]) -> Iterator[Any]:
    """Yield the tensors of a nested structure, in order."""
    if is_leaf(tree):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from leaves(value, is_leaf)
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from leaves(value, is_leaf)


def rebuild(tree: Any, is_leaf: Callable[[object], bool], replacements: Iterator[Any]) -> Any:
    """Return the same structure with its tensors replaced, in order."""
    if is_leaf(tree):
        return next(replacements)
    if isinstance(tree, dict):
        return type(tree)((key, rebuild(value, is_leaf, replacements)) for key, value in tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuild(value, is_leaf, replacements) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(rebuild(value, is_leaf, replacements) for value in tree)
    return tree


def name_outputs(result: Any, names: tuple[str, ...], is_leaf: Callable[[object], bool]) -> dict[str, Any]:
    """Name what a model returned.

    A dictionary must have the names as keys; anything else is taken apart in order.

    Raises:
        ValueError: the model returned other outputs than the port names.
    """
    if isinstance(result, Mapping):
        if set(result) != set(names):
            raise ValueError(f"the port names the outputs {list(names)}, the model returned {sorted(map(str, result))}")
        return {name: result[name] for name in names}
    tensors = list(leaves(result, is_leaf))
    if len(tensors) != len(names):
        raise ValueError(f"the port names {len(names)} outputs ({', '.join(names)}), the model returned {len(tensors)}")
    return dict(zip(names, tensors, strict=True))
