"""Records a forward, call by call, in a side's own process; exchanges results on request."""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from portproof._errors import require_memory
from portproof._numbers import Array
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import leaves, name_outputs, rebuild
from portproof.lines._calling import called
from portproof.lines._calls import RETURN, Bound, Call, Given, Place, Recording, Value
from portproof.lines._places import ModelCode, placed
from portproof.lines._statements import Statements
from portproof.lines._values import canonical, features, laid_out

#: Characters of an argument that are kept.
_ARGUMENT = 60
#: Functions that may hand on what they are given.
_NOTHING = {
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "identity",
    "contiguous", "clone", "assign", "cast", "astype", "to", "float", "double", "type_as", "detach", "expand",
    "reshape", "view", "cpu", "cuda", "positive", "expand_as", "broadcast_to", "flatten", "clip", "clamp", "pad",
    "squeeze", "scale",
}  # fmt: skip
#: Numbers of a parameter from which on it is known by its features alone: weights are most of what a forward holds, and
#: the map has paired them already.
_WEIGHT = 2**16
#: Called for each call of the framework: its name, the function, and what it is given.
Around = Callable[[str, Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Carried:
    """What to put in the place of a call's results, or of the tensors that it is given.

    Attributes:
        call: its index.
        files: of arrays, one for every result or tensor; None leaves one as it is.
        as_it_is: whatever shape they have; else as the call's own stand.
        given: what it is given is exchanged, not what it returns.
    """

    call: int
    files: tuple[Path | None, ...]
    as_it_is: bool = False
    given: bool = False


class Carrying:
    """Runs a forward with some calls' results exchanged, counting calls and nothing else.

    Args:
        model: of the side.
        carried: what is exchanged.

    Attributes:
        refused: why something could not be, by call.
        done: the calls whose results were.
    """

    def __init__(self, model: Model, carried: Sequence[Carried] = ()) -> None:
        self.framework = model.framework
        self.refused: dict[int, str] = {}
        self.done: set[int] = set()
        self._carried = {one.call: one for one in carried if not one.given}
        self._fed = {one.call: one for one in carried if one.given}
        self._count = self._depth = 0
        self._running: list[str] = []
        self._ran: set[str] = set()

    @contextmanager
    def following(self, modules: list[tuple[str, Any]]) -> Iterator[None]:
        """Know which module is running; inside the root's forward, calls are seen."""

        def follow(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def followed(*args: Any, **kwargs: Any) -> Any:
                self._running.append(path)
                self._ran.add(path)
                try:
                    return forward(*args, **kwargs)
                finally:
                    self._running.pop()

            return followed

        with wrapped_forwards(modules, follow):
            yield

    def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Make a call; one inside another is part of it."""
        if self._depth:
            return called(function, args, kwargs)
        self._depth += 1
        self._count += 1
        try:
            index = self._count - 1
            fed = self._fed.get(index)
            if fed is not None:
                args, kwargs = self._exchanged(fed, [args, dict(kwargs)], self._tensors(args, kwargs), ())
            return self._seen(index, name, function, args, kwargs)
        finally:
            self._depth -= 1

    def _seen(
        self, index: int, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        return self._returned(index, called(function, args, kwargs), args)

    def _returned(self, index: int, result: Any, args: tuple[Any, ...]) -> Any:
        """Put what is carried over in the place of a call's results."""
        carried = self._carried.get(index)
        return result if carried is None else self._exchanged(carried, result, self._results(result, args), args)

    def _exchanged(self, carried: Carried, tree: Any, own: Sequence[Any], args: tuple[Any, ...]) -> Any:
        """Exchange tensors of a tree, where shapes allow it."""
        if len(own) != len(carried.files):
            self.refused[carried.call] = f"{len(own)} tensors where {len(carried.files)} are"
            return tree
        made = []
        for tensor, file in zip(own, carried.files, strict=True):
            if file is None:
                made.append(tensor)
                continue
            value, new = self.framework.to_array(tensor), np.load(file)
            fits = new if carried.as_it_is else laid_out(new, value)
            if fits is None:
                self.refused[carried.call] = f"shape {list(new.shape)} where {list(value.shape)} is"
                return tree
            try:
                made.append(self._put(tensor, np.ascontiguousarray(fits.astype(value.dtype)), args))
            except Exception as error:  # the framework writes no other shape in place
                self.refused[carried.call] = str(error).splitlines()[0]
                return tree
        self.done.add(carried.call)
        return tree if tree is None else rebuild(tree, self.framework.is_tensor, iter(made))

    def _put(self, tensor: Any, array: Array, args: tuple[Any, ...]) -> Any:
        """Return a tensor of other values; one that was written in place is written again."""
        if any(tensor is given for given in leaves(args, self.framework.is_tensor)):
            self.framework.overwrite(tensor, array)
            return tensor
        return self.framework.to_tensor(array)

    def _tensors(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        return list(leaves([*args, *kwargs.values(), *_sliced(args)], self.framework.is_tensor))

    def _results(self, result: Any, args: tuple[Any, ...]) -> list[Any]:
        """Return a call's results; ``x[…] = y`` has none and makes x."""
        found = list(leaves(result, self.framework.is_tensor))
        return found if found or result is not None else list(leaves(args[:1], self.framework.is_tensor))


@dataclass
class _Kept:
    """What has been seen so far."""

    calls: list[Call] = field(default_factory=list)
    values: dict[Any, int] = field(default_factory=dict)
    table: list[Value] = field(default_factory=list)
    places: dict[Any, int] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    unread: int = 0
    unwritten: int = 0
    bytes: int = 0
    handed: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)


class Recorder(Carrying):
    """Runs a forward and keeps every call of it.

    Args:
        model: of the side.
        folder: for values; what is there already is not written again.
        limit: bytes of values that are written; of what is beyond, only features are kept.
        carried: what is exchanged.
    """

    def __init__(self, model: Model, folder: Path, limit: int, carried: Sequence[Carried] = ()) -> None:
        super().__init__(model, carried)
        self._folder, self._limit, self._kept = folder, limit, _Kept()
        self._side = self.framework.side
        self._code = ModelCode(self._side)
        self._made: dict[int, tuple[int, int, int]] = {}  # id of a tensor: its maker, the slot, the value then
        self._digests: dict[int, tuple[int | None, int]] = {}  # id of a tensor: its version and value
        self._held: list[Any] = []  # so that no id is given twice
        self._leaves: dict[int, str] = {}
        self._weights: set[int] = set()  # ids of large ones
        self._by_value: dict[int, Given] = {}
        self._writers: list[tuple[int, int, int]] = []  # where memory begins and ends, and who wrote there
        self.statements = Statements(
            self._code.is_model, self.framework.is_tensor, self._bound, lambda: self._count,
            lambda: self._running[-1] if self._running else "",
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self._modules = list(self.framework.modules(model.root))
        for path, module in self._modules:
            plain = {name: value for name, value in vars(module).items() if self.framework.is_tensor(value)}
            for name, tensor in (self.framework.own_tensors(module) | plain).items():
                self._leaf(tensor, f"{path}.{name}" if path else name)
                if int(np.prod([int(size) for size in tensor.shape])) > _WEIGHT:
                    self._weights.add(id(tensor))

    def inputs(self, tree: Any) -> None:
        """Know the model's inputs."""
        for place, tensor in enumerate(leaves(tree, self.framework.is_tensor)):
            self._leaf(tensor, f"input {place}")
            self._given(tensor, RETURN)  # what no call is given may be what one should have been

    def _leaf(self, tensor: Any, name: str) -> None:
        self._held.append(tensor)
        self._leaves.setdefault(id(tensor), name)

    def recording(self, outputs: Mapping[str, Any]) -> Recording:
        """Return what was recorded, once the model has put out ``outputs``."""
        given = tuple(self._given(tensor, RETURN) for tensor in outputs.values())
        kept = self._kept
        for tensor, one in zip(outputs.values(), given, strict=True):
            if not kept.table[one.value].file:  # whatever the limit: these are compared first of all
                array = self.framework.to_array(tensor)
                kept.table[one.value] = replace(
                    kept.table[one.value], file=self._file(array, _digest(array), always=True)
                )
        kept.calls.append(Call(self._count, RETURN, (), "", given, (), {}))
        seen = self.statements
        numbers = {place: kept.places.setdefault(place, len(kept.places)) for place, _ in (*seen.found, *seen.asked)}
        statements = tuple(replace(one, place=numbers[place]) for place, one in seen.found)
        asked = tuple(replace(one, place=numbers[place]) for place, one in seen.asked)
        places = tuple(key if isinstance(key, Place) else placed(*key) for key in kept.places)
        return Recording(
            self._side, tuple(kept.calls), tuple(kept.table), places, tuple(outputs), tuple(kept.orphans), kept.unread,
            tuple(kept.handed), tuple(seen.frames), statements, kept.unwritten, self._idle(), asked,
        )  # fmt: skip

    def _idle(self) -> tuple[tuple[str, str], ...]:
        """Return the paths and classes of modules that never ran, inside ones that did."""
        return tuple(
            (path, type(module).__name__) for path, module in self._modules
            if path not in self._ran and path.rpartition(".")[0] in self._ran
        )  # fmt: skip

    def _bound(self, name: str, tensor: Any) -> Bound | None:
        """Say who made a tensor that a name holds, without a look at what it holds now; None for one unknown."""
        made = self._made.get(id(tensor))
        if made is not None:
            return Bound(name, made[2], made[0], made[1])
        leaf, known = self._leaves.get(id(tensor)), self._digests.get(id(tensor))
        return None if leaf is None or known is None else Bound(name, known[1], leaf=leaf)

    def _seen(
        self, index: int, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        kept = self._kept
        tensors = self._tensors(args, kwargs)
        try:
            given = tuple(self._given(tensor, name) for tensor in tensors)
        except Exception as error:  # inside vmap, or on no device: there are no values
            require_memory(error)
            kept.unread += 1
            return super()._seen(index, name, function, args, kwargs)
        arguments = _described(args, kwargs, self.framework.is_tensor)
        places, frames = self._places()
        module = self._running[-1] if self._running else ""
        result = called(function, args, kwargs)
        steps = self._steps(name, tensors, result, args, kwargs)
        result = self._returned(index, result, args)
        own = self._results(result, args)
        try:
            made = [self._value(tensor) for tensor in own]
            written = self._written(index, tensors, given, own)
        except Exception as error:
            require_memory(error)
            kept.unread += 1
            return result
        for step, array in steps:
            value = self._keep(array)
            kept.calls.append(Call(index, f"{name}: {step}", places, module, given, (value,), {}, 0, True, frames))
        if not own or self._is_nothing(name, own, made, given, tensors, written):
            if "dropout" in name:
                kept.handed += [(one.maker, places) for one in given[:1] if own and one.maker >= 0]
            return result
        call = Call(index, name, places, module, given, (*made, *written), arguments, len(written), False, frames)
        kept.calls.append(call)
        for slot, (tensor, value) in enumerate(zip(own, made, strict=True)):
            self._comes_from(tensor, index, slot, value)
        return result

    def _is_nothing(
        self, name: str, own: Sequence[Any], made: Sequence[int], given: Sequence[Given], tensors: Sequence[Any],
        written: Sequence[int],
    ) -> bool:  # fmt: skip
        """Whether a call handed its input on as it was (a dropout in evaluation): then it is looked through."""
        if len(made) != 1 or written or name.strip("_") not in _NOTHING:
            return False
        for one, tensor in zip(given, tensors, strict=True):
            if one.value == made[0] and self._kept.table[made[0]].shape:
                if tensor is not own[0]:
                    self._held.append(own[0])
                    if one.leaf:
                        self._leaves.setdefault(id(own[0]), one.leaf)
                    elif one.maker >= 0:
                        self._made[id(own[0])] = (one.maker, one.slot, one.value)
                return True
        return False

    def _written(self, index: int, tensors: Sequence[Any], given: Sequence[Given], own: Sequence[Any]) -> list[int]:
        """Return the values of arguments that a call wrote into, and know who did."""
        written = []
        for tensor, before in zip(tensors, given, strict=True):
            after = self._value(tensor)
            if after == before.value:
                continue
            begin, end = _span(tensor)
            self._writers.append((begin, end, index))
            if not any(tensor is result for result in own):
                written.append(after)
                self._comes_from(tensor, index, len(own) + len(written) - 1, after)
        return written

    def _comes_from(self, tensor: Any, index: int, slot: int, value: int) -> None:
        self._held.append(tensor)
        self._made[id(tensor)] = (index, slot, value)
        self._leaves.pop(id(tensor), None)
        self._by_value.setdefault(value, Given(value, index, slot))

    def _given(self, tensor: Any, name: str) -> Given:
        """Say what a tensor holds now and who made it."""
        value = self._value(tensor)
        made = self._made.get(id(tensor))
        if made is not None and made[2] == value:
            return Given(value, made[0], made[1])
        known = self._by_value.get(value)
        writer = self._writer(tensor) if made is not None or id(tensor) in self._leaves or known is None else None
        if writer is not None and (made is None or writer > made[0]):
            return Given(value, writer)
        if id(tensor) in self._leaves:
            return Given(value, leaf=self._leaves[id(tensor)])
        if known is not None:
            return known
        shape = self._kept.table[value].shape
        if shape:
            self._kept.orphans.append(f"{name} is given a tensor {list(shape)} that no recorded call made")
        return Given(value)

    def _writer(self, tensor: Any) -> int | None:
        """Return the last call that wrote where a tensor lies, through whatever view."""
        if not self._writers:
            return None
        begin, end = _span(tensor)
        return next((index for low, high, index in reversed(self._writers) if low < end and begin < high), None)

    def _value(self, tensor: Any) -> int:
        """Return the number of what a tensor holds, kept if it is new."""
        try:
            version: int | None = self.framework.version(tensor)
        except RuntimeError:  # inference tensors do not track it
            version = None
        known = self._digests.get(id(tensor))
        if known is not None and version is not None and known[0] == version:
            return known[1]
        value = self._keep(self.framework.to_array(tensor), is_weight=id(tensor) in self._weights)
        self._held.append(tensor)
        self._digests[id(tensor)] = (version, value)
        return value

    def _keep(self, array: Array, *, is_weight: bool = False) -> int:
        kept = self._kept
        key = (array.shape, array.dtype.str, _digest(array))
        if key not in kept.values:
            kept.values[key] = len(kept.table)
            name = "" if is_weight else self._file(array, key[2])
            kept.table.append(Value(array.shape, str(array.dtype), features(canonical(array)), name))
        return kept.values[key]

    def _file(self, array: Array, digest: bytes, *, always: bool = False) -> str:
        """Write a value; returns its file's name, "" where there are too many, which is counted."""
        name = f"{digest.hex()}-{'x'.join(map(str, array.shape))}-{array.dtype.str[1:]}.npy"
        if self._kept.bytes + array.nbytes > self._limit and not always:
            self._kept.unwritten += 1
            return ""
        self._kept.bytes += array.nbytes
        if not (self._folder / name).exists():
            np.save(self._folder / name, array)
        return name

    def _places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return whose code calls, innermost first, and in which frames; the framework's own is nobody's."""
        frame = sys._getframe(1)
        running = list(self._running)
        found: list[tuple[types.CodeType, int, int, str]] = []
        frames: list[int] = []
        while frame is not None:
            code = frame.f_code
            if code.co_filename == __file__ and code.co_name == "followed":
                if len(running) < 2:
                    break
                running.pop()
            elif self._code.is_model(code.co_filename):
                found.append((code, frame.f_lasti, frame.f_lineno, running[-1] if running else ""))
                frames.append(self.statements.number(frame))
            frame = frame.f_back  # type: ignore[assignment]
        places = self._kept.places
        return tuple(places.setdefault(key, len(places)) for key in found), tuple(frames)

    def _steps(
        self, name: str, tensors: Sequence[Any], result: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> list[tuple[str, Array]]:
        """Return what a fused function computes on its way, which the other side may compute call by call."""
        from portproof.lines._steps import STEPS, Fused

        step = STEPS.get(name)
        return [] if step is None else step(Fused(self._side, tensors, result, args, kwargs, self.framework.to_array))


@contextmanager
def recording(model: Model, recorder: Carrying) -> Iterator[None]:
    """Let a recorder see every call inside the model's root, for the time of the block."""
    seeing: Callable[[Around], Any]
    if model.framework.side == "torch":
        from portproof.lines._torch import seeing_calls as seeing
    else:
        from portproof.lines._paddle import seeing_calls as seeing

    def around_root(_: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def seen(*args: Any, **kwargs: Any) -> Any:
            if isinstance(recorder, Recorder):
                recorder.inputs((args, kwargs))
                with seeing(recorder.call), recorder.statements.following():
                    return forward(*args, **kwargs)
            with seeing(recorder.call):
                return forward(*args, **kwargs)

        return seen

    # Innermost where the model computes: what lifts float32 is installed before, and is seen through.
    with ExitStack() as stack:
        stack.enter_context(wrapped_forwards([("", model.root)], around_root))
        stack.enter_context(recorder.following(model.framework.modules(model.root)))
        yield


def record(model: Model, inputs: Mapping[str, Array], recorder: Recorder) -> tuple[Recording, dict[str, Array]]:
    """Run a model under a recorder; raises what :meth:`Model.run` raises."""
    with recording(model, recorder), model.framework.module_by_module():
        result = model.returned(inputs)
        outputs = name_outputs(result, tuple(model.port.outputs), model.framework.is_tensor)
        return recorder.recording(outputs), model.arrays(outputs)


def carry(model: Model, inputs: Mapping[str, Array], carrying: Carrying) -> dict[str, Array]:
    """Run a model with some results exchanged; raises what :meth:`Model.run` raises."""
    with recording(model, carrying), model.framework.module_by_module():
        return model.run(inputs)


def _described(args: Sequence[Any], kwargs: Mapping[str, Any], is_tensor: Callable[[object], bool]) -> dict[str, str]:
    def shown(value: Any) -> str:
        if is_tensor(value):
            return f"tensor{[int(size) for size in value.shape]}"
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(shown, value))}]"
        if isinstance(value, slice):
            return ":".join("" if v is None else shown(v) for v in (value.start, value.stop, value.step))
        return repr(value) if isinstance(value, (bool, int, float, complex, str, type(None))) else str(value)

    named = {str(place): value for place, value in enumerate(args)}
    named |= {key: value for key, value in kwargs.items() if key not in ("name", "out") and value is not None}
    return {name: shown(value)[:_ARGUMENT] for name, value in named.items()}


def _digest(array: Array) -> bytes:
    return hashlib.sha256(array.data).digest()[:16]  # processors have instructions for this one


def _sliced(args: Sequence[Any]) -> list[Any]:
    """Return the tensors in slices, which are no containers."""
    items = [part for value in args for part in (value if isinstance(value, tuple) else (value,))]
    return [end for part in items if isinstance(part, slice) for end in (part.start, part.stop, part.step)]


def _span(tensor: Any) -> tuple[int, int]:
    """Return where a tensor's memory begins and ends, had it no gaps."""
    size = int(np.prod([int(s) for s in tensor.shape])) * int(tensor.element_size())
    begin = int(tensor.data_ptr())
    return begin, begin + max(size, 1)
