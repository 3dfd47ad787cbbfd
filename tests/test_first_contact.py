"""Whatever is typed first: one line, the right exit code, and what to type next; and no model is built for it."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from portproof.sides._session import Sessions
from tests.conftest import Run
from tests.first_contact import CONTACTS, Contact, place


@pytest.fixture
def here(project: Path) -> Path:
    place(project)
    return project


@pytest.mark.parametrize("contact", CONTACTS, ids=lambda contact: contact.typed)
def test_a_first_mistake_is_answered_with_what_to_type_next(
    here: Path, run: Run, contact: Contact, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not contact.project:
        (here / "pyproject.toml").unlink()
    if not contact.builds:

        def opened(*_: Any, **__: Any) -> None:
            raise AssertionError("a model is built for this")

        monkeypatch.setattr(Sessions, "open", opened)
    before = sorted(here.rglob("*"))
    answer = run(*shlex.split(contact.typed))
    said = answer.out + answer.err
    assert answer.code == contact.code, answer
    for word in contact.words:
        assert word in re.sub(r" \\?\n +", " ", said), answer
    assert "Traceback" not in said
    if contact.lines:
        assert answer.err.count("\n") == contact.lines
        assert answer.out == ""
    assert sorted(here.rglob("*")) == before


def test_there_are_enough_of_them() -> None:
    assert len(CONTACTS) >= 40
    assert len({contact.typed for contact in CONTACTS}) == len(CONTACTS)
