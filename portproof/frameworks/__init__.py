"""The two frameworks behind one small interface. Each adapter is imported late and imports its own framework only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from portproof._errors import require_packages
from portproof.frameworks._entries import Entry

if TYPE_CHECKING:
    from portproof._numbers import Array


class Framework(Protocol):
    """What the engine needs of a framework. ``Model`` is the framework's own module type."""

    side: str

    def versions(self) -> dict[str, str]:
        """Return package names and versions."""

    def set_threads(self, threads: int) -> None:
        """Fix the number of compute threads of this process."""

    def use_device(self, device: str) -> None:
        """Run on ``cpu`` or ``cuda``; raise :class:`Unavailable` where it is not there."""

    def build(self, factory: Callable[..., Any], kwargs: Mapping[str, Any], dtype: str, hollow: bool = False) -> Any:
        """Call a factory, computing in a dtype, and return the model in evaluation mode and in that dtype.

        ``hollow``: its parameters have shapes and dtypes but no memory; see :meth:`lent`.
        """

    def lent(self, module: Any, arrays: Mapping[str, Array]) -> AbstractContextManager[None]:
        """Put arrays in the place of a module's own parameters and buffers, for the time of the block."""

    def modules(self, model: Any) -> list[tuple[str, Any]]:
        """Return every module with its path, the root first, as ""."""

    def all_modules(self, model: Any) -> list[tuple[str, Any]]:
        """Return every module under every path that it has: one that is shared has several."""

    def layer(self, module: Any) -> str:
        """Name a module's type as torch does."""

    def is_leaf(self, module: Any) -> bool:
        """Whether a module has no children."""

    def entries(self, model: Any) -> list[Entry]:
        """Describe every parameter and buffer of the state dict."""

    def own_tensors(self, module: Any) -> dict[str, Any]:
        """Return a module's own parameters and buffers, without its children's."""

    def write(self, tensor: Any, array: Array) -> None:
        """Overwrite a parameter or buffer in place, cast to its dtype."""

    def overwrite(self, tensor: Any, array: Array) -> None:
        """Write into a tensor that a forward made, so that all its views see it."""

    def shares_memory(self, one: Any, other: Any) -> bool:
        """Whether two tensors begin at one place."""

    def version(self, tensor: Any) -> int:
        """Count the writes into a tensor and into what shares its memory."""

    def in_pairs(self, tensor: Any) -> Any:
        """Return a complex tensor as pairs of real and imaginary part, along a last axis; any other as it is."""

    def random_state(self) -> bytes:
        """Return what changes as soon as a random number is drawn."""

    def is_tensor(self, value: object) -> bool:
        """Whether a value is one of the framework's tensors."""

    def to_tensor(self, array: Array, precision: str | None = None) -> Any:
        """Copy an array to a tensor, of the same dtype or, for a floating array, in a precision."""

    def to_array(self, tensor: Any, *, copy: bool = True) -> Array:
        """Copy a tensor to an array of the same dtype; bfloat16, which NumPy has not, becomes float32.

        ``copy``: False where it is only read, and may share its memory.
        """

    def no_grad(self) -> AbstractContextManager[Any]:
        """Run without recording gradients."""

    def inference(self) -> AbstractContextManager[Any]:
        """Run as fast as the framework can; writes into tensors may not be counted."""

    def computing_in(
        self, precision: str, lifted: Counter[str], where: Callable[[], str]
    ) -> AbstractContextManager[None]:
        """In float64, compute all in float64, for the time of the block: the oracle is no oracle where it rounds.

        What a forward creates itself is float64; what it asks for in float32 is too, and scalars that a kernel keeps in
        float32 are exact. In other precisions nothing is changed.

        Args:
            precision: of the model.
            lifted: counts what would have been float32, by where it was asked for.
            where: names what runs at the moment.
        """

    def repeating_draws(self) -> AbstractContextManager[None]:
        """Draw large parameters a block at a time and repeat it, for the time of the block.

        For a float64 model that is built to get other weights before anything is told of them: most of the time that it
        takes to build one of 300 million parameters is the drawing.
        """

    def sooner(self) -> AbstractContextManager[Any]:
        """Compute the very same numbers in less time, where it does not matter by which kernel."""

    def adding_term_by_term(self) -> AbstractContextManager[Any]:
        """Add long sums in float32 one term after the other, for the time of the block; yields who counts them.

        None where the framework's own kernels do.
        """

    def differentiable(self, model: Any) -> AbstractContextManager[None]:
        """Let gradients reach all that acts, in evaluation mode and exactly, for the time of the block.

        Recurrent layers that keep nothing for a backward pass in evaluation are run as in training, without dropout,
        and kernels whose backward pass rounds a scalar are computed as what they stand for.
        """

    def module_by_module(self) -> AbstractContextManager[None]:
        """Call every part as a module, with no fused kernel around several, for the time of the block."""

    def synchronise(self) -> None:
        """Wait until the device has finished what it was given."""

    def export(self, model: Any, inputs: Mapping[str, Any], spec: Any) -> Any:
        """Return the model as an ``onnx.ModelProto``."""


def load_framework(side: str) -> Framework:
    """Import a framework's adapter.

    Raises:
        Unavailable: the framework is not installed in this interpreter.
    """
    require_packages(f"the {side} side", side)
    if side == "torch":
        from portproof.frameworks._torch import TorchFramework

        return TorchFramework()
    from portproof.frameworks._paddle import PaddleFramework

    return PaddleFramework()
