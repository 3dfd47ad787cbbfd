"""Whether a command that the documentation shows can be typed: what it names is there, and its options are too."""

from __future__ import annotations

import functools
import importlib.util
import re
import tomllib
from typing import Any

import typer

from portproof.cli._app import app
from tests.docs.blocks import ROOT


def check(words: list[str]) -> None:
    """Raise AssertionError where a command, an option, a make target, a module or an extra is not there."""
    program, *rest = words
    if program in ("python", "python3") and rest[:1] == ["-m"] and rest[1] in ("pip", "pytest", "venv"):
        check(rest[1:])
    elif program == "portproof":
        _check_portproof(rest)
    elif program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {word for word in rest if "=" not in word} <= targets, words
    elif program in ("python", "python3") and rest[:1] == ["-m"]:
        assert importlib.util.find_spec(rest[1]) is not None, words
    elif program in ("pip", "uv"):
        named = re.search(r"portproof\[([\w,]+)\]", " ".join(rest))
        assert named is None or set(named[1].split(",")) <= _extras(), words
    elif program == "pytest":
        assert set(re.findall(r"--portproof-\w+", " ".join(rest))) <= _plugin_options(), words


@functools.cache
def _extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


def options() -> set[str]:
    """Return every option of every command, and of the pytest plugin."""
    found, left = set(_plugin_options()), [_tree()]
    while left:
        command = left.pop()
        left += getattr(command, "commands", {}).values()
        found |= {name for given in command.params for name in (*given.opts, *given.secondary_opts)}
    return found


def _plugin_options() -> set[str]:
    plugin = (ROOT / "portproof" / "pytest_plugin.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(--portproof-\w+)"', plugin))


_tree = functools.cache(lambda: typer.main.get_command(app))


def _check_portproof(words: list[str]) -> None:
    command: Any = _tree()
    context = command.make_context("portproof", [], resilient_parsing=True)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no command '{words[0]}': portproof {' '.join(words)}"
        command = command.commands[words[0]]
        context = type(context)(command, parent=context, info_name=words[0])
        words = words[1:]
    try:
        command.make_parser(context).parse_args(args=list(words))
    except typer.BadParameter.__base__ as error:  # of click, or of the copy of it that newer Typers hold
        raise AssertionError(f"{context.command_path} {' '.join(words)}: {error}") from None
