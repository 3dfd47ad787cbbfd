"""The statements of a model's own code as they run, and the tensors that they bind to names or return.

A line without a call (``h = pooled``) is in no list of calls; this is where it is seen.
"""

from __future__ import annotations

import ast
import dis
import functools
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from portproof.frameworks._tree import leaves
from portproof.lines._calls import RETURNED, Asked, Bound, Frame, Place, Statement

_TEXT = 120
#: Tensors of one value that are looked at.
_MOST = 16
#: Statements that are kept.
_LIMIT = 200_000


class Statements:
    """Follows the frames of a model's own code.

    Args:
        is_own: whether a file is a model's.
        is_tensor: whether a value is.
        known: says of a tensor who made it.
        count: how many calls there were until now.
        module: path of the module that is running.

    Attributes:
        frames: that were entered.
        found: statements that bound or returned a tensor, in the order in which they ended.
        asked: conditions that read attributes of a module.
    """

    def __init__(
        self, is_own: Callable[[str], bool], is_tensor: Callable[[object], bool],
        known: Callable[[str, Any], Bound | None], count: Callable[[], int], module: Callable[[], str],
    ) -> None:  # fmt: skip
        self._is_own, self._is_tensor, self._known = is_own, is_tensor, known
        self._count, self._module = count, module
        self._running: dict[int, int] = {}  # id of a frame that runs: its number
        self._own: dict[types.CodeType, bool] = {}
        self.frames: list[Frame] = []
        self.found: list[tuple[Place, Statement]] = []
        self.asked: list[tuple[Place, Asked]] = []

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow what is called in this block."""
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(before)

    def number(self, frame: types.FrameType) -> int:
        """Return the number of a frame that runs, -1 where it is not followed."""
        return self._running.get(id(frame), -1)

    def _entered(self, frame: types.FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code not in self._own:
            plain = not (code.co_name.startswith("<") or code.co_flags & _SUSPENDED)
            self._own[code] = plain and self._is_own(code.co_filename)
        if event != "call" or not self._own[code] or len(self.found) >= _LIMIT:
            return None
        outer, parent = frame.f_back, -1
        while outer is not None and parent < 0:
            parent, outer = self.number(outer), outer.f_back
        number = len(self.frames)
        self._running[id(frame)] = number
        given = self._bound(frame, _parameters(code))
        wraps = code.co_flags & _VARYING == _VARYING
        self.frames.append(Frame(parent, self._module(), self._count(), given, code.co_name, wraps))
        return _One(self, frame, number).trace

    def left(self, frame: types.FrameType) -> None:
        """Know that a frame has returned."""
        self._running.pop(id(frame), None)

    def ended(
        self, frame: types.FrameType, number: int, span: tuple[int, int], begun: int, stores: tuple[str, ...],
        returned: Any,
    ) -> None:  # fmt: skip
        """Keep a statement that bound or returned a tensor, or asked for something of its module's."""
        attributes = _asked(frame.f_code.co_filename, span[0])
        if attributes and len(self.asked) < _LIMIT:
            self.asked.append((self._place(frame, number, span), Asked(0, number, begun, attributes)))
        bound = [*self._bound(frame, stores), *self._tensors(RETURNED, returned)]
        if not bound:
            return
        copies = _copies(frame.f_code, *span)
        place = self._place(frame, number, span)
        self.found.append((place, Statement(0, number, begun, self._count(), tuple(bound), copies)))

    def _place(self, frame: types.FrameType, number: int, span: tuple[int, int]) -> Place:
        code = frame.f_code
        text, reads = _text(code.co_filename, *span), names_read(code, *span)
        return Place(code.co_filename, *span, text, self.frames[number].module, reads)

    def _bound(self, frame: types.FrameType, names: tuple[str, ...]) -> tuple[Bound, ...]:
        if not names:
            return ()
        held = frame.f_locals
        return tuple(one for name in names if name in held for one in self._tensors(name, held[name]))

    def _tensors(self, name: str, value: Any) -> list[Bound]:
        whole = self._is_tensor(value)
        if not whole and not (isinstance(value, (tuple, list, dict)) and 0 < len(value) <= _MOST):
            return []
        tensors = [value] if whole else list(leaves(value, self._is_tensor))[:_MOST]
        found = (self._known(name, tensor) for tensor in tensors)
        return [replace(one, whole=whole) for one in found if one is not None]


