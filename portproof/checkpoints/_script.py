"""A TorchScript archive's tensors by the names of their modules, without its code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from portproof._errors import BadInput
from portproof.checkpoints._standins import Described, Foreign, is_tensor

#: Tensors and modules under all their names; a module may be named twice, and what names itself twice over explodes.
_MOST = 200_000


class _Module(Described):
    """Stands for a scripted module: its tensors and submodules, by attribute."""

    def __init__(self, *_: Any) -> None:
        self.attributes: dict[str, Any] = {}

    def set(self, state: Any) -> None:
        """Take the attributes that hold tensors."""
        if isinstance(state, dict):
            kept = {name: value for name, value in state.items() if isinstance(value, _Module) or is_tensor(value)}
            self.attributes = {name: value for name, value in kept.items() if isinstance(name, str)}


class Scripted(Mapping[tuple[str, str], Any]):
    """The names of torch's own files, and of scripted classes, each of which is a module."""

    def __init__(self, names: Mapping[tuple[str, str], Any]) -> None:
        self._names = names

    def __getitem__(self, asked: tuple[str, str]) -> Any:
        if asked in self._names:
            return self._names[asked]
        if asked[0].partition(".")[0] == "__torch__":
            return _Module
        if asked[0] == "torch.jit._pickle":
            return _plain
        raise KeyError(asked)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _plain(*_: Any) -> Foreign:
    return Foreign("a value of TorchScript")


def state_of(root: Any) -> dict[str, Any]:
    """Return a scripted module's tensors by name, in the order of the file.

    Raises:
        BadInput: it is no module, or names modules over and over.
    """
    if not isinstance(root, _Module):
        raise BadInput("it is a TorchScript archive of something that is no module")
    found: dict[str, Any] = {}
    left, seen = [("", root)], 0
    while left:
        prefix, module = left.pop()
        inner = []
        for name, value in module.attributes.items():
            seen += 1
            path = prefix + name
            if seen > _MOST or len(path) > 4096:
                raise BadInput("its modules name each other over and over")
            if isinstance(value, _Module):
                inner.append((f"{path}.", value))
            else:
                found[path] = value
        left += reversed(inner)
    return found
