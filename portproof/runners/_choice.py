"""A runner with its settings, as a person names it: ``name:setting=value``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portproof._errors import BadInput
from portproof.ports._port import Port
from portproof.runners import RunnerInfo, find_runner


@dataclass(frozen=True)
class Choice:
    """A runner with its settings.

    Attributes:
        info: of the runner.
        settings: by name, without those that have their default.
        asked: whether it was asked for by name.
    """

    info: RunnerInfo
    settings: Mapping[str, str]
    asked: bool = False

    @property
    def name(self) -> str:
        """As it is named on the command line."""
        return ":".join([self.info.name, *(f"{key}={value}" for key, value in self.settings.items())])

    @property
    def title(self) -> str:
        """For people."""
        return ", ".join([self.info.title, *(f"{key} {value}" for key, value in self.settings.items())])

    @property
    def full_settings(self) -> dict[str, str]:
        """Every setting of the runner's own with its value."""
        chosen = {key: value for key, value in self.settings.items() if key != "threads"}
        return {key: values[0] for key, values in self.info.settings.items()} | chosen

    @property
    def threads(self) -> int | None:
        """Threads of its process, None for those of the suite."""
        return int(self.settings["threads"]) if "threads" in self.settings else None


def parse(spec: str) -> Choice:
    """Read ``name:setting=value``.

    Raises:
        BadInput: there is no such runner, setting or value; the message lists those there are.
    """
    name, *parts = spec.split(":")
    info = find_runner(name)
    settings: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key == "threads" and value.isdigit() and int(value) > 0:
            settings[key] = value
            continue
        if key not in info.settings:
            known = ", ".join((*info.settings, "threads (a number)"))
            raise BadInput(f"runner '{name}' has no setting '{key}'; there are: {known}.")
        if value not in info.settings[key]:
            raise BadInput(f"runner '{name}': {key} is {' or '.join(info.settings[key])}, found '{value}'.")
        if value != info.settings[key][0]:
            settings[key] = value
    return Choice(info, settings, asked=True)


def select(port: Port, names: Sequence[str]) -> list[Choice]:
    """Return the runners that were asked for by name.

    Raises:
        BadInput: one does not exist, is named twice, or has nothing to run in the port.
    """
    choices = [parse(name) for name in names]
    named = [choice.name for choice in choices]
    for choice in choices:
        if named.count(choice.name) > 1:
            raise BadInput(f"runner '{choice.name}' is named twice.")
        require_side(port, choice.info)
    return choices


def require_side(port: Port, info: RunnerInfo) -> None:
    """See that a port has the model that a runner executes or whose export it runs.

    Raises:
        BadInput: it has no such side, or that side is a file.
    """
    if info.side not in port.sides or port.artefact(info.side):
        raise BadInput(f"runner '{info.name}' has nothing to run in port '{port.name}'.")


def with_threads(spec: str, threads: int) -> str:
    """Return a runner's name with another number of threads."""
    found = parse(spec)
    return Choice(found.info, {**found.settings, "threads": str(threads)}).name
