"""Fixes stay guarded: a line that one rests on cannot be broken without a test that fails."""

import re

import pytest

from tests.broken_lines import BREAKS, ROOT, Break, unguarded


@pytest.mark.parametrize("each", BREAKS, ids=lambda each: each.file.partition("/")[2])
def test_the_line_stands_and_its_test_is_there(each: Break) -> None:
    assert each.broken_in(ROOT)
    file, _, name = each.test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), each.test


def test_a_line_that_moved_away_is_said() -> None:
    moved = Break("x", "portproof/judge/_floor.py", "no such line", "", "")
    with pytest.raises(LookupError, match=r"line not found in portproof/judge/_floor\.py: 'no such line'"):
        moved.broken_in(ROOT)


@pytest.mark.slow
def test_each_broken_line_is_noticed() -> None:
    assert unguarded(print) == []
