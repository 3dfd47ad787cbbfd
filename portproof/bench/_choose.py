"""Which runners are timed: by name with their settings, or all that fit the port and the device."""

from __future__ import annotations

from collections.abc import Sequence

from portproof._machine import thread_budget
from portproof.bench._result import Skipped, Suite
from portproof.ports._port import Port
from portproof.runners import RunnerInfo, runners
from portproof.runners._choice import Choice, select


def choose(port: Port, suite: Suite) -> tuple[list[Choice], list[Skipped]]:
    """Return the runners that a suite times and those left out, with the reason.

    Raises:
        BadInput: a named runner does not exist, is named twice, or has nothing to run in this port.
    """
    if suite.runners:
        choices = select(port, suite.runners)
    else:
        choices = [choice for info in runners().values() for choice in variants(info)]
        choices = [choice for choice in choices if choice.info.side in port.sides]
    kept: list[Choice] = []
    skipped: list[Skipped] = []
    for choice in choices:
        info, reason = choice.info, None
        if suite.device not in info.devices:
            reason = f"it runs on {' and '.join(info.devices)} only"
        elif suite.scenario not in info.scenarios:
            reason = f"it is for --scenario {' and '.join(info.scenarios)}"
        elif not choice.asked and info.precisions[-1] not in suite.precisions:
            reason = f"it computes in {info.precisions[-1]}: --precision {info.precisions[-1]} times it"
        if reason is None:
            kept.append(choice)
        else:
            skipped.append(Skipped(choice.name, reason, asked=choice.asked))
    return kept, skipped


def variants(info: RunnerInfo, threads: Sequence[int] = ()) -> list[Choice]:
    """Return a runner as it is and with each of its settings changed, one at a time; with each number of threads."""
    changed = [{}, *({key: value} for key, values in info.settings.items() for value in values[1:])]
    counts = [{"threads": str(count)} for count in threads] or [{}]
    return [Choice(info, other | count) for other in changed for count in counts]


def thread_counts() -> list[int]:
    """Return the numbers of threads that are worth trying, the most last: powers of two, and all there are."""
    budget = thread_budget()
    return sorted({budget, *(2**n for n in range(budget.bit_length()) if 2**n < budget)})


def sweep(
    port: Port, device: str, scenario: str, precisions: Sequence[str], threads: Sequence[int] | None = None
) -> tuple[str, ...]:
    """Return the names of all runners with all settings and with some numbers of threads, all worth trying if None."""
    fitting = [
        info for info in runners().values()
        if info.side in port.sides and device in info.devices and scenario in info.scenarios
        and info.precisions[-1] in precisions and (info.source != "program" or info.settings)
    ]  # fmt: skip
    return tuple(choice.name for info in fitting for choice in variants(info, threads or thread_counts()))
