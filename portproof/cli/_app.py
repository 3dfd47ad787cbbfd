"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any, NoReturn

import typer

from portproof._text import visible
from portproof.cli._agree import agree, plan
from portproof.cli._bench import bench
from portproof.cli._convert import account, convert, export
from portproof.cli._ending import end_well
from portproof.cli._faults import faults
from portproof.cli._history import diff, history
from portproof.cli._map import map_
from portproof.cli._parity import capture, compare, match, verify
from portproof.cli._project import doctor, init, ports, schema
from portproof.cli._train import train

app = typer.Typer(
    name="portproof",
    help="Is the port right, where is it wrong, does it stay right through ONNX, and which runtime is fastest?\n\n"
    "Exit codes: 0 holds, 1 does not hold, 2 bad usage or input, 3 undecided, 4 unavailable, 70 a bug in portproof.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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


app.add_typer(bench, name="bench")
app.command()(train)
app.command()(agree)
app.command()(plan)
app.command()(verify)
app.command()(capture)
app.command()(compare)
app.command()(convert)
app.command()(export)
app.command()(diff)
app.command()(history)
app.command()(faults)
app.command()(match)
app.command()(ports)
app.command()(account)
app.command("map")(map_)
app.command()(init)
app.command()(schema)
app.command()(doctor)


def main() -> NoReturn:
    """Run the command line; see :func:`~portproof.cli._ending.end_well`."""
    sys.exit(end_well(_run))


def _run() -> int:
    """Run what a person typed and return its exit code. Typer's own way answers errors that it does not know with 1."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("portproof", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except _BAD_USAGE as error:
        error.message = visible(error.message)  # a shell may have found it: a file's name
        error.show()
        return int(error.exit_code)
    return 0


#: UsageError, of click or of the copy of it that newer Typers hold.
_BAD_USAGE: Any = typer.BadParameter.__base__
