"""A forward in training, call by call, with the gradient that comes back to each tensor of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portproof._numbers import Array
from portproof.lines._calls import Recording
from portproof.lines._recorder import Recorder, recording
from portproof.lockstep._backward import draw_cotangents
from portproof.lockstep._deviations import paddles_backward
from portproof.training._learner import Learner

#: In the place of a gradient's number: nothing comes back; and a tensor that was written into since.
NOTHING, UNKNOWN = -1, -2


@dataclass(frozen=True)
class Flow:
    """A tensor at a call.

    Attributes:
        before: whether gradients went through it then.
        after: whether they do once the forward is over.
        gradient: which of the recording's values came back to it; :data:`NOTHING`, :data:`UNKNOWN`.
    """

    before: bool
    after: bool
    gradient: int


@dataclass(frozen=True)
class Flows:
    """A recorded forward and the gradients of its outputs, pulled back together.

    Attributes:
        recording: of the forward; its values hold the gradients, too.
        given, made: by call, its arguments and its results.
    """

    recording: Recording
    given: dict[int, tuple[Flow, ...]]
    made: dict[int, tuple[Flow, ...]]


@dataclass
class _Seen:
    """A tensor as a call found it."""

    tensor: Any
    open: bool
    version: int | None


class FlowRecorder(Recorder):
    """Keeps every call of a forward, those too that hand on what they are given, and the tensors themselves.

    Args:
        learner: whose model runs.
        folder, limit: for values; see :class:`Recorder`.
    """

    def __init__(self, learner: Learner, folder: Path, limit: int) -> None:
        super().__init__(learner.model, folder, limit)
        self._learning = learner.learning
        self._given_to: dict[int, list[_Seen]] = {}
        self._made_by: dict[int, list[_Seen]] = {}

    def _seen(
        self, index: int, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        self._given_to[index] = [self._now(tensor) for tensor in self._tensors(args, kwargs)]
        result = super()._seen(index, name, function, args, kwargs)
        self._made_by[index] = [self._now(tensor) for tensor in self._results(result, args)]
        return result

    def _now(self, tensor: Any) -> _Seen:
        return _Seen(tensor, bool(self._learning.is_open(tensor)), self._version(tensor))

    def _version(self, tensor: Any) -> int | None:
        try:
            return self.framework.version(tensor)
        except RuntimeError:  # it has none
            return None

    def _is_nothing(self, *_: Any) -> bool:
        return False  # a detach hands on its input, and it is what is looked for

    def flows(self, outputs: Mapping[str, Any], cotangents: Mapping[str, Any]) -> Flows:
        """Return what was recorded, with what comes back from the outputs' cotangents."""
        every = [seen for found in (self._given_to, self._made_by) for several in found.values() for seen in several]
        wanted = {id(seen.tensor): seen.tensor for seen in every if self._learning.is_open(seen.tensor)}
        heads = [name for name in cotangents if self._learning.is_open(outputs[name])]
        # Of copies: Paddle goes back no further than an output that is asked for itself.
        ends = [outputs[name].clone() for name in heads]
        drawn = [cotangents[name] for name in heads]
        pulled = self._learning.pull_back(ends, drawn, list(wanted.values())) if ends else [None] * len(wanted)
        back = {
            number: NOTHING if gradient is None else self._keep(self.framework.to_array(gradient))
            for number, gradient in zip(wanted, pulled, strict=True)
        }

        def flow(seen: _Seen) -> Flow:
            written = self._version(seen.tensor) != seen.version
            gradient = UNKNOWN if written else back.get(id(seen.tensor), NOTHING)
            return Flow(seen.open, bool(self._learning.is_open(seen.tensor)), gradient)

        given, made = (
            {index: tuple(map(flow, several)) for index, several in found.items()}
            for found in (self._given_to, self._made_by)
        )
        return Flows(self.recording(outputs), given, made)


def record_flows(learner: Learner, inputs: Mapping[str, Array], seed: int, folder: Path, limit: int) -> Flows:
    """Run a forward in training under a recorder and pull its outputs back; raises what the forward raises."""
    recorder = FlowRecorder(learner, folder, limit)
    model = learner.model
    with learner.in_training(), model.framework.module_by_module(), paddles_backward(learner):
        with recording(model, recorder):
            outputs = learner.forward(inputs)
        return recorder.flows(outputs, draw_cotangents(outputs, model, seed))
