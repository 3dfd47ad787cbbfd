"""portproof: is the port right, where is it wrong, does it stay right through ONNX, and which runtime is fastest?

Importing this package imports no framework and not NumPy; what needs them is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portproof._errors import BadInput, ModelRaised, PortproofError, Unavailable
from portproof.ports._port import Accepted, Input, Port
from portproof.ports._weightmap import Permute, Reshape, Split, WeightMap

if TYPE_CHECKING:
    from portproof._api import assert_equivalent, convert_state, export, verify
    from portproof.judge._report import Culprit, Hop, Report
    from portproof.parity._options import Options
    from portproof.ports._locate import find_port

__all__ = [
    "Accepted",
    "BadInput",
    "Culprit",
    "Hop",
    "Input",
    "ModelRaised",
    "Options",
    "Permute",
    "Port",
    "PortproofError",
    "Report",
    "Reshape",
    "Split",
    "Unavailable",
    "WeightMap",
    "assert_equivalent",
    "convert_state",
    "export",
    "find_port",
    "verify",
]

_LATE = {
    "Culprit": "judge._report",
    "Hop": "judge._report",
    "Options": "parity._options",
    "Report": "judge._report",
    "assert_equivalent": "_api",
    "convert_state": "_api",
    "export": "_api",
    "find_port": "ports._locate",
    "verify": "_api",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f"portproof.{_LATE[name]}"), name)
    raise AttributeError(f"module 'portproof' has no attribute '{name}'")
