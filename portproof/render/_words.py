"""The words that a terminal, a page and a summary share."""

from __future__ import annotations

from collections.abc import Sequence

from portproof.judge._report import Culprit, Hop

#: What each kind of hop asks.
QUESTIONS = {
    "semantics": "same function? float64 against float64",
    "numerics": "rounds as its precision should?",
    "batch": "rows alone as in a batch?",
    "graph": "the exported graph, interpreted in float64",
    "export": "the runtime on the exported graph as written",
    "runtime": "the runtime's rewriting of the graph",
    "gradients": "the backward pass, float64 against float64",
    "training": "step by step: losses, gradients, weights, optimiser, statistics",
}
#: What a person can do about a culprit, by its kind.
ADVICE = {
    "computes": "compare how the two modules are written and built; --module PATH judges one alone",
    "saturates": "look for a clip, or an activation with another limit",
    "wiring": "look at the forward of this module: what it hands to the part that is named",
    "signature": "the two forwards call this module differently; if that is meant, give the pair in taps",
    "raises": "run this module's forward on the shape that is named",
    "weights": "name the pair in WeightMap(rename=…), or leave the tensor out with ignore={name: reason}",
    "setting": "give both modules the same setting; it shows in training only",
    "export": "the exporter writes other nodes than the model computes: rewrite the module, or report it upstream",
    "runtime": "turn off the runtime's rewriting that is named, or report it upstream",
    "graph": "compare the nodes that are named",
    "precision": "look for a cast to a lower precision in this module",
    "training": "compare the two training loops at the step that is named",
    "accepted": "take the acceptance out of the port: what it accepts no longer occurs",
}


def number(value: float | None, form: str = "{:.1f}") -> str:
    """Put a figure into a cell: plain up to a million, as a power of ten beyond, a dash where there is none."""
    if value is None:
        return "-"
    return form.format(value) if abs(value) < 1e6 else f"{value:.0e}"


def between(hop: Hop) -> str:
    """Name a hop by what it judges."""
    return f"{hop.source} to {hop.target}" if hop.kind == "semantics" else hop.target


def grouped(hops: tuple[Hop, ...]) -> list[tuple[str, list[Hop]]]:
    """Return the hops by the question they answer, in the order of the chain, under each set of weights."""
    labels = list(dict.fromkeys(hop.weights for hop in hops))
    found: dict[str, list[Hop]] = {}
    for hop in sorted(hops, key=lambda hop: (labels.index(hop.weights), list(QUESTIONS).index(hop.kind))):
        heading = f"{QUESTIONS[hop.kind]}{f' ({hop.weights} weights)' if len(labels) > 1 else ''}"
        found.setdefault(heading, []).append(hop)
    return list(found.items())


def place(culprit: Culprit) -> str:
    """Name a culprit's module, and its side where that is known."""
    side = "" if culprit.side == "unknown" else f" [{culprit.side}]"
    return f"{culprit.module or '(root)'}{side}"


def told(culprit: Culprit) -> str:
    """Say what a culprit does, and by how much where that can be counted."""
    ratio = f" ({number(culprit.ratio, '{:.0f}')} noise floors)" if culprit.ratio is not None else ""
    return f"{culprit.kind}: {culprit.message}{ratio}"


def inputs_seen(families: Sequence[str]) -> str:
    """Say what the models were run on."""
    photographs = sum(family.startswith("photograph") for family in families)
    probes = f"{len(families) - photographs} kinds of probes"
    return f"{photographs} views of photographs and {probes}" if photographs else probes


def left_out(ignored: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    """Return the tensors that were left out, in short, by the reason."""
    found: dict[str, list[str]] = {}
    for side, name, reason in ignored:
        found.setdefault(reason, []).append(f"{side} '{name}'")
    return {
        reason: names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") for reason, names in found.items()
    }


def versions(environment: dict[str, object]) -> dict[str, str]:
    """Return package names and versions of a report's environment."""
    sides = environment.get("sides", {})
    packages = environment.get("packages", {})
    assert isinstance(sides, dict)
    assert isinstance(packages, dict)
    found = dict(packages)
    for side in sides.values():
        found |= {key: value for key, value in side.get("versions", side).items() if isinstance(value, str)}
    return found
