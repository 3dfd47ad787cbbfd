"""Where a recorded call is made: what it raises is raised by the model, not by the engine (``is_own``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Make a call."""
    return function(*args, **kwargs)
