"""A pickle machine for files from strangers: it builds containers, numbers and strings, and stand-ins for the rest.

It is Python's own machine (``pickle._Unpickler``, the reference of ``pickle.loads``) with every name that a file may
ask for replaced by a stand-in. Long byte strings are not read: their place in the file is kept. A file may have at most
``LIMIT`` bytes beside those, and what is made of them is counted: it stays below a small multiple of them.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from portproof._errors import BadInput
from portproof.checkpoints._standins import Described, Foreign, Text, checked_key, cost, said
from portproof.checkpoints._stored import FilePart

#: Bytes of a pickle beside its tensors: enough for some 50,000.
LIMIT = 8 << 20
#: Bytes that a pickle may make this process hold: some, and so many for each of its own beside the tensors.
#: torch.save's take about ten, and 28 where a tensor has next to nothing of its own.
_ROOM, _MULTIPLE = 4 << 20, 32
#: Byte strings and texts from this length on stay in the file.
_LONG, _LONG_TEXT = 256, 4096
#: About what CPython takes for a container, for what a mark begins, and for an entry of the memo or a dictionary.
_CONTAINER, _MARK, _ENTRY = 64, 136, 104
#: Modules whose names a file asks for only to run something; it is not read any further, whatever else it holds.
_RUNS = frozenset((
    "os", "posix", "nt", "subprocess", "sys", "socket", "shutil", "importlib", "runpy", "pty", "ctypes", "code",
    "codeop", "commands", "webbrowser", "pdb", "bdb", "timeit", "profile", "cProfile", "marshal", "pickle", "dill",
    "cloudpickle", "pip", "http", "urllib", "requests", "ftplib", "telnetlib", "asyncio", "multiprocessing",
))  # fmt: skip
#: What of the builtins is a kind of value, and runs nothing.
_BUILTINS = frozenset((
    "set", "frozenset", "list", "dict", "tuple", "int", "float", "complex", "bool", "str", "bytes", "bytearray",
    "object", "range", "xrange", "slice", "unicode", "long", "type", "NoneType", "Ellipsis",
))  # fmt: skip


class _Budgeted:
    """A part of a file of which no more than a limit is read; the rest can only be passed over."""

    def __init__(self, file: BinaryIO, begin: int, end: int) -> None:
        self._file, self._end, self.at, self.used = file, end, begin, 0
        file.seek(begin)

    def read(self, count: int) -> bytes:
        self.used += count
        if self.used > LIMIT:
            raise BadInput(f"it holds more than {LIMIT >> 20} MiB beside its tensors; that is no checkpoint")
        if count > self._end - self.at:
            raise BadInput("it is cut short")
        self.at += count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(min(LIMIT - self.used, self._end - self.at) + 1)
        self._file.seek(self.at)
        return self.read(len(line))

    def pass_over(self, count: int) -> int:
        """Go past some bytes; returns where they begin."""
        begin = self.at
        if count > self._end - begin:
            raise BadInput("it is cut short")
        self.at += count
        self._file.seek(self.at)
        return begin


class _Stop(Exception):
    """A pickle has ended; carries what it made."""


class Machine(pickle._Unpickler):
    """Runs pickles of one file, one after the other.

    Args:
        path: of the file, for the places of its tensors.
        file: open.
        names: module and name to the stand-in that a file gets for it; of every other name it gets a :class:`Foreign`.
        storage: answers a persistent identifier; None refuses them.
        span: where in the file the pickles are; default: all of it.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    # Python's machine makes these when it starts.
    stack: list[Any]
    append: Callable[[Any], None]
    metastack: list[list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]
    memo: dict[int, Any]

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        names: Mapping[tuple[str, str], Any],
        storage: Callable[[Any], Any] | None = None,
        span: tuple[int, int] | None = None,
    ) -> None:
        self._budgeted = _Budgeted(file, *(span or (0, file.seek(0, 2))))
        super().__init__(self._budgeted, encoding="latin1")
        self._path, self._names, self._storage = path, names, storage
        self._foreign: dict[str, Foreign] = {}
        self._made = 0

    def load(self) -> Any:
        """Run the next pickle, which remembers nothing of those before it."""
        self.memo, self.metastack, self.stack = {}, [], []
        self.append = self.stack.append
        self.read, self.readline = self._budgeted.read, self._budgeted.readline
        read, dispatch = self.read, self.dispatch
        try:
            while True:
                dispatch[read(1)[0]](self)
        except _Stop as stop:
            return stop.args[0]

    def tell(self) -> int:
        """Return where in the file the machine is."""
        return self._budgeted.at

    def make(self, size: int) -> None:
        """Count bytes that are made of the file's.

        Raises:
            BadInput: they are more than a checkpoint's become.
        """
        self._made += size
        if self._made > _ROOM + _MULTIPLE * self._budgeted.used:
            raise BadInput(f"its pickle makes more than {_MULTIPLE} times of its own size; that is no checkpoint")

    def find_class(self, module: str, name: str) -> Any:
        found = self._names.get((module, name))
        if found is not None:
            return found
        root = module.partition(".")[0]
        builtin = root in ("builtins", "__builtin__")
        if root in _RUNS or (builtin and name not in _BUILTINS):
            asked = f"it asks for '{module[:60]}.{name[:60]}'"
            raise BadInput(f"{asked}; weights need arrays only, and nothing in the file is run")
        self.make(4 * _ENTRY)
        known = f"{module[:60]}.{name[:60]}"
        return self._foreign.setdefault(known, Foreign(known))

    def persistent_load(self, identifier: Any) -> Any:
        if self._storage is None:
            raise BadInput("it refers to storage outside of itself")
        self.make(_ENTRY)
        return self._storage(identifier)

    def _call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Foreign):
            return function
        if not callable(function) or not isinstance(arguments, tuple):
            raise BadInput(f"it calls {said(function)}")
        self.make(cost(function, arguments))
        return function(*arguments)

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], arguments)

    def _new_with_names(self) -> None:
        self.stack.pop()  # arguments by name: nothing that weights need takes any
        self._reduce()

    def _object(self) -> None:
        what, *arguments = self.pop_mark()
        self.append(self._call(what, tuple(arguments)))

    def _instance(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.append(self._call(self.find_class(module, name), tuple(self.pop_mark())))

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Described):
            made.set(state)
        elif not isinstance(made, dict):  # a dictionary's own attributes (torch's _metadata) are of no use here
            raise BadInput(f"it gives a state to {said(made)}")

    def _extend(self, items: list[Any]) -> None:
        made = self.stack[-1]
        if isinstance(made, list):
            self.make(8 * len(items))
            made.extend(items)
        elif not isinstance(made, Foreign):
            raise BadInput(f"it appends to {said(made)}")

    def _append_one(self) -> None:
        self._extend([self.stack.pop()])

    def _append_all(self) -> None:
        self._extend(self.pop_mark())

    def _enter(self, items: list[Any]) -> None:
        made = self.stack[-1]
        if len(items) % 2:
            raise BadInput("it has a name without a value")
        if isinstance(made, dict):
            self.make(_ENTRY * len(items) // 2)
            for name, value in zip(items[::2], items[1::2], strict=True):
                made[checked_key(name)] = value
        elif not isinstance(made, Foreign):
            raise BadInput(f"it gives items to {said(made)}")

    def _enter_one(self) -> None:
        value, name = self.stack.pop(), self.stack.pop()
        self._enter([name, value])

    def _enter_all(self) -> None:
        self._enter(self.pop_mark())

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._enter(items)

    def _list_of_set(self) -> None:
        self.append([])  # nothing asks whether it is a set, and hashing what is in it might take for ever

    def _list_of_frozen(self) -> None:
        self.append(self.pop_mark())

    def _bytes(self, length: int) -> None:
        if length < _LONG:
            self.append(self.read(length))
        else:
            self.append(FilePart(self._path, self._budgeted.pass_over(length), length))

    def _text(self, length: int) -> None:
        if length < _LONG_TEXT:
            self.append(self.read(length).decode("utf-8", "surrogatepass"))
        else:
            self.append(Text(FilePart(self._path, self._budgeted.pass_over(length), length)))

    def _bytes4(self) -> None:
        self._bytes(int.from_bytes(self.read(4), "little"))

    def _bytes8(self) -> None:
        self._bytes(int.from_bytes(self.read(8), "little"))

    def _text4(self) -> None:
        self._text(int.from_bytes(self.read(4), "little"))

    def _text8(self) -> None:
        self._text(int.from_bytes(self.read(8), "little"))

    def _old_text(self) -> None:
        length = int.from_bytes(self.read(4), "little")
        if length < _LONG:  # Python 2 wrote names so, and the bytes of arrays
            self.append(self.read(length).decode("latin1"))
        else:
            self._bytes(length)

    def _stop(self) -> None:
        raise _Stop(self.stack.pop())

    def _frame(self) -> None:
        self.read(8)  # frames only say how much could be read ahead


def _counted(does: Callable[[Any], None], size: int) -> Callable[[Any], None]:
    def counted(machine: Machine) -> None:
        machine.make(size)
        does(machine)

    return counted


_OWN = {
    pickle.BUILD: Machine._build, pickle.REDUCE: Machine._reduce, pickle.NEWOBJ: Machine._reduce,
    pickle.NEWOBJ_EX: Machine._new_with_names, pickle.OBJ: Machine._object, pickle.INST: Machine._instance,
    pickle.APPEND: Machine._append_one, pickle.APPENDS: Machine._append_all, pickle.ADDITEMS: Machine._append_all,
    pickle.SETITEM: Machine._enter_one, pickle.SETITEMS: Machine._enter_all, pickle.DICT: Machine._dictionary,
    pickle.EMPTY_SET: Machine._list_of_set, pickle.FROZENSET: Machine._list_of_frozen,
    pickle.BINBYTES: Machine._bytes4, pickle.BINBYTES8: Machine._bytes8, pickle.BYTEARRAY8: Machine._bytes8,
    pickle.BINUNICODE: Machine._text4, pickle.BINUNICODE8: Machine._text8, pickle.BINSTRING: Machine._old_text,
    pickle.FRAME: Machine._frame, pickle.STOP: Machine._stop,
}  # fmt: skip
#: What makes much more than it takes in the file, in bytes: it is counted before it is made.
_COUNTED = dict.fromkeys((
    pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
    pickle.LIST, pickle.DICT, pickle.FROZENSET,
), _CONTAINER) | dict.fromkeys((
    pickle.MEMOIZE, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT
), _ENTRY) | {pickle.MARK: _MARK}  # fmt: skip
Machine.dispatch.update({code[0]: does for code, does in _OWN.items()})
Machine.dispatch.update({code[0]: _counted(Machine.dispatch[code[0]], size) for code, size in _COUNTED.items()})


def piece(value: object, protocol: int = 3) -> bytes:
    """Return the opcodes that put a plain value on a pickle's stack, to be written into a larger one."""
    return pickle.dumps(value, protocol)[2:-1]


def long_bytes(length: int) -> bytes:
    """Return the opcode before that many bytes."""
    return pickle.BINBYTES8 + struct.pack("<Q", length)
