"""What a side's process reads beyond its arguments: its code, its configuration, files that it looked for in vain.

An answer is worth keeping only with all of that, as ccache and git know it: each with a digest, and a signature by
which an unchanged file is known without being read. What frameworks and the language bring is known by the versions of
what is installed. Native code that opens files behind Python's back is seen where Python looked at the path before, and
in the readers of ``_NATIVE``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import stat
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

#: What a path is asked for: the content of a file, the names in a folder, the modules in it, the distributions that are
#: installed in it, the files of a package.
Kind = str
FILE, NAMES, MODULES, INSTALLED, PACKAGE = "file", "names", "modules", "installed", "package"
#: Size, times of change in nanoseconds and number of a file: equal where nobody wrote to it.
Signature = tuple[int, int, int, int]
#: Nanoseconds within which a second change of a file may leave its times as they were.
TICK_NS = 20_000_000
#: More than this and a process reads data, not code.
_MOST_FILES = 4000
#: A larger file counts as its signature: written anew it is another one, whatever it holds.
_LARGE = 64 << 20
#: How a folder that is no answer's concern begins, and what it holds; see ``scratch_folder``.
SCRATCH, IN_USE = "portproof-", "in-use"


@dataclass(frozen=True)
class Read:
    """Something that an answer rests on.

    Attributes:
        kind, path: what was read.
        digest: of what was there; "" for nothing.
        signature: of a file; equal ones need not be read again.
    """

    kind: Kind
    path: str
    digest: str
    signature: Signature | None = None


def read_of(found: list[Any]) -> Read:
    """Return what JSON has made of one."""
    kind, path, digest, signature = found
    return Read(str(kind), str(path), str(digest), tuple(signature) if signature else None)


def look(kind: Kind, path: str) -> Read:
    """Say what is there now."""
    try:
        return _LOOKING[kind](path)
    except OSError:
        return Read(kind, path, "")


def signature_of(path: str) -> Signature:
    """Return the signature of a file; raises OSError."""
    found = _stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """Return the digest of a file's content; raises OSError."""
    with open(path, "rb") as file:  # noqa: PTH123 - the fastest way, taken thousands of times
        return hashlib.file_digest(file, _blake).hexdigest()


def digest_of(text: str) -> str:
    """Return the digest of a text."""
    return _blake(text.encode()).hexdigest()


_stat = os.stat
_blake = functools.partial(hashlib.blake2b, digest_size=20)


def _look_file(path: str) -> Read:
    mode = _stat(path).st_mode
    if not stat.S_ISREG(mode):
        return Read(FILE, path, f"no file, {stat.S_IFMT(mode)}")
    signature = signature_of(path)
    return Read(FILE, path, digest_of_file(path) if signature[0] <= _LARGE else f"large, {signature}", signature)


def _look_names(path: str) -> Read:
    return Read(NAMES, path, digest_of("\n".join(sorted({one.name for one in Path(path).iterdir()} - {"__pycache__"}))))


def _look_modules(path: str) -> Read:
    with os.scandir(path) as entries:
        found = [e.name for e in entries if e.name.partition(".")[0].isidentifier() and _may_be_module(e)]
    return Read(MODULES, path, digest_of("\n".join(sorted(found))))


