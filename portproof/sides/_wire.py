"""What goes over the line between a person's process and a side's: a task by its name, values by their annotations."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from portproof import _errors
from portproof._errors import BadInput, ModelRaised, PortproofError, Unavailable, environmental

P = ParamSpec("P")
R = TypeVar("R")
#: A task is named by its function, a method of a class in some ``_tasks.py``; the side's process has the object.
Task = Callable[Concatenate[Any, P], R]

#: What a side's process answers: public methods of the classes in a package's ``_tasks.py``, and nothing else.
_NAME = re.compile(r"(portproof(?:\.[a-z]\w*)+\._tasks):([A-Z]\w*Tasks|Tasks)\.([a-z]\w*)")


def name_of(task: Callable[..., Any]) -> str:
    """Return what a task is called on the line."""
    return f"{task.__module__}:{task.__qualname__}"


def find_task(name: str) -> tuple[type, Callable[..., Any]]:
    """Return the class and the function of a task, imported where they are first asked for.

    A side's process needs little of all that it could do, and what is below imports nothing from above.

    Raises:
        ValueError: it is none.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"'{name}' names no task")
    module, kind, function = found.groups()
    home = getattr(importlib.import_module(module), kind)
    return home, getattr(home, function)


def spoken(task: Callable[..., Any]) -> str:
    """Return a task's name as people are told it: with what its class calls its tasks, where names alone say little."""
    home = getattr(sys.modules[task.__module__], task.__qualname__.partition(".")[0])
    return f"{getattr(home, 'spoken', '')}{task.__name__}"


def pack_arguments(task: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments, by their names, as JSON has them."""
    given = inspect.signature(task).bind(None, *args, **kwargs).arguments
    return {name: pack(value) for name, value in list(given.items())[1:]}


def unpack_arguments(task: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as the function takes them."""
    return {name: unpack(value, _hints(task)[name]) for name, value in arguments.items()}


def unpack_result(task: Callable[..., Any], result: Any) -> Any:
    """Return a result as the function gave it."""
    return unpack(result, _hints(task)["return"])


def pack(value: Any) -> Any:
    """Return a value as JSON has it: paths as strings, dataclasses by their fields, sets and tuples as lists."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: pack(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: pack(entry) for key, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return [pack(entry) for entry in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [pack(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def unpack(value: Any, kind: Any) -> Any:
    """Return what :func:`pack` was given, which was of a kind; what is ``Any`` stays as JSON has it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [each for each in inner if each is not type(None)]
        return value if value is None or len(kinds) > 1 else unpack(value, kinds[0])
    if kind is Path:
        return Path(value)
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: unpack(entry, _hints(kind)[name]) for name, entry in value.items()})
    if origin is tuple:
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return tuple(unpack(entry, one) for entry, one in zip(value, each, strict=True))
    if origin in (list, Sequence, frozenset):
        made = [unpack(entry, inner[0]) for entry in value]
        return frozenset(made) if origin is frozenset else made
    if origin in (dict, Mapping):
        return {inner[0](key) if inner[0] is int else key: unpack(entry, inner[1]) for key, entry in value.items()}
    return value


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    return typing.get_type_hints(of)


def tell(raised: BaseException) -> dict[str, Any]:
    """Put what a task raised into JSON, so that the parent can raise it again."""
    error = raised if isinstance(raised, PortproofError) else environmental(raised)
    if error is None:
        # A bug of ours, or a framework that leaves by SystemExit: told as such, never turned into a verdict.
        return {"type": type(raised).__name__, "message": traceback.format_exc(), "exit_code": None, "details": {}}
    details = {}
    if isinstance(error, ModelRaised):
        details = {"side": error.side, "module": error.module, "reason": error.reason}
    return {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code, "details": details}


def revive(error: Mapping[str, Any]) -> Exception:
    """Return for this process what was raised in the worker."""
    if error["type"] == "ModelRaised":
        return ModelRaised(**error["details"])
    kind = getattr(_errors, error["type"], None)
    if kind is None and error["exit_code"] is not None:
        kind = Unavailable if error["exit_code"] == 4 else BadInput
    if isinstance(kind, type) and issubclass(kind, PortproofError):
        return kind(error["message"])
    return RuntimeError(f"a task failed inside portproof; this is a bug worth reporting:\n{error['message']}")
