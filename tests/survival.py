"""What a machine does to a run: every command that writes or runs long, under every fault, one harness for all.

A cell is one command under one fault. First the command runs undisturbed, which gives the right result; then with the
fault; then once more without it, on what the fault left behind. A cell holds where the disturbed run ended either with
the right result or with one line that says why (exit code 2 or 4); every file it wrote is the old one or a whole new
one; no process of it is left; and the run after it gives the right result.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PORT = "tests.small_ports:PICTURES"
LEARNER = "tests.learning_ports:LEARNER"
#: Seconds after which a stopped process counts as hung, here.
PATIENCE_S = 6
#: A run that takes longer than this under a fault hangs.
_LONGEST_S = 240
OLD = b"what was here before"

_CLOCK = """
import os, time
_real, _begun, _back = time.time, time.monotonic(), float(os.environ["SURVIVAL_CLOCK"])
def _late():
    return _real() - (86400.0 if time.monotonic() - _begun > _back else 0.0)
time.time = _late
time.time_ns = lambda: int(_late() * 1e9)
"""


@dataclass(frozen=True)
class Command:
    """One command as it is disturbed.

    Attributes:
        name: of it.
        arguments: for a folder.
        outputs: files that it writes, which must be old or whole.
        result: what it found, of a folder and what it printed; equal after a right run.
        again: arguments that are added where it goes on.
        cache: files that it reads back, to be damaged.
        prepare: makes what it needs.
        fine: exit codes of a right run; ``bench`` says 3 on a machine that others use, too.
        terminal: it stays in one, and is left when it waits for keys; what stands there then is kept beside its folder.
        below: what the command line of a process below it holds that is disturbed.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    outputs: tuple[str, ...]
    result: Callable[[Path], Any]
    again: tuple[str, ...] = ()
    cache: Callable[[Path], list[Path]] = lambda _: []
    prepare: Callable[[Path], None] = lambda _: None
    fine: tuple[int, ...] = (0,)
    terminal: bool = False
    below: str = "portproof.sides._worker"


@dataclass
class Cell:
    """What came of a command under a fault.

    Attributes:
        command, fault: which.
        outcome: ``right``, ``refused`` or ``not applicable``, in words for the table.
        said: the line that it ended with.
        wrong: what did not hold; empty where all did.
    """

    command: str
    fault: str
    outcome: str = ""
    said: str = ""
    wrong: list[str] = field(default_factory=list)


def _json(folder: Path) -> Any:
    return json.loads((folder / "out.json").read_text())


def _mapped(folder: Path) -> Any:
    document = _json(folder)
    return document["verdict"], document["weights"], (folder / "out.csv").read_text()


def _verified(folder: Path) -> Any:
    document = _json(folder)
    assert (folder / "out.html").read_text().rstrip().endswith("</html>")
    return document["verdict"], [(hop["from"], hop["to"], hop["verdict"]) for hop in document["hops"]]


def _screen_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.screen")  # a disk that is full has no room for it


def _watched(folder: Path) -> Any:
    found = re.search(r"verdict: (\w+)", _screen_of(folder).read_text())
    assert found is not None, "no verdict on the screen"
    return found[1]


def _converted(folder: Path) -> Any:
    from portproof.checkpoints import open_checkpoint

    found = open_checkpoint(folder / "out.pdparams").tensors
    return {name: stored.read().tobytes() for name, stored in found.items()}


def _deployed(folder: Path) -> Any:
    found = {one["runner"]: one for one in _json(folder)["candidates"]}
    return {name: (one["verdict"], one["cost"]) for name, one in sorted(found.items())}


def _exported(folder: Path) -> Any:
    import onnx

    proto = onnx.load(folder / "out.onnx")
    onnx.checker.check_model(proto)
    return sorted((tensor.name, tuple(tensor.dims)) for tensor in proto.graph.initializer)


def _trained(folder: Path) -> Any:
    from portproof.checkpoints import open_checkpoint

    found = open_checkpoint(folder / "out" / "torch" / "training.safetensors").tensors
    return {name: stored.read().tobytes() for name, stored in found.items() if name.startswith("model/")}


def _timed(folder: Path) -> Any:
    from portproof.bench._result import read_result

    found = read_result(folder / "out.json")
    return found.complete, [(row.runner, row.verdict, len(row.processes)) for row in found.rows]


def _planted(folder: Path) -> Any:
    document = _json(folder)
    return document["planted"], document["caught"], document["located"]


def _agreed(folder: Path) -> Any:
    return (folder / "out.json").read_bytes()


