"""A checkpoint brought to the names of the model that it is for, without a guess; what is done is said."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from portproof._errors import BadInput, and_more
from portproof.checkpoints import Checkpoint, Stored, is_floating
from portproof.checkpoints._chosen import is_copy
from portproof.convert._transfer import misfits, under_all_names
from portproof.frameworks._entries import Entry

#: Beginnings of names that wrappers add (DataParallel, Lightning, torch.compile) or that part a pair of models.
_LEADS = ("module.", "model.", "_orig_mod.", "student.", "Student.", "net.", "network.", "generator.", "backbone.")
#: Last parts of names of buffers that are computed and never trained, which some versions of a model save and some not.
_COMPUTED = frozenset((
    "position_ids", "inv_freq", "freqs_cis", "relative_position_index", "attn_mask", "total_ops", "total_params",
    "num_batches_tracked", "rope_freqs",
))  # fmt: skip
_COUNTER = "num_batches_tracked"
_STATISTICS = frozenset(("running_mean", "running_var", "_mean", "_variance", _COUNTER))
#: Names that Paddle gives to parameters itself: kind of layer, its number, and which of its tensors.
_PARAMETER = re.compile(r"(?P<layer>.+_(?P<number>\d+))\.(?P<role>[wb]_\d+)")
_ROLES = {"w_0": "weight", "b_0": "bias", "w_1": "_mean", "w_2": "_variance"}


@dataclass(frozen=True)
class Fitted:
    """A checkpoint under the model's names.

    Attributes:
        checkpoint: what is left of it, with lines on what was done.
        problems: what does not fit; empty where it does.
        absent: names of the model that are not in the file and need not be.
        unproven: how names were paired where evidence had to do, "" where they are the file's own.
    """

    checkpoint: Checkpoint
    problems: tuple[str, ...]
    absent: frozenset[str] = frozenset()
    unproven: str = ""

    def required(self, otherwise: str = "") -> Checkpoint:
        """Return the checkpoint.

        Args:
            otherwise: a sentence on what to do where it does not fit.

        Raises:
            BadInput: it does not fit; names the first reason and counts the rest.
        """
        if self.problems:
            raise BadInput(f"'{self.checkpoint.path}' does not fit the model: {and_more(self.problems)}. {otherwise}")
        return self.checkpoint


def fitted(
    checkpoint: Checkpoint,
    entries: Sequence[Entry],
    ignored: Iterable[str],
    groups: Iterable[Sequence[str]] = (),
    *,
    keep_dtype: bool = False,
    partial: bool = False,
) -> Fitted:
    """Bring a checkpoint to a model's names.

    Args:
        checkpoint: of the model's side.
        entries: the model's state dict.
        ignored: names that may be absent.
        groups: names of one tensor each: most files keep one of them.
        keep_dtype: accept floating tensors of any width; otherwise narrower ones than the model's only.
        partial: accept a file of parameters alone, without any of the running statistics.
    """
    wanted = {entry.name: entry for entry in entries}
    absent, unproven = set(ignored), ""
    found, lines = dict(checkpoint.tensors), list(checkpoint.said)
    if found and all(_PARAMETER.fullmatch(name) for name in found) and not any(name in wanted for name in found):
        found, unproven = _by_layers(found, entries, absent)
        lines.append(unproven)
    elif not any(name in wanted for name in found) or not _whole(found, wanted, absent, ""):
        found, said = _without_lead(found, wanted, absent)
        lines += said
    found, said = _without_computed(found, wanted)
    lines += said
    found, said = _whole_counters(found, wanted)
    lines += said
    found = under_all_names(found, groups)
    missing = {name for name in wanted if name not in found and name not in absent}
    leaves = {name.rpartition(".")[2] for name in missing}
    held = {name.rpartition(".")[2] for name in found}
    if partial and missing and leaves <= _STATISTICS and not held & _STATISTICS:
        first = min(missing)
        lines.append(f"not in the file: '{first}' and {len(missing) - 1} more running statistics; DST has none either")
        absent |= missing
    renamed = replace(checkpoint, tensors=found, said=tuple(lines))
    return Fitted(renamed, misfits(renamed, entries, absent, keep_dtype=keep_dtype), frozenset(absent), unproven)


def _whole_counters(found: Mapping[str, Stored], wanted: Mapping[str, Entry]) -> tuple[dict[str, Stored], list[str]]:
    """Read counters as whole numbers that somebody's cast of all tensors to a narrower float took along."""
    made = dict(found)
    for name, stored in found.items():
        entry = wanted.get(name)
        counts = entry is not None and name.rpartition(".")[2] == _COUNTER and stored.shape == entry.shape == ()
        if counts and is_floating(stored.dtype):
            value = float(np.asarray(stored.read()).astype(np.float64))
            if value.is_integer():
                made[name] = Stored.of(np.asarray(int(value), np.int64))
    cast = [name for name in made if made[name] is not found[name]]
    return made, [f"counters stored as floats, read as whole numbers: {len(cast)}"] if cast else []


