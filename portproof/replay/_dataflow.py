"""Which module hands a tensor to which: the network as a graph, read off torch's own record of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portproof.frameworks._calls import exchanged, given, returned
from portproof.frameworks._model import Arrays, Model, whole_layers, wrapped_forwards
from portproof.frameworks._tree import leaves as tensors_of

INPUT = "input"


def dataflow(model: Model, inputs: Arrays) -> list[tuple[str, str]]:
    """Run a torch model once with gradients and return pairs of module paths, ``input:NAME`` for an input.

    What functions do between modules (a concatenation, an addition) is followed through. Only modules that have no
    parts, or are run in one piece, are told.

    Args:
        model: of torch, in float32.
        inputs: a few rows.
    """
    import torch

    framework = model.framework
    layers = whole_layers(model)
    holders = {path.rpartition(".")[0] for path, _ in layers if path}
    leaves = [(path, module) for path, module in layers if path and path not in holders]
    owners: dict[Any, str] = {}
    edges: dict[tuple[str, str], None] = {}
    own = dict(leaves)

    def sources(tensor: Any) -> list[str]:
        """Return the modules that a tensor comes from, nearest first; nothing beyond them is looked at."""
        found: dict[str, None] = {}
        seen, waiting = set(), [tensor.grad_fn] if tensor.grad_fn is not None else []
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in owners:
                found[owners[node]] = None
            else:
                waiting += [parent for parent, _ in node.next_functions]
        return list(found)

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        layer = framework.layer(own[path])

        def followed(*args: Any, **kwargs: Any) -> Any:
            for tensor in given(layer, args, kwargs, framework.is_tensor):
                for source in sources(tensor):
                    edges[source, path] = None
            result = forward(*args, **kwargs)
            for tensor in returned(layer, result, framework.is_tensor):
                if tensor.grad_fn is not None:
                    owners[tensor.grad_fn] = path
            return result

        return followed

    args, kwargs = model.arguments(inputs)
    with torch.enable_grad(), framework.module_by_module(), wrapped_forwards(leaves, wrap):
        entering = list(tensors_of((args, kwargs), framework.is_tensor))
        for name, tensor in zip(model.port.inputs, entering, strict=True):
            if tensor.is_floating_point():
                entered = tensor.requires_grad_().clone()
                owners[entered.grad_fn] = f"{INPUT}:{name}"
                args, kwargs = exchanged((args, kwargs), [tensor], [entered], framework.is_tensor)
        model.root(*args, **kwargs)
    return [(source, target) for source, target in edges if source != target]