def _checkpoint(folder: Path) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    shapes = {
        "features.weight": (8, 3, 5, 5),
        "features.bias": (8,),
        "classes.weight": (10, 1568),
        "classes.bias": (10,),
    }
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "in.safetensors", {"portproof.side": "torch"})


def _images(folder: Path) -> None:
    from tests.agree.test_agree import jpeg

    (folder / "images").mkdir()
    for number in range(96):
        (folder / "images" / f"{number:03d}.jpg").write_bytes(jpeg(number))


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "verify", lambda f: ["verify", PORT, "--json", f"{f}/out.json", "--report", f"{f}/out.html"],
            ("out.json", "out.html"), _verified, (), lambda f: [p for p in (f / "cache").rglob("*") if p.is_file()],
        ),
        Command(
            "verify --watch", lambda _: ["verify", PORT, "--watch"], (), _watched, (),
            lambda f: [p for p in (f / "cache").rglob("*") if p.is_file()], terminal=True,
            below="portproof.sides._forks",
        ),
        Command(
            "convert", lambda f: ["convert", f"{f}/in.safetensors", f"{f}/out.pdparams", "--port", PORT],
            ("out.pdparams",), _converted, prepare=_checkpoint,
        ),
        Command(
            "map", lambda f: ["map", PORT, "--json", f"{f}/out.json", "-o", f"{f}/out.csv"],
            ("out.json", "out.csv"), _mapped,
        ),
        Command(
            "export", lambda f: ["export", PORT, "--from", "torch", "-o", f"{f}/out.onnx"], ("out.onnx",), _exported
        ),
        Command(
            "train",
            lambda f: ["train", LEARNER, "--data", "digits", "--side", "torch", "--epochs", "8", "--set", "classes=10",
                       "--keep-every", "0.2", "--no-agree", "--threads", "1", "-o", f"{f}/out"],
            (), _trained, ("--resume",), lambda f: list((f / "out").rglob("training.safetensors")),
        ),
        Command(
            "bench",
            lambda f: ["bench", "run", PORT, "--runners", "torch-eager,onnxruntime-torch", "--processes", "2",
                       "--seconds", "0.2", "--threads", "1", "-o", f"{f}/out.json"],
            ("out.json",), _timed, ("--resume",), lambda f: [f / "out.json"], fine=(0, 3),
        ),
        Command(
            "faults",
            lambda f: ["faults", PORT, "--count", "40", "--groups", "4", "--seeds", "2", "-o", f"{f}/out.jsonl",
                       "--json", f"{f}/out.json"],
            ("out.json",), _planted, (), lambda f: [f / "out.jsonl"],
        ),
        Command(
            "agree",
            lambda f: ["agree", PORT, "--images", f"{f}/images", "--store", f"{f}/store", "--unit", "16",
                       "--workers", "2", "--runners", "torch-eager,onnxruntime-torch", "--json", f"{f}/out.json"],
            ("out.json",), _agreed, (), lambda f: [p for p in (f / "store").rglob("*") if p.is_file()], _images,
        ),
        Command(
            "deploy",
            lambda f: ["deploy", PORT, "--images", f"{f}/images", "--store", f"{f}/store", "--budget", "5m",
                       "--runners", "torch-eager,onnxruntime-torch", "--json", f"{f}/out.json"],
            ("out.json",), _deployed, (), lambda f: [p for p in (f / "store").rglob("*") if p.is_file()], _images,
            fine=(0, 3),
        ),
    )
}  # fmt: skip


