"""What to deploy: each runner's verdict, what it costs on images, and how fast, large and soon it is, on one page.

``deploy(find_port("googlenet"), DeployOptions(images="val/", at_most_loss=0.005))`` is what the command does. A script
that calls it stands behind ``if __name__ == "__main__":``, since workers are processes that import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portproof.deploy._options import DeployOptions
    from portproof.deploy._result import Deployment
    from portproof.deploy._run import deploy

__all__ = ["DeployOptions", "Deployment", "deploy"]

_LATE = {"DeployOptions": "_options", "Deployment": "_result", "deploy": "_run"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f"portproof.deploy.{_LATE[name]}"), name)
    raise AttributeError(f"module 'portproof.deploy' has no attribute '{name}'")
