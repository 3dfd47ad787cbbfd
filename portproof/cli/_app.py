"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import logging
import signal
import sys
from typing import NoReturn

import typer

from portproof._disk import keeping_files
from portproof._errors import Interrupted, PortproofError, environmental, visible
from portproof.cli._agree import agree, plan
from portproof.cli._bench import bench
from portproof.cli._convert import account, convert, export
from portproof.cli._faults import faults
from portproof.cli._map import map_
from portproof.cli._parity import capture, compare, match, verify
from portproof.cli._project import doctor, init, ports, schema
from portproof.cli._train import train

app = typer.Typer(
    name="portproof",
    help="Is the port right, where is it wrong, does it stay right through ONNX, and which runtime is fastest?\n\n"
    "Exit codes: 0 holds, 1 does not hold, 2 bad usage or input, 3 undecided, 4 unavailable.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class _Visible(logging.Formatter):
    """What was chosen of a file that a person named, on the terminal: its names are a stranger's."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


@app.callback()
def _bound(context: typer.Context) -> None:
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
app.command()(faults)
app.command()(match)
app.command()(ports)
app.command()(account)
app.command("map")(map_)
app.command()(init)
app.command()(schema)
app.command()(doctor)


def main() -> NoReturn:
    """Run the command line. An error made on purpose is one line on standard error."""
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        with keeping_files():
            app(standalone_mode=True)
    except PortproofError as error:
        print(f"portproof: {visible(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted:
        print("portproof: interrupted", file=sys.stderr)
        sys.exit(130)
    except (OSError, MemoryError) as raised:
        found = environmental(raised)
        if found is None:
            raise
        print(f"portproof: {found}", file=sys.stderr)
        sys.exit(found.exit_code)
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(0)


def _interrupt(*_: object) -> NoReturn:
    """Raise something that Typer does not know: it would answer a KeyboardInterrupt with 1, "does not hold"."""
    raise Interrupted
