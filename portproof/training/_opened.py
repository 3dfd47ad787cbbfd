"""The processes of a training: each with the data loaded, and how the two sides correspond once that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portproof._errors import BadInput
from portproof.convert._account import Account
from portproof.convert._transfer import transfer
from portproof.sides._process import Session
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.training._tasks import TrainingTasks
from portproof.training._trained import TrainOptions, TrainProgress

#: Paddle's Adam runs on another OpenMP runtime than its convolutions, and the idle threads of each wait for work in
#: a loop, on the cores that the other needs: with two threads, everything takes three times as long from the second
#: step on. So they sleep.
_ENVIRONMENT = {"KMP_BLOCKTIME": "0"}


class Opened:
    """A process a side, as they are needed.

    Args:
        sessions: of the port.
        options: of the training.
        progress: hears what a side does.

    Attributes:
        folder: for what passes between the processes.
        sides: a session each.
        keys: side to the key of each of its modules that both sides share; empty until they are matched.
    """

    def __init__(self, sessions: Sessions, options: TrainOptions, progress: TrainProgress) -> None:
        self.sessions, self.options, self.progress = sessions, options, progress
        self.port, self.folder = sessions.located.port, sessions.folder
        self.sides: dict[str, Session] = {}
        self.keys: dict[str, dict[str, str]] = {}
        self._account: Account | None = None
        self._own: dict[str, Any] = {}

    def look(self, sides: Sequence[str]) -> dict[str, Any]:
        """Load the data in every process that has not yet, see that it is the same, and return what it is."""
        found = {}
        for side in sides:
            if side not in self.sides:
                self.progress.doing(side, "loading the data")
                self.sides[side] = self.sessions.open(side, environment=_ENVIRONMENT)
                found[side] = self.sides[side].call(TrainingTasks.look, data=self.options.data, seed=self.options.seed)
        prints = {entry["fingerprint"] for entry in found.values()}
        if len(prints) > 1:
            raise BadInput(f"'{self.options.data}' is not the same for both sides; their environments differ.")
        return next(iter(found.values())) if found else {}

    def side(self, side: str) -> Session:
        """Return a side's session, opened and with the data loaded."""
        self.look([side])
        return self.sides[side]

    def match(self) -> Account:
        """Settle how the two sides correspond, once."""
        if self._account is not None:
            return self._account
        sides = Sides(self.sessions)
        self._account = sides.require_match()
        self._own = {side: sides.own(side) for side in sides.live}
        self.keys = sides.pairs().keys
        for session in sides.open.values():  # their models would be held for hours
            session.close()
        return self._account

    def own(self, side: str) -> Any:
        """Return the values that a model itself gives to the tensors that only its side has, once they are matched."""
        return self._own[side]

    def carried(self, weights: dict[str, Any], side: str) -> dict[str, Any]:
        """Return the other side's weights in a side's names and layouts."""
        return transfer(weights, self.match(), side, self.own(side))
