"""Errors that a person can act on, each with the exit code that the command line answers with."""

from __future__ import annotations

import errno
import importlib.util
import mmap
import re
import signal
import traceback
from collections.abc import Sequence
from pathlib import Path


class PortproofError(Exception):
    """Base of all errors raised on purpose: one line saying what was expected, found, and what to do."""

    exit_code = 2


class BadInput(PortproofError):
    """A file, an argument or a factory is not what it has to be. Exit code 2."""


class Unavailable(PortproofError):
    """A framework, provider or device that was asked for is not there. Exit code 4."""

    exit_code = 4


class WorkerDied(Unavailable):
    """A side's process ended before it answered (killed, out of memory, crashed). Exit code 4."""


class WorkerHung(WorkerDied):
    """A side's process stopped computing while it owed an answer, and was ended. Exit code 4."""


class OutOfMemory(Unavailable):
    """Memory ran out: nothing was learned about a model. Exit code 4."""


class Interrupted(BaseException):
    """A person pressed Ctrl-C, or the system asks the process to end. Exit code 130 (Ctrl-C), 143 (TERM), 129 (HUP)."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class ModelRaised(PortproofError):
    """A model's forward raised. Alone it is bad input; beside a side that runs, it is a divergence.

    Attributes:
        side: the side that raised.
        module: path of the innermost module that was running, "" for the root.
        reason: the exception's type and first line.
    """

    def __init__(self, side: str, module: str, reason: str) -> None:
        super().__init__(f"{side} model raised in module '{module or '(root)'}': {reason}")
        self.side, self.module, self.reason = side, module, reason


_SOME_ROOM = 64 << 20
#: What allocators of NumPy, the frameworks and the runtimes say; they share no class of exception.
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|unable to allocate|failed to allocate|out of memory|bad[ _]?alloc"
    r"|ResourceExhausted|MemoryError|could not create a memory|can't start new thread",
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> OutOfMemory | None:
    """Return what an exception means if it says that memory ran out."""
    if isinstance(error, OutOfMemory):
        return error
    said = isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None
    return _ran_out(error) if said else None


def _ran_out(error: BaseException) -> OutOfMemory:
    return OutOfMemory(f"memory ran out ({one_line(error, 160)}); free some, or ask for less at a time")


def _has_room() -> bool:
    """Whether this process can have some memory more; an interpreter that cannot raises anything at all."""
    try:
        mmap.mmap(-1, _SOME_ROOM).close()
    except OSError:
        return False
    return True


def require_memory(error: BaseException) -> None:
    """Raise :class:`OutOfMemory` where an exception means that; nobody may take it for a word about a model."""
    found = out_of_memory(error)
    if found is not None:
        raise found from error


#: What the frameworks say where they have no kernel of an operator in a precision.
_NO_KERNEL = re.compile(r"kernel `(?P<paddle>\w+)` is not registered|\"(?P<torch>\w+)\" not implemented for 'Double'")


def require_kernel(error: BaseException, side: str, precision: str) -> None:
    """Raise :class:`Unavailable` where a float64 run ended for want of a kernel: that is no word about a model."""
    found = _NO_KERNEL.search(str(error))
    if found is not None and precision == "float64":
        name = found["paddle"] or found["torch"]
        raise Unavailable(f"{side} has no float64 kernel of '{name}', so there is nothing to judge by.") from error


def is_own(error: BaseException) -> bool:
    """Whether an exception was raised by the engine itself, around a model's forward: that is no word about it either.

    What stands between a forward and its framework raises what the framework does (the float64 oracle, planted faults),
    the names of outputs are the model's matter, and a call that does not fit its parameters raises where it is made.
    """
    last = traceback.extract_tb(error.__traceback__)[-1].filename if error.__traceback__ is not None else ""
    inside = Path(last).is_relative_to(Path(__file__).parent)
    between = Path(last).name.endswith(("_oracle.py", "_tree.py", "_calling.py")) or Path(last).parent.name == "faults"
    return inside and not between and not isinstance(error, TypeError)


#: What the system says of the machine, not of what was asked.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}


#: What it says of a path that somebody named.
_PATHS = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}


#: Each extra and the packages that it brings, as they are imported; pyproject.toml has them by their own names.
EXTRAS = {
    "torch": ("torch",), "paddle": ("paddle",), "onnx": ("onnx", "onnxscript"), "cpu": ("onnxruntime",),
    "openvino": ("openvino",), "paddle2onnx": ("paddle2onnx", "onnx", "onnxscript", "onnxoptimizer"),
    "report": ("jinja2",), "images": ("PIL", "sklearn"),
    "bench": ("scipy", "llvmlite", "jinja2", "matplotlib", "pynvml"),
    "train": ("PIL", "sklearn", "mlxtend", "matplotlib"),
    "watch": ("watchfiles",),
    "cluster": ("distributed", "fsspec", "scipy", "PIL", "jinja2"),
}  # fmt: skip


def missing_packages(*packages: str) -> list[str]:
    """Return those packages that are not installed in this environment."""
    return [name for name in dict.fromkeys(packages) if importlib.util.find_spec(name) is None]


def require_packages(what: str, *packages: str) -> None:
    """Raise :class:`Unavailable` where packages are not installed, with one line that installs all of them.

    Args:
        what: needs them, for people.
        packages: as they are imported.
    """
    missing = missing_packages(*packages)
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise Unavailable(
            f"{', '.join(missing)} {are} not installed in this environment, for {what}: {install_line(missing)}"
        )


def install_line(missing: Sequence[str]) -> str:
    """Return the line that installs packages: of the extras, the fewest that bring them all, and the smallest."""
    left, extras = set(missing), []
    while left:
        brings = {extra: left & set(packages) for extra, packages in EXTRAS.items()}
        best = max(brings, key=lambda extra: (len(brings[extra]), -len(EXTRAS[extra])))
        if not brings[best]:
            return f"pip install {' '.join(missing)}"
        extras.append(best)
        left -= brings[best]
    return f"pip install 'portproof[{','.join(extras)}]'"


def environmental(error: BaseException) -> PortproofError | None:
    """Return what an exception means if it comes from the machine: no memory, a full disk, a package not installed."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        if any(package in packages for packages in EXTRAS.values()) and missing_packages(package):
            return Unavailable(f"{package} is not installed in this environment: {install_line([package])}")
    if isinstance(error, OSError) and error.errno in _PATHS and error.filename:
        return BadInput(f"cannot use '{str(error.filename)[:200]}': {error.strerror}; name another, or see to it.")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = f" '{error.filename}'" if error.filename else ""
        return BadInput(f"cannot write{where}: {error.strerror}; make room, or write elsewhere (TMPDIR, -o).")
    return out_of_memory(error) or (None if _has_room() else _ran_out(error))


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return ``Type: message`` of any exception on one line, cut at ``limit`` characters."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("[Hint:")[0]  # Paddle's hints are its own source
    lines = [line.strip() for line in plain.splitlines() if line.strip(" -\t")]
    text = f"{type(error).__name__}: " + " ".join(lines)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def told_with_line(error: BaseException) -> str:
    """Return :func:`one_line` and the last line outside the engine and the frameworks that an exception came through.

    That line is where a person can change something.
    """
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"SyntaxError at line {error.lineno} of {error.filename}: {error.msg}"
    mine = Path(__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(mine) and not _NOBODYS.search(frame.filename)
    ]
    return f"{one_line(error)} (line {frames[-1].lineno} of {frames[-1].filename})" if frames else one_line(error)


#: Files that no author of a model writes.
_NOBODYS = re.compile(r"importlib|^<|-packages/(torch|paddle)/")


def and_more(messages: Sequence[str]) -> str:
    """Return the first of some messages and, where there are others, how many."""
    return messages[0] + (f" (and {len(messages) - 1} more)" if len(messages) > 1 else "")


class ExportFailed(BadInput):
    """An exporter raised; in ``verify`` this is one failed hop, and the others are still judged."""
