"""A side in two processes: its float64 model runs beside the rest, where a core would wait.

That is where the other side's answers are kept, so that one side runs alone. Both processes are forks of one warm
parent, so that the second costs no import, and each builds the models that it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from portproof.sides._kept import KeptSession
from portproof.sides._process import Session
from portproof.sides._roles import Role, role_of
from portproof.sides._wire import P, R, Task, name_of, pack_arguments


@dataclass(frozen=True)
class _Change:
    """A task that changed its side."""

    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    role: Role

    def is_undone_by(self, task: Task[..., Any], role: Role) -> bool:
        home, _, own = name_of(self.task).rpartition(".")
        return home == name_of(task).rpartition(".")[0] and own in role.undoes


class ApartSession(Session):
    """Two sessions of one side that answer as one would.

    The first is told every change and can answer everything. The second is asked for what runs the float64 model, once
    it has been told the changes that still count; never while one of those writes files, nor after a task of which
    nobody knows what it changed.

    Args:
        first, second: of one side, at one place.
        has_room: whether the second may start its process now.
    """

    def __init__(self, first: Session, second: KeptSession, has_room: Callable[[], bool]) -> None:
        self._first, self._second, self._has_room = first, second, has_room
        self._owed: list[_Change] = []
        self._alone = False

    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        role, session = role_of(task), self._first
        self._alone = self._alone or not role.kept
        if role.changes:
            change = _Change(task, args, kwargs, role)
            self._owed = [*(one for one in self._owed if not one.is_undone_by(task, role)), change]
        elif self._may_answer(role, pack_arguments(task, args, kwargs)):
            for one in self._owed:
                self._second.submit(one.task, *one.args, **one.kwargs)
            self._owed, session = [], self._second
        return session.submit_watched(begun, task, *args, **kwargs)

    def _may_answer(self, role: Role, arguments: Mapping[str, Any]) -> bool:
        """Whether the second can answer a task as the first would, and now."""
        precisions = arguments.get("precisions") or [arguments.get("precision")]
        wide = role.beside == "float64" or precisions == ["float64"]
        telling = any(change.role.writes for change in self._owed)
        return wide and not (self._alone or telling) and (self._second.is_started or self._has_room())

    def close(self) -> None:
        self._first.close()
        self._second.close()
