"""Which of the things that a file holds are a model's weights, and a line for a person that says so.

Training scripts keep a state dict under some key, beside the optimiser's state, a moving average of the weights and
numbers. Nothing here decides by shapes: keys that are known are preferred, and what is left is said or asked for.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portproof._errors import BadInput
from portproof.checkpoints._standins import Foreign, is_tensor, said
from portproof.checkpoints._stored import Checkpoint, Stored

#: Keys under which scripts keep a model's weights, the preferred first.
_WEIGHTS = (
    "state_dict", "model_state_dict", "model_state", "model", "params", "net", "network", "module", "weights",
    "student", "generator", "backbone", "encoder",
)  # fmt: skip
#: Keys of copies of the weights: averages, and the other model of a pair.
_COPY = re.compile(r"(^|[._])(ema|swa|teacher|averaged?|shadow)($|[._])|_ema_", re.IGNORECASE)
#: Keys of what has tensors and is no model.
_OTHER = re.compile(
    r"optim|sched|scaler|^amp$|callback|^loops$|rng|hyper_parameters|^args$|^config|criterion|^hparams$"
)
#: What makes tensors of kinds that have no layout in other files: in words, and what a person does about it.
_ODD = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor: save its to_dense()",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor: save its to_dense()",
    "torch._utils._rebuild_nested_tensor": "a nested tensor: save its parts, or its to_padded_tensor()",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without values, of the device 'meta': load weights first",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own: save what it wraps",
    "torch._tensor._rebuild_from_type_v2": "a tensor of a class of its own: save its as_subclass(torch.Tensor)",
}
#: Files inside files: nobody nests deeper.
_DEEPEST, _MOST_PLACES = 4, 100_000
_MOST_SAID = 4

Path_ = tuple[Any, ...]


@dataclass(frozen=True)
class Content:
    """All that a file holds.

    Attributes:
        tree: dictionaries, lists and plain values, with stand-ins for tensors and for what is not read.
        side: whose names and layouts its tensors have, None where the file does not say.
        about: what ``convert`` wrote beside them.
        said: lines for a person.
        placed: whether another reader finds the same things under the same keys.
    """

    tree: Any
    side: str | None
    about: Mapping[str, str]
    said: tuple[str, ...] = ()
    placed: bool = True


def choose(path: Path, content: Content, key: str | None = None) -> Checkpoint:
    """Return a file's weights.

    Args:
        path: of the file.
        content: what it holds.
        key: of the weights, where a person says: the keys that lead to them, with dots between, or the beginning that
            the names of one model of several share.

    Raises:
        BadInput: it holds none, several that may be meant, or not what ``key`` says.
    """
    found = dict(_candidates(content.tree))
    if key is not None:
        return _named(path, content, found, key)
    if not found:
        raise BadInput(_nothing(path, content.tree))
    at = _preferred(found)
    lines = list(content.said)
    if at:
        lines.insert(0, f"weights under '{_shown(at)}'")
    chosen = found[at]
    others = [
        f"{_quoted(place)} ({len(_tensors(held))} tensors; convert --key takes it)"
        for place, held in found.items()
        if place not in (at, ())
    ]
    others += _beside(content.tree, at, found)
    if others:
        more = f" and {len(others) - _MOST_SAID} more" if len(others) > _MOST_SAID else ""
        lines.append(f"left: {', '.join(others[:_MOST_SAID])}{more}")
    tensors = _stored(chosen, at if content.placed else None)
    return Checkpoint(path, tensors, content.side, content.about, tuple(lines), _odd(chosen))


def _candidates(tree: Any) -> Iterator[tuple[Path_, Mapping[Any, Any]]]:
    """Yield the dictionaries that hold tensors by name, and where they are."""
    left: list[tuple[Path_, Any]] = [((), tree)]
    for at, value in left:  # grows while it is walked
        if isinstance(value, dict):
            if "param_groups" in value:
                continue
            if any(_dimensions(value[key]) for key in _tensors(value)) or (not at and _tensors(value)):
                yield at, value
            inner: list[tuple[Any, Any]] = [
                (key, item) for key, item in value.items() if isinstance(key, str | bytes) and not _other(key)
            ]
        else:
            inner = list(enumerate(value)) if isinstance(value, list | tuple) else []
        if len(at) == _DEEPEST:
            continue
        inner = [(key, item) for key, item in inner if isinstance(item, dict | list | tuple)]
        if len(left) + len(inner) > _MOST_PLACES:
            raise BadInput(f"it holds more than {_MOST_PLACES} dictionaries and lists inside each other")
        left += [((*at, key), item) for key, item in inner]


def _other(key: Any) -> bool:
    return isinstance(key, str) and _OTHER.search(key.lower()) is not None


def _preferred(found: Mapping[Path_, Mapping[Any, Any]]) -> Path_:
    """Return where the weights are: under a key that is known, else at the top, else in the one place that there is.

    Raises:
        BadInput: they may be in several places.
    """
    own = [at for at in found if not any(isinstance(key, str) and is_copy(key) for key in at)] or list(found)
    known = [at for at in own if at and at[-1] in _WEIGHTS]
    if known:
        return min(known, key=lambda at: (len(at), _WEIGHTS.index(at[-1])))
    if () in own or len(own) == 1:
        return () if () in own else own[0]
    places = ", ".join(f"{_quoted(at)} ({len(_tensors(found[at]))} tensors)" for at in own[:_MOST_SAID])
    raise BadInput(f"it holds tensors in {len(own)} places: {places}; say which with convert --key")


def is_copy(name: str) -> bool:
    """Whether a key or a beginning of names is that of a copy of the weights: an average, or a teacher."""
    return _COPY.search(name) is not None


def _dimensions(value: Any) -> bool:
    """Whether a value is a tensor that is no single number; one that cannot be read may be anything."""
    if not is_tensor(value_of(value)):
        return False
    try:
        return bool(value_of(value).stored().shape)
    except BadInput:
        return True


def value_of(value: Any) -> Any:
    """Return the tensor of a pair of Paddle's: ``paddle.save`` of more than a state dict keeps a tensor's own name."""
    pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and is_tensor(value[1])
    return value[1] if pair else value


def _tensors(held: Mapping[Any, Any]) -> list[Any]:
    return [key for key, value in held.items() if isinstance(key, str | bytes) and is_tensor(value_of(value))]


def _name(key: Any) -> str:
    """Return a name; Python 2 and some tools wrote bytes."""
    try:
        return key.decode("utf-8") if isinstance(key, bytes) else key
    except UnicodeDecodeError as error:
        raise BadInput("a name of it is no text") from error


def _stored(held: Mapping[Any, Any], at: Path_ | None) -> dict[str, Stored]:
    """Return tensors by name; ``at`` leads to them, None where another reader would find them elsewhere."""
    known: dict[int, Stored] = {}
    tensors = {}
    for key in _tensors(held):
        tensor, name = value_of(held[key]), _name(key)
        if name in tensors:
            raise BadInput(f"it holds {said(name)} twice, as text and as bytes")
        if id(tensor) not in known:
            try:
                known[id(tensor)] = tensor.stored()
            except BadInput as error:
                raise BadInput(f"its {said(name)}: {error}") from error
        lone = at is not None and not hasattr(tensor, "slices")
        place = (*(_name(part) if isinstance(part, bytes) else part for part in at or ()), name) if lone else ()
        tensors[name] = replace(known[id(tensor)], place=place)
    return tensors


def _named(path: Path, content: Content, found: Mapping[Path_, Mapping[Any, Any]], key: str) -> Checkpoint:
    """Return what a person names."""
    for at, held in found.items():
        if at and _shown(at) == key:
            lines = (f"weights under '{key}', as --key says", *content.said)
            tensors = _stored(held, at if content.placed else None)
            return Checkpoint(path, tensors, content.side, content.about, lines, _odd(held))
    for at, held in found.items():
        lead = key.rstrip(".") + "."
        mine = {name: value for name, value in held.items() if isinstance(name, str) and name.startswith(lead)}
        if _tensors(mine):
            return under(Checkpoint(path, _stored(mine, at), content.side, content.about, content.said), key)
    places = ", ".join(_quoted(at) for at in found if at)
    raise BadInput(f"it holds no tensors under {said(key)}; it has {places or 'no key that leads to tensors'}")


def under(checkpoint: Checkpoint, key: str) -> Checkpoint:
    """Return those tensors of a file whose names begin alike, by the rest of their names.

    Raises:
        BadInput: there are none.
    """
    lead = key.rstrip(".") + "."
    mine = {name.removeprefix(lead): t for name, t in checkpoint.tensors.items() if name.startswith(lead)}
    if not mine:
        raise BadInput(f"no name of a tensor begins with {said(lead)}")
    lines = (f"weights whose names begin with '{lead}', as --key says", *checkpoint.said)
    return replace(checkpoint, tensors=mine, said=lines)


def _beside(tree: Any, at: Path_, found: Mapping[Path_, Any]) -> list[str]:
    """Return words on what lies beside the weights, and beside what leads to them."""
    words = []
    for depth in range(len(at) + 1):
        if isinstance(tree, dict | list | tuple):
            kept = at[depth] if depth < len(at) else None
            for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
                place = (*at[:depth], key)
                if key == kept or place in found or (depth == len(at) and is_tensor(value_of(value))):
                    continue
                if any(other[: len(place)] == place for other in found):
                    continue
                words.append(f"{_quoted(place)} ({_kind(value)})")
        if depth < len(at):
            tree = tree[at[depth]]
    return words


def _odd(held: Mapping[Any, Any]) -> dict[str, str]:
    """Return what stands among tensors and is one that is not read."""
    return {_name(key): _ODD[v.name] for key, v in held.items() if isinstance(v, Foreign) and v.name in _ODD}


def _kind(value: Any) -> str:
    if isinstance(value, Foreign):
        return _ODD.get(value.name, value.name)
    if is_tensor(value):
        return "a tensor"
    return type(value).__name__


def _shown(at: Path_) -> str:
    return ".".join(_name(key) if isinstance(key, str | bytes) else str(key) for key in at)


def _quoted(at: Path_) -> str:
    text = _shown(at) if all(isinstance(key, str | bytes | int) for key in at) else said(at[-1])
    return repr(text[:60]) if text else "the top"


def _nothing(path: Path, tree: Any) -> str:
    """Say that a file holds no tensors by name, and what it is instead."""
    objects = tree if isinstance(tree, Foreign) else None
    if objects is None and isinstance(tree, dict):
        objects = next((value for value in tree.values() if isinstance(value, Foreign)), None)
    if objects is None:
        what = "no tensors" if isinstance(tree, dict) else said(tree)
        return f"expected tensors by name, found {what}; is it an optimiser's state or a whole training checkpoint?"
    inside = next((key for key, value in tree.items() if value is objects), None) if isinstance(tree, dict) else None
    model = "x" if inside is None else f"x[{json.dumps(inside)}]"
    name, own = json.dumps(path.name), path.name.lower().endswith(".pdparams")
    load, kind = ("paddle", f"paddle.load({name})") if own else ("torch", f"torch.load({name}, weights_only=False)")
    code = f'import {load}; x = {kind}; {load}.save({model}.state_dict(), "state{".pdparams" if own else ".pt"}")'
    return (
        f"it asks for '{objects.name}'; weights need arrays only, and nothing in the file is run. Where you trust it "
        f"and have its classes, this writes a file of tensors: python -c {shlex.quote(code)}"
    )
