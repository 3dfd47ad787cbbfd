"""How the tests share a machine: which of them stay on one worker of pytest-xdist, and what a worker may take."""

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