def _whole(found: Mapping[str, Stored], wanted: Mapping[str, Entry], absent: set[str], lead: str) -> bool:
    """Whether a file holds most of a model's parameters, in their shapes, under a beginning of its names."""
    needed = [name for name in wanted if name not in absent and name.rpartition(".")[2] not in _STATISTICS]
    mine = sum(lead + name in found and found[lead + name].shape == wanted[name].shape for name in needed)
    return 2 * mine > len(needed)


def _without_lead(
    found: dict[str, Stored], wanted: Mapping[str, Entry], absent: set[str]
) -> tuple[dict[str, Stored], list[str]]:
    """Take off the beginning that the names of a whole model share in the file."""
    leads = {
        name.removesuffix(own)
        for own in [name for name in wanted if name not in absent][:8]
        for name in found
        if name.endswith(f".{own}")
    }
    fit = sorted(lead for lead in leads if _whole(found, wanted, absent, lead))
    own = [lead for lead in fit if not is_copy(lead)] or fit
    if len(own) > 1:
        known = [lead for lead in own if any(lead.endswith(end) for end in _LEADS)]
        own = known if len(known) == 1 else own
    if len(own) > 1:
        names = ", ".join(f"'{lead}'" for lead in own[:4])
        raise BadInput(
            f"the file holds the model under {len(own)} beginnings of names: {names}; say which with convert --key"
        )
    if not own:
        return found, []
    lead = own[0]
    others = [other for other in fit if other != lead]
    kept = {name: stored for name, stored in found.items() if not any(name.startswith(other) for other in others)}
    said = [f"beginning '{lead}' of names taken off"]
    if others:
        said.append(
            f"left: {', '.join(f'{other!r}' for other in others)} "
            f"({len(found) - len(kept)} tensors; convert --key takes it)"
        )
    return {name.removeprefix(lead): stored for name, stored in kept.items()}, said


def _without_computed(found: dict[str, Stored], wanted: Mapping[str, Entry]) -> tuple[dict[str, Stored], list[str]]:
    """Leave out what the model does not have and never trains: tables that it computes, and counters."""
    surplus = [name for name in found if name not in wanted and name.rpartition(".")[2] in _COMPUTED]
    if not surplus:
        return found, []
    more = f" and {len(surplus) - 1} more" if len(surplus) > 1 else ""
    kept = {name: stored for name, stored in found.items() if name not in surplus}
    return kept, [f"left: '{surplus[0]}'{more}: computed by models that have it, and this one has it not"]


def _by_layers(
    found: Mapping[str, Stored], entries: Sequence[Entry], absent: set[str]
) -> tuple[dict[str, Stored], str]:
    """Pair a program's parameters with a model's, layer by layer: by their shapes, and in order where those are alike.

    Raises:
        BadInput: the layers of one kind are not as many on both sides, or two kinds are alike.
    """
    theirs: dict[str, dict[str, str]] = defaultdict(dict)
    for name in found:
        matched = _PARAMETER.fullmatch(name)
        assert matched is not None
        theirs[matched["layer"]][_ROLES.get(matched["role"], matched["role"])] = name
    ours: dict[str, dict[str, str]] = defaultdict(dict)
    shapes = {entry.name: entry.shape for entry in entries if entry.name not in absent}
    for name in shapes:
        ours[name.rpartition(".")[0]][name.rpartition(".")[2]] = name
    kinds: dict[object, list[list[dict[str, str]]]] = defaultdict(lambda: [[], []])
    for layer in sorted(theirs, key=lambda name: (name.rpartition("_")[0], int(name.rpartition("_")[2]))):
        roles = theirs[layer]
        kinds[tuple(sorted((role, found[name].shape) for role, name in roles.items()))][0].append(roles)
    for roles in ours.values():
        kinds[tuple(sorted((role, shapes[name]) for role, name in roles.items()))][1].append(roles)
    paired: dict[str, Stored] = {}
    ordered = 0
    for layers, modules in kinds.values():
        first = next(iter((layers or modules)[0].values()))
        if len(layers) != len(modules):
            raise BadInput(
                f"the program has {len(layers)} layers like that of '{first}' and the model {len(modules)}; was a "
                "BatchNorm folded into its convolution, or a head left out?"
            )
        prefixes = {next(iter(roles.values())).rpartition(".")[0].rpartition("_")[0] for roles in layers}
        if len(prefixes) > 1:
            raise BadInput(
                f"the program's {' and '.join(sorted(prefixes))} are alike in shape; nothing tells which is which"
            )
        ordered += len(layers) if len(layers) > 1 else 0
        for roles, own in zip(layers, modules, strict=True):
            paired |= {own[role]: found[roles[role]] for role in roles}
    return (
        paired,
        f"parameters paired with the model's: {len(theirs) - ordered} layers by shape, {ordered} by order: unproven",
    )