class Run:
    """A command on its way, in a process group of its own."""

    def __init__(
        self, command: Command, folder: Path, variables: dict[str, str] | None = None, more: tuple[str, ...] = (),
        begin: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.command = folder, command
        screen: int | None = None
        streams, forced = {"stdin": None, "stdout": subprocess.DEVNULL}, ["--force"]
        if command.terminal:
            _screen_of(folder).unlink(missing_ok=True)
            self._screen, screen = pty.openpty()
            streams, forced = {"stdin": screen, "stdout": screen}, []
        environment = {
            **os.environ, "PORTPROOF_PATIENCE": str(PATIENCE_S), "COLUMNS": "100",
            "XDG_CACHE_HOME": str(folder / "cache"), "PORTPROOF_CACHE": "1GB", **(variables or {}),
        }  # fmt: skip
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in end
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portproof", *command.arguments(folder), *forced, *more],
            cwd=ROOT, env=environment, stderr=self._said, start_new_session=True, preexec_fn=begin, **streams,
        )  # fmt: skip
        if screen is not None:
            os.close(screen)
            threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        """Read what a terminal shows, keep it when the command waits for keys, and leave."""
        text = ""
        with contextlib.suppress(OSError):  # it has ended
            while drawn := os.read(self._screen, 2**16):
                text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace"))
                if re.search("r again .* q quit", text) and text:
                    _screen_of(self.folder).write_text(text)
                    os.write(self._screen, b"q")
                    text = ""
        os.close(self._screen)

    def below(self, part: str) -> list[int]:
        """Return the processes below it whose command line has a part."""
        found = []
        for process in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if part in Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                    found.append(process)
        return found

    def end(self) -> tuple[int, str]:
        """Wait for its end; returns the exit code and what it said on standard error."""
        try:
            code = self.process.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            code = -1
        self._said.seek(0)
        said = self._said.read()
        self._said.close()
        return code, said

    def left(self) -> list[int]:
        """Return processes of it that are there some seconds after its end."""
        for _ in range(100):
            found = _sessions(self.process.pid)
            if not found:
                return []
            time.sleep(0.2)
        return found


def descendants(process: int) -> list[int]:
    """Return all processes below one."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def _sessions(leader: int) -> list[int]:
    """Return the processes of a session that are no zombies."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append(int(path.name))
    return found


