"""Whose code it is that runs, and which expression of it is being evaluated."""

from __future__ import annotations

import itertools
import linecache
import os
import sysconfig
import types
from pathlib import Path

from portproof.lines._calls import Place
from portproof.lines._statements import names_read

#: Characters of an expression that are kept.
_TEXT = 120
_OWN = f"{Path(__file__).parents[1]}{os.sep}"
_STANDARD = f"{sysconfig.get_paths()['stdlib']}{os.sep}"
#: A framework's folders whose code is a model's, not the framework's.
_MODELS = ("vision/models/",)


class ModelCode:
    """Tells somebody's code from a framework's and from portproof's.

    Args:
        side: whose framework.
    """

    def __init__(self, side: str) -> None:
        self._packages, self._known = _packages(side), dict[str, bool]()

    def is_model(self, file: str) -> bool:
        """Whether a file is somebody's code, neither a framework's nor portproof's."""
        known = self._known.get(file)
        if known is None:
            packages = (p for p in self._packages if not file.startswith(tuple(p + m for m in _MODELS)))
            known = not file.startswith((_OWN, "<", *packages)) and (
                not file.startswith(_STANDARD) or f"{os.sep}site-packages{os.sep}" in file
            )
            self._known[file] = known
        return known


def placed(code: types.CodeType, instruction: int, line: int, module: str) -> Place:
    """Return the expression that was being evaluated, as its file has it."""
    first, last, begin, end = next(itertools.islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    if first is None or last is None or begin is None or end is None:
        return Place(code.co_filename, line, line, linecache.getline(code.co_filename, line).strip()[:_TEXT], module)
    lines = [linecache.getline(code.co_filename, number).rstrip("\n").encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    text = " ".join(part.decode(errors="replace").strip() for part in lines)
    text = text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"
    return Place(code.co_filename, first, last, text, module, names_read(code, first, last))


def _packages(side: str) -> tuple[str, ...]:
    import importlib.util

    found = []
    for name in (side, "numpy", "contextlib", "functools", "typing_extensions", "decorator"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        if spec.submodule_search_locations:
            found += [f"{place}{os.sep}" for place in spec.submodule_search_locations]
        elif spec.origin:
            found.append(spec.origin)
    return tuple(found)
