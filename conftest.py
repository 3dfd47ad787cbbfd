"""How the tests share a machine: where their sides run, how many threads each of two workers has, nothing kept."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before anything imports NumPy. What waits for a thread leaves the core to the other worker.
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
# No test is answered by what another one ran, nor by its user's own store; those of the store make one.
os.environ["PORTPROOF_CACHE"] = "off"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run the sides of a test, and of fixtures that it is the first to ask for, in its own process unless marked."""
    from portproof.sides._session import Sessions
    from tests.here import open_here, open_in_a_process

    marked = item.get_closest_marker("processes") is not None
    Sessions.open = open_in_a_process if marked else open_here  # type: ignore[method-assign]
