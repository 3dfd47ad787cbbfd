"""Weights under which every channel of every layer matters to every output.

A freshly initialised network hides faults: GoogLeNet's logits hardly depend on its input (a spread of 5e-8 on values
of 0.05), so most planted faults stay below any tolerance. After Krähenbühl et al., "Data-dependent Initializations of
Convolutional Neural Networks" (2016), and Mishkin and Matas, "All you need is a good init" (2015), each channel of
each linear and convolutional layer is scaled and shifted to unit variance and a drawn mean over real inputs, here all
in one forward pass. The drawn mean lets each ReLU cut somewhere, so that it is neither the identity nor dead.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from portproof._disk import hash_arrays
from portproof._errors import ModelRaised
from portproof._numbers import EPSILON, Array
from portproof.frameworks._layers import BY_NAME
from portproof.frameworks._model import Model, wrapped_forwards
from portproof.frameworks._tree import leaves
from portproof.ports._inputs import take_rows

#: Half-width of the uniform draw of a channel's mean, in its standard deviations.
SHIFT = 0.5


def sensitise(model: Model, inputs: Mapping[str, Array], seed: int = 0, keep: Collection[str] = ()) -> dict[str, Array]:
    """Give a float32 model sensitised weights and return its state dict.

    Args:
        model: in float32; its weights are overwritten.
        inputs: at least 16 rows.
        keep: names of tensors that stay as the model made them: the other side has no such tensor.
        seed: of all draws; the same model, inputs and seed give the same weights.

    Returns:
        Name to array; every float is representable in float32.

    Raises:
        ModelRaised: the forward raised.
    """
    framework = model.framework
    modules = framework.modules(model.root)
    _draw_all(model, seed, keep)
    done: set[str] = set()
    own = dict(modules)

    def wrap(path: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        layer = framework.layer(own[path])

        def normalised(*args: Any, **kwargs: Any) -> Any:
            if path in done:
                return forward(*args, **kwargs)
            done.add(path)
            if layer.startswith(("BatchNorm", "SyncBatchNorm")):
                _set_statistics(model, own[path], next(leaves((args, kwargs), framework.is_tensor)))
                return forward(*args, **kwargs)
            output = forward(*args, **kwargs)
            normal = _normalise(model, own[path], layer, framework.to_array(output, copy=False), f"{seed}:{path}")
            return output if normal is None else framework.to_tensor(normal)

        return normalised

    steered = [
        (path, module)
        for path, module in modules
        if layer_mixes(framework.layer(module)) or framework.layer(module).startswith(("BatchNorm", "SyncBatchNorm"))
    ]
    with framework.sooner(), wrapped_forwards(steered, wrap):
        model.call(inputs)
    return {name: _round(array) for name, array in model.state().items()}


def function_of(model: Model, inputs: Mapping[str, Array], seed: int = 0, keep: Collection[str] = ()) -> str:
    """Return a digest of what a float32 model computes, however it is written.

    Of weights that are drawn for it, layer by layer, and of what it puts out on them for two rows, the first and the
    one that reaches farthest. Two models with one digest compute the same there to the last bit, so that they are
    normalised alike.

    Args:
        model, inputs, seed, keep: see :func:`sensitise`. The model is left as it was.

    Returns:
        "" where it takes no two rows by themselves.
    """
    rowed = sorted(name for name, declared in model.port.inputs.items() if declared.has_rows)
    count = len(inputs[rowed[0]]) if rowed else 0
    reach = np.zeros(count)
    for name in rowed:
        if inputs[name].dtype.kind == "f":
            reach = np.maximum(reach, np.abs(inputs[name].reshape(count, -1)).max(axis=1, initial=0.0))
    chosen = [0, int(np.argmax(reach))] if count else []
    own = model.state()
    try:
        _draw_all(model, seed, keep)
        with model.framework.sooner():
            put_out = model.run(take_rows(model.port, dict(inputs), chosen))
        return f"{hash_arrays(model.state())} {hash_arrays(put_out)}"
    except ModelRaised:  # which sensitising tells, or else all rows do not
        return ""
    finally:
        model.load(own)


def _draw_all(model: Model, seed: int, keep: Collection[str]) -> None:
    """Overwrite a model's weights with drawn ones."""
    framework = model.framework
    kept = {entry.name for entry in model.entries()} - set(keep)  # a table that is no weight is the model's own
    for path, module in framework.modules(model.root):
        for name, tensor in framework.own_tensors(module).items():
            if (f"{path}.{name}" if path else name) not in kept:
                continue
            drawn = _draw(
                framework.layer(module), name, framework.to_array(tensor, copy=False), f"{seed}:{path}.{name}"
            )
            model.write(tensor, _round(drawn))


def layer_mixes(layer: str) -> bool:
    """Whether a layer type makes channels out of sums of others, so that they can be scaled one by one."""
    return layer in BY_NAME and BY_NAME[layer].out_axis is not None


