"""Where modules were built: the expression of somebody's code that called the constructor."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portproof.frameworks._model import Model
from portproof.lines._calls import Place
from portproof.lines._places import ModelCode, placed
from portproof.ports._locate import resolve_factory
from portproof.runners import RunnerJob


def built_at(job: RunnerJob, model: Model) -> dict[str, Place]:
    """Build a side's model once more and return where each of its modules is built, by path.

    A copy of a module is built nowhere. Raises what the factory raises.

    Args:
        job: of the side.
        model: of it, which is left alone.
    """
    found: dict[int, tuple[Any, Place]] = {}
    with _seeing_constructors(model.framework.side, found):
        other = Model(model.framework, job.port, resolve_factory(job.port, job.side), "float32", job.module)
    modules = dict(model.framework.all_modules(other.root))
    return {path: found[id(module)][1] for path, module in modules.items() if id(module) in found}


@contextmanager
def _seeing_constructors(side: str, found: dict[int, tuple[Any, Place]]) -> Iterator[None]:
    """Note in ``found`` the place of each module that is made within the block, by its id; and it, so that it stays."""
    kind = _module_class(side)
    code, before = ModelCode(side), kind.__init__

    def seen(module: Any, *args: Any, **kwargs: Any) -> None:
        place = _caller(module, sys._getframe(1), code)
        if place is not None:
            found[id(module)] = module, place
        before(module, *args, **kwargs)

    kind.__init__ = seen
    try:
        yield
    finally:
        kind.__init__ = before


def _caller(module: Any, frame: types.FrameType | None, code: ModelCode) -> Place | None:
    """Return the innermost expression of a model's code behind all constructors of a module."""
    while frame is not None and _is_constructor(frame, module):
        frame = frame.f_back
    while frame is not None and not code.is_model(frame.f_code.co_filename):
        if frame.f_code.co_filename == __file__:  # a factory that is the class itself
            return None
        frame = frame.f_back
    return None if frame is None else placed(frame.f_code, frame.f_lasti, frame.f_lineno, "")


def _is_constructor(frame: types.FrameType, module: Any) -> bool:
    code = frame.f_code
    return code.co_name == "__init__" and frame.f_locals.get(code.co_varnames[0] if code.co_varnames else "") is module


def _module_class(side: str) -> Any:
    if side == "torch":
        import torch

        return torch.nn.Module
    import paddle

    return paddle.nn.Layer
