"""What the commands share: their common options, and what a person typed read into values."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from portproof._errors import BadInput
from portproof.cli import _complete
from portproof.cli._help import GIVEN, WRITTEN

_log = logging.getLogger("portproof")

PortName = Annotated[
    str | None,
    typer.Argument(
        metavar="PORT",
        help="A registered name, module:NAME or file.py:NAME. Default: the project's first.",
        autocompletion=_complete.ports,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]SIZES",
        help="Of two models: 1,3,224,224 (the first counts rows), mask=1,16, ids=1,16:int64:0..999; once for each.",
        rich_help_panel=GIVEN,
    ),
]
RequiredPort = Annotated[
    str | None,
    typer.Option("--port", help="The port. Default: the project's first.", autocompletion=_complete.ports),
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A keyword argument of both factories.", rich_help_panel=GIVEN),
]
Training = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME=VALUE", help="A setting of the port's training: learning_rate=0.001."),
]
Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the result as JSON, as `portproof schema` describes it; - prints it, and nothing else.",
        rich_help_panel=WRITTEN,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict alone.", rich_help_panel=WRITTEN)]
PageFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Also write a page (.html).", rich_help_panel=WRITTEN)
]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Seed = Annotated[int, typer.Option("--seed", help="Of weights and probes.", rich_help_panel=GIVEN)]


def _readable(path: Path | None) -> Path | None:
    """Read what a checkpoint holds, before anything is built for it."""
    if path is not None:
        from portproof.checkpoints import open_checkpoint

        open_checkpoint(path)
    return path


def _forced(value: bool) -> None:
    if value:
        from portproof._disk import replace_files

        replace_files()


#: Read before a command runs; no command is told.
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace files that exist.",
        callback=_forced,
        expose_value=False,
        rich_help_panel=WRITTEN,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="A checkpoint: .safetensors, .pdparams, .pt.", callback=_readable, rich_help_panel=GIVEN
    ),
]
Images = Annotated[Path | None, typer.Option("--images", help="A folder of photographs.", rich_help_panel=GIVEN)]


def find_port_named(port: str | None) -> Any:
    """Return the port that a person named; the project's first for None."""
    from portproof._api import located as find
    from portproof.ports._locate import find_port

    located = find_port(None) if port is None else find(port)
    say_interpreters(located.project)
    return located


def say_interpreters(project: Any) -> None:
    """Say on standard error which interpreters a project file names, before any of them starts."""
    for line in project.interpreters():
        _log.info("%s", line)


def device_named(device: str) -> str:
    """Check a device's name."""
    if device not in ("cpu", "cuda"):
        raise BadInput(f"--device takes cpu or cuda, found '{device}'.")
    return device


def numbers_of(option: str, text: str) -> tuple[int, ...]:
    """Read whole numbers with commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"{option} takes whole numbers with commas, found '{text}'.") from None


def duration(option: str, text: str) -> float:
    """Read a time: ``120s``, ``5m``, ``2h`` or ``30ms``; returns seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text.strip())
    if found is None:
        raise BadInput(f"{option} takes a time such as 120s, 5m or 30ms, found '{text}'.")
    return float(found[1]) * {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def share(option: str, text: str) -> float:
    """Read a percentage; returns it as a share."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)%", text.strip())
    if found is None:
        raise BadInput(f"{option} takes a percentage such as 5%, found '{text}'.")
    return float(found[1]) / 100


def settings_of(settings: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """Read NAME=VALUE pairs; a value is a Python literal, or a string where it is none."""
    import ast

    read: dict[str, Any] = {}
    for setting in settings or []:
        name, value = pair_of(option, "NAME=VALUE", setting)
        if not name.isidentifier():
            raise BadInput(f"{option} takes NAME=VALUE, found '{setting}'.")
        try:
            read[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            read[name] = value
    return read


def pair_of(option: str, form: str, text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise BadInput(f"{option} takes {form}, found '{text}'.")
    return name, value


def check_json(target: str | None) -> None:
    """Refuse a file that cannot be written before anything is run."""
    if target not in (None, "-"):
        from portproof._disk import require_new

        require_new(Path(str(target)))


def check_page(target: Path | None) -> None:
    """Refuse a page that cannot be written before anything is run; it needs jinja2, beside what else is needed."""
    if target is None:
        return
    from portproof._disk import require_new

    require_new(target)
    if target.suffix != ".html":
        raise BadInput(f"--report writes a page, .html, found '{target.name}'.")


def write_json(target: str | None, document: dict[str, Any]) -> None:
    """Write a document to a file, or for ``-`` to standard output."""
    if target is None:
        return
    text = json.dumps(document, indent=1) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    from portproof._disk import write_text

    write_text(target, text)
