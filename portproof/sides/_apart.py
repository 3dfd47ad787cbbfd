"""A side in several processes: its float64 model runs beside the rest, and its export is made, where a core would wait.

That is where the other side's answers are kept, so that one side runs alone. All processes are forks of one warm
parent, so that a further one costs no import, and each builds the models that it is asked for.
"""

from __future__ import annotations

import threading
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
    """Sessions of one side that answer as one would.

    The first is told every change and can answer everything. Another is asked for what is marked as its own, once it
    has been told the changes that still count; never while one of those writes files, nor after a task of which nobody
    knows what it changed.

    Args:
        first: of a side.
        others: at the same place: what tasks of theirs are marked with, and how many processes there may be beside the
            cores when it starts its own.
        has_room: whether there is a core for one more process, so many apart.
    """

    def __init__(
        self, first: KeptSession, others: Mapping[str, tuple[KeptSession, int]], has_room: Callable[[int], bool]
    ) -> None:
        self._first, self._others, self._has_room = first, others, has_room
        self._owed: dict[str, list[_Change]] = {name: [] for name in others}
        self._alone = False
        self._one_at_a_time = threading.Lock()

    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        role = role_of(task)
        with self._one_at_a_time:
            self._alone = self._alone or not role.kept
            if role.changes:
                change = _Change(task, args, kwargs, role)
                for name, owed in self._owed.items():
                    self._owed[name] = [*(one for one in owed if not one.is_undone_by(task, role)), change]
                return self._first.submit_watched(begun, task, *args, **kwargs)
            name = self._other(role, pack_arguments(task, args, kwargs))
            session = self._told(name) if name else self._first
            return session.submit_watched(begun, task, *args, **kwargs)

    @property
    def is_started(self) -> bool:
        return self._first.is_started

    def goes_beside(self, task: Task[P, R], /) -> bool:
        with self._one_at_a_time:
            return bool(self._other(role_of(task), {}))

    def ahead(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
        def begin() -> None:
            with self._one_at_a_time:
                name = self._other(role_of(task), pack_arguments(task, args, kwargs))
                if name:
                    self._told(name).submit(task, *args, **kwargs)

        self._first.once_started(begin)

    def _other(self, role: Role, arguments: Mapping[str, Any]) -> str:
        """Return which process beside the first can answer a task as that would, and now; "" for none."""
        precisions = arguments.get("precisions") or [arguments.get("precision")]
        name = role.beside or ("float64" if precisions == ["float64"] else "")
        if name not in self._others or self._alone or any(change.role.writes for change in self._owed[name]):
            return ""
        session, more = self._others[name]
        return name if session.is_started or self._has_room(more) else ""

    def _told(self, name: str) -> Session:
        """Return a process beside the first, told what it has missed."""
        session, _ = self._others[name]
        for one in self._owed[name]:
            session.submit(one.task, *one.args, **one.kwargs)
        self._owed[name] = []
        return session

    def close(self) -> None:
        self._first.close()
        for session, _ in self._others.values():
            session.close()
