"""portproof: is the port right, where is it wrong, does it stay right through ONNX, and which runtime is fastest?

Importing this package imports no framework and not NumPy; what needs them is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portproof._errors import BadInput, ModelRaised, PortproofError, Unavailable
from portproof.judge._shown import shown_by
from portproof.ports._port import Accepted, Input, Port
from portproof.ports._weightmap import Permute, Reshape, Split, WeightMap

if TYPE_CHECKING:
    __version__: str
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
    "Report": "judge._report",
    "Options": "parity._options",
    "assert_equivalent": "_api",
    "convert_state": "_api",
    "export": "_api",
    "find_port": "ports._locate",
    "verify": "_api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _late("_machine").tool_version()
    if name in _LATE:
        return getattr(_late(_LATE[name]), name)
    raise AttributeError(f"module 'portproof' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _late(module: str) -> Any:
    import importlib

    return importlib.import_module(f"portproof.{module}")


shown_by(lambda: _late("render._brief"))
