"""Planted faults under the default gates of other tools, beside portproof's own check.

Run from the repository's root: ``python -m parity_tests.evidence.peers [FAULTS] [SEEDS]``. The same faults are planted
into one side of GoogLeNet; a gate sees the two sides' float32 outputs on the same rows, as those tools do, once under
freshly initialised weights (what their users have at hand) and once under sensitised ones.
"""

import json
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from parity_tests.evidence.gates import GATES, judged
from portproof._disk import save_arrays
from portproof._errors import ModelRaised
from portproof.faults._catalogue import Catalogue, sample
from portproof.faults._effect import CleanRun
from portproof.faults._kinds import Fault, survey
from portproof.faults._sight import read
from portproof.faults._tasks import FaultTasks
from portproof.ports._inputs import few_rows, make_batch, take_rows
from portproof.ports._locate import Located, Project
from portproof.ports._port import Side
from portproof.replay._oracle import Measuring
from portproof.replay._replay import Replay
from portproof.sides._pairs import pair_modules
from portproof.sides._session import LocalSession, Sessions
from portproof.sides._sides import Sides
from portproof.sides._tasks import Tasks


def main(count: int, seeds: int) -> None:
    """Plant faults and count what each gate misses."""
    from convert.googlenet import GOOGLENET

    found: dict[str, Counter[str]] = {"sensitised": Counter(), "fresh": Counter()}
    with Sessions(Located(GOOGLENET, None, Project()), {}, "cpu", 2) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        fresh = {side: load_file(file) for side, file in sides.spread(*_fresh(sides)).items()}
        for seed in range(seeds):
            batch = make_batch(GOOGLENET, seed=seed)
            inputs, few = sides.folder / "inputs.safetensors", sides.folder / "few.safetensors"
            save_arrays(inputs, batch.arrays)
            save_arrays(few, take_rows(GOOGLENET, batch.arrays, few_rows(batch)))
            made = {side: load_file(f) for side, f in sides.spread(*sides.sensitise(inputs, seed)).items()}
            for label, weights in (("sensitised", made), ("fresh", fresh)):
                found[label] += _plant(sides, label, seed, weights, few, count // seeds)
    table = {label: dict(counter) for label, counter in found.items()}
    Path(__file__).with_name("peers.json").write_text(json.dumps(table, indent=1) + "\n")
    print(json.dumps(table, indent=1))


def _fresh(sides: Sides) -> tuple[dict[str, np.ndarray], str]:
    out = sides.folder / "fresh.safetensors"
    sides.open["torch"].call(Tasks.save_state, out=out)
    return load_file(out), "torch"


def _plant(sides: Sides, label: str, seed: int, weights: dict, few: Path, count: int) -> Counter[str]:
    """Plant faults into the Paddle side under one set of weights; count effective ones and those that pass a gate."""
    for side, tensors in weights.items():
        file = sides.folder / f"peer-{side}.safetensors"
        save_arrays(file, tensors)
        sides.open[side].call(Tasks.load, weights=file)
    described = {side: sides.described[side].modules for side in sides.live}
    pairs = pair_modules(described, sides.local_paddle_path)
    replay = Replay(sides.do, Side("torch"), Side("paddle"), pairs, few, sides.folder / f"{label}-{seed}")
    replayed = replay.judge(replay.submit())
    measuring = Measuring(sides, few, sides.folder / f"{label}-{seed}-few")
    floors = measuring.oracle({side: measuring.outputs(side) for side in sides.live}).floors
    put_out = sides.folder / f"{label}-{seed}-few" / "torch-float64" / "float64.safetensors"
    session = sides.open["paddle"]
    assert isinstance(session, LocalSession)
    rows = load_file(few)
    model = session.place.model("float32")
    catalogue = Catalogue(survey(model, CleanRun(model, rows).first))
    expected = sides.open["torch"].place.model("float32").run(rows)
    counts: Counter[str] = Counter()
    keys = pairs.keys["paddle"]
    for fault in sample(catalogue.faults, count, seed):
        (answer,) = session.call(
            FaultTasks.plant,
            pairs=keys, inputs=replay.inputs, folder=replay.taps, outputs=put_out, faults=[[fault]], seed=seed,
        )  # fmt: skip
        ours = read(replayed, floors, answer)
        if not ours.effective:
            continue
        counts["effective faults"] += 1
        counts["missed by portproof"] += not ours.named
        for gate, passed in _gates(catalogue, fault, seed, model, rows, expected).items():
            counts[f"missed by {gate}"] += passed
    return counts


def _gates(catalogue: Catalogue, fault: Fault, seed: int, model, rows, expected) -> dict[str, bool]:
    with ExitStack() as stack, np.errstate(all="ignore"):
        stack.enter_context(catalogue.plant(fault, seed))
        try:
            return judged(model.run(rows), expected)
        except ModelRaised:  # every tool stops there
            return dict.fromkeys(GATES, False)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
