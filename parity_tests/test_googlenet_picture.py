"""The README's picture of ``make verify`` shows what the tool says of GoogLeNet today; ``make pictures`` makes it."""

from pathlib import Path

import pytest
from rich.console import Console

from docs.pictures import VERIFY, text_of_svg, words
from parity_tests.test_googlenet import judged
from portproof.render._terminal import print_report

pytestmark = pytest.mark.processes


def test_the_picture_is_what_verify_says(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w", encoding="utf-8") as file:
        print_report(judged(), Console(file=file, width=100, highlight=False, markup=False))
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert words(text_of_svg(VERIFY)) == words(said), "the picture is stale: run `make pictures`"