class Harness:
    """Disturbs one command after the other.

    Args:
        folder: for everything.
        seed: of the moments.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self._right: dict[str, tuple[Any, float]] = {}
        self._count = 0

    def fresh(self, command: Command, *, old: bool = True) -> Path:
        """Return a folder with what the command needs, and something old where it writes."""
        self._count += 1
        folder = self.folder / f"{command.name}-{self._count}"
        folder.mkdir(parents=True)
        command.prepare(folder)
        for name in command.outputs if old and "--resume" not in command.again else ():
            (folder / name).write_bytes(OLD)
        return folder

    def right(self, command: Command) -> tuple[Any, float]:
        """Return the undisturbed result and the seconds that it took."""
        if command.name not in self._right:
            folder = self.fresh(command)
            begun = time.monotonic()
            code, said = Run(command, folder).end()
            assert code in command.fine, (command.name, code, said)
            self._right[command.name] = command.result(folder), time.monotonic() - begun
        return self._right[command.name]

    def judge(
        self,
        command: Command,
        folder: Path,
        cell: Cell,
        code: int,
        said: str,
        *,
        killed: bool = False,
        damaged: bool = False,
    ) -> None:
        """Check what a disturbed run left."""
        lines = [line for line in said.splitlines() if line.strip()]
        cell.said = lines[-1] if lines else ""
        right, _ = self.right(command)
        if code in command.fine:
            self._came_to(cell, "right result")
            self._same(command, folder, cell, right, "the disturbed run")
        elif killed and code == -signal.SIGKILL:
            self._came_to(cell, "killed")
        elif code in (2, 4):
            self._came_to(cell, f"refused ({code})")
            told = None
            if not lines and (command.terminal or code == 4):
                told = self._on_screen(folder) if command.terminal else self._told(folder)
            cell.said = told or cell.said
            errors = [line for line in lines if line.startswith("portproof:")]
            if told is None and (len(errors) != 1 or lines[-1] != errors[0]):
                cell.wrong.append(f"said {len(lines)} lines: {said[-600:]}")
        else:
            self._came_to(cell, f"exit code {code}")
            cell.wrong.append(f"ended with {code}: {said[-600:]}")
        if "Traceback" in said:
            cell.wrong.append(f"a traceback: {said[-600:]}")
        if code not in command.fine:
            for name in command.outputs:
                if damaged and folder / name in command.cache(folder):
                    continue  # that is what was damaged
                self._whole(command, folder, cell, name, right)

    @staticmethod
    def _on_screen(folder: Path) -> str | None:
        """Return the error that stands on a screen, None for none."""
        with contextlib.suppress(OSError):
            lines = _screen_of(folder).read_text().splitlines()
            return next(
                (line.strip() for line in lines if re.search(" ended | hangs|cannot |no room|memory", line)), None
            )
        return None

    @staticmethod
    def _told(folder: Path) -> str | None:
        """Return why something is unavailable that is said in the result, and so not beside it."""
        with contextlib.suppress(Exception):
            document = _json(folder)
            left_out = [hop for hop in document.get("hops", ()) if hop["verdict"] == "unavailable"]
            left_out += [entry for entry in document.get("skipped", ()) if entry["asked"]]
            return next(str(entry["reason"]) for entry in left_out)
        return None

    @staticmethod
    def _came_to(cell: Cell, outcome: str) -> None:
        if outcome not in cell.outcome:
            cell.outcome = "; ".join(filter(None, (cell.outcome, outcome)))

    def _whole(self, command: Command, folder: Path, cell: Cell, name: str, right: Any) -> None:
        path = folder / name
        if not path.is_file() or path.read_bytes() == OLD:
            return
        try:
            if name.endswith(".json"):
                json.loads(path.read_text())
            elif name.endswith(".html"):
                assert path.read_text().rstrip().endswith("</html>")
            elif command.result(folder) != right:
                cell.wrong.append(f"'{name}' is whole and wrong")
        except Exception as error:
            cell.wrong.append(f"'{name}' is half written: {error}")

    def _same(self, command: Command, folder: Path, cell: Cell, right: Any, who: str) -> None:
        try:
            if command.result(folder) != right:
                cell.wrong.append(f"{who} found something else")
        except Exception as error:
            cell.wrong.append(f"{who} left no result: {type(error).__name__}: {error}")

    def afterwards(self, command: Command, folder: Path, cell: Cell) -> None:
        """Run it once more on what is there."""
        right, _ = self.right(command)
        more: tuple[str, ...] = ()
        if command.again and any(path.is_file() for path in command.cache(folder)):
            more = command.again
        code, said = Run(command, folder, more=more).end()
        if code == 2 and "is complete" in said:  # nothing was left to be done
            code, said = (0, "") if command.name == "train" else Run(command, folder).end()
        if code not in command.fine:
            cell.wrong.append(f"the run after it ended with {code}: {said[-400:]}")
            return
        self._same(command, folder, cell, right, "the run after it")
        self._came_to(cell, "then right")

    def cell(self, command: Command, fault: str) -> Cell:
        """Run one command under one fault."""
        cell = Cell(command.name, fault)
        FAULTS[fault](self, command, cell)
        return cell


Plant = Callable[[Harness, Command, Cell], None]


def kill(harness: Harness, command: Command, cell: Cell) -> None:
    """Kill the command itself at random moments, then let it go on."""
    _, seconds = harness.right(command)
    folder = harness.fresh(command)
    for share in (harness.rng.uniform(0.1, 0.5), harness.rng.uniform(0.5, 0.95)):
        more = command.again if any(path.is_file() for path in command.cache(folder)) else ()
        run = Run(command, folder, more=more)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(share * seconds)
        if run.process.poll() is None:
            run.process.kill()
        code, said = run.end()
        if code == 2 and "is complete" in said:
            break
        harness.judge(command, folder, cell, code, said, killed=True)
        left = run.left()
        if left:
            cell.wrong.append(f"{len(left)} processes were left behind")
    harness.afterwards(command, folder, cell)


def _child(run: Run, harness: Harness, seconds: float) -> int | None:
    """Return a process below a run, at a random moment, None where it ended first."""
    run_for = harness.rng.uniform(0.15, 0.8) * seconds
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(run_for)
    for _ in range(200):
        if run.process.poll() is not None:
            return None
        found = run.below(run.command.below)
        if found:
            return harness.rng.choice(found)
        time.sleep(0.05)
    return None


def _on_a_child(harness: Harness, command: Command, cell: Cell, plant: Callable[[Run, int], None]) -> None:
    _, seconds = harness.right(command)
    for _ in range(4):  # a moment may come too late
        folder = harness.fresh(command)
        run = Run(command, folder)
        child = _child(run, harness, seconds)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                plant(run, child)
        code, said = run.end()
        if child is not None and code not in command.fine:
            break
    if child is None:
        cell.outcome = "has no process of its own"
        return
    harness.judge(command, folder, cell, code, said)
    if run.left():
        cell.wrong.append("processes were left behind")
    harness.afterwards(command, folder, cell)


def lose(harness: Harness, command: Command, cell: Cell) -> None:
    """Kill a process below the command; for agree, now and then a worker of the cluster."""

    def plant(run: Run, child: int) -> None:
        workers = run.below("spawn_main")
        os.kill(harness.rng.choice(workers) if workers else child, signal.SIGKILL)

    _on_a_child(harness, command, cell, plant)


def hang(harness: Harness, command: Command, cell: Cell) -> None:
    """Stop a process below the command, for ever."""
    _on_a_child(harness, command, cell, lambda _, child: os.kill(child, signal.SIGSTOP))


def starve(harness: Harness, command: Command, cell: Cell) -> None:
    """Let the processes below the command have no more memory than they hold."""

    def plant(run: Run, _: int) -> None:
        for child in run.below(command.below):
            with contextlib.suppress(OSError, ValueError):
                held = int(Path(f"/proc/{child}/statm").read_text().split()[0]) * resource.getpagesize()
                resource.prlimit(child, resource.RLIMIT_AS, (held, held))

    _on_a_child(harness, command, cell, plant)


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mount a disk of a size over a folder; yields whether that was allowed."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    ).returncode == 0  # fmt: skip
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(harness: Harness, command: Command, cell: Cell) -> None:
    """Give it a full disk for what it writes, then for what it keeps meanwhile."""
    limit = (8192, 8192)
    for scratch in (False, True):
        folder = harness.fresh(command)
        small = folder / "small"
        small.mkdir()
        with _small_disk(small if scratch else folder, "16k") as mounted:
            begin = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            variables = {}
            if scratch and mounted:
                variables = {"TMPDIR": str(small)}
            elif mounted:
                _prepare(command, folder, harness)
            code, said = Run(command, folder, variables, begin=begin).end()
            harness.judge(command, folder, cell, code, said)
    harness.afterwards(command, folder, cell)


def _prepare(command: Command, folder: Path, harness: Harness) -> None:
    """Link what a command reads into a small disk, and leave no room beside it."""
    source = harness.fresh(command, old=False)
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    with contextlib.suppress(OSError), (folder / "filler").open("wb") as file:
        for _ in range(1000):
            file.write(bytes(512))
            file.flush()


def damage(harness: Harness, command: Command, cell: Cell) -> None:
    """Cut what it reads back, then turn bits in it."""
    _, seconds = harness.right(command)
    for how in ("cut", "turned"):
        folder = harness.fresh(command)
        run = Run(command, folder)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(None if command.terminal else 0.85 * seconds)  # it keeps what it has found when it leaves
        run.process.kill()
        run.end()
        run.left()
        files = command.cache(folder)
        if not files:
            cell.outcome = "keeps none"
            return
        for path in files:
            content = bytearray(path.read_bytes())
            if not content:
                continue
            if how == "cut":
                content = content[: len(content) * 2 // 3]
            else:
                content[len(content) // 2] ^= 4
            path.write_bytes(content)
        code, said = Run(command, folder, more=command.again).end()
        if code == 2 and "is complete" in said:
            code = 0
        harness.judge(command, folder, cell, code, said, damaged=True)
    if code in command.fine:
        return
    for path in command.cache(folder):  # as the line says: remove it, begin anew
        path.unlink()
    shutil.rmtree(folder / "out", ignore_errors=True)
    harness.afterwards(command, folder, cell)


def together(harness: Harness, command: Command, cell: Cell) -> None:
    """Run two at once in one folder."""
    right, _ = harness.right(command)
    folder = harness.fresh(command)
    runs = [Run(command, folder) for _ in range(2)]
    ends = [run.end() for run in runs]
    for code, said in ends:
        lines = [line for line in said.splitlines() if line.strip()]
        if code not in (*command.fine, 2) or (code == 2 and len(lines) != 1) or "Traceback" in said:
            cell.wrong.append(f"ended with {code}: {said[-500:]}")
        cell.said = cell.said or (lines[-1] if lines else "")
    codes = sorted(code for code, _ in ends)
    refused = codes.count(2)
    cell.outcome = "one right, one refused" if refused else "both right"
    if refused == 2:
        cell.wrong.append("neither gave a result")
    harness._same(command, folder, cell, right, "the two")
    if command.name != "train":
        harness.afterwards(command, folder, cell)


def back(harness: Harness, command: Command, cell: Cell) -> None:
    """Set the clock back a day in the middle of it, beside files from the future."""
    _, seconds = harness.right(command)
    folder = harness.fresh(command)
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_CLOCK)
    for path in folder.rglob("*"):
        os.utime(path, (time.time() + 1e6,) * 2)
    variables = {"PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                 "SURVIVAL_CLOCK": str(0.4 * seconds)}  # fmt: skip
    code, said = Run(command, folder, variables).end()
    harness.judge(command, folder, cell, code, said)
    if code not in command.fine:
        cell.wrong.append(f"a clock is no reason to end: {said[-300:]}")


FAULTS: dict[str, Plant] = {
    "killed": kill,
    "disk full": fill,
    "out of memory": starve,
    "a process lost": lose,
    "a process hangs": hang,
    "cache damaged": damage,
    "two at once": together,
    "clock set back": back,
}
