"""The command line, as the engine's tests call it."""

from tests.conftest import run

__all__ = ["run"]
