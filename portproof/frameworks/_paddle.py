"""Paddle behind the engine's interface."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

warnings.filterwarnings("ignore", message="No ccache found")
import paddle  # noqa: E402

from portproof._errors import Unavailable, require_memory  # noqa: E402
from portproof._numbers import DRAWN, Array  # noqa: E402
from portproof.frameworks._entries import Entry, further_names  # noqa: E402
from portproof.frameworks._layers import layer_type  # noqa: E402
from portproof.frameworks._paddle_oracle import computing_in_float64, exact_backward  # noqa: E402


class PaddleFramework:
    """See :class:`portproof.frameworks.Framework`."""

    side = "paddle"

    def __init__(self) -> None:
        paddle.set_device("cpu")

    def versions(self) -> dict[str, str]:
        return {"paddlepaddle": paddle.__version__, "numpy": np.__version__}

    def set_threads(self, threads: int) -> None:
        paddle.set_flags({"FLAGS_paddle_num_threads": threads})
        paddle.core.set_num_threads(threads)

    def use_device(self, device: str) -> None:
        if device == "cuda" and not (paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0):
            build = "finds no GPU" if paddle.is_compiled_with_cuda() else "has no CUDA"
            raise Unavailable(f"device cuda: this paddle build ({paddle.__version__}) {build}; use --device cpu")
        paddle.set_device("gpu" if device == "cuda" else "cpu")

    def build(self, factory: Callable[..., Any], kwargs: Mapping[str, Any], dtype: str, hollow: bool = False) -> Any:
        try:
            model = self._made(factory, kwargs, dtype, hollow)
        except Exception as error:
            require_memory(error)
            if dtype == "float32":
                raise
            # A factory may load its own weights, or set values, in the precision that it was written in.
            model = self._made(factory, kwargs, "float32", hollow)
        if not isinstance(model, paddle.nn.Layer):
            raise TypeError(f"expected a paddle.nn.Layer, found {type(model).__name__}")
        _cast(model, dtype)
        model.eval()
        return model

    def _made(self, factory: Callable[..., Any], kwargs: Mapping[str, Any], dtype: str, hollow: bool) -> Any:
        """Call a factory, computing in a dtype, with names of parameters that no other model has taken."""
        default = paddle.get_default_dtype()
        paddle.set_default_dtype(dtype)
        try:
            paddle.seed(0)
            with (
                paddle.utils.unique_name.guard(),
                paddle.LazyGuard() if hollow else nullcontext(),
                self.computing_in(dtype, Counter(), lambda: ""),
            ):
                return factory(**kwargs)
        finally:
            paddle.set_default_dtype(default)

    @contextmanager
    def lent(self, module: Any, arrays: Mapping[str, Array]) -> Iterator[None]:
        homes = {name: module._parameters if name in module._parameters else module._buffers for name in arrays}
        before = {name: home[name] for name, home in homes.items()}
        for name, array in arrays.items():
            homes[name][name] = paddle.to_tensor(array)
        try:
            yield
        finally:
            for name, tensor in before.items():
                homes[name][name] = tensor

    def modules(self, model: Any) -> list[tuple[str, Any]]:
        return list(model.named_sublayers(include_self=True))

    def layer(self, module: Any) -> str:
        return layer_type("paddle", [c.__name__ for c in type(module).__mro__ if c.__module__.startswith("paddle.nn")])

    def is_leaf(self, module: Any) -> bool:
        return next(iter(module.children()), None) is None

    def all_modules(self, model: Any) -> list[tuple[str, Any]]:
        return list(_walk(model, "", ()))

    def entries(self, model: Any) -> list[Entry]:
        owners = dict(self.all_modules(model))
        parameters = {name for name, _ in model.named_parameters()}
        tied = further_names((name, id(tensor)) for name, tensor in model.state_dict().items())
        return [
            Entry(
                name,
                tuple(tensor.shape),
                str(tensor.dtype).removeprefix("paddle."),
                self.layer(owners[name.rpartition(".")[0]]),
                name.rpartition(".")[0],
                "parameter" if name in parameters or tied.get(name) in parameters else "buffer",
                tied.get(name, ""),
            )
            for name, tensor in model.state_dict().items()
        ]

    def own_tensors(self, module: Any) -> dict[str, Any]:
        named = dict(module.named_parameters(include_sublayers=False))
        named |= dict(module.named_buffers(include_sublayers=False))
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def write(self, tensor: Any, array: Array) -> None:
        dtype = str(tensor.dtype).removeprefix("paddle.")
        # An array is copied once, into the tensor's own memory; by way of another tensor it takes five times as long.
        tensor.set_value(self.to_tensor(array, dtype) if dtype == "bfloat16" else np.asarray(array, dtype, order="C"))

    def overwrite(self, tensor: Any, array: np.ndarray[Any, Any]) -> None:
        paddle.assign(paddle.to_tensor(array.astype(str(tensor.dtype).removeprefix("paddle."))), tensor)

    def shares_memory(self, one: Any, other: Any) -> bool:
        return bool(one.data_ptr() == other.data_ptr())

    def version(self, tensor: Any) -> int:
        return int(tensor.inplace_version)

    def is_tensor(self, value: object) -> bool:
        return isinstance(value, paddle.Tensor)

    def to_tensor(self, array: Array, precision: str | None = None) -> Any:
        if precision == "bfloat16" and array.dtype.kind == "f":
            return paddle.to_tensor(array).astype(precision)
        if precision is not None and array.dtype.kind == "c":
            return paddle.to_tensor(array.astype(np.complex128 if precision == "float64" else np.complex64))
        cast = precision is not None and array.dtype.kind == "f"
        return paddle.to_tensor(array.astype(precision, copy=False) if cast else array)

    def to_array(self, tensor: Any, *, copy: bool = True) -> Array:
        if tensor.dtype == paddle.bfloat16:
            tensor = tensor.astype("float32")
        array: Array = np.asarray(tensor.numpy(), order="C")  # of its own on a CPU, as Paddle 3.3 makes it
        return array.copy() if copy and array.ctypes.data == _address(tensor) else array

    def in_pairs(self, tensor: Any) -> Any:
        return paddle.as_real(tensor) if tensor.is_complex() else tensor

    def random_state(self) -> bytes:
        # Where the state lies in memory is no state.
        words = [word for state in paddle.get_rng_state() for word in str(state).split()]
        return " ".join(word for word in words if not word.startswith("0x")).encode()

    def no_grad(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = paddle.no_grad()
        return context

    def inference(self) -> AbstractContextManager[Any]:
        return self.no_grad()

    @contextmanager
    def computing_in(self, precision: str, lifted: Counter[str], where: Callable[[], str]) -> Iterator[None]:
        if precision != "float64":
            yield
            return
        before = paddle.get_default_dtype()
        paddle.set_default_dtype("float64")
        try:
            with computing_in_float64(lifted, where):
                yield
        finally:
            paddle.set_default_dtype(before)

    @contextmanager
    def differentiable(self, model: Any) -> Iterator[None]:
        found = [
            layer for layer in model.sublayers(include_self=True) if isinstance(layer, paddle.nn.layer.rnn.RNNBase)
        ]
        before = [(layer.training, layer.dropout) for layer in found]
        for layer in found:
            layer.training, layer.dropout = True, 0.0
        try:
            with exact_backward():
                yield
        finally:
            for layer, (training, dropout) in zip(found, before, strict=True):
                layer.training, layer.dropout = training, dropout

    def repeating_draws(self) -> AbstractContextManager[None]:
        return _repeated()

    def sooner(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def adding_term_by_term(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def module_by_module(self) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronise(self) -> None:
        if paddle.device.get_device().startswith("gpu"):
            paddle.device.synchronize()

    def event_times(self, call: Callable[[], object], count: int) -> list[float]:
        """Return device milliseconds of some calls, by CUDA events; none on a CPU. Not yet run on a GPU."""
        if not paddle.device.get_device().startswith("gpu"):
            return []
        event = paddle.device.cuda.Event
        pairs = [(event(enable_timing=True), event(enable_timing=True)) for _ in range(count)]
        for begin, end in pairs:
            begin.record()
            call()
            end.record()
        paddle.device.synchronize()
        return [float(begin.elapsed_time(end)) for begin, end in pairs]

    def export(self, model: Any, inputs: Mapping[str, Any], spec: Any) -> Any:
        from portproof.frameworks._paddle_export import paddle_to_onnx

        return paddle_to_onnx(model, spec)


@contextmanager
def _repeated() -> Iterator[None]:
    """See :meth:`portproof.frameworks.Framework.repeating_draws`."""

    def repeating(draw: Callable[..., Any]) -> Callable[..., Any]:
        def drawn(shape: Any, *args: Any, **kwargs: Any) -> Any:
            size = math.prod(shape) if isinstance(shape, list | tuple) else 0
            if size <= DRAWN:
                return draw(shape, *args, **kwargs)
            return paddle.tile(draw([DRAWN], *args, **kwargs), [-(-size // DRAWN)])[:size].reshape(shape)

        return drawn

    with computing_in_float64(Counter(), lambda: ""):  # which puts its own operators in place, and only once
        before = {name: getattr(paddle._C_ops, name) for name in ("uniform", "gaussian", "truncated_gaussian_random")}
        try:
            for name, draw in before.items():
                setattr(paddle._C_ops, name, repeating(draw))
            yield
        finally:
            for name, draw in before.items():
                setattr(paddle._C_ops, name, draw)


def _cast(model: Any, dtype: str) -> None:
    """Cast what a model holds, tensor by tensor: ``Layer.to`` trips over a recurrent layer's own state."""
    wanted = getattr(paddle, dtype)
    for layer in model.sublayers(include_self=True):
        held = [t for t in (*layer._parameters.values(), *layer._buffers.values()) if t is not None]
        changed = [t for t in held if t.is_floating_point() and t.dtype != wanted]
        changed += [t for t in held if dtype == "float64" and t.dtype == paddle.complex64]
        for tensor in changed:
            layer._transform(tensor, None, paddle.complex128 if tensor.is_complex() else wanted, True)
        if changed and isinstance(layer, paddle.nn.layer.rnn.RNNBase):
            layer.flatten_parameters()


def _walk(layer: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Yield every layer under every name that it has; Paddle's own walk names a shared one once."""
    yield path, layer
    for name, child in layer._sub_layers.items():
        if child is not None and id(child) not in above:
            yield from _walk(child, f"{path}.{name}" if path else name, (*above, id(layer)))


def _address(tensor: Any) -> int | None:
    """Return where a tensor lies; None for one that has no memory, as a recurrent layer's flat weight on a CPU."""
    try:
        return int(tensor.data_ptr())
    except RuntimeError:
        return None
