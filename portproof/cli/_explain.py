"""``portproof explain``."""

from __future__ import annotations

import difflib
import textwrap
from typing import Annotated

import typer

from portproof._errors import BadInput
from portproof._text import say


def _complete(incomplete: str) -> list[str]:
    from portproof.cli._explanations import EXPLANATIONS

    return [word for listed in EXPLANATIONS.values() for word in listed if word.startswith(incomplete)]


def explain(
    word: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD|CODE", help="A word of a report, or an exit code.", autocompletion=_complete),
    ] = None,
) -> None:
    """Say what a word of a report or an exit code means, and what to do; without one, list them.

    Examples:
        portproof explain floors
        portproof explain 3
    """
    from portproof.cli._explanations import EXPLANATIONS
    from portproof.render._terminal import output

    width = min(100, output().width)
    if not word:
        for heading, listed in EXPLANATIONS.items():
            say(heading)
            for line in textwrap.wrap(", ".join(listed), width, initial_indent="  ", subsequent_indent="  "):
                say(line)
        say("portproof explain WORD says what one of them means.")
        return
    name, text = explanation(" ".join(word))
    for line in (name, *lines_of(text, width)):
        say(line)


def lines_of(text: str, width: int) -> list[str]:
    """Return an explanation as lines of at most so many columns."""
    parts = text.split("\n\n")
    return [line for part in parts for line in textwrap.wrap(part, width, initial_indent="  ", subsequent_indent="  ")]


def explanation(word: str) -> tuple[str, str]:
    """Return a word as it is listed, and what it means.

    Raises:
        BadInput: it is none.
    """
    from portproof.cli._explanations import ALIASES, EXPLANATIONS

    known = {name.lower(): (name, text) for listed in EXPLANATIONS.values() for name, text in listed.items()}
    spoken = " ".join(word.lower().replace("-", " ").replace("_", " ").replace("exit code", "").split())
    spoken = ALIASES.get(spoken, spoken).lower()
    if spoken in known:
        return known[spoken]
    like = difflib.get_close_matches(spoken, [*known, *ALIASES], n=1)
    meant = f"; did you mean {like[0]}?" if like else "."
    raise BadInput(f"no word '{word}' in a report{meant} `portproof explain` lists them all.")
