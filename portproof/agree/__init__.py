"""Agreement of runners over a whole data set, on one machine or on a cluster.

``agree(find_port("googlenet"), AgreeOptions(images="val/"))`` is what the command does. A script that calls it stands
behind ``if __name__ == "__main__":``, since workers are processes that import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portproof.agree._prepare import AgreeOptions
    from portproof.agree._result import Agreement
    from portproof.agree._run import agree

__all__ = ["AgreeOptions", "Agreement", "agree"]

_LATE = {"AgreeOptions": "_prepare", "Agreement": "_result", "agree": "_run"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f"portproof.agree.{_LATE[name]}"), name)
    raise AttributeError(f"module 'portproof.agree' has no attribute '{name}'")
