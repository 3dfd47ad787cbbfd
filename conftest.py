"""How the tests share a machine: where their sides run, and which of them stay on one worker of pytest-xdist."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything imports NumPy. What waits for a thread leaves the core to the other worker.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

_SHARED = ("session", "package", "module", "class")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share what one of our fixtures made on one worker, which then makes it once."""
    for item in items:
        made = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - pytest has no public name for it
        homes = {each[-1].baseid for each in made if each[-1].baseid and each[-1].scope in _SHARED}
        if homes and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(max(homes)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run the sides of a test, and of fixtures that it is the first to ask for, in its own process unless marked."""
    from portproof.sides._session import Sessions
    from tests.here import open_here, open_in_a_process

    marked = item.get_closest_marker("processes") is not None
    Sessions.open = open_in_a_process if marked else open_here  # type: ignore[method-assign]
