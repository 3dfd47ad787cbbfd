"""Which tensors cross a module's boundary, so that two calls written differently can be held side by side.

A tensor that is handed over several times counts once: ``attention(x)`` of one framework is ``attention(x, x, x)`` of
the other. Layers whose frameworks disagree on masks or on extra results are held to what they share.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portproof.frameworks._tree import leaves, rebuild

IsTensor = Callable[[object], bool]


@dataclass(frozen=True)
class Shared:
    """What both frameworks' calls of a layer type have in common.

    Attributes:
        inputs: names of the arguments that count, in order.
        outputs: how many of the returned tensors count.
    """

    inputs: tuple[str, ...]
    outputs: int


#: Masks have opposite meanings and other shapes, and the attention weights come back on request.
SHARED = {
    "MultiheadAttention": Shared(("query", "key", "value"), 1),
    **dict.fromkeys(("TransformerEncoder", "TransformerEncoderLayer"), Shared(("src",), 1)),
    **dict.fromkeys(("TransformerDecoder", "TransformerDecoderLayer"), Shared(("tgt", "memory"), 1)),
    "Transformer": Shared(("src", "tgt"), 1),
}


def given(layer: str, args: Sequence[Any], kwargs: Mapping[str, Any], is_tensor: IsTensor) -> list[Any]:
    """Return the tensors that a call hands to a module, each once."""
    shared = SHARED.get(layer)
    if shared is None:
        return _once((args, kwargs), is_tensor)
    return _once([*args[: len(shared.inputs)], *(kwargs.get(name) for name in shared.inputs)], is_tensor)


def parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a forward's positional parameters; none where it cannot be asked."""
    try:
        found = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def named(
    layer: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any], is_tensor: IsTensor
) -> list[str]:
    """Name the tensors of :func:`given`, in its order: by parameter, and by place in what holds several.

    Args:
        layer: the module's type.
        names: of the forward's parameters; what is beyond them has no name.
        args, kwargs: of the call.
        is_tensor: of the framework.
    """
    shared = SHARED.get(layer)
    names = names if shared is None else shared.inputs
    values = [(names[i] if i < len(names) else "", value) for i, value in enumerate(args)] + list(kwargs.items())
    found: dict[int, str] = {}
    for name, value in values:
        if shared is not None and name not in shared.inputs:
            continue
        for place, tensor in enumerate(leaves(value, is_tensor)):
            found.setdefault(id(tensor), name if tensor is value or not name else f"{name}.{place}")
    return list(found.values())


def matched(own: Sequence[str], recorded: Sequence[str]) -> list[tuple[int, int]]:
    """Pair arguments of two calls: by name first, what is left by position.

    Returns:
        Places in ``own`` and in ``recorded``, in the order of ``recorded``; what one call has more is in no pair.
    """
    places = {name: i for i, name in enumerate(own) if name}
    pairs = [(places[name], j) for j, name in enumerate(recorded) if name in places]
    rest = [i for i in range(len(own)) if i not in {i for i, _ in pairs}]
    others = [j for j in range(len(recorded)) if j not in {j for _, j in pairs}]
    return sorted([*pairs, *zip(rest, others, strict=False)], key=lambda pair: pair[1])


def returned(layer: str, result: Any, is_tensor: IsTensor) -> list[Any]:
    """Return the tensors that a module returns, each once."""
    tensors = _once(result, is_tensor)
    return tensors[: SHARED[layer].outputs] if layer in SHARED else tensors


def exchanged(tree: Any, before: Sequence[Any], after: Sequence[Any], is_tensor: IsTensor) -> Any:
    """Return a structure with some of its tensors exchanged for others, wherever they stand in it."""
    others = {id(old): new for old, new in zip(before, after, strict=True)}
    return rebuild(tree, is_tensor, (others.get(id(tensor), tensor) for tensor in leaves(tree, is_tensor)))


def _once(tree: Any, is_tensor: IsTensor) -> list[Any]:
    return list({id(tensor): tensor for tensor in leaves(tree, is_tensor)}.values())
