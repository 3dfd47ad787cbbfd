"""Which tensors cross a module's boundary, so that two calls written differently can be held side by side.

A tensor that is handed over several times counts once: ``attention(x)`` of one framework is ``attention(x, x, x)`` of
the other. Layers whose frameworks disagree on masks or on extra results are held to what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portproof._tree import leaves, rebuild

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
