"""A side whose answers are kept: taken from the store where all that they follow from is as it was, else asked for.

An answer follows from the side's place (port, interpreter, environment, processor), the changes before it (weights that
were loaded, say), the task and its arguments, where a file counts as its content, and what the side's process had read
by then: its code. The process is started when the first answer is missing, and told the changes that it has missed.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portproof._errors import BadInput
from portproof._machine import instruction_sets, processor, thread_budget
from portproof.ports._port import Part
from portproof.sides._process import Place, Session, WorkerSession
from portproof.sides._reads import (
    FILE,
    INSTALLED,
    PACKAGE,
    TICK_NS,
    Kind,
    Read,
    Signature,
    digest_of,
    digest_of_file,
    in_scratch,
    look,
    read_of,
    signature_of,
)
from portproof.sides._roles import Role, role_of
from portproof.sides._store import Answer, Piece, Store
from portproof.sides._warm import rests_on
from portproof.sides._wire import P, R, Task, name_of, pack, pack_arguments, spoken, unpack_result

#: Variables of the environment that no answer follows from: where a person sits, and what the store itself is told.
_IDLE = re.compile(
    r"PWD|OLDPWD|SHLVL|_|COLUMNS|LINES|TERM|TERMINFO|TERM_PROGRAM\w*|TERM_SESSION_ID|COLORTERM|VTE_VERSION|WINDOWID|STY"
    r"|(TMUX|SSH|VSCODE|KITTY|ITERM|WEZTERM|ALACRITTY|KONSOLE|GNOME_TERMINAL|XDG_SESSION)(_\w+)?|DISPLAY|WAYLAND_DISPLAY"
    r"|DBUS_SESSION_BUS_ADDRESS|SESSION_MANAGER|LS_COLORS|LESS|LESSOPEN|LESSCLOSE|PAGER|EDITOR|VISUAL|PS\d"
    r"|PORTPROOF_CACHE|PORTPROOF_PATIENCE|PYTEST_CURRENT_TEST"
)
#: Files that others lie beside: weights of a graph.
_WITH_OTHERS = (".onnx", ".json", ".pdmodel")


class Digests:
    """What lies on disk now, looked at once in a run; all sides of a run share it.

    Attributes:
        made: keys of the answers that this run itself put into the store, one process of a side for another.
    """

    def __init__(self) -> None:
        self.made: set[str] = set()
        self._files: dict[str, tuple[Signature, str]] = {}
        self._seen: dict[tuple[Kind, str], str] = {}
        self._relied_on: dict[tuple[Kind, str], str] = {}
        self._one_at_a_time: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, path: Path) -> str:
        """Return the digest of a file's or folder's content, of a file with what lies beside it under its name."""
        if path.is_dir():
            return digest_of(json.dumps([[ending, self.content(file)] for ending, file in under(path)]))
        alike = path.parent.glob(f"{glob.escape(_root(path))}*")
        beside = sorted(f"{file.name} {self.content(str(file))}" for file in alike if file.is_file())
        if path.suffix in _WITH_OTHERS and not in_scratch(str(path)):  # a person's, who may call its weights anything
            beside += [f"{file.name} {signature_of(str(file))}" for file in sorted(path.parent.iterdir())]
        return digest_of("\n".join(beside))

    def piece(self, path: str, ending: str) -> Piece:
        """Return a file that was written as the store will have it."""
        return Piece(ending, self.content(path), 0, signature_of(path)[0])

    def know(self, path: str, digest: str) -> None:
        """Note what lies at a path, which was put there a moment ago."""
        self._files[path] = signature_of(path), digest

    def hold(self, reads: Sequence[Read]) -> bool:
        """Whether all that was read is there still; what an answer rests on then may not change in this run."""
        if not all(self._now(read) == read.digest for read in reads):
            return False
        rests_on([read.path for read in reads if read.kind == FILE])
        self._relied_on |= {(read.kind, read.path): read.digest for read in reads}
        return True

    def hold_installed(self, reads: Sequence[Read]) -> bool:
        """Return whether what is installed is as it was, whatever else was read."""
        return self.hold([read for read in reads if read.kind in (INSTALLED, PACKAGE)])

    def require_same(self, read: Read) -> None:
        """See that what a process has just read is what answers were taken from the store by.

        Raises:
            BadInput: it was changed meanwhile.
        """
        if self._relied_on.get((read.kind, read.path), read.digest) != read.digest:
            raise BadInput(f"'{read.path}' was changed while this ran; run it again.")
        self._seen[read.kind, read.path] = read.digest

    def _now(self, read: Read) -> str:
        key = read.kind, read.path
        if key not in self._seen:
            self._seen[key] = read.digest if _unchanged(read) else look(*key).digest
        return self._seen[key]

    def content(self, path: str) -> str:
        """Return the digest of a file's content."""
        with self._one_at_a_time[path]:  # several sessions ask for one file at once
            signature = signature_of(path)
            known = self._files.get(path)
            if known is not None and known[0] == signature:
                return known[1]
            digest = digest_of_file(path)
            if signature[2] < time.time_ns() - TICK_NS:  # else it may change once more, unseen
                self._files[path] = signature, digest
            return digest


