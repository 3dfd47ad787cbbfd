"""Ports as tests: parametrised, judged once, explained when they fail, skipped or failed where something is missing."""

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import PORT_FILE

pytest_plugins = ["pytester"]

TEST = """
import pytest

@pytest.mark.portproof("tiny:TINY", quick=True)
def test_port(portproof):
    portproof.holds()
"""


@pytest.fixture
def port_project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(tiny=PORT_FILE)
    pytester.makefile(
        ".toml", pyproject='[tool.portproof]\nports = ["tiny:TINY"]\n[tool.pytest.ini_options]\npythonpath = ["."]\n'
    )
    return pytester


def test_three_lines_test_a_port(port_project: pytest.Pytester) -> None:
    port_project.makepyfile(test_it=TEST)
    port_project.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_failure_shows_culprit_numbers_and_what_to_do(port_project: pytest.Pytester) -> None:
    port_project.makepyfile(tiny=PORT_FILE.replace("nn.ReLU()", "nn.Tanh()", 1))
    port_project.makepyfile(test_it=TEST)
    result = port_project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*port 'tiny' is divergent*", "*1  computes: on the same input its output differs by * noise floors*",
         "*what to do: compare how the two modules*", "*hop *float64: divergent, * floors at 'out'*"]
    )  # fmt: skip


def test_a_marker_runs_once_a_port_and_tests_share_the_judgement(port_project: pytest.Pytester) -> None:
    port_project.makepyfile(
        test_it="""
        import pytest
        from dataclasses import replace
        from tiny import TINY

        ports = pytest.mark.portproof(TINY, replace(TINY, name="other"), quick=True, modules=False)
        seen = []

        @ports
        def test_one(portproof):
            seen.append(portproof)
            assert portproof

        @ports
        def test_two(portproof):
            seen.append(portproof)

        def test_shared():
            assert len(seen) == 4 and len({id(judged) for judged in seen}) == 2
        """
    )
    result = port_project.runpytest_subprocess("-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*test_one[[]tiny]*", "*test_one[[]other]*"])


def test_pages_are_kept_and_xdist_shares_the_work(port_project: pytest.Pytester) -> None:
    port_project.makepyfile(test_it=TEST + TEST.replace("test_port", "test_again"))
    result = port_project.runpytest_subprocess("--portproof-report", "pages", "-n", "2", "--dist", "loadgroup")
    result.assert_outcomes(passed=2)
    kept = sorted(path.name for path in Path(port_project.path, "pages").iterdir())
    assert kept == ["tiny.html", "tiny.md", "tiny.xml"]


def test_a_missing_framework_skips_here_and_fails_where_it_is_required(port_project: pytest.Pytester) -> None:
    port_project.makepyfile(test_it=TEST)
    port_project.makeconftest(
        """
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name == "paddle" else find(name, *rest)
        """
    )
    result = port_project.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*paddle is not installed: pip install 'portproof[[]paddle]'*"])
    for required in ("torch,paddle", "all"):
        port_project.runpytest_subprocess("--portproof-require", required).assert_outcomes(errors=1)
    port_project.runpytest_subprocess("--portproof-require", "torch").assert_outcomes(skipped=1)


@pytest.mark.parametrize(
    ("marker", "words"),
    [("", "needs a marker that names a port"), ('@pytest.mark.portproof("nothing")', "no port 'nothing'")],
)
def test_a_marker_that_names_nothing_is_said_so(port_project: pytest.Pytester, marker: str, words: str) -> None:
    port_project.makepyfile(test_it=f"import pytest\n{marker}\ndef test_port(portproof):\n    portproof.holds()\n")
    result = port_project.runpytest_subprocess()
    assert result.ret != 0
    assert words in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str()


def test_the_plugin_imports_no_framework(port_project: pytest.Pytester) -> None:
    assert importlib.util.find_spec("portproof.pytest_plugin") is not None
    port_project.makepyfile(
        test_it="import sys\ndef test_none():\n    assert not {'torch', 'paddle', 'numpy'} & set(sys.modules)\n"
    )
    port_project.runpytest_subprocess().assert_outcomes(passed=1)


def test_strict_markers_hold_without_xdist_too(port_project: pytest.Pytester) -> None:
    port_project.makepyfile(test_it=TEST)
    result = port_project.runpytest_subprocess("--strict-markers", "-p", "no:xdist", "-p", "no:xdist.looponfail")
    result.assert_outcomes(passed=1)
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "xdist_group" not in port_project.runpytest_subprocess("--markers", "-p", "no:xdist").stdout.str()
