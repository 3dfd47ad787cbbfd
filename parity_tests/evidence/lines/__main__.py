"""Plant faults into forwards' own source and say how many are named to the line.

    python -m parity_tests.evidence.lines                      the written ports and those of the wild suite
    python -m parity_tests.evidence.lines written-unet bert    these alone
    python -m parity_tests.evidence.lines googlenet bert-base  what the search costs on larger ones

Variables: ``HALF=held`` plants those faults that were held back while the ranking was made, ``HALF=first`` the others,
neither all; ``FAULTS`` a port (8); ``KINDS=…,…`` these kinds alone; ``TOGETHER=2`` plants so many at once;
``RESULTS=FILE`` keeps every row as JSON. Which half a fault is of depends on ``SALT`` (4): each settled ranking has its
own, since what was run once is known. ``EXCEPT`` names a file of what was printed before: what stands in it is left
out. ``HEALTHY=1`` plants nothing: the search must name nothing.

A fault is *exact* where the first pair of lines that is named has the statement it was planted into and, in torch, one
that makes the same value; *within three* where its line is among the first three that are named, or at most three lines
from the first. A *healthy line* is the first Paddle line of a pair that was confirmed and is neither.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.numpy import load_file

from parity_tests.evidence.lines.planting import Planted, plantable
from portproof import Input, Port
from portproof._errors import ModelRaised, PortproofError
from portproof._numbers import Arrays
from portproof.judge._report import LinePair
from portproof.lines._calls import Place
from portproof.lines._find import SideForwards, find_lines, partners
from portproof.lines._match import Matched
from portproof.lines._values import outputs_agree
from portproof.parity._mapped import with_map
from portproof.parity._rows import Rows
from portproof.ports._inputs import make_batch
from portproof.ports._locate import Located, Project, find_port
from portproof.sides._session import Sessions
from portproof.sides._sides import Sides
from portproof.sides._weights import load_weights, sensitised

_NEAR = 3
_SALT = os.environ.get("SALT", "4")


@dataclass(frozen=True)
class Row:
    """What became of one planting.

    Attributes:
        port, faults: keys of what was planted.
        kinds: of them.
        exact, near: how many are.
        healthy: confirmed pairs that name neither.
        confirmed, pairs: how many were named.
        seconds, runs: of the search.
        named: what was said.
    """

    port: str
    faults: tuple[str, ...]
    kinds: tuple[str, ...]
    exact: int
    near: int
    healthy: int
    confirmed: int
    pairs: int
    seconds: float
    runs: int
    named: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Bench:
    """One port, healthy, ready to have faults planted.

    Args:
        port: whose two sides are the same function.
        stack: closes what is opened.
    """

    def __init__(self, port: Port, stack: ExitStack) -> None:
        located = with_map(Located(port, None, Project()), {}, lambda *_: None)
        self.port = located.port
        sessions = stack.enter_context(Sessions(located, {}, "cpu", 1))
        self.sides = Sides(sessions)
        self.sides.require_match()
        rows = Rows.write(self.port, make_batch(self.port, seed=0), self.sides.folder, least=False)
        self.inputs = rows.few
        load_weights(self.sides, sensitised(self.sides, rows.all, 0).files)
        self.partners = {"": "", **partners(self.sides)}
        self.forwards = SideForwards(self.sides, self.inputs, (0, 1), "healthy")
        torch, paddle = (self.forwards.record(side, side).result().recording for side in ("torch", "paddle"))
        folders = {side: self.forwards.folder / side for side in ("torch", "paddle")}
        self.matched = Matched({"torch": torch, "paddle": paddle}, folders)
        self.expected = load_file(self.forwards.folder / "torch.safetensors")
        self.healthy = outputs_agree(self.expected, load_file(self.forwards.folder / "paddle.safetensors"), 1e-9)

    def plantable(self) -> list[Planted]:
        """Return all faults of this port, in the code of its Paddle side."""
        recording = self.matched.of["paddle"]
        numbers = dict.fromkeys(number for call in recording.calls for number in call.places)
        return plantable([recording.places[number] for number in numbers])

    def acts(self, faults: Sequence[Planted]) -> bool:
        """Whether the planted model still runs, and each of its faults makes a difference, alone and to the others."""
        whole = self._outputs(faults)
        alone = self._outputs(faults[-1:]) if len(faults) > 1 else whole
        if whole is None or alone is None or outputs_agree(self.expected, alone, 1e-7):
            return False
        for fault in faults:
            others = [other for other in faults if other is not fault]
            without = self._outputs(others) if others else self.expected
            if without is None or outputs_agree(without, whole, 1e-7):
                return False
        return True

    def _outputs(self, faults: Sequence[Planted]) -> Arrays | None:
        """Return what the model puts out with some faults; None where it raises."""
        with ExitStack() as planted:
            for fault in faults:
                planted.enter_context(fault.in_place())
            try:
                self.forwards.carry("effect", [])
            except ModelRaised:
                return None
            return load_file(self.forwards.folder / "effect.safetensors")

    def counterparts(self, planted: Planted) -> list[Place]:
        """Return the places in torch's code that make what the planted statement made when it was right.

        They are in the module that stands for the statement's or inside it; else innermost, or as deep in the tree.
        """
        paddle, torch = self.matched.of["paddle"], self.matched.of["torch"]
        wanted: dict[tuple[str, int], set[int | str]] = {}
        for call in paddle.calls:
            for level, number in enumerate(call.places):
                if _hits(paddle.places[number], planted):
                    place = paddle.places[number]
                    for value in call.made:
                        own = wanted.setdefault(self.matched.kind("paddle", value), set())
                        own |= {_depth(place) if level else -1, place.module}
        found = []
        for call in torch.calls:
            for value in call.made:
                own = wanted.get(self.matched.kind("torch", value), set())
                places = [torch.places[number] for number in call.places]
                inside = [i for i, place in enumerate(places) if self.partners.get(place.module) in own]
                for level, place in enumerate(places):
                    if (not level and -1 in own) or level <= max(inside, default=-1) or _depth(place) in own:
                        found.append(place)
        return found

    def judged(self, faults: Sequence[Planted]) -> Row:
        """Search for the lines of faults that are planted."""
        counterparts = [self.counterparts(fault) for fault in faults]
        found = find_lines(self.sides, self.inputs, (0, 1), float(os.environ.get("SECONDS", "60")))
        exact = near = 0
        lines = [(line.file, line.line) for _, pair in found.pairs for line in pair.paddle]
        firsts = [pair for _, pair in found.pairs if pair.paddle]
        for fault, others in zip(faults, counterparts, strict=True):
            first = firsts[: len(faults)]
            exact += any(_names(pair, fault, others) for pair in first)
            near += any(_at(fault, *line) for line in lines[: _NEAR * len(faults)]) or any(
                _at(fault, pair.paddle[0].file, pair.paddle[0].line, _NEAR) for pair in first
            )
        healthy = sum(
            pair.confirmed and bool(pair.paddle)
            and not any(_at(fault, line.file, line.line, _NEAR) for fault in faults for line in pair.paddle)
            for _, pair in found.pairs
        )  # fmt: skip
        named = tuple(
            f"{'confirmed' if pair.confirmed else 'likely'} "
            + " | ".join(
                f"{line.side} {Path(line.file).name}:{line.line} {line.text}" for line in pair.paddle + pair.torch
            )
            + f" -- {pair.said}"
            for _, pair in found.pairs
        )
        return Row(
            self.port.name, tuple(f.key for f in faults), tuple(f.fault.kind for f in faults), exact, near, healthy,
            sum(pair.confirmed for _, pair in found.pairs), len(found.pairs), found.seconds, found.runs, named,
            found.notes,
        )  # fmt: skip


def _names(pair: LinePair, fault: Planted, counterparts: Sequence[Place]) -> bool:
    """Whether the first lines of a pair are the fault's, and one of torch's that makes what it should have made."""
    paddle, torch = pair.paddle[0], pair.torch[:1]
    beside = not counterparts or not torch or any(_within(c, torch[0].file, torch[0].line) for c in counterparts)
    return beside and _at(fault, paddle.file, paddle.line)


def _hits(place: Place, planted: Planted) -> bool:
    return place.file == planted.file and place.line <= planted.fault.last and planted.fault.first <= place.end


def _depth(place: Place) -> int:
    return place.module.count(".") + bool(place.module)


def _within(place: Place, file: str, line: int) -> bool:
    return place.file == file and place.line <= line <= place.end


def _at(planted: Planted, file: str, line: int, near: int = 0) -> bool:
    # What is not there has no line: those beside it that make calls are exact.
    first, last = planted.beside if planted.fault.kind == "line left out" else (planted.fault.first, planted.fault.last)
    return planted.file == file and first - near <= line <= last + near


def is_held(port: str, planted: Planted) -> bool:
    """Whether a fault is of the half that is held back."""
    return hashlib.sha256(f"{_SALT}|{port}|{planted.key}".encode()).digest()[0] % 2 == 1


def chosen(port: str, found: Sequence[Planted], half: str) -> list[Planted]:
    """Return the faults of a half in a drawn order, each kind once before any comes twice."""
    kinds = os.environ.get("KINDS")
    wanted = [p for p in found if half == "all" or is_held(port, p) == (half == "held")]
    wanted = [p for p in wanted if kinds is None or p.fault.kind in kinds.split(",")]
    seen = Path(os.environ["EXCEPT"]).read_text() if "EXCEPT" in os.environ else ""
    wanted = sorted((p for p in wanted if f"{port} {p.key}" not in seen), key=lambda p: p.key)
    random.Random(f"{_SALT}|{port}").shuffle(wanted)
    seen: Counter[str] = Counter()
    ranked = []
    for planted in wanted:
        ranked.append((seen[planted.fault.kind], planted))
        seen[planted.fault.kind] += 1
    return [planted for _, planted in sorted(ranked, key=lambda entry: entry[0])]


def run(port: Port, half: str, count: int, together: int, limit: float) -> list[Row]:
    """Plant faults into one port."""
    rows: list[Row] = []
    with ExitStack() as stack:
        bench = Bench(port, stack)
        if not bench.healthy:
            print(f"{port.name}: left out, its sides differ as they are", flush=True)
            return []
        waiting = chosen(port.name, bench.plantable(), half)
        begun = time.monotonic()
        while waiting and len(rows) < count and time.monotonic() - begun < limit:
            faults = _next(bench, waiting, together)
            if not faults:
                break
            with ExitStack() as planted:
                for fault in faults:
                    planted.enter_context(fault.in_place())
                row = bench.judged(faults)
            rows.append(row)
            mark = "exact" if row.exact == len(faults) else "near" if row.near == len(faults) else "MISSED"
            print(f"{mark:6} {port.name} {' + '.join(row.faults)}  {row.seconds:.1f} s, {row.runs} runs", flush=True)
            if mark != "exact" or row.healthy:
                for text in (*row.named, *row.notes, *(["HEALTHY LINE CONFIRMED"] if row.healthy else [])):
                    print(f"       {text[:260]}", flush=True)
    gc.collect()
    return rows


def silent(port: Port) -> bool:
    """Search a port that is right: whether nothing was named."""
    with ExitStack() as stack:
        bench = Bench(port, stack)
        row = bench.judged([])
        mark = "silent" if bench.healthy and not row.named else "SPOKE"
        print(f"{mark:6} {port.name}  {row.seconds:.1f} s, {row.runs} runs  {' '.join(row.named)}", flush=True)
    gc.collect()
    return mark == "silent"


def _next(bench: Bench, waiting: list[Planted], together: int) -> list[Planted]:
    """Take the next faults that act, each beside the others, in functions of their own."""
    taken: list[Planted] = []
    tries = 40
    while waiting and len(taken) < together and tries:
        tries -= 1
        fault = waiting.pop(0)
        if any(fault.function is other.function for other in taken):
            continue  # one rewritten function would take the other's place
        if bench.acts([*taken, fault]):
            taken.append(fault)
    return taken if len(taken) == together else []


def main() -> int:
    """Print every planting, and the shares."""
    warnings.filterwarnings("ignore")
    asked = sys.argv[1:]
    half, count = os.environ.get("HALF", "all"), int(os.environ.get("FAULTS", "8"))
    together, limit = int(os.environ.get("TOGETHER", "1")), float(os.environ.get("LIMIT", "1e9"))
    rows: list[Row] = []
    healthy, said = bool(os.environ.get("HEALTHY")), list[bool]()
    kept = os.environ.get("RESULTS")
    for port in ports(asked):
        if asked and port.name not in asked:
            continue
        try:
            if healthy:
                said.append(silent(port))
            else:
                rows += run(port, half, count, together, limit)
        except PortproofError as error:  # it cannot be built here, which says nothing of lines
            print(f"{port.name}: {error}", flush=True)
        if kept and not healthy:
            Path(kept).write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if healthy:
        print(f"\n{sum(said)} of {len(said)} silent")
        return 0 if all(said) else 1
    summary(rows)
    return 0


def ports(asked: Sequence[str]) -> list[Port]:
    """Return the written ports, and those of the wild suite where its packages are installed; or what is asked for.

    That may be a port of the zoo, or ``bert-base``, for what the search costs.
    """
    found = written_ports()
    if not asked or not all(name.startswith("written-") for name in asked):
        with suppress(ImportError):
            from parity_tests.wild.__main__ import DIFFERENT, MODULES
            from parity_tests.wild.__main__ import ports as wild

            found += [port for module in MODULES for port in wild(module).values() if port.name not in DIFFERENT]
            found += [bert_base()] if "bert-base" in asked else []
    known = {port.name for port in found}
    return found + [find_port(name).port for name in asked if name not in known]


def bert_base() -> Port:
    """Return the wild suite's BERT in the size of BERT-base, but for its vocabulary."""
    from parity_tests.wild.language import BERT, SIZES, _paddle, _torch

    sizes = SIZES | {
        "vocab_size": 3000, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_position_embeddings": 512,
    }  # fmt: skip
    tokens = Input(("batch", 64), "int64", range=(4, 2999))
    sides = _paddle("Bert", **sizes, type_vocab_size=2), _torch("Bert", **sizes)
    return Port("bert-base", *sides, {"input_ids": tokens}, BERT.outputs)


def written_ports() -> list[Port]:
    """Return the ports that were written for this."""
    from parity_tests.evidence.lines import written

    return list(written.PORTS)


def summary(rows: Sequence[Row]) -> None:
    """Print the shares, and the kinds that are not always named exactly."""
    total = sum(len(row.faults) for row in rows)
    if not total:
        print("nothing was planted")
        return
    exact, near = sum(row.exact for row in rows), sum(row.near for row in rows)
    kinds = {kind for row in rows for kind in row.kinds}
    print(
        f"\n{total} faults of {len(kinds)} kinds in {len({row.port for row in rows})} ports: {exact} exact "
        f"({exact / total:.1%}), {near} within three ({near / total:.1%}), {total - near} missed; "
        f"{sum(row.healthy for row in rows)} healthy lines confirmed; "
        f"{sum(row.confirmed for row in rows)} pairs confirmed; "
        f"{max(row.seconds for row in rows):.0f} s at most"
    )
    for kind in sorted(kinds):
        own = [row for row in rows if kind in row.kinds]
        good = sum(row.exact == len(row.faults) for row in own)
        if good < len(own):
            print(f"  {kind}: {good} of {len(own)} exact")


if __name__ == "__main__":
    raise SystemExit(main())
