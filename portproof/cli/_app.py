"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final, NoReturn

import typer

from portproof._text import visible
from portproof.cli._agree import agree, plan
from portproof.cli._bench import bench
from portproof.cli._cache import cache
from portproof.cli._convert import account, convert, export
from portproof.cli._deploy import deploy
from portproof.cli._ending import end_well
from portproof.cli._explain import explain
from portproof.cli._faults import faults
from portproof.cli._help import COLUMNS, Command, Group
from portproof.cli._history import diff, history
from portproof.cli._map import map_
from portproof.cli._parity import capture, compare, match, verify
from portproof.cli._project import doctor, init, ports, schema
from portproof.cli._train import train

app = typer.Typer(
    name="portproof",
    cls=Group,
    help="""Is the port right, where is it wrong, does it stay right through ONNX, and which runtime is fastest?

    Exit codes: 0 holds, 1 does not hold, 2 bad usage or input, 3 undecided, 4 unavailable, 70 a bug in portproof;
    `portproof explain CODE` says more, and `portproof COMMAND -h` has examples of each command.

    Examples:
        portproof verify my_torch.py:Net my_paddle.py:Net --input 1,3,224,224
        portproof init my_port && cd my_port && portproof verify
    """,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": COLUMNS},
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: Heading to the commands under it, in the order of ``portproof --help``.
_COMMANDS: Final[dict[str, tuple[Callable[..., None], ...]]] = {
    "Is it right?": (verify, faults, agree, plan, capture, compare, diff, history),
    "Weights and graphs": (convert, map_, account, export, match),
    "Learning and speed": (train, deploy),
    "To begin with": (init, ports, explain, schema, cache, doctor),
}


class _Visible(logging.Formatter):
    """What was chosen of a file that a person named, on the terminal: its names are a stranger's."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _version(value: bool) -> None:
    if value:
        from portproof._machine import tool_version

        typer.echo(f"portproof {tool_version()}")
        raise typer.Exit


@app.callback()
def _bound(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    from portproof._machine import bound_memory

    notes = logging.StreamHandler()
    notes.setFormatter(_Visible("portproof: %(message)s"))
    logger = logging.getLogger("portproof")
    logger.handlers, logger.propagate = [notes], False
    logger.setLevel(logging.INFO)
    if context.invoked_subcommand != "doctor":  # reads nobody's files, and tries GPUs, which map terabytes
        bound_memory()  # whatever a command reads may come from a stranger


for _heading, _listed in _COMMANDS.items():
    for _command in _listed:
        app.command(_command.__name__.rstrip("_"), cls=Command, rich_help_panel=_heading)(_command)
    if train in _listed:
        app.add_typer(bench, name="bench", rich_help_panel=_heading)

#: How a shell that completes a line asks for the words that may follow; see ``--show-completion``.
_COMPLETING: Final = "_PORTPROOF_COMPLETE"
_ONE_LINE: Final = 1000


def main() -> NoReturn:
    """Run the command line; see :func:`~portproof.cli._ending.end_well`."""
    if os.environ.get(_COMPLETING):
        os.environ["TERMINAL_WIDTH"] = str(_ONE_LINE)  # what Typer wraps what a command does at: a shell takes lines
        typer.main.get_command(app)(prog_name="portproof")  # answers the shell and exits
    sys.exit(end_well(_run))


def _run() -> int:
    """Run what a person typed and return its exit code. Typer's own way answers errors that it does not know with 1."""
    command = typer.main.get_command(app)
    try:
        with _begun(command) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except _BAD_USAGE as error:
        error.message = visible(error.message)  # a shell may have found it: a file's name
        error.show()
        return int(error.exit_code)
    return 0


def _begun(command: Any) -> Any:
    """Read what stands before a command. Typer installs a shell's completion there, and leaves by itself."""
    try:
        return command.make_context("portproof", sys.argv[1:])
    except (SystemExit, typer.Exit) as ended:
        failed = ended.code if isinstance(ended, SystemExit) else ended.exit_code
        raise typer.Exit(2 if failed else 0) from None  # its 1 says that it does not know a shell


#: UsageError, of click or of the copy of it that newer Typers hold.
_BAD_USAGE: Any = typer.BadParameter.__base__
