"""The machine that a result was made on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from portproof._errors import BadInput


def tool_version() -> str:
    """Return this package's version."""
    try:
        return version("portproof")
    except PackageNotFoundError:
        return "0+source"


def package_versions(*names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed here."""
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def processor() -> str:
    """Return the processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """Return the instruction sets that change how matrices are multiplied."""
    try:
        flags = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
        ).split()
    except (OSError, StopIteration):
        return []
    return [flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if flag in flags]


def thread_budget() -> int:
    """Return how many threads this process may keep busy: the smaller of its affinity and its cgroup's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, min(affinity, int(quota))) if quota is not None else affinity


def cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the processor quota of this cgroup in cores, None where there is none."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass  # version 1, or no cgroups
    try:
        limit = (root / "cpu/cpu.cfs_quota_us").read_text()
        period = (root / "cpu/cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None


def memory_gib() -> float | None:
    """Return the machine's memory in GiB, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return None


#: Bytes that a process of this package may hold, in words such as 8GB; in place of three quarters of the machine's.
MEMORY_VARIABLE = "PORTPROOF_MEMORY"
_SHARE = 0.75


def bound_memory() -> int | None:
    """Keep this process from holding more than a share of the machine's memory; returns the bytes.

    What asks for more gets an error that names it, where the machine would have come to a stand or killed something
    else. None where the system knows no such limit.

    Raises:
        BadInput: the variable holds no size.
    """
    import resource

    text = os.environ.get(MEMORY_VARIABLE)
    memory = memory_gib()
    if sys.platform != "linux" or (text is None and memory is None):
        return None
    if text:
        limit = size_of(MEMORY_VARIABLE, text)
    else:
        limit = int(_SHARE * min(memory or 0, cgroup_memory() or 2**40) * 2**30)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return limit


def unbound_memory() -> None:
    """Lift what :func:`bound_memory` set in a parent of this process, which drives a GPU."""
    import resource

    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def trim_memory() -> None:
    """Give back what this process has freed: kept, it is faster, and breaks into pieces over thousands of forwards."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def return_memory() -> None:
    """From now on give back what is freed, block by block, where a process keeps it: large tensors come and go once."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        mmap_threshold, size = -3, 2**20  # M_MMAP_THRESHOLD of malloc.h
        ctypes.CDLL(None).mallopt(mmap_threshold, size)


def cgroup_memory(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the memory limit of this cgroup in GiB, None where there is none."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int((root / name).read_text()) / 2**30
    return None


def host() -> dict[str, Any]:
    """Describe the machine and the interpreter."""
    memory = memory_gib()
    return {
        "portproof": tool_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "instruction_sets": instruction_sets(),
        "threads": thread_budget(),
        "memory_gib": None if memory is None else round(memory, 1),
    }


def process_status(field: str, process: int | str = "self") -> int | None:
    """Return a number of a process's ``/proc/PID/status``, None where the system or the process has none."""
    with contextlib.suppress(OSError), Path(f"/proc/{process}/status").open() as lines:
        for line in lines:
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return None


def peak_memory() -> int:
    """Return this process's peak memory in bytes.

    Linux counts VmHWM from exec on; its ru_maxrss starts with what the process that started this one had in memory.
    """
    import resource

    peak = process_status("VmHWM")
    if peak is not None:
        return 1024 * peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)


def size_of(option: str, text: str) -> int:
    """Read a size such as ``5GB``; returns bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(kB|MB|GB)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise BadInput(f"{option} takes a size such as 500MB or 5GB, found '{text}'.")
    return int(float(found[1]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]])
