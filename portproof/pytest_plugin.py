"""Ports as tests: a marker that names them, a fixture that judges them once.

    @pytest.mark.portproof("my_port", quick=True)
    def test_my_port(portproof):
        portproof.holds()

The marker takes ports, each a name as on the command line or a :class:`portproof.Port`, and fields of
:class:`portproof.Options`. A test runs once for each port; tests that ask for the same port and options share one
judgement. A framework that is not installed skips the test, or fails it where ``--portproof-require`` names it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from portproof.judge._report import Report
    from portproof.ports._locate import Located
    from portproof.sides._warm import Kept

_JUDGED = pytest.StashKey[dict[Any, Any]]()
#: Frameworks are imported once a session, and processes forked from there.
_WARM = pytest.StashKey["Kept"]()


@dataclass(frozen=True)
class Judged:
    """A port and what was found of it; true where the verdict holds.

    Attributes:
        report: of :func:`portproof.verify`.
    """

    report: Report

    def __bool__(self) -> bool:
        return bool(self.report)

    def holds(self) -> None:
        """Raise AssertionError, with the culprits, their numbers and what to do, unless the verdict holds."""
        __tracebackhide__ = True
        from portproof._api import failure

        if not self.report:
            raise AssertionError(failure(self.report))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("portproof", "ports between Paddle and PyTorch")
    group.addoption(
        "--portproof-report", metavar="DIR", help="write a page, a summary and JUnit XML of each port that is judged"
    )
    group.addoption(
        "--portproof-require", metavar="NAMES", default="",
        help="packages that must be there, with commas, or 'all': where one is missing, fail and do not skip",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "portproof(*ports, **options): judge each port; options are those of verify")
    config.stash[_JUDGED] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each port that its marker names."""
    if "portproof" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("portproof")
    if marker is None or not marker.args:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: the fixture 'portproof' needs a marker that names a port, as "
            '@pytest.mark.portproof("my_port").'
        )
    ids = [port if isinstance(port, str) else port.name for port in marker.args]
    metafunc.parametrize("portproof", list(marker.args), indirect=True, ids=ids)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of a port on one worker of pytest-xdist, where ``--dist loadgroup`` asks for groups."""
    if not config.pluginmanager.hasplugin("xdist"):
        return  # nobody knows the marker then, and --strict-markers would refuse it
    for item in items:
        port = getattr(getattr(item, "callspec", None), "params", {}).get("portproof")
        if port is not None:
            item.add_marker(pytest.mark.xdist_group(f"portproof-{port if isinstance(port, str) else port.name}"))


@pytest.fixture
def portproof(request: pytest.FixtureRequest) -> Judged:
    """Judge the port of this test; see :mod:`portproof.pytest_plugin`."""
    from portproof._api import located
    from portproof._errors import PortproofError
    from portproof._text import visible

    marker = request.node.get_closest_marker("portproof")
    config = request.config
    try:
        port = located(request.param)
    except PortproofError as error:
        pytest.fail(f"portproof: {visible(str(error))}", pytrace=False)
    _require_frameworks(port, config)
    options = dict(marker.kwargs)
    key = (port.locator or id(request.param), repr(sorted(options.items())))
    if key not in config.stash[_JUDGED]:
        config.stash[_JUDGED][key] = _judge(port, options, config)
    judged: Judged = config.stash[_JUDGED][key]
    _require_runtimes(judged.report, config)
    return judged


def _judge(port: Located, options: Mapping[str, Any], config: pytest.Config) -> Judged:
    from portproof._errors import PortproofError
    from portproof._text import visible
    from portproof.parity._verify import verify
    from portproof.sides._warm import forking_from

    folder = config.getoption("--portproof-report")
    try:
        with forking_from(_warm(config)):
            report = verify(port, **{"pictures": bool(folder), **options})
    except PortproofError as error:
        pytest.fail(f"portproof: {visible(str(error))}", pytrace=False)
    if folder:
        from portproof.render import FORMATS, write_report

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for ending in FORMATS:
            write_report(report, target / f"{report.port}{ending}")
    return Judged(report)


def _warm(config: pytest.Config) -> Kept:
    """Return the processes that have the frameworks imported, and end with the session."""
    from portproof.sides._warm import Kept

    if _WARM not in config.stash:
        config.stash[_WARM] = Kept()
        config.add_cleanup(config.stash[_WARM].close)
    return config.stash[_WARM]


def _required(config: pytest.Config) -> set[str]:
    return {name.strip() for name in config.getoption("--portproof-require").split(",") if name.strip()}


def _require_frameworks(port: Located, config: pytest.Config) -> None:
    """Skip, or fail, where a side's framework is neither here nor in an interpreter of its own."""
    from portproof._errors import install_line

    required = _required(config)
    for side in port.port.sides:
        if port.port.artefact(side) or side in port.project.python or importlib.util.find_spec(side) is not None:
            continue
        said = f"portproof: {side} is not installed: {install_line([side])}"
        if required & {side, "all"}:
            pytest.fail(f"{said} (--portproof-require)", pytrace=False)
        pytest.skip(said)


def _require_runtimes(report: Report, config: pytest.Config) -> None:
    """Skip, or fail, where a hop could not run."""
    from portproof._text import visible

    if report.verdict != "unavailable":
        return
    reasons = [f"{hop.target}: {hop.reason}" for hop in report.hops if hop.verdict == "unavailable"]
    required = _required(config)
    said = visible(f"portproof: could not run {'; '.join(reasons)}")
    if "all" in required or any(name in said for name in required):
        pytest.fail(f"{said} (--portproof-require)", pytrace=False)
    pytest.skip(said)
