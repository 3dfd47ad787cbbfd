"""What stands in Chinese is what stands in English: sections, code, pictures, tables and their figures."""

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks_of

PAIRS = [
    ("README.md", "README.zh.md"),
    *((f"docs/{name}.md", f"docs/zh/{name}.md") for name in ("tutorial", "failures", "checkpoints", "benchmarks")),
]


def text(page: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def code(block: Block) -> str:
    """Return a block's code, comments of Python apart: they are in the page's language."""
    if block.language != "python":
        return block.body
    tokens = tokenize.generate_tokens(io.StringIO(block.body).readline)
    return tokenize.untokenize((kind, what) for kind, what, *_ in tokens if kind != tokenize.COMMENT)


def rows(page: str) -> list[tuple[int, list[str]]]:
    """Return of each row of each table how many cells it has, and its figures; their order is the language's."""
    found = []
    for line in text(page).splitlines():
        if line.startswith("|"):
            said = re.sub(r"`[^`]*`|\]\([^)]*\)", "", line)
            found.append((line.count("|"), sorted(re.findall(r"\d+(?:[.,]\d+)*%?", said))))
    return found


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_sections_are_the_same(english: str, chinese: str) -> None:
    levels = [re.findall(r"^(#+) ", text(page), re.MULTILINE) for page in (english, chinese)]
    assert levels[0] == levels[1]
    terms = [len(re.findall(r"^:   ", text(page), re.MULTILINE)) for page in (english, chinese)]
    assert terms[0] == terms[1]


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_code_is_the_same(english: str, chinese: str) -> None:
    one, other = (blocks_of(Path(page)) for page in (english, chinese))
    assert [(b.language, b.title, b.mark, b.said, code(b)) for b in one] == [
        (b.language, b.title, b.mark, b.said, code(b)) for b in other
    ]


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_commands_in_the_text_are_the_same(english: str, chinese: str) -> None:
    def commands(page: str) -> set[str]:
        return {" ".join(found.split()) for found in re.findall(r"`((?:portproof|make|python)\s[^`]+)`", text(page))}

    assert commands(english) == commands(chinese)


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_pictures_are_the_same(english: str, chinese: str) -> None:
    def pictures(page: str) -> list[str]:
        return [Path(found).name for found in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text(page))]

    assert pictures(english) == pictures(chinese)


@pytest.mark.parametrize(("english", "chinese"), PAIRS)
def test_figures_of_tables_are_the_same(english: str, chinese: str) -> None:
    assert rows(english) == rows(chinese)


def test_a_chinese_page_without_a_twin_is_no_page() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "zh").rglob("*.md")}
    assert found == {chinese for _, chinese in PAIRS if chinese.startswith("docs/")}


@pytest.mark.parametrize("page", [chinese for _, chinese in PAIRS])
def test_no_line_ends_within_a_sentence(page: str) -> None:
    """A browser would show a gap there."""
    assert not re.findall(r".{9}[\u3000-\uffff]\n *[\u3000-\uffff`].{9}", text(page))
