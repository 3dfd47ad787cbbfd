"""The pictures of the README show what the tool says today; ``make pictures`` makes them."""

from pathlib import Path

import pytest

from docs.pictures import FOUND, REPORT, break_googlenet, text_of_svg, words, words_of_page, words_of_png
from tests.conftest import Run

STALE = "a picture is stale: run `make pictures`"


def test_the_found_bug_is_what_verify_says_of_it(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the lines of ``tests/parity/test_mutations.py``, on the torch side: the others are slow."""
    break_googlenet(tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = run("verify", "--quick", "--report", "report.html")
    assert answer.code == 1, answer
    assert words(text_of_svg(FOUND)) == words(answer.out), STALE
    assert words_of_png(REPORT) == words_of_page((tmp_path / "report.html").read_text(encoding="utf-8")), STALE


def test_a_picture_differs_by_words_and_not_by_numbers() -> None:
    """Of one run on two machines."""
    one = (
        "torch eager float32  equivalent  6.9  2.4e-04  987  out1\nmade with torch 2.13.0+cpu\n4 s\nverdict: divergent"
    )
    other = "torch eager float32  identical  0.0  0.0e+00  0  out\nmade with torch 2.14.0\n37 s\nverdict: divergent"
    assert words(one) == words(other)
    assert words(one) != words(one.replace("eager", "compiled"))
    assert words(one) != words(one.replace("verdict: divergent", "verdict: equivalent"))
