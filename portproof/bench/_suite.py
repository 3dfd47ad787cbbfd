"""A suite: what is timed, as a declaration that a port project keeps under ``benchmarks/``."""

from __future__ import annotations

from dataclasses import dataclass

from portproof._errors import BadInput


@dataclass(frozen=True)
class Suite:
    """Runners of one port under one set of conditions.

    Args:
        port: name of the port.
        runners: names of the runners.
        batches: rows in a request.
        processes: fresh processes a runner, interleaved.
        seconds: of timed calls in each process.

    Raises:
        BadInput: a number is not positive, or there is nothing to time.
    """

    port: str
    runners: tuple[str, ...]
    batches: tuple[int, ...] = (1,)
    processes: int = 3
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.runners or not self.batches:
            raise BadInput("a suite needs at least one runner and one batch size.")
        if min(self.batches) < 1 or self.processes < 1 or not self.seconds > 0:
            raise BadInput(
                "a suite's batches, processes and seconds must be positive, "
                f"found {self.batches}, {self.processes}, {self.seconds}."
            )
