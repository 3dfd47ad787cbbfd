"""What a kind of fault is: the places in a model that it applies to, and how it is put there and taken out again.

Everything is said in NumPy and in torch's names for settings, so that one catalogue serves both frameworks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.frameworks._layers import BY_NAME
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._settings import read_settings, write_setting
from portproof.frameworks._tree import leaves, rebuild
from portproof.ports._locate import import_attribute
from portproof.ports._port import Port


@dataclass(frozen=True)
class Fault:
    """One planted fault: its kind, and the paths of the modules that it is put into, on the planted side."""

    kind: str
    modules: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} in {' and '.join(path or '(root)' for path in self.modules)}"


class Site:
    """A module that a fault may be put into.

    Args:
        model: the planted side, in float64.
        path: of the module.
        module: it.
        calls: what its first call received and returned in a clean run; None where it is never called.

    Attributes:
        layer: its type, by torch's name.
        settings: by torch's names.
        children: its direct children.
    """

    def __init__(
        self, model: Model, path: str, module: Any, calls: tuple[Sequence[Array], Sequence[Array]] | None
    ) -> None:
        self.model, self.path, self.module = model, path, module
        self.layer = model.framework.layer(module)
        self.settings = read_settings(model.framework.side, self.layer, module)
        self.received, self.returned = calls or ((), ())
        self.called = calls is not None
        self.children: list[Site] = []
        self._tensors = model.framework.own_tensors(module)

    def has(self, *names: str) -> bool:
        """Whether the module itself owns all these tensors."""
        return all(name in self._tensors for name in names)

    def tensor(self, name: str) -> Array:
        """Return one of its own tensors in torch's layout: a copy."""
        array = self.model.framework.to_array(self._tensors[name])
        return array.T if self._transposed(name) else array

    def write(self, name: str, array: Array) -> None:
        """Overwrite one of its own tensors, given in torch's layout."""
        array = array.T if self._transposed(name) else array
        self.model.write(self._tensors[name], np.asarray(array, order="C"))

    def _transposed(self, name: str) -> bool:
        rule = BY_NAME.get(self.layer)
        return self.model.framework.side == "paddle" and rule is not None and name in rule.axes

    def buffers(self) -> list[str]:
        """Return the names of its own tensors that no optimiser trains."""
        return [name for name in self._tensors if name not in ("weight", "bias")]

    def statistics(self) -> tuple[str, str] | None:
        """Return the names of its running mean and variance, None where it keeps none."""
        for names in (("running_mean", "running_var"), ("_mean", "_variance")):
            if self.has(*names):
                return names
        return None

    @property
    def mixes(self) -> bool:
        """Whether it is linear or convolutional: makes channels out of sums of others."""
        return self.layer in BY_NAME and BY_NAME[self.layer].out_axis is not None and self.has("weight")

    @property
    def is_leaf(self) -> bool:
        """Whether it has no children."""
        return self.model.framework.is_leaf(self.module)

    @contextmanager
    def restored(self, *names: str) -> Iterator[dict[str, Array]]:
        """Yield copies of own tensors, and write them back at the end of the block."""
        before = {name: self.tensor(name) for name in names}
        try:
            yield before
        finally:
            for name, array in before.items():
                self.write(name, array)

    @contextmanager
    def forward_replaced(self, replace: Callable[..., Any]) -> Iterator[None]:
        """Call ``replace(forward, *args, **kwargs)`` in place of the module's forward, for the time of the block."""

        def wrap(_: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **kwargs: replace(forward, *args, **kwargs)

        with wrapped_forwards([(self.path, self.module)], wrap):
            yield


def survey(model: Model, calls: Mapping[str, tuple[Sequence[Array], Sequence[Array]]]) -> list[Site]:
    """Return every module of a model as a site.

    Args:
        model: the planted side.
        calls: per path, what its first call received and returned in a clean run.
    """
    sites = {path: Site(model, path, module, calls.get(path)) for path, module in model.framework.modules(model.root)}
    for path, site in sites.items():
        if path:
            sites[path.rpartition(".")[0]].children.append(site)
    return list(sites.values())


Plant = Callable[[Sequence[Site], np.random.Generator], AbstractContextManager[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: in tables and messages.
        places: from all modules, those tuples that one fault of this kind is put into.
        plant: puts it there for the time of a block.
        why: a measured fact that explains why a fault of this kind had no effect at a place.
    """

    name: str
    places: Callable[[Sequence[Site]], Iterable[tuple[Site, ...]]]
    plant: Plant
    why: Callable[[Site], str] | None = None


def everywhere(where: Callable[[Site], bool]) -> Callable[[Sequence[Site]], Iterator[tuple[Site, ...]]]:
    """Return ``places``: each single module for which ``where`` holds."""
    return lambda sites: ((site,) for site in sites if site.called and where(site))


def changes_tensor(changes: Mapping[str, Callable[[Array, np.random.Generator], Array]]) -> Plant:
    """Return ``plant``: own tensors changed, each by a function of the array (in torch's layout) and a generator."""

    @contextmanager
    def plant(sites: Sequence[Site], rng: np.random.Generator) -> Iterator[None]:
        (site,) = sites
        with site.restored(*(name for name in changes if site.has(name))) as before:
            for name, array in before.items():
                site.write(name, changes[name](array.copy(), rng))
            yield

    return plant


def changes_setting(change: Callable[[Site], Mapping[str, Any]]) -> Plant:
    """Return ``plant``: settings replaced by those that ``change`` returns, by torch's names."""

    @contextmanager
    def plant(sites: Sequence[Site], rng: np.random.Generator) -> Iterator[None]:
        (site,) = sites
        with ExitStack() as stack:
            for name, value in change(site).items():
                stack.callback(write_setting(site.model.framework.side, site.layer, site.module, name, value))
            # Training mode overwrites running statistics and counts batches.
            stack.enter_context(site.restored(*(site.buffers() if site.statistics() else ())))
            yield

    return plant


def changes_output(change: Callable[[Site, Sequence[Array], Array], Array]) -> Plant:
    """Return ``plant``: the first tensor returned replaced by ``change(site, received, returned)``."""

    @contextmanager
    def plant(sites: Sequence[Site], rng: np.random.Generator) -> Iterator[None]:
        (site,) = sites
        framework = site.model.framework

        def replace(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            received = [framework.to_array(t) for t in leaves((args, kwargs), framework.is_tensor)]
            result = forward(*args, **kwargs)
            tensors = list(leaves(result, framework.is_tensor))
            first = change(site, received, framework.to_array(tensors[0]))
            changed = framework.to_tensor(np.asarray(first, order="C"))
            return rebuild(result, framework.is_tensor, iter([changed, *tensors[1:]]))

        with site.forward_replaced(replace):
            yield

    return plant


def generator(seed: int, fault: Fault) -> np.random.Generator:
    """Return the generator of one fault's own draws: the same for the same seed and place."""
    return np.random.default_rng(zlib.crc32(f"{seed}:{fault}".encode()))


def author_kinds(port: Port) -> list[Kind]:
    """Return the kinds of fault that a port's author added.

    Raises:
        BadInput: ``Port.faults`` names something that is not there, or holds no :class:`Kind`.
    """
    kinds: list[Kind] = []
    for named in port.faults:
        found: Any = named
        if isinstance(named, str):
            module, _, attribute = named.partition(":")
            found = import_attribute(module, attribute, f"faults of port '{port.name}'")
        for kind in found if isinstance(found, (list, tuple)) else [found]:
            if not isinstance(kind, Kind):
                raise BadInput(f"faults of port '{port.name}': expected portproof.faults.Kind, found {kind!r}.")
            kinds.append(kind)
    return kinds