def _unchanged(read: Read) -> bool:
    try:
        return read.kind == FILE and read.signature is not None and signature_of(read.path) == read.signature
    except OSError:
        return False


def _root(path: Path) -> str:
    """Return how the names of a file and of what belongs to it begin; a program's weights lie beside its ``.json``."""
    return f"{path.stem}." if path.suffix in _WITH_OTHERS else path.name


def under(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what lies at a path, in it, or beside it under its name: what its path has beyond, and the path."""
    for file in sorted(path.parent.glob(f"{glob.escape(path.name)}*")):
        if file.is_dir() and file.name == path.name:
            yield from ((str(one)[len(str(path)) :], str(one)) for one in sorted(file.rglob("*")) if one.is_file())
        elif file.is_file() and file.name[len(path.name) :][:1] in ("", "."):
            yield file.name[len(path.name) :], str(file)


@dataclass(frozen=True)
class _Asked:
    """A task as it was asked for: ``identity`` names it and its arguments by their content."""

    task: str
    told: str
    arguments: Mapping[str, Any]
    role: Role
    identity: str

    def undoing(self, changes: Sequence[_Asked]) -> list[_Asked]:
        """Return those changes that still count once this is done."""
        home = self.task.rpartition(".")[0]
        undone = {f"{home}.{name}" for name in self.role.undoes}
        return [change for change in changes if change.task not in undone]


class KeptSession(Session):
    """A session whose process starts when the store has not the answer.

    Args:
        about: port and side, for people.
        place: digest of all that is fixed from the beginning; see :func:`place_digest`.
        start: starts the process.
        store: keeps the answers.
        digests: of what lies on disk.

    Attributes:
        side: whose it is.
        taken: tasks that the store answered as an earlier run had left it, as people are told them.
        made: those that were not.
    """

    def __init__(
        self, about: Mapping[str, str], place: str, start: Callable[[], WorkerSession], store: Store, digests: Digests
    ) -> None:
        self.side = about["side"]
        self._about, self._place, self._start = about, place, start
        self._store, self._digests = store, digests
        self._queue = ThreadPoolExecutor(1, thread_name_prefix=f"portproof-{about['side']}")
        # Answers are put into the store while the process is at the next task.
        self._keeping = ThreadPoolExecutor(1, thread_name_prefix=f"portproof-keeping-{about['side']}")
        self._kept: list[Future[None]] = []
        self._worker: WorkerSession | None = None
        self._then: list[Callable[[], None]] = []
        self._closed = self._free = self._started = False
        self._changes: list[_Asked] = []
        self._owed: list[_Asked] = []
        self._reads: dict[tuple[Kind, str], Read] = {}
        self.taken: list[str] = []
        self.made: list[str] = []
        self._why_not = ""

    @property
    def is_started(self) -> bool:
        return self._started

    def once_started(self, then: Callable[[], None]) -> None:
        """Call something as soon as it has a process, if ever."""
        self._then.append(then)
        if self.is_started:
            self._begun()

    def _begun(self) -> None:
        while self._then:
            self._then.pop(0)()

    @property
    def why_not(self) -> str:
        """Why what is asked is not kept; "" for no reason."""
        return self._why_not or self._store.problem

    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        arguments = pack_arguments(task, args, kwargs)

        def answered() -> R:
            begun()
            result: R = unpack_result(task, self._answer(name_of(task), spoken(task), arguments, role_of(task)))
            return result

        return self._queue.submit(answered)

    def _answer(self, task: str, told: str, arguments: Mapping[str, Any], role: Role) -> Any:
        self._free = self._free or not role.kept
        if self._free:  # nothing can be said of what follows
            self.made.append(told)
            return self._ask(task, told, arguments)["result"]
        identity = json.dumps([task, self._by_content(arguments, role)], sort_keys=True)
        asked = _Asked(task, told, arguments, role, identity)
        self._changes, self._owed = asked.undoing(self._changes), asked.undoing(self._owed)
        key = digest_of(json.dumps([self._place, [change.identity for change in self._changes], identity]))
        targets = {name: Path(arguments[name]) for name in role.writes if arguments.get(name) is not None}
        if key in self._digests.made or any(True for path in targets.values() for _ in under(path)):
            self.settle()  # the answer, or what is written over now, may be on its way into the store
        told_what = bool(role.function and arguments.get(role.function))
        found = self._store.find(key, self._digests.hold_installed if told_what else self._digests.hold)
        if found is not None and self._store.lay_out(found, targets):
            for name, pieces in found.files.items():
                for piece in pieces:
                    self._digests.know(f"{targets[name]}{piece.ending}", piece.digest)
            if key not in self._digests.made:
                self.taken.append(told)
            self._changed(asked, owed=True)
            return found.result
        self.made.append(told)
        return self._make(asked, key, targets)

    def _make(self, asked: _Asked, key: str, targets: Mapping[str, Path]) -> Any:
        """Ask the process, and keep its answer."""
        try:
            answer = self._ask(asked.task, asked.told, asked.arguments)
        except Exception:
            self._changed(replace(asked, identity=uuid.uuid4().hex))  # halfway: nobody knows how far
            raise
        self._changed(asked)
        self._note(answer["read"])
        if not self._why_not and not any(map(in_scratch, _texts(answer["result"]))):  # a path that is gone next time
            self._digests.made.add(key)
            made = {name: list(under(path)) for name, path in targets.items()}
            given = asked, key, answer["result"], targets, made, list(self._reads.values())
            self._kept.append(self._keeping.submit(self._keep, *given))
        return answer["result"]

    def settle(self) -> None:
        """Wait until the store has what is to be kept."""
        while self._kept:
            self._kept.pop(0).result()

    def _keep(
        self, asked: _Asked, key: str, result: Any, targets: Mapping[str, Path],
        made: Mapping[str, Sequence[tuple[str, str]]], reads: Sequence[Read],
    ) -> None:  # fmt: skip
        """Put an answer into the store; ``made``: its files, see :func:`under`."""
        try:
            files = {
                name: [self._digests.piece(file, ending) for ending, file in found] for name, found in made.items()
            }
        except FileNotFoundError:  # who asked for it has cleared it away
            return
        self._store.keep(key, reads, Answer(result, files, {**self._about, "task": asked.told}), targets)

    def _changed(self, asked: _Asked, *, owed: bool = False) -> None:
        """Note a task that changes its side; ``owed``: its process has not been told."""
        if asked.role.changes:
            self._changes.append(asked)
            if owed:
                self._owed.append(asked)

    def _ask(self, task: str, told: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Have the process answer, once it has been told the changes that it has missed."""
        if self._worker is None:
            self._started = True
            self._worker = self._start()
            if self._closed:
                self._worker.close()
            self._begun()
        owed, self._owed = self._owed, []
        for change in owed:
            now = json.dumps([change.task, self._by_content(change.arguments, change.role)], sort_keys=True)
            if now != change.identity:
                raise RuntimeError(f"files of '{change.told}' were written over; this is a bug worth reporting")
            self._note(self._worker.ask(change.task, change.told, change.arguments)["read"])
        return self._worker.ask(task, told, arguments)

    def _note(self, read: Mapping[str, Any]) -> None:
        for one in map(read_of, read["reads"]):
            self._digests.require_same(one)
            self._reads[one.kind, one.path] = one
        self._why_not = self._why_not or read["why_not"]

    def _by_content(self, arguments: Mapping[str, Any], role: Role) -> dict[str, Any]:
        """Return arguments with files replaced by their content, and those that are written by their names."""

        def told(value: Any) -> Any:
            if isinstance(value, str) and value.startswith("/") and os.path.exists(value):  # noqa: PTH110
                return {"file": Path(value).name, "content": self._digests.of(Path(value))}
            if isinstance(value, dict):
                return {key: told(entry) for key, entry in value.items()}
            return [told(entry) for entry in value] if isinstance(value, list) else value

        written = {name: Path(arguments[name]).name for name in role.writes if arguments.get(name) is not None}
        return {name: {"written": written[name]} if name in written else told(v) for name, v in arguments.items()}

    def close(self) -> None:
        self._closed = True
        if self._worker is not None:
            self._worker.close()
        self._queue.shutdown(wait=True, cancel_futures=True)
        self.settle()
        self._keeping.shutdown(wait=True)
        if self._worker is not None:
            self._worker.close()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.items() for entry in item for text in _texts(entry))
    elif isinstance(value, list):
        yield from (text for entry in value for text in _texts(entry))


def place_digest(
    place: Place, side: str, module: str, device: str, threads: int, part: Part | None, variables: Mapping[str, str]
) -> str:
    """Return the digest of all that a side's answers follow from and that is fixed from the beginning.

    What its interpreter has installed is told by the process, as a part of what it reads.
    """
    python = place.project.python.get(side, sys.executable)
    interpreter = Path(shutil.which(python) or python).resolve()
    file, colon, name = place.locator.rpartition(":")
    locator = f"{digest_of_file(file)}{colon}{name}" if in_scratch(file) else place.locator  # of two models' own making
    fixed = {
        "interpreter": [python, str(interpreter), signature_of(str(interpreter)) if interpreter.is_file() else None],
        "root": str(place.project.root), "locator": locator, "kwargs": pack(dict(place.kwargs)),
        "side": side, "module": module, "device": device, "threads": threads, "part": pack(part),
        "environment": {k: v for k, v in {**os.environ, **variables}.items() if not _IDLE.fullmatch(k)},
        "folder": str(Path.cwd()), "machine": [processor(), instruction_sets(), thread_budget(), os.uname().machine],
    }  # fmt: skip
    return digest_of(json.dumps(fixed, sort_keys=True, default=repr))
