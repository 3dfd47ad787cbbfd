"""Every task says what it means for answers that are kept."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import portproof
from portproof.sides._roles import NEVER_KEPT, marked, role_of
from portproof.sides._tasks import Tasks
from portproof.sides._wire import find_task, name_of

ENGINE = Path(portproof.__file__).parent


def all_tasks() -> Iterator[Callable[..., Any]]:
    """Yield every task that a side's process answers."""
    for file in sorted(ENGINE.glob("*/_tasks.py")):
        module = importlib.import_module(f"portproof.{file.parent.name}._tasks")
        for kind in [value for name, value in vars(module).items() if name.endswith("Tasks")]:
            for name, task in vars(kind).items():
                if kind.__module__ == module.__name__ and callable(task) and not name.startswith("_"):
                    assert find_task(name_of(task))[1] is task
                    yield task


def test_every_task_has_a_role() -> None:
    tasks = list(all_tasks())
    assert len(tasks) > 50
    assert [name_of(task) for task in tasks if marked(task) is None] == []


def test_what_a_task_writes_and_undoes_is_there() -> None:
    for task in all_tasks():
        role, home = role_of(task), find_task(name_of(task))[0]
        assert set(role.writes) <= set(task.__annotations__), name_of(task)
        assert all(hasattr(home, name) for name in role.undoes), name_of(task)
        assert {role.function} - {""} <= set(task.__annotations__), name_of(task)


def test_a_task_without_a_role_is_never_kept() -> None:
    def fresh() -> None: ...

    fresh.__qualname__, fresh.__module__ = "Tasks.fresh", Tasks.__module__
    assert role_of(fresh) is NEVER_KEPT
