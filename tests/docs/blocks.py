"""The code blocks of the documentation, and what is done with each.

A block of Python is run, all of a page in one scope, or written to the file that its ``title`` names. A block of
commands is run line by line, and what stands below a line that begins with ``$`` is what it prints, numbers apart.
Other blocks (TOML, YAML) are parsed. A comment above a block says what else is done:

    <!-- not run: WHY -->        its commands are held to the command line's options and not run
    <!-- held by PLACE -->       a test holds it, or it is an excerpt of a file
    <!-- exit 1 -->              its last command ends so

A page in Chinese has the blocks of its twin (``test_languages.py``), and is not run again.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (not run|held by|exit)[: ]+((?:(?!-->).)*?) -->\s*\Z", re.DOTALL)
_PROGRAMS = ("portproof", "pip", "uv", "make", "python", "python3", "pytest", "cd", "git", "pre-commit", "docker")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: its file, relative to the repository.
        line: where it begins.
        language: the first word behind the fence, "" where there is none.
        title: of a file that it is.
        body: what it holds.
        mark: ``not run``, ``held by`` or ``exit``, "" for none.
        said: what the mark says.
    """

    page: str
    line: int
    language: str
    title: str
    body: str
    mark: str
    said: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_commands(self) -> bool:
        """Whether it is for a terminal."""
        first = self.body.lstrip().removeprefix("$ ").partition(" ")[0].strip()
        return self.language in ("", "console", "sh", "bash") and first in _PROGRAMS

    def commands(self) -> list[tuple[list[str], str]]:
        """Return the words of each command, and what it prints."""
        if not self.body.startswith("$ "):
            lines = self.body.replace("\\\n", " ").splitlines()
            parts = (part for line in lines for part in line.split(" && "))
            return [(words, "") for part in parts if (words := shlex.split(part, comments=True))]
        found = []
        for part in re.split(r"^\$ ", self.body, flags=re.MULTILINE)[1:]:
            command, _, printed = part.replace("\\\n", " ").partition("\n")
            found.append((shlex.split(command, comments=True), printed))
        return found


def pages() -> list[Path]:
    """Return every page that people read, relative to the repository."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT) for path in found)


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        info = fence["info"].strip()
        title = re.search(r'title="([^"]+)"', info)
        mark = _MARK.search(text[: fence.start()])
        body = re.sub(rf"^{fence['indent']}", "", fence["body"], flags=re.MULTILINE)
        found.append(
            Block(
                str(page), text[: fence.start()].count("\n") + 1, info.partition(" ")[0], title[1] if title else "",
                body, mark[1] if mark else "", " ".join(mark[2].split()) if mark else "",
            )
        )  # fmt: skip
    return found


def inline_commands(page: Path) -> list[str]:
    """Return what stands in a page as code and begins with the tool's name."""
    text = _FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"(?<!`)`(portproof\s[^`]+)`(?!`)", text)]
