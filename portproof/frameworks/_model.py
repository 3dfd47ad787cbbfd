"""One side of a port as a live model: built, loaded, run, and told where it broke."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from portproof._errors import BadInput, ModelRaised, is_own, require_kernel, require_memory, told_with_line
from portproof._numbers import Array, as_pairs
from portproof.frameworks import Framework
from portproof.frameworks._entries import Entry
from portproof.frameworks._layers import is_whole
from portproof.frameworks._tree import name_outputs, unnamed_outputs
from portproof.ports._port import Port

Arrays = Mapping[str, Array]


class Model:
    """A side's model in one precision.

    Args:
        framework: adapter of the side's framework.
        port: the port.
        factory: the callable behind the port's side.
        precision: ``"float64"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``; floating inputs are cast to it.
        module: path of the part of the model that is judged, "" for all of it.
        hollow: build it without its parameters; ``portproof.replay._stream`` lends them.

    Raises:
        BadInput: the factory raised, or the model has no module of that path.
    """

    def __init__(
        self,
        framework: Framework,
        port: Port,
        factory: Callable[..., Any],
        precision: str,
        module: str = "",
        hollow: bool = False,
    ) -> None:
        self.framework, self.port, self.precision = framework, port, precision
        self.lifted: Counter[str] = Counter()
        self.unnamed: list[str] = []
        self._written = self.was_called = False
        try:
            self.root = framework.build(factory, port.kwargs, precision, hollow)
        except Exception as error:
            require_memory(error)
            said = f"{framework.side} factory of port '{port.name}' raised {told_with_line(error)}"
            raise BadInput(said) from error
        if module:
            modules = dict(framework.modules(self.root))
            if module not in modules:
                raise BadInput(unknown_module(framework.side, module, list(modules)))
            self.root = modules[module]
        self._made = self._outside_the_state()

    def entries(self) -> list[Entry]:
        """Describe the state dict."""
        return self.framework.entries(self.root)

    def state(self, names: Collection[str] | None = None) -> dict[str, Array]:
        """Copy the state dict, or the tensors named."""
        kept = {name: t for name, t in self.tensors().items() if names is None or name in names}
        return {name: self.framework.to_array(tensor) for name, tensor in kept.items()}

    def tables(self) -> dict[str, Array]:
        """Copy the tensors that the factory made and the state dict has not; complex ones as a pair."""
        found = dict[str, Array]()
        for name, tensor in self._outside_the_state().items():
            if tensor is self._made.get(name):  # what a forward keeps for itself, or makes anew, is no table
                found[name] = as_pairs(np.ascontiguousarray(self.framework.to_array(tensor)))
        return found

    def _outside_the_state(self) -> dict[str, Any]:
        """Return buffers that are not saved, and tensors that are plain attributes."""
        kept, found = {entry.name for entry in self.entries()}, dict[str, Any]()
        for path, module in self.framework.modules(self.root):
            plain = {name: value for name, value in vars(module).items() if self.framework.is_tensor(value)}
            own = self.framework.own_tensors(module) | plain
            found |= {(f"{path}.{name}" if path else name): tensor for name, tensor in own.items()}
        return {name: tensor for name, tensor in found.items() if name not in kept}

    def load(self, state: Arrays) -> None:
        """Overwrite the whole state dict; every name and shape must fit.

        Raises:
            BadInput: a tensor is missing, surplus or of another shape.
        """
        tensors = self.tensors()
        side = self.framework.side
        for name in tensors.keys() ^ state.keys():
            what = "is missing from the weights" if name in tensors else "is not in the model"
            raise BadInput(f"{side}: tensor '{name}' {what}.")
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != state[name].shape:
                found = list(state[name].shape)
                raise BadInput(f"{side}: tensor '{name}' is {list(tensor.shape)} in the model, {found} in the weights.")
            self.write(tensor, state[name])
        self.refresh()

    def write(self, tensor: Any, array: Array) -> None:
        """Overwrite one of the model's own tensors."""
        self.framework.write(tensor, array)
        self._written = True

    def refresh(self) -> None:
        """Have modules drop what they made of weights that were overwritten since; done before every run.

        In evaluation some keep such things for the next call (timm's attention biases, gathered from a table); they
        drop them where training begins, since that is when weights change.
        """
        if not self._written:
            return
        self._written = False
        modes = [(module, module.training) for _, module in self.framework.all_modules(self.root)]
        try:
            self.root.train()
            self.root.eval()
        except Exception as error:  # a model that cannot be trained keeps nothing for the time after that
            require_memory(error)
        for module, mode in modes:
            module.training = mode

    def tensors(self) -> dict[str, Any]:
        """Return the framework's own tensors of the state dict, by every name that they have."""
        kept = {entry.name for entry in self.entries()}
        named = {
            (f"{path}.{name}" if path else name): tensor
            for path, module in self.framework.all_modules(self.root)
            for name, tensor in self.framework.own_tensors(module).items()
        }
        return {name: tensor for name, tensor in named.items() if name in kept}

    def arguments(self, inputs: Arrays) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and keyword arguments for the model's inputs, floats cast to its precision."""
        ordered = {name: inputs[name] for name in self.port.inputs}  # files have an order of their own
        tensors = {name: self.framework.to_tensor(array, self.precision) for name, array in ordered.items()}
        if self.port.call == "dictionary":
            return (tensors,), {}
        return ((), tensors) if self.port.call == "keyword" else (tuple(tensors.values()), {})

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Run the model.

        Args:
            inputs: name to array, rows first.

        Returns:
            Output name to array.

        Raises:
            ModelRaised: the forward raised; names the innermost module that was running.
        """
        return self.arrays(self.call(inputs))

    def arrays(self, outputs: Mapping[str, Any]) -> dict[str, Array]:
        """Copy outputs to arrays, complex ones as pairs; one that has several names is copied once."""
        made = {id(tensor): as_pairs(self.framework.to_array(tensor)) for tensor in outputs.values()}
        return {name: made[id(tensor)] for name, tensor in outputs.items()}

    def call(self, inputs: Arrays) -> dict[str, Any]:
        """Run the model and return its own tensors by output name. Raises what :meth:`run` raises."""

        def named(result: Any) -> dict[str, Any]:
            self.unnamed = unnamed_outputs(result, tuple(self.port.outputs), self.framework.is_tensor)
            return name_outputs(result, tuple(self.port.outputs), self.framework.is_tensor)

        outputs: dict[str, Any] = self._ran(inputs, named)
        return outputs

    def returned(self, inputs: Arrays) -> Any:
        """Run the model and return what it does, as it is. Raises what :meth:`run` raises."""
        return self._ran(inputs, lambda result: result)

    def _ran(self, inputs: Arrays, then: Callable[[Any], Any]) -> Any:
        self.refresh()
        self.was_called = True
        args, kwargs = self.arguments(inputs)
        running: list[str] = []
        try:
            precise = self.computing(lambda: running[-1] if running else "")
            with self.framework.no_grad(), precise, self._following(running):
                return then(self.root(*args, **kwargs))
        except Exception as error:
            require_memory(error)
            if is_own(error):
                raise
            require_kernel(error, self.framework.side, self.precision)
            where = running[-1] if running else ""
            raise ModelRaised(self.framework.side, where, told_with_line(error)) from error

    def computing(self, where: Callable[[], str]) -> AbstractContextManager[None]:
        """Compute in the model's precision, all through; ``where`` names the module that runs."""
        return self.framework.computing_in(self.precision, self.lifted, where)

    @contextmanager
    def _following(self, running: list[str]) -> Iterator[None]:
        """Keep the stack of the modules that are running; it stays as it was where a module raises."""

        def follow(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def followed(*args: Any, **kwargs: Any) -> Any:
                running.append(path)
                result = forward(*args, **kwargs)
                running.pop()
                return result

            return followed

        with wrapped_forwards(self.framework.modules(self.root), follow):
            yield


@contextmanager
def wrapped_forwards(
    modules: list[tuple[str, Any]], wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Replace the ``forward`` of every module by a wrapper of it, for the time of the block.

    Both frameworks call ``self.forward``, so an attribute of the instance sees all arguments, by position and by
    keyword, and can return something else: hooks of the two frameworks differ in both.
    """
    before = [module.__dict__.get("forward") for _, module in modules]
    try:
        for path, module in modules:
            object.__setattr__(module, "forward", wrap(path, module.forward))
        yield
    finally:
        for (_, module), own in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:
                object.__setattr__(module, "forward", own)


def whole_layers(model: Model) -> list[tuple[str, Any]]:
    """Return every module with its path, but for the parts of layers that are judged in one piece."""
    kept: list[tuple[str, Any]] = []
    inside = ""
    for path, module in model.framework.modules(model.root):
        if inside and path.startswith(inside):
            continue
        kept.append((path, module))
        inside = f"{path}." if is_whole(model.framework.layer(module)) else ""
    return kept


def written_at(model: Model) -> dict[str, tuple[str, int, str] | None]:
    """Return file, line and class of every module whose class no framework brought; None for code in no file."""
    kinds = {path: type(module) for path, module in model.framework.all_modules(model.root)}
    own = {path: k for path, k in kinds.items() if not f"{k.__module__}.".startswith(f"{model.framework.side}.nn.")}
    at = {kind: _written_at(kind) for kind in dict.fromkeys(own.values())}
    return {path: at[kind] for path, kind in own.items()}


def _written_at(kind: Any) -> tuple[str, int, str] | None:
    own = inspect.unwrap(kind.forward) if "forward" in kind.__dict__ else kind
    try:
        file, (_, line) = inspect.getsourcefile(kind), inspect.getsourcelines(own)
    except (OSError, TypeError):  # made in a prompt, or compiled
        return None
    return (file, max(line, 1), kind.__name__) if file else None


def unknown_module(side: str, path: str, known: list[str]) -> str:
    """Say that a module does not exist, and which near ones do."""
    import difflib

    near = difflib.get_close_matches(path, known, n=3) or [name for name in known if name and "." not in name]
    return f"{side}: no module '{path}'; there are {', '.join(near[:12])}."


def count_work(model: Model, inputs: Arrays) -> float:
    """Run a model once and count the operations of its linear and convolutional layers, multiply and add as two.

    A layer multiplies each element that it puts out with as many weights as it has for one output channel; a
    transposed convolution each element that it takes in. What functions compute outside layers is not counted.
    """
    framework, total = model.framework, [0.0]
    found = {path: (framework.layer(module), module) for path, module in framework.modules(model.root)}
    counted = [(path, module) for path, (layer, module) in found.items() if layer.startswith(("Linear", "Conv"))]

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        layer, module = found[path]

        def forwarded(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            weight = math.prod(framework.own_tensors(module)["weight"].shape)
            tensor, axis = (args[0], 1) if "Transpose" in layer else (result, -1 if layer == "Linear" else 1)
            total[0] += 2.0 * math.prod(tensor.shape) * weight / tensor.shape[axis]
            return result

        return forwarded

    with wrapped_forwards(counted, wrap):
        model.call(inputs)
    return total[0]
