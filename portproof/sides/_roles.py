"""What a task means for answers that are kept: whether its own may be, and what later ones rest on.

Every public method of a task class has a role; one without is taken for the gravest (``tests/sides/test_roles.py``
asks for it).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Role:
    """What a task means.

    Attributes:
        kept: whether its answer follows from its arguments, the changes before it and the side's code alone.
        writes: arguments that name what it writes: a folder, or a file with those beside it that begin with its name.
        changes: whether later answers follow from it, too.
        undoes: functions, of the same class, whose changes are as if they had never been.
        beside: the process of its side that runs it where there are several (:mod:`portproof.sides._apart`).
        function: the argument that is told, where that is known, what the model computes: then the answer follows from
            that in place of the side's code.
    """

    kept: bool = False
    writes: tuple[str, ...] = ()
    changes: bool = True
    undoes: tuple[str, ...] = ()
    beside: str = ""
    function: str = ""


#: Runs whenever it is asked for, and so does everything after it.
NEVER_KEPT = Role()
_ATTRIBUTE = "portproof_role"


def answers(*writes: str, beside: str = "") -> Callable[[T], T]:
    """Mark a task that leaves its side as it was."""
    return _marking(Role(kept=True, writes=writes, changes=False, beside=beside))


def changes(*writes: str, undoes: tuple[str, ...] = (), function: str = "") -> Callable[[T], T]:
    """Mark a task whose answer may be kept, and that later answers follow from."""
    return _marking(Role(kept=True, writes=writes, undoes=undoes, function=function))


def never_kept(task: T) -> T:
    """Mark a task, or all those of a class, that must run: it measures, or learns, or depends on what ran before."""
    return _marking(NEVER_KEPT)(task)


def _marking(role: Role) -> Callable[[T], T]:
    def mark(task: T) -> T:
        setattr(task, _ATTRIBUTE, role)
        return task

    return mark


def marked(task: Callable[..., Any]) -> Role | None:
    """Return the role that a task or its class was marked with, None for none."""
    home = getattr(sys.modules[task.__module__], task.__qualname__.partition(".")[0])
    found: Role | None = getattr(task, _ATTRIBUTE, None) or vars(home).get(_ATTRIBUTE)
    return found


def role_of(task: Callable[..., Any]) -> Role:
    """Return the role of a task."""
    return marked(task) or NEVER_KEPT
