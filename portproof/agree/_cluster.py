"""dask.distributed, as it comes: a cluster on this machine, or a scheduler that is there already."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portproof._errors import Unavailable, one_line
from portproof.agree._work import describe_worker
from portproof.sides._session import scratch_folder

#: A unit whose worker was lost so many times is given up: it loses workers.
_LOSSES = 10
_CONNECT_S, _LOGGED = 10, 500


@dataclass(frozen=True)
class Workers:
    """The workers that a run goes to.

    Attributes:
        sets: instruction sets that the run is of.
        fitting: addresses of those that have them; None where all have.
        count: of them.
        left_out: in words.
    """

    sets: tuple[str, ...]
    fitting: list[str] | None
    count: int
    left_out: tuple[str, ...]


@contextlib.contextmanager
def connected(address: str | None, workers: int) -> Iterator[Any]:
    """Yield a client: of the scheduler at ``address``, or of a cluster of so many processes on this machine.

    A worker has two tasks at a time, of which one computes: the other reads, decodes or writes meanwhile.

    Raises:
        Unavailable: no scheduler answers there, or it has no workers.
    """
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": _LOSSES,
        "distributed.comm.timeouts.connect": f"{_CONNECT_S}s",
        # What dask looks at for its dashboard takes several percent of a core in every process.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.admin.system-monitor.gil.enabled": False,
        "distributed.admin.log-length": _LOGGED,  # in memory, which a long run would fill
        "distributed.admin.low-level-log-length": _LOGGED,
        "distributed.worker.memory.terminate": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
    }
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        if address is None:
            folder = stack.enter_context(scratch_folder(None))
            cluster = stack.enter_context(LocalCluster(
                n_workers=workers, threads_per_worker=2, processes=True, memory_limit=None,
                dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL, local_directory=str(Path(folder)),
            ))  # fmt: skip
            yield stack.enter_context(Client(cluster))
            return
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_S))
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise Unavailable(
                f"--scheduler: no dask scheduler with workers answers at '{address}' ({one_line(error, 100)})."
            ) from error
        yield client


def gathered(client: Any, versions: Mapping[str, str]) -> Workers:
    """Look at the workers and choose those that give equal results.

    Args:
        client: of the scheduler.
        versions: of this process's packages, which the workers must share.

    Raises:
        Unavailable: a worker has no portproof, or other versions.
    """
    try:
        found: dict[str, dict[str, Any]] = client.run(describe_worker)
    except Exception as error:
        raise Unavailable(
            f"a worker cannot run portproof ({one_line(error, 120)}); install 'portproof[cluster]' there."
        ) from error
    for address, about in sorted(found.items()):
        for package, version in versions.items():
            other = about["versions"].get(package)
            if other not in (None, version):  # a package that a runner needs and that is missing, the runner names
                raise Unavailable(f"worker {address} has {package} {other}, this process {version}; install the same.")
    return chosen_workers({address: tuple(about["sets"]) for address, about in found.items()})


def chosen_workers(sets: Mapping[str, Sequence[str]]) -> Workers:
    """Choose the workers of the processor that most have; the rest would round otherwise."""
    counted = Counter(tuple(each) for each in sets.values())
    common = max(counted, key=lambda each: (counted[each], len(each), each))
    fitting = sorted(address for address, each in sets.items() if tuple(each) == common)
    left_out = tuple(
        f"worker {address} is left out: its processor has {', '.join(each)}, most have {', '.join(common)}"
        for address, each in sorted(sets.items()) if tuple(each) != common
    )  # fmt: skip
    return Workers(common, fitting if left_out else None, len(fitting), left_out)
