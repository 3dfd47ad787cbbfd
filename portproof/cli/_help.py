"""Help as people read it: commands and options in groups, whole sentences, and examples to paste.

What a command does is its docstring's first paragraph; what stands under ``Examples:`` is shown at the end. A heading
is the ``rich_help_panel`` of Typer, without rich, which help must not load.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

#: Headings of options that many commands share.
GIVEN, JUDGED, WRITTEN = "What it is given", "How far it goes", "What it writes"
#: Of the widest line.
COLUMNS = 100
_EXAMPLES = "\n\nExamples:\n"


def examples_of(command: Any) -> list[str]:
    """Return the command lines that a command's help shows."""
    shown = inspect.cleandoc(command.help or "").partition(_EXAMPLES)[2]
    return [line.strip() for line in shown.splitlines() if line.strip()]


def _said(command: Any) -> str:
    return inspect.cleandoc(command.help or "").partition(_EXAMPLES)[0]


def _first(command: Any) -> str:
    return " ".join(_said(command).partition("\n\n")[0].split())


def _write_text(command: Any, formatter: Any) -> None:
    """Write what a command does."""
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(_said(command))


def _write_examples(command: Any, formatter: Any) -> None:
    """Write the examples; one that is too long goes on in the next line as a shell takes it."""
    shown = examples_of(command)
    if not shown:
        return
    with formatter.section("Examples"):
        for line in shown:
            room = formatter.width - formatter.current_indent - 2
            parts = textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False, subsequent_indent="    ")
            formatter.write("".join(f"{'':>{formatter.current_indent}}{part}\n" for part in _continued(parts)))


def _continued(parts: list[str]) -> list[str]:
    return [f"{part} \\" for part in parts[:-1]] + parts[-1:]


def _write_grouped(rows: Iterable[tuple[str, tuple[str, str]]], formatter: Any) -> None:
    """Write rows, each with its heading, under their headings in the order in which those come."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for heading, row in rows:
        groups.setdefault(heading, []).append(row)
    for heading, listed in groups.items():
        with formatter.section(heading):
            formatter.write_dl(listed, col_max=max(12, min(30, formatter.width // 3)))


def _write_parameters(command: Any, context: Any, formatter: Any) -> None:
    rows, plain = [], "Options"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            kind = "Arguments" if parameter.param_type_name == "argument" else plain
            rows.append((getattr(parameter, "rich_help_panel", None) or kind, record))
    rows.sort(key=lambda row: (row[0] == plain, row[0] != "Arguments"))  # stable: what has no group comes last
    _write_grouped(rows, formatter)


class Command(TyperCommand):
    """A command with grouped options, and examples."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what it does."""
        _write_text(self, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _write_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(self, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the whole first sentence, for lists of commands and for shells: nothing is cut."""
        return _first(self)


class Group(TyperGroup):
    """A group with its commands under headings."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write what it does."""
        _write_text(self, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (getattr(command, "rich_help_panel", None) or "Commands", (name, _first(command)))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        _write_grouped(rows, formatter)
        _write_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(self, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the whole first sentence."""
        return _first(self)
