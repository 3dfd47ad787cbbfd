"""The sides of a port that run: a session each, their state dicts matched, the same weights given to all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, ModelRaised, and_more
from portproof._numbers import Arrays
from portproof.convert._account import Account, known_parts, match_states
from portproof.convert._transfer import transfer
from portproof.frameworks._entries import Entry
from portproof.ports._port import LEADING, Side
from portproof.ports._weightmap import WeightMap
from portproof.sides._pairs import Described, Pairs, pair_modules, require_used
from portproof.sides._process import Session
from portproof.sides._session import Sessions
from portproof.sides._tasks import Description, Tasks
from portproof.sides._warm import waiting
from portproof.sides._wire import P, R, Task

Watch = Callable[[str, str | None], None]


class Do(Protocol):
    """Submits a task to a process, and says what it is doing meanwhile: :meth:`Sides.do`."""

    def __call__(self, who: str, doing: str, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit it."""


class Sides:
    """What ``verify``, ``faults`` and ``bench`` do first.

    Args:
        sessions: of the port.
        watch: called with a process's name and what it is doing now, None when it is done.

    Attributes:
        live: the sides that are models, the one that leads first: its float64 run is the oracle.
        prefix: path of the judged part on each side, "" for all of it.
        described: per side its state dict and its modules.
        account: how the two state dicts correspond.
        seconds: what each kind of step took.
    """

    def __init__(self, sessions: Sessions, watch: Watch | None = None) -> None:
        self.sessions = sessions
        self.folder = sessions.folder
        self.watch: Watch = watch or (lambda *_: None)
        port = sessions.located.port
        self.live: Sequence[Side] = [side for side in LEADING if side in port.sides and not port.artefact(side)]
        self.prefix: dict[str, str] = dict.fromkeys(self.live, "")
        self.described: dict[str, Description] = {}
        self.account = Account((), (), ())
        self.seconds: dict[str, float] = {}
        sessions.require(f"port '{port.name}'", self.live)
        self.open: dict[str, Session] = {side: self._opened(side) for side in self.live}
        self._own: dict[str, Arrays] = {}
        self._doing: dict[str, list[str]] = {}
        self._weights = port.weights

    # Steps are submitted through here, so that a person sees what each process does and the report where time went.
    def do(self, who: str, doing: str, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit a task to a process."""
        started: list[float] = []
        doings = self._doing.setdefault(who, [])

        def begun() -> None:
            started.append(time.perf_counter())
            doings.append(doing)
            self.watch(who, doing)

        def done(_: Future[R]) -> None:
            if started:  # else it was cancelled before its turn
                key = f"{who}: {doing}"
                self.seconds[key] = round(self.seconds.get(key, 0.0) + time.perf_counter() - started[0], 3)
                doings.remove(doing)
            self.watch(who, doings[-1] if doings else None)

        if who not in self.open:
            self.open[who] = self._opened(who)
        future = self.open[who].submit_watched(begun, task, *args, **kwargs)
        future.add_done_callback(done)
        return future

    @property
    def interpreter(self) -> str:
        """The process that interprets graphs, which takes a framework's kernels and no runtime's.

        torch's own, which has them imported and has little to do once it has exported; where answers are kept, one that
        is forked from a warm parent, torch's or else Paddle's, so that no side's is started for it.
        """
        here = "torch" in self.live and "torch" not in self.sessions.located.project.python
        return "torch" if here and not self.sessions.keeps else "interpreter"

    def _opened(self, who: str) -> Session:
        """Open a process whose threads wait without computing: the other processes and NumPy need the cores."""
        return self.sessions.open(who, environment=waiting())

    def paddle_path(self, torch_path: str) -> str:
        """Translate a torch path of the whole model: by the port's ``taps``, else by its weight map."""
        port = self.sessions.located.port
        return port.taps.get(torch_path) or self._weights.paddle_path(torch_path)

    def local_paddle_path(self, path: str) -> str:
        """Translate a path inside the judged part."""
        whole = self.paddle_path(_join(self.prefix["torch"], path)) if path else self.prefix["paddle"]
        return _strip(self.prefix["paddle"], whole)

    def match(self, *, ahead: bool = False) -> Account:
        """Describe the models and settle the bijection of their state dicts; its problems are for the caller.

        ``ahead``: build the float64 models, which will be needed, where nothing has to wait for that.
        """
        described = {side: self.do(side, "building the model", Tasks.describe) for side in self.live}
        for side in self.live if ahead else ():
            if side == self.live[0]:
                self.open[side].ahead(Tasks.prepare, precision="float64")
            else:
                self.do(side, "building the float64 model", Tasks.prepare, precision="float64")
        self.described = {side: future.result() for side, future in described.items()}
        if len(self.live) < 2:
            return self.account
        entries: dict[str, list[Entry]] = {
            side: [_inside(self.prefix[side], entry) for entry in self.described[side].entries] for side in self.live
        }
        torch = [(_join(self.prefix["torch"], path), *rest) for path, *rest in self.described["torch"].modules]
        if not any(self.prefix.values()):
            require_used(self.sessions.located.port, self.described)
        self._weights = known_parts(self._weights, torch)
        account = match_states(entries["torch"], entries["paddle"], self._weights)
        rows = tuple(
            replace(
                row,
                torch=tuple(_strip(self.prefix["torch"], name) for name in row.torch),
                paddle=tuple(_strip(self.prefix["paddle"], name) for name in row.paddle),
            )
            for row in account.rows
        )
        ignored = tuple((side, _strip(self.prefix[side], name), reason) for side, name, reason in account.ignored)
        self.account = replace(account, rows=rows, ignored=ignored)
        for side in self.live:
            self._own[side] = own_tensors(self.open[side], self.account, side, self.folder, "float64")
        return self.account

    def use(self, weights: WeightMap) -> Account:
        """Go on under another map than the port's own, as if it were that."""
        located = self.sessions.located
        self.sessions.located = replace(located, port=replace(located.port, weights=weights))
        self._weights = weights
        return self.match()

    def pairs(self) -> Pairs:
        """Pair the modules of the two sides, once they are matched."""
        described: Described = {side: self.described[side].modules for side in self.live}
        taps = self.sessions.located.port.taps
        given = {path for path, *_ in described.get("torch", ()) if _join(self.prefix["torch"], path) in taps}
        return pair_modules(described, self.local_paddle_path, self.account.rows, given)

    def require_match(self) -> Account:
        """Settle the bijection, or stop.

        Raises:
            BadInput: a tensor has no equal.
        """
        account = self.match()
        if account.problems:
            found = and_more([problem.message for problem in account.problems])
            raise BadInput(f"the state dicts do not correspond: {found}; see `portproof verify`.")
        return account

    def own(self, side: str) -> Arrays:
        """Return the values that a model itself gives to the tensors that only its side has, in its own dtypes."""
        dtypes = {entry.name: entry.dtype for entry in self.described[side].entries}
        return {
            name: array.astype(dtypes[name]) if dtypes[name] == "float32" else array
            for name, array in self._own.get(side, {}).items()
        }

    def sensitise(self, inputs: Path, seed: int, threads: int | None = None) -> tuple[Arrays, str, Path]:
        """Return sensitised weights, the side that made them, and their file; see :meth:`spread`.

        That side is the first that runs, and leads from now on.

        Raises:
            BadInput: no side runs.
        """
        out = self.folder / "sensitised.safetensors"
        failures: list[ModelRaised] = []
        for side in self.live:
            try:
                doing, kept = "sensitising weights", list(self._own.get(side, {}))
                function = ""
                if self.sessions.keeps:  # whose store may know the function by another text
                    asked = self.do(side, doing, Tasks.function, inputs=inputs, seed=seed, threads=threads, keep=kept)
                    function = asked.result()
                self.do(
                    side, doing, Tasks.sensitise,
                    inputs=inputs, out=out, seed=seed, threads=threads, keep=kept, function=function,
                ).result()  # fmt: skip
            except ModelRaised as error:
                failures.append(error)
                continue
            # A side that raises follows: the replay on the side that runs names what is wrong with it.
            self.live = [side, *(other for other in self.live if other != side)]
            return load_file(out) | self._own.get(side, {}), side, out
        raise BadInput("; ".join(str(error) for error in failures))

    def spread(self, tensors: Arrays, side: str, file: Path | None = None) -> dict[str, Path]:
        """Write one file of weights a side, each in its own names and layouts.

        Args:
            tensors: as one side has them.
            side: that one.
            file: that has them already, but for those which that side gives itself.
        """
        files: dict[str, Path] = {}
        for target in self.live:
            if target == side and file is not None and not self._own.get(side):
                files[target] = file
                continue
            own = tensors if target == side else transfer(tensors, self.account, target, self._own[target])
            files[target] = self.folder / f"weights-{target}.safetensors"
            save_arrays(files[target], own)
        return files


def own_tensors(session: Session, account: Account, side: str, folder: Path, precision: str = "float32") -> Arrays:
    """Return the values that the model itself gives to the tensors that only this side has, as built in a precision.

    A table that is computed (sines of positions) is another in float64, and the oracle has that one.
    """
    names = [name for ignored_side, name, _ in account.ignored if ignored_side == side]
    if not names:
        return {}
    out = folder / f"own-{side}.safetensors"
    session.call(Tasks.save_state, out=out, names=names, precision=precision)
    return load_file(out)


def _join(prefix: str, path: str) -> str:
    return ".".join(filter(None, (prefix, path)))


def _strip(prefix: str, path: str) -> str:
    return path.removeprefix(prefix).removeprefix(".") if prefix else path


def _inside(prefix: str, entry: Entry) -> Entry:
    """Return an entry under its name in the whole model, which the port's weight map speaks of."""
    return replace(entry, name=_join(prefix, entry.name), module=_join(prefix, entry.module))
