"""Find the map of every published pair and of the zoo with names unread and registration shuffled: docs/map.md's table.

    python -m parity_tests.evidence.maps              all pairs
    python -m parity_tests.evidence.maps BERT lenet   some
    SEED=7 RESULTS=maps.json python -m parity_tests.evidence.maps
    python -m parity_tests.evidence.maps --faults 20 lenet resnet18    planted in torch's side, the map unknown

A pair is *wrong* where the map is called proven and pairs a tensor otherwise than the map that a person wrote, unless
what it is paired with was found to be interchangeable. Exit code 1 where one is.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from parity_tests.wild.written_maps import WRITTEN
from portproof import Input, Port, WeightMap, find_port
from portproof.ports._locate import Located, Project, resolve_factory

_WILD = ("language", "sequences", "classifiers", "diffusion", "backbones", "detection")
WILD = tuple(f"parity_tests.wild.{name}" for name in _WILD)
#: Sides of images: enough for every layer, and cheaper than what the ports are judged on.
SIZES = {
    "inception_v3": 96, "googlenet": 224, "twins-pcpvt": 224, "lenet": 28, "alexnet": 224, "vision-alexnet": 224,
    "squeezenet1_1": 64, "vision-squeezenet1-1": 64, "swin": 64, "nextvit": 64, "inception-v3": 96, "levit-128s": 224,
    "mobilevit-xxs": 64, "twins-svt": 224,
}  # fmt: skip
SMALL = 32
#: What is planted, in turn.
FAULTS = ("eps", "activation", "roll", "shift", "zero", "sign", "flip", "clip", "scale", "offset")
#: Containers whose order is what they compute.
_ORDERED = {
    "Sequential", "ModuleList", "LayerList", "ModuleDict", "LayerDict", "RNNBase", "ParameterList",
    "RegStage",  # timm's calls its children in the order in which they are registered
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What became of one pair.

    Attributes:
        tensors: that were to be paired. right, other, wrong: against the map that a person wrote; ``other``: paired
            otherwise where either would do.
        verdict: in words.
        rules, by_hand: entries of the map that was found, and of the one that was written; None where nobody wrote one
            and names differ.
        seconds: of the processor, both models built and both sides run.
    """

    name: str
    tensors: int
    verdict: str
    said: str
    right: int
    other: int
    wrong: int
    rules: int
    by_hand: int | None
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the map was proven."""
        return self.verdict in ("proven", "proven but")


def hand_written(port: Port) -> WeightMap:
    """Return the map that a person wrote for a port."""
    return WRITTEN.get(port.name, port.weights)


def shuffled(port: Port, seed: int) -> Port:
    """Return a port whose models register their parts in another order, where no order is computed by."""

    def factory(side: str) -> Any:
        build = resolve_factory(port, side)

        def made(**kwargs: Any) -> Any:
            model, rng = build(**kwargs), random.Random(f"{seed}{side}")
            for module in model.modules() if side == "torch" else model.sublayers(include_self=True):
                if any(kind.__name__ in _ORDERED for kind in type(module).__mro__):
                    continue
                for held in (getattr(module, "_modules" if side == "torch" else "_sub_layers"), module._parameters):
                    parts = list(held.items())
                    rng.shuffle(parts)
                    held.clear()
                    held.update(parts)
            return model

        return made

    return replace(port, torch=factory("torch"), paddle=factory("paddle"))


def sized(port: Port) -> Port:
    """Return a port with images of a size that is cheap."""
    size = SIZES.get(port.name, SMALL)
    inputs = {
        name: Input((*i.shape[:2], size, size))
        if i.is_image and isinstance(i.shape[2], int) and i.shape[2] > size
        else i
        for name, i in port.inputs.items()
    }
    return replace(port, inputs=inputs)


def judged(locator: str, seed: int) -> Row:
    """Find one pair's map and hold it against the one that is written."""
    from portproof.convert._account import known_parts, match_states
    from portproof.maps._find import find_map
    from portproof.sides._session import Sessions
    from portproof.sides._sides import Sides

    port = shuffled(sized(find_port(locator).port), seed)
    begun = time.process_time()
    with Sessions(Located(replace(port, weights=type(port.weights)()), None, Project()), threads=2) as sessions:
        sides = Sides(sessions)
        found = find_map(sides, accept_crossed=True)
        described = sides.described
    seconds = time.process_time() - begun
    weights = known_parts(hand_written(port), described["torch"].modules)
    written = match_states(described["torch"].entries, described["paddle"].entries, weights)
    theirs = {name: row for row in found.account.rows for name in row.torch}
    shapes = {entry.name: entry.shape for entry in described["torch"].entries}
    free = {shapes.get(doubt.torch.partition("[")[0]) for doubt in found.doubts}
    right = other = wrong = 0
    for row in written.rows:
        mine = theirs.get(row.torch[0])
        if mine is None:
            continue
        same = set(mine.paddle) & set(row.paddle) and mine.axes == row.axes
        right += bool(same)
        other += not same and shapes[row.torch[0]] in free
        wrong += not same and shapes[row.torch[0]] not in free
    hand = hand_written(port)
    by_hand = None if written.problems else sum(map(len, (hand.rename, hand.ignore, hand.transforms)))
    return Row(
        port.name, found.tensors, found.verdict, found.said, right, other, wrong if found.holds else 0,
        found.rules, by_hand, seconds,
    )  # fmt: skip