class _One:
    """One frame, statement after statement."""

    def __init__(self, statements: Statements, frame: types.FrameType, number: int) -> None:
        self._all, self._number = statements, number
        self._span: tuple[int, int] | None = None
        self._begun = 0

    def trace(self, frame: types.FrameType, event: str, value: Any) -> Any:
        if event == "line":
            span = _span(frame.f_code.co_filename, frame.f_lineno)
            if span != self._span:
                self._end(frame, None)
                self._span, self._begun = span, self._all._count()
        elif event == "return":
            self._end(frame, value)
            self._all.left(frame)
        return self.trace

    def _end(self, frame: types.FrameType, returned: Any) -> None:
        if self._span is not None:
            stores = _names(frame.f_code, *self._span, _STORING)
            self._all.ended(frame, self._number, self._span, self._begun, stores, returned)


_SUSPENDED = 0x20 | 0x80 | 0x200  # generators and coroutines return many times
_VARYING = 0x04 | 0x08  # ``*args`` and ``**kwargs``
_IDLE = ("RETURN_", "NOP", "RESUME", "JUMP_FORWARD", "COPY_FREE_VARS", "CACHE", "EXTENDED_ARG")
_STORING, _READING = ("STORE_FAST", "STORE_DEREF"), ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE")


def names_read(code: types.CodeType, first: int, last: int) -> tuple[str, ...]:
    """Return the local names that some lines of a function read."""
    return _names(code, first, last, _READING)


@functools.lru_cache(4096)
def _names(code: types.CodeType, first: int, last: int, kinds: tuple[str, ...]) -> tuple[str, ...]:
    found = [name for line, kind, name in _instructions(code) if first <= line <= last and kind in kinds]
    return tuple(dict.fromkeys(found))


@functools.lru_cache(4096)
def _copies(code: types.CodeType, first: int, last: int) -> bool:
    """Whether some lines only hand on what one name holds."""
    here = [one for one in dis.get_instructions(code) if one.positions and first <= (one.positions.lineno or 0) <= last]
    plain = all(one.opname.startswith((*_STORING, *_READING, *_IDLE)) for one in here)
    return plain and len(names_read(code, first, last)) == 1


@functools.lru_cache(1024)
def _instructions(code: types.CodeType) -> tuple[tuple[int, str, str], ...]:
    """Return the line, the kind and the name of every instruction that reads or binds a local name."""
    found = []
    for one in dis.get_instructions(code):
        line = one.positions.lineno if one.positions is not None else None
        names = one.argval if isinstance(one.argval, tuple) else (one.argval,)  # newer Pythons join two
        for kind in _STORING + _READING:
            if line is not None and one.opname.startswith(kind):
                found += [(line, kind, str(name)) for name in names]
    return tuple(found)


def _parameters(code: types.CodeType) -> tuple[str, ...]:
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_varnames[:count]


@functools.lru_cache(256)
def _statements(file: str) -> dict[int, ast.stmt]:
    """Return the innermost statement on every line of a file; of a block, on its head's."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, ast.stmt] = {}
    for node in ast.walk(tree):  # from without to within
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.update(dict.fromkeys(range(node.lineno, _last(node) + 1), node))
    return found


@functools.lru_cache(4096)
def _asked(file: str, line: int) -> tuple[str, ...]:
    """Return the attributes of ``self`` that the condition of an ``if`` on a line reads."""
    node = _statements(file).get(line)
    if not isinstance(node, ast.If):
        return ()
    read = [one for one in ast.walk(node.test) if isinstance(one, ast.Attribute)]
    return tuple(dict.fromkeys(one.attr for one in read if isinstance(one.value, ast.Name) and one.value.id == "self"))


def _last(node: ast.stmt) -> int:
    body = getattr(node, "body", None)
    return max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno


def _span(file: str, line: int) -> tuple[int, int]:
    node = _statements(file).get(line)
    return (line, line) if node is None else (node.lineno, _last(node))


@functools.lru_cache(4096)
def _text(file: str, first: int, last: int) -> str:
    lines = [linecache.getline(file, number) for number in range(first, last + 1)]
    node = _statements(file).get(first)
    if node is not None and node.end_lineno == last and lines:  # without what is written behind it
        lines[-1] = lines[-1].encode()[: node.end_col_offset].decode(errors="replace")
    text = " ".join(line.strip() for line in lines)
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
