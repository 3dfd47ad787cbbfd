"""What the README and the examples say is so."""

import re
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.conftest import Run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_holds(run: Run) -> None:
    answer = run("verify", ROOT / "examples" / "one_file_port.py")
    assert answer.code == 0, answer


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", README)) <= targets


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_page_outside_the_site_links_is_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert "://" in target or (ROOT / target).is_file(), target


def test_the_wheel_holds_the_engine_and_nothing_else() -> None:
    how = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    declared = set(find_packages(str(ROOT), include=how["include"]))
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "portproof").rglob("__init__.py")}
    assert declared == found


@pytest.mark.parametrize(("folder", "foreign"), [("paddle_impl", "torch"), ("torch_impl", "paddle")])
def test_a_side_s_models_import_nothing_of_the_other(folder: str, foreign: str) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        assert not re.search(rf"^\s*(import|from) {foreign}", file.read_text(), re.MULTILINE), file


def test_the_binding_imports_no_framework() -> None:
    for file in (ROOT / "convert").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) (torch|paddle)\b", file.read_text(), re.MULTILINE), file


def test_the_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for name, listed in extras.items() if name != "gpu" for r in listed)]
    names = {re.split(r"[<>=\[ ]", requirement)[0].lower() for requirement in wanted} - {"portproof"}
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names <= pinned


def test_every_place_that_contributors_are_sent_to_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for place in re.findall(r"`((?:portproof|tests|docs|parity_tests|convert|benchmarks|examples)/[\w./-]*)`", text):
        assert (ROOT / place).exists(), place
