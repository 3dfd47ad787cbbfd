"""PyTorch behind the engine's interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from portproof._errors import Unavailable
from portproof._numbers import DRAWN, Array
from portproof.frameworks._entries import Entry, further_names
from portproof.frameworks._layers import layer_type
from portproof.frameworks._torch_oracle import ComputingInFloat64, Sooner


class TorchFramework:
    """See :class:`portproof.frameworks.Framework`."""

    side = "torch"

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__, "numpy": np.__version__}

    def set_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def use_device(self, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            build = "has no CUDA" if torch.version.cuda is None else f"has CUDA {torch.version.cuda} but finds no GPU"
            raise Unavailable(f"device cuda: this torch build ({torch.__version__}) {build}; use --device cpu")
        self.device = torch.device(device)
        _full_float32()

    def build(self, factory: Callable[..., Any], kwargs: Mapping[str, Any], dtype: str, hollow: bool = False) -> Any:
        default = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            torch.manual_seed(0)
            with (
                _hollow_parameters() if hollow else nullcontext(),
                self.computing_in(dtype, Counter(), lambda: ""),
            ):
                model = factory(**kwargs)
        finally:
            torch.set_default_dtype(default)
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"expected a torch.nn.Module, found {type(model).__name__}")
        _full_float32()  # once more: a model's own code may have switched TF32 on when it was imported or built
        where = () if hollow else (self.device,)
        return _cast(model.to(*where), getattr(torch, dtype)).eval()

    @contextmanager
    def lent(self, module: Any, arrays: Mapping[str, Array]) -> Iterator[None]:
        before = self.own_tensors(module)
        # Through the module's own attributes: recurrent layers keep lists of their weights up to date there.
        for name, array in arrays.items():
            tensor = torch.from_numpy(array).to(self.device)
            parameter = name in module._parameters
            setattr(module, name, torch.nn.Parameter(tensor, requires_grad=False) if parameter else tensor)
        try:
            yield
        finally:
            for name in arrays:
                setattr(module, name, before[name])

    def modules(self, model: Any) -> list[tuple[str, Any]]:
        return list(model.named_modules())

    def layer(self, module: Any) -> str:
        return layer_type("torch", [c.__name__ for c in type(module).__mro__ if c.__module__.startswith("torch.nn")])

    def is_leaf(self, module: Any) -> bool:
        return next(module.children(), None) is None

    def all_modules(self, model: Any) -> list[tuple[str, Any]]:
        return list(model.named_modules(remove_duplicate=False))

    def entries(self, model: Any) -> list[Entry]:
        owners = dict(self.all_modules(model))
        parameters = {name: id(tensor) for name, tensor in model.named_parameters(remove_duplicate=False)}
        tied = further_names(parameters.items())
        return [
            Entry(
                name,
                tuple(tensor.shape),
                str(tensor.dtype).removeprefix("torch."),
                self.layer(owners[name.rpartition(".")[0]]),
                name.rpartition(".")[0],
                "parameter" if name in parameters else "buffer",
                tied.get(name, ""),
            )
            for name, tensor in model.state_dict().items()
        ]

    def own_tensors(self, module: Any) -> dict[str, Any]:
        named = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def write(self, tensor: Any, array: Array) -> None:
        with torch.no_grad():
            tensor.copy_(torch.tensor(array))

    def overwrite(self, tensor: Any, array: np.ndarray[Any, Any]) -> None:
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def shares_memory(self, one: Any, other: Any) -> bool:
        return bool(one.data_ptr() == other.data_ptr())

    def version(self, tensor: Any) -> int:
        return int(tensor._version)

    def is_tensor(self, value: object) -> bool:
        return isinstance(value, torch.Tensor)

    def to_tensor(self, array: Array, precision: str | None = None) -> Any:
        dtype = getattr(torch, precision) if precision is not None and array.dtype.kind == "f" else None
        if array.dtype.kind == "c" and precision is not None:
            dtype = torch.complex128 if precision == "float64" else torch.complex64
        return torch.tensor(array, dtype=dtype, device=self.device)

    def to_array(self, tensor: Any, *, copy: bool = True) -> Array:
        tensor = tensor.detach().cpu()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.float()
        array: Array = np.array(tensor.numpy(), order="C", copy=copy or None)
        return array

    def in_pairs(self, tensor: Any) -> Any:
        return torch.view_as_real(tensor) if tensor.is_complex() else tensor

    def random_state(self) -> bytes:
        states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [])]
        return b"".join(state.numpy().tobytes() for state in states)

    def no_grad(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = torch.no_grad()
        return context

    def inference(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = torch.inference_mode()
        return context

    @contextmanager
    def computing_in(self, precision: str, lifted: Counter[str], where: Callable[[], str]) -> Iterator[None]:
        if precision != "float64":
            yield
            return
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with ComputingInFloat64(lifted, where):
                yield
        finally:
            torch.set_default_dtype(before)

    def repeating_draws(self) -> AbstractContextManager[None]:
        return _repeated()

    def sooner(self) -> AbstractContextManager[Any]:
        return Sooner()

    def adding_term_by_term(self) -> AbstractContextManager[Any]:
        from portproof.frameworks._torch_terms import AddingTermByTerm

        return AddingTermByTerm()

    def differentiable(self, model: Any) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def module_by_module(self) -> Iterator[None]:
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def event_times(self, call: Callable[[], object], count: int) -> list[float]:
        """Return device milliseconds of some calls, by CUDA events; none on a CPU. Not yet run on a GPU.

        ``call`` does not wait for the device: an event that is recorded after waiting has the waiting in it. Between
        two calls the device is idle, as it is between two requests.
        """
        if self.device.type != "cuda":
            return []
        pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
        for begin, end in pairs:
            begin.record()
            call()
            end.record()
            end.synchronize()
        return [float(begin.elapsed_time(end)) for begin, end in pairs]

    def export(self, model: Any, inputs: Mapping[str, Any], spec: Any) -> Any:
        keyword = spec.call == "keyword"
        # A dictionary in the last place would be taken for keyword arguments, so an empty one follows it.
        args: tuple[Any, ...] = (
            () if keyword else (dict(inputs), {}) if spec.call == "dictionary" else tuple(inputs.values())
        )

        def traced(shapes: Any) -> Any:
            return torch.onnx.export(
                model,
                args,
                kwargs=dict(inputs) if keyword else None,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(spec.outputs),
                dynamic_shapes=shapes,
                verbose=False,
                external_data=False,
            )

        named = {size: size for one in spec.inputs.values() for size in one.shape if isinstance(size, str)}
        try:
            program = traced(self.free_shapes(spec, named))
        except Exception:  # a recurrent layer, say, whose number of steps it cannot leave open
            if named.keys() <= {"batch"}:
                raise
            program = traced(self.free_shapes(spec, {"batch": "batch"}))
        assert program is not None
        return program.model_proto

    def free_shapes(self, spec: Any, named: Mapping[str, Any]) -> Any:
        """Return the free sizes of a port's inputs as its model is called, each as torch is to know it.

        Args:
            spec: the port.
            named: size as the port names it to what stands for it; others are fixed.
        """
        free = {
            name: {axis: named[size] for axis, size in enumerate(one.shape) if isinstance(size, str) and size in named}
            for name, one in spec.inputs.items()
        }
        return free if spec.call == "keyword" else (free,) if spec.call == "dictionary" else tuple(free.values())


def _cast(model: Any, dtype: torch.dtype) -> Any:
    """Cast what a model holds; ``Module.to`` drops the imaginary part of what is complex."""

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(torch.complex128) if dtype == torch.float64 else tensor
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return model._apply(cast)


def _full_float32() -> None:
    """One policy for all: no TF32, so that a difference is a difference and not TF32's rounding.

    The older switches, which set the newer ``fp32_precision`` too: torch refuses to read the older ones where only the
    newer were set, and models read them (torch 2.13, ``torch.backends.cudnn.allow_tf32``).
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def _repeated() -> Iterator[None]:
    """See :meth:`portproof.frameworks.Framework.repeating_draws`."""

    def repeating(name: str) -> Callable[..., Any]:
        draw = getattr(torch.Tensor, name)

        def drawn(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(tensor, torch.nn.Parameter) or tensor.numel() <= DRAWN or not tensor.is_contiguous():
                return draw(tensor, *args, **kwargs)
            flat, block = tensor.data.view(-1), draw(tensor.data.new_empty(DRAWN), *args, **kwargs)
            whole = len(flat) // DRAWN * DRAWN
            flat[:whole].view(-1, DRAWN).copy_(block)
            flat[whole:].copy_(block[: len(flat) - whole])
            return tensor

        return drawn

    kinds = {name: repeating(name) for name in ("uniform_", "normal_")}
    try:
        for name, kind in kinds.items():
            setattr(torch.Tensor, name, kind)
        yield
    finally:
        for name in kinds:
            delattr(torch.Tensor, name)  # what it hid is its parent's


@contextmanager
def _hollow_parameters() -> Iterator[None]:
    """Let every parameter that a module registers keep its shape and dtype and give up its memory.

    Buffers stay: a model may compute them when it is built, and no file may hold them.
    """
    register = torch.nn.Module.register_parameter

    def hollow(module: Any, name: str, parameter: Any) -> None:
        if parameter is not None and parameter.device.type != "meta":
            parameter = torch.nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
        register(module, name, parameter)

    torch.nn.Module.register_parameter = hollow
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register