@contextmanager
def planted(model: Any, number: int) -> Iterator[str]:
    """Put one fault into torch's live model, through which gradients pass, and say what it is; taken out at the end."""
    import torch

    from portproof.frameworks._model import wrapped_forwards

    rng = random.Random(number)
    leaves = [(path, module) for path, module in model.named_modules() if path and not list(module.children())]
    acts = [(p, m) for p, m in leaves if isinstance(m, torch.nn.ReLU | torch.nn.GELU | torch.nn.SiLU | torch.nn.Tanh)]
    scaled = [(p, m) for p, m in leaves if isinstance(getattr(m, "eps", None), float)]
    held = [(p, m) for p, m in leaves if list(m.parameters(recurse=False))]
    kind = FAULTS[number % len(FAULTS)]
    if kind == "eps" and scaled:
        path, module = rng.choice(scaled)
        before, module.eps = module.eps, module.eps * 100
        try:
            yield f"eps of {path} times 100"
        finally:
            module.eps = before
        return
    path, module = rng.choice(acts if kind == "activation" and acts else held)

    def changed(_: str, forward: Any) -> Any:
        def faulty(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            if not isinstance(out, torch.Tensor):
                return out
            channels = 1 if out.dim() == 4 else -1
            if kind == "activation":
                return torch.nn.functional.elu(args[0] if acts else out)
            if kind == "roll":
                return out.roll(1, channels)
            if kind == "shift":
                return out.roll(1, -1 if out.dim() == 4 else max(out.dim() - 2, 0))
            if kind == "zero":
                return out * 0
            if kind == "sign":
                return -out
            if kind == "flip":
                return out.flip(channels)
            if kind == "clip":
                return out.clamp(-1, 1)
            return out * 1.05 if kind == "scale" else out + 0.01

        return faulty

    with wrapped_forwards([(path, module)], changed):
        yield f"{kind} of {path}"


def with_faults(port: Port, count: int, seed: int) -> list[tuple[str, str, bool, bool]]:
    """Plant faults one at a time while the map is unknown.

    Returns:
        Of each: what it was, the verdict, whether every tensor was paired as a person wrote it, and whether a map that
        is not was called proven.
    """
    from portproof.convert._account import known_parts, match_states
    from portproof.maps._find import find_map
    from portproof.sides._session import LocalSession, Sessions
    from portproof.sides._sides import Sides

    port = shuffled(sized(port), seed)
    told: list[tuple[str, str, bool, bool]] = []
    with Sessions(Located(replace(port, weights=type(port.weights)()), None, Project()), threads=2) as sessions:
        sides = Sides(sessions)
        session = sides.open["torch"]
        assert isinstance(session, LocalSession)
        model = session.place.model("float64").root
        for number in range(count):
            with planted(model, seed * 1000 + number) as said:
                found = find_map(sides, accept_crossed=True)
            weights = known_parts(hand_written(port), sides.described["torch"].modules)
            written = match_states(sides.described["torch"].entries, sides.described["paddle"].entries, weights)
            mine = {name: row for row in found.account.rows for name in row.torch}
            shapes = {entry.name: entry.shape for entry in sides.described["torch"].entries}
            free = {shapes.get(doubt.torch.partition("[")[0]) for doubt in found.doubts}
            off = [
                row for row in written.rows
                if row.torch[0] not in mine or not set(mine[row.torch[0]].paddle) & set(row.paddle)
            ]  # fmt: skip
            serious = [row for row in off if shapes[row.torch[0]] not in free]
            told.append((said, found.verdict, not serious, found.holds and bool(serious)))
            print(port.name, told[-1], [row.torch[0] for row in serious][:3], file=sys.stderr, flush=True)
    return told


def faults(count: int, asked: list[str], seed: int) -> int:
    """Plant faults into some ports and count what became of the maps."""
    told = [row for name in asked for row in with_faults(find_port(name).port, count, seed)]
    verdicts = {verdict: sum(row[1] == verdict for row in told) for verdict in sorted({row[1] for row in told})}
    said = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
    print(f"{len(told)} faults: {said}; the right map in {sum(row[2] for row in told)}")
    wrong = [row for row in told if row[3]]
    print(f"{len(wrong)} wrong maps called proven", *wrong, sep="\n  ")
    return 1 if wrong else 0


def locators() -> list[str]:
    """Return every pair of the wild suite and of the zoo."""
    from importlib import import_module

    from parity_tests.evidence.zoo import CLASSIFIERS, OTHERS

    wild = [
        f"{module}:{name}"
        for module in WILD
        for name, value in vars(import_module(module)).items()
        if isinstance(value, Port)
    ]
    return [*wild, "googlenet", *CLASSIFIERS, *OTHERS]


def main() -> int:
    """Print the table."""
    seed, asked = int(os.environ.get("SEED", "0")), set(sys.argv[1:])
    rows: list[Row] = []
    print("| pair | tensors | verdict | right | either | wrong | rules (by hand) | CPU s |")
    print(f"|{' --- |' * 8}")
    for locator in locators():
        if asked and locator not in asked and locator.rpartition(":")[2] not in asked:
            continue
        done = subprocess.run(
            [sys.executable, "-m", "parity_tests.evidence.maps", "--one", locator, str(seed)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        line = next((line for line in done.stdout.splitlines() if line.startswith("ROW ")), None)
        if line is None:
            reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            print(f"| {locator.rpartition(':')[2]} | | error: {reason[:120]} | | | | | |", flush=True)
            continue
        row = Row(**json.loads(line[4:]))
        rows.append(row)
        print(
            f"| {row.name} | {row.tensors} | {row.said} | {'' if row.by_hand is None else row.right} "
            f"| {row.other or ''} | {row.wrong or ''} "
            f"| {row.rules} ({'none' if row.by_hand is None else row.by_hand}) | {row.seconds:.0f} |", flush=True,
        )  # fmt: skip
    held = [row for row in rows if row.holds]
    print(f"\n{len(held)} of {len(rows)} proven; {sum(row.wrong > 0 for row in rows)} proven wrong")
    kept = os.environ.get("RESULTS")
    if kept:
        Path(kept).write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--faults"]:
        raise SystemExit(faults(int(sys.argv[2]), sys.argv[3:], int(os.environ.get("SEED", "0"))))
    if sys.argv[1:2] == ["--one"]:
        print("ROW " + json.dumps(asdict(judged(sys.argv[2], int(sys.argv[3])))))
    else:
        raise SystemExit(main())
