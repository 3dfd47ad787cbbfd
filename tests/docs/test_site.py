"""The site: everything public is in the reference with an example, no role is raw, and search finds what is asked."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import portproof
from docs.roles import written
from tests.docs.blocks import ROOT, blocks_of

REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
#: Beside what `dir(portproof)` lists.
FURTHER = ("bench.Suite", "faults.Kind", "render.write_report", "agree.agree", "pytest_plugin.Judged")


@pytest.mark.parametrize("name", [*dir(portproof), *FURTHER])
def test_a_public_name_is_in_the_reference_with_an_example(name: str) -> None:
    if name == "__version__":
        assert "`portproof.__version__`" in REFERENCE
        return
    assert re.search(rf"^::: portproof\.{re.escape(name)}$", REFERENCE, re.MULTILINE)
    last = name.rpartition(".")[2]
    code = "\n".join(block.body for block in blocks_of(Path("docs/reference.md")) if block.language == "python")
    of_values = {"Report": "report", "Hop": "report.hops", "Culprit": "report.culprits", "Judged": ""}
    assert of_values.get(last, last) in code, f"no example of {name}"


def test_a_role_becomes_code_and_a_public_name_a_link() -> None:
    assert (
        written("a :class:`Port`, :func:`portproof.verify`")
        == "a [`Port`][portproof.Port], [`verify`][portproof.verify]"
    )
    assert written("see :class:`portproof.agree._images.Images` and :meth:`~x.run`") == "see `Images` and `run`"


def separator() -> re.Pattern[str]:
    """Return what parts words in search; the configuration has tags that only mkdocs knows."""
    plain = re.sub(r"!!\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    (search,) = (plugin["search"] for plugin in yaml.safe_load(plain)["plugins"] if "search" in plugin)
    return re.compile(search["separator"])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a `.pdparams` file", "pdparams"), ("GoogLeNet_pretrained.pdparams", "pdparams"),
        ("portproof.verify(", "verify"),
        ("`--portproof-require`", "require"), ("torch.nn.Linear", "Linear"), ("权重转换", "转"),
    ],
)  # fmt: skip
def test_search_finds_a_word_in_what_is_written_together(text: str, word: str) -> None:
    assert word in separator().split(text)


@pytest.mark.slow
def test_the_site_is_built_and_its_index_has_what_people_ask(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    parts = separator()
    for asked in ("pdparams", "padiff", "polygraphy", "jupyter", "gitlab", "acceptable"):
        found = [
            page["location"] for page in index["docs"]
            if asked in [word.lower() for word in parts.split(html.unescape(f"{page['title']} {page['text']}"))]
        ]  # fmt: skip
        assert found, asked
    page = (tmp_path / "reference" / "index.html").read_text(encoding="utf-8")
    for internal in ("require_possible", "require_interface", "paddle_path", "part_names"):
        assert internal not in page