def _may_be_module(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith((".py", ".so", ".pyd")):
        return True
    return "." not in entry.name and entry.name != "__pycache__" and entry.is_dir()


def _look_installed(path: str) -> Read:
    with os.scandir(path) as entries:
        found = [
            f"{e.name} {e.stat().st_mtime_ns}" for e in entries if e.name.endswith((".dist-info", ".egg-info", ".pth"))
        ]
    return Read(INSTALLED, path, digest_of("\n".join(sorted(found))))


def _look_package(path: str) -> Read:
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            if name.endswith(".py"):
                file = os.path.join(folder, name)  # noqa: PTH118 - hundreds of them
                found.append(f"{file} {signature_of(file)}")
    return Read(PACKAGE, path, digest_of("\n".join(sorted(found))))


_LOOKING: dict[Kind, Callable[[str], Read]] = {
    FILE: _look_file, NAMES: _look_names, MODULES: _look_modules, INSTALLED: _look_installed, PACKAGE: _look_package,
}  # fmt: skip


def in_scratch(path: str) -> bool:
    """Whether a path lies in a temporary folder of some run: what is there is an argument, or nobody's."""
    if f"/{SCRATCH}" not in path:
        return False
    whole = Path(path)
    return any(one.name.startswith(SCRATCH) and os.access(one / IN_USE, os.F_OK) for one in (whole, *whole.parents))


class Reading:
    """Follows what this process reads, from now on until it ends.

    Attributes:
        why_not: why no answer from now on may be kept; "" for no reason.
    """

    def __init__(self) -> None:
        self.why_not = ""
        self._seen: dict[tuple[Kind, str], Signature | None] = {}
        self._told = 0
        self._own: set[str] = set()
        self._busy = False
        package = str(Path(__file__).parents[1])
        self._package = f"{package}/"
        self._sites = sorted({entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))})
        library = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
        self._brought = tuple(f"{one}/" for one in (*library, *self._sites, package, "/proc", "/sys", "/dev/pts"))
        self._devices = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/tty", "/dev/zero")
        self._always = [look(INSTALLED, site) for site in self._sites] + [look(PACKAGE, package)]
        sys.addaudithook(self._hear)
        self._watch_looks()
        self._watch_native()

    def report(self) -> dict[str, Any]:
        """Return what was read since the last report, and why nothing may be kept."""
        self._busy = True
        try:
            seen = list(self._seen.items())
            reads = [] if self._told else list(self._always)
            reads += [self._settled(*key, before) for key, before in seen[self._told :] if not self._is_own(key[1])]
            self._told = len(seen)
        finally:
            self._busy = False
        return {"reads": [astuple(read) for read in reads], "why_not": self.why_not}

    def _settled(self, kind: Kind, path: str, before: Signature | None) -> Read:
        now = look(kind, path)
        if kind == FILE and now.signature != before:
            self.why_not = self.why_not or f"'{path}' was written to meanwhile"
        if len(self._seen) > _MOST_FILES:
            self.why_not = self.why_not or "it reads more files than are followed"
        return now

    def _is_own(self, path: str) -> bool:
        """Whether this process itself made a path, or a folder that it lies in."""
        return path in self._own or any(path.startswith(f"{own}/") for own in self._own)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook; raises nothing."""
        heard = _HEARD.get(event)
        if heard is None or self._busy:
            return
        try:
            heard(self, arguments)
        except Exception as error:  # what goes wrong here is no word about a model; nothing is kept then
            self.why_not = self.why_not or f"what it reads could not be followed ({type(error).__name__})"

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        if isinstance(path, int):
            return
        made = flags & os.O_TRUNC or (flags & os.O_CREAT and not os.access(path, os.F_OK))
        if made:
            self._made(path)
        elif not flags & os.O_WRONLY:
            self.noted(path)

    def _made_folder(self, arguments: tuple[Any, ...]) -> None:
        if not os.access(arguments[0], os.F_OK):  # else it is there, and was asked for to be sure
            self._made(arguments[0])

    def _put(self, arguments: tuple[Any, ...]) -> None:
        self._made(arguments[1])

    def _made(self, path: str | bytes | os.PathLike[Any]) -> None:
        whole = _absolute(path)
        if self._seen.get((FILE, whole)) is None:  # else what it read there before counts
            self._own.add(whole)

    def _listed(self, arguments: tuple[Any, ...]) -> None:
        folder = arguments[0]
        if not isinstance(folder, int):
            asking = sys._getframe(2).f_code.co_filename
            self.noted(folder or ".", next((kind for end, kind in _SEARCHES.items() if end in asking), NAMES))

    def _started(self, arguments: tuple[Any, ...]) -> None:
        """Note that another process is started; what frameworks do so is known by their versions."""
        frame: Any = sys._getframe(2)
        while frame is not None and self._is_library(frame.f_code.co_filename):
            frame = frame.f_back
        file = "" if frame is None else frame.f_code.co_filename
        if not file.startswith(self._package) and not any(f"-packages/{name}/" in file for name in _FRAMEWORKS):
            self._connected(arguments)

    def _is_library(self, file: str) -> bool:
        return "-packages/" not in file and file.startswith((*self._brought[:2], "<frozen"))

    def _connected(self, _: tuple[Any, ...]) -> None:
        self.why_not = self.why_not or "it asks another process or machine"

    def noted(self, path: str | bytes | os.PathLike[Any], kind: Kind = FILE) -> None:
        """Note that a path is read, or looked for."""
        whole = _absolute(path)
        if f"{whole}/".startswith(self._brought) or whole in self._devices or in_scratch(whole):
            return
        if kind == FILE and whole.endswith(".pyc"):
            whole = self._source(whole)
        if (kind, whole) in self._seen:
            return
        signature: Signature | None = None
        if kind == FILE:
            try:
                signature = signature_of(whole) if stat.S_ISREG(_stat(whole).st_mode) else None
            except OSError:
                signature = None
            if signature is not None and signature[2] > time.time_ns() - TICK_NS and whole not in self._own:
                self.why_not = self.why_not or f"'{whole}' was written to just now"
        self._seen[kind, whole] = signature

    def _source(self, compiled: str) -> str:
        """Return the source of a compiled file that is read in its place.

        Python takes it by whole seconds and the size: a source that changed twice in one may be another.
        """
        try:
            source = importlib.util.source_from_cache(compiled)
        except ValueError:  # a module without its source
            return compiled
        self._busy = True
        try:
            header = Path(compiled).read_bytes()[4:16]
            size, changed, *_ = signature_of(source)
            flags, seconds, length = (int.from_bytes(header[i : i + 4], "little") for i in (0, 4, 8))
            taken = not flags and (seconds, length) == (changed // 10**9 & 0xFFFFFFFF, size & 0xFFFFFFFF)
            if taken and signature_of(compiled)[1] < changed + TICK_NS:
                self.why_not = self.why_not or f"'{source}' changed twice in a second"
        except OSError:  # not compiled yet
            pass
        finally:
            self._busy = False
        return source

    def _watch_looks(self) -> None:
        """Follow questions whether a file is there, which no audit event tells of: each goes through ``os.stat``."""

        def looked(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            if isinstance(path, (str, bytes, os.PathLike)) and not args and kwargs.get("dir_fd") is None:
                text = os.fsdecode(path)
                if not self._busy and text and not text.startswith("<"):
                    self.noted(text)
            return _stat(path, *args, **kwargs)

        for capable in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if _stat in capable:
                capable.add(looked)
        os.stat = looked

    def _watch_native(self) -> None:
        """Follow what opens its files in native code."""
        for module, name in _NATIVE:
            home = importlib.import_module(module)
            real = getattr(home, name)

            def opened(path: Any, *args: Any, real: Any = real, **kwargs: Any) -> Any:
                if isinstance(path, (str, os.PathLike)):
                    self.noted(path)
                return real(path, *args, **kwargs)

            for known in [home, *(one for one in list(sys.modules.values()) if vars(one).get(name) is real)]:
                setattr(known, name, opened)  # a warm parent's children have some who took it by its name


def _absolute(path: str | bytes | os.PathLike[Any]) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links stay: which file a link leads to may change


#: Functions that open the file that they are given without Python's knowledge; here long before anything uses them.
_NATIVE = (("safetensors", "safe_open"),)
_FRAMEWORKS = ("torch", "paddle", "triton", "numpy", "scipy", "onnx", "onnxscript", "onnxruntime", "openvino",
               "paddle2onnx")  # fmt: skip
#: Who lists a folder to see what can be imported from it, or what is installed in it, and not all that it holds.
_SEARCHES = {
    "<frozen importlib": MODULES,
    "/pkgutil.py": MODULES,
    "/importlib/metadata/": INSTALLED,
    "/pkg_resources/": INSTALLED,
}
_STARTS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec")
_CONNECTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "sqlite3.connect")
_HEARD: dict[str, Callable[[Reading, tuple[Any, ...]], None]] = {
    "open": Reading._opened,
    "os.mkdir": Reading._made_folder,
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), Reading._put),
    **dict.fromkeys(("os.listdir", "os.scandir"), Reading._listed),
    **dict.fromkeys(_STARTS, Reading._started),
    **dict.fromkeys(_CONNECTS, Reading._connected),
}
