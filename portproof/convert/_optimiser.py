"""An optimiser's state from Paddle's ``.pdopt`` to torch's names and layouts, and back.

Paddle names a state by the parameter's own name (``linear_0.w_0_moment1_0``), torch keeps it by parameter. What stands
between is a safetensors file with a tensor a parameter and state, ``fc.weight.exp_avg``, in torch's layouts::

    for name, parameter in model.named_parameters():
        optimizer.state[parameter]["exp_avg"] = tensors[f"{name}.exp_avg"]

What is no tensor (the learning rate's schedule) and what has no equal (the powers of Adam's betas, where torch counts
steps) is carried as it is, so that the way back gives the same state.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from portproof._disk import atomic_path, require_new
from portproof._errors import BadInput
from portproof.checkpoints import Stored, open_checkpoint, reading, write_checkpoint
from portproof.checkpoints import _paddle as paddle_files
from portproof.checkpoints._standins import is_tensor
from portproof.convert._convert import Plan
from portproof.convert._transfer import transferred
from portproof.ports._port import Side

SUFFIX = ".pdopt"
#: Values beside the tensors of an optimiser's state, and how deep they nest.
_MOST_BESIDE, _DEEPEST_BESIDE = 100_000, 16
#: Paddle's name of a state to torch's, where both have it.
_SLOTS = {
    "velocity_0": "momentum_buffer", "moment1_0": "exp_avg", "moment2_0": "exp_avg_sq",
    "moment2_max_0": "max_exp_avg_sq",
}  # fmt: skip
_PADDLE_SLOTS = {theirs: ours for ours, theirs in _SLOTS.items()}


def convert_optimiser(plan: Plan, source: Path, target: Path, params: Path) -> int:
    """Convert an optimiser's state.

    Args:
        plan: what corresponds between the two models.
        source, target: a ``.pdopt`` and a ``.safetensors``, either way.
        params: the ``.pdparams`` saved with the optimiser: it says what Paddle calls the model's parameters.

    Returns:
        How many tensors were converted.

    Raises:
        BadInput: a file is not what it has to be, or a state belongs to no parameter; nothing is written.
    """
    suffixes = source.suffix.lower(), target.suffix.lower()
    if sorted(suffixes) != [SUFFIX, ".safetensors"]:
        names = f"'{source.name}' and '{target.name}'"
        raise BadInput(f"an optimiser's state goes from {SUFFIX} to .safetensors or back, found {names}.")
    require_new(target)
    own = _parameter_names(params)
    if suffixes[0] == SUFFIX:
        found, rest = _read(source)
        owners = {f"{parameter}_": name for name, parameter in own.items()}
        tensors = _moved(plan, _by_slot(source, found, owners), "torch", lambda n, s: f"{n}.{_SLOTS.get(s, s)}", source)
        write_checkpoint(target, tensors, "torch", {"optimiser": json.dumps(rest)})
        return len(tensors)
    checkpoint = open_checkpoint(source)
    owners = {f"{entry.name}.": entry.name for entry in plan.entries["torch"]}
    slots = _by_slot(source, checkpoint.tensors, owners)
    slots = {_PADDLE_SLOTS.get(slot, slot): states for slot, states in slots.items()}
    tensors = _moved(plan, slots, "paddle", lambda n, s: f"{own.get(n, n)}_{s}", source)
    rest = _plain(source, checkpoint.about.get("optimiser", "{}"))
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        paddle_files.write(file, tensors, {}, rest)
    return len(tensors)


def _parameter_names(params: Path) -> dict[str, str]:
    """Return the names in the model to Paddle's names of parameters."""
    if params.suffix.lower() != ".pdparams":
        raise BadInput(f"--params takes the .pdparams that was saved with the optimiser, found '{params}'.")
    with reading(params, "a Paddle checkpoint"):
        names = paddle_files.read_tree(params).get(paddle_files.NAME_TABLE)
    plain = isinstance(names, dict) and all(isinstance(text, str) for pair in names.items() for text in pair)
    if not plain or not names:
        raise BadInput(f"'{params}' does not say what its parameters are called; save it with paddle.save.")
    return dict(names)


def _read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return the tensors of a ``.pdopt`` by their raw names, and all else that is plain."""
    with reading(path, "a Paddle optimiser's state"):
        content = paddle_files.read_tree(path)
        content.pop(paddle_files.NAME_TABLE, None)
        tensors = {name: value.stored() for name, value in content.items() if is_tensor(value)}
        rest = {name: value for name, value in content.items() if name not in tensors}
        for name, value in rest.items():
            if isinstance(value, dict) and any(map(is_tensor, value.values())):
                raise BadInput(f"it holds tensors inside '{name}', which are not converted")
        _require_small(rest)
    if not tensors:
        raise BadInput(f"'{path}' holds no state; was it saved before the first step?")
    return tensors, rest


def _require_small(rest: Any) -> None:
    """See that what stands beside tensors is short when it is written out: what is named twice is written twice.

    Raises:
        BadInput: it is not.
    """
    left, seen = [(0, rest)], 0
    while left:
        depth, value = left.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        seen += 1 + len(inner)
        if seen > _MOST_BESIDE or depth > _DEEPEST_BESIDE:
            raise BadInput("it holds more beside its tensors than a schedule and its settings")
        left += [(depth + 1, item) for item in inner]


def _plain(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"'{path}' says nothing readable of its optimiser; convert it from a {SUFFIX} again.")
    return found


def _by_slot(path: Path, tensors: Mapping[str, Stored], owners: Mapping[str, str]) -> dict[str, dict[str, Stored]]:
    """Return state to parameter to tensor; the longest parameter's name that a tensor's begins with owns it."""
    slots: dict[str, dict[str, Stored]] = defaultdict(dict)
    for key, stored in tensors.items():
        lead = max((lead for lead in owners if key.startswith(lead)), key=len, default=None)
        if lead is None:
            raise BadInput(f"'{path}': '{key[:60]}' belongs to no parameter of the model.")
        slots[key.removeprefix(lead)][owners[lead]] = stored
    return slots


def _moved(
    plan: Plan, slots: Mapping[str, Mapping[str, Stored]], towards: str, named: Callable[[str, str], str], path: Path
) -> dict[str, Stored]:
    """Return all states in the other side's names and layouts; one of another shape than its parameter is copied."""
    side = Side(towards).other
    shapes = {entry.name: entry.shape for entry in plan.entries[side]}
    moved: dict[str, Stored] = {}
    for slot, states in slots.items():
        left = dict(states)
        for row in plan.account.rows:
            mine = {name: left.pop(name) for name in row.names(side) if name in left}
            if not mine:
                continue
            if all(stored.shape == shapes[name] for name, stored in mine.items()) and len(mine) == len(row.names(side)):
                found = transferred(mine, [row], towards)
            elif len(row.names(side)) == len(row.names(towards)) == 1:
                found = {row.names(towards)[0]: next(iter(mine.values()))}
            else:
                raise BadInput(f"'{path}': the state '{slot}' of '{next(iter(mine))}' cannot be split or joined.")
            moved |= {named(name, slot): stored for name, stored in found.items()}
        if left:
            raise BadInput(f"'{path}': '{next(iter(left))}' with the state '{slot}' is no parameter of the model.")
    return moved