def _draw(layer: str, name: str, array: Array, key: str) -> Array:
    """Draw a tensor: weights of unit gain, affine parameters that are not trivial."""
    if array.dtype.kind != "f":
        return array
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    leaf = name.rpartition(".")[2]
    if leaf in ("weight_orig", "weight_u") or (leaf == "weight_v" and array.ndim == 1):
        return array  # a spectral norm and the vectors that measure it belong together
    if leaf == "weight_g":
        return np.asarray(rng.uniform(0.5, 1.5, array.shape))
    if layer_mixes(layer) and array.ndim > 1:
        return np.asarray(rng.standard_normal(array.shape) / math.sqrt(array.size / max(array.shape[0], 1)))
    if layer_mixes(layer):
        return np.zeros_like(array)
    if layer == "Embedding":
        return np.asarray(rng.standard_normal(array.shape))
    if "Norm" in layer and leaf in ("weight", "scale"):
        return np.asarray(rng.uniform(0.5, 1.5, array.shape))
    if "Norm" in layer and leaf == "bias":
        return np.asarray(rng.uniform(-SHIFT, SHIFT, array.shape))
    if leaf in ("running_mean", "running_var", "_mean", "_variance"):
        return array
    scale = float(np.sqrt(np.mean(np.square(array)))) or 1.0
    return np.asarray(array + 0.1 * scale * rng.standard_normal(array.shape))


def _normalise(model: Model, module: Any, layer: str, output: Array, key: str) -> Array | None:
    """Scale and shift a layer's channels to unit variance and a drawn mean; return what it then puts out, if else."""
    tensors = model.framework.own_tensors(module)
    if "weight" not in tensors or not output.size:
        return None
    axis = output.ndim - 1 if layer == "Linear" else min(1, output.ndim - 1)
    centred, mean, deviation = _centred(output, axis)
    weight = model.framework.to_array(tensors["weight"], copy=False)
    out_axis = BY_NAME[layer].out_axis or 0
    if layer == "Linear" and model.framework.side == "paddle":
        out_axis = 1 - out_axis
    if weight.shape[out_axis] != len(deviation):  # a grouped transposed convolution: scale the layer as a whole
        deviation = np.full_like(deviation, math.sqrt(float(np.mean(np.square(deviation)))))
        scale = deviation[:1]
    else:
        scale = deviation
    shape = [1] * weight.ndim
    shape[out_axis] = len(scale)
    model.write(tensors["weight"], _round(weight / scale.reshape(shape)))
    channels = [1] * output.ndim
    channels[axis] = len(mean)
    deviation, mean = deviation.reshape(channels), mean.reshape(channels)
    if "bias" not in tensors:
        return np.asarray(output * (1 / deviation).astype(output.dtype))
    rng = np.random.default_rng(zlib.crc32(f"{key}.shift".encode()))
    shift = rng.uniform(-SHIFT, SHIFT, mean.size).reshape(channels)
    bias = model.framework.to_array(tensors["bias"], copy=False).reshape(channels)
    model.write(tensors["bias"], _round((bias - mean) / deviation + shift).ravel())
    centred *= (1 / deviation).astype(output.dtype)
    centred += shift.astype(output.dtype)
    return centred


def _centred(output: Array, axis: int) -> tuple[Array, Array, Array]:
    """Return a tensor without its channels' means, these, and how far each channel deviates from its own.

    A channel that hardly does, as float32 tells, counts as one that deviates by 1. Sums are taken in float32 along what
    lies behind the channel and in float64 over the rest: with NumPy's own in float64 they took a third of all the time.
    """
    flat = output.reshape(math.prod(output.shape[:axis]), output.shape[axis], -1)
    count = flat.shape[0] * flat.shape[2]
    mean = np.einsum("ijk->ij", flat).sum(axis=0, dtype=np.float64) / count
    centred = flat - mean.astype(output.dtype)[:, None]
    squares = np.einsum("ijk,ijk->ij", centred, centred).sum(axis=0, dtype=np.float64)
    deviation = np.sqrt(squares / count)
    deviation = np.where(deviation > EPSILON["float32"] * np.abs(mean), deviation, 1.0)
    return centred.reshape(output.shape), mean, deviation


def _set_statistics(model: Model, module: Any, tensor: Any) -> None:
    """Set running statistics to those of the tensor at hand."""
    array = model.framework.to_array(tensor, copy=False)
    rest = tuple(i for i in range(array.ndim) if i != 1)
    tensors = model.framework.own_tensors(module)
    for names, value in (
        (("running_mean", "_mean"), array.mean(axis=rest)),
        (("running_var", "_variance"), array.var(axis=rest)),
    ):
        for name in names:
            if name in tensors:
                model.write(tensors[name], _round(value))


def _round(array: Array) -> Array:
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
