"""What a person sees of a deployment: the frontier first, what it beats, what has no number, and one choice."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.agree._print import rate
from portproof.agree._result import Cost
from portproof.bench._print import mib
from portproof.deploy._result import Candidate, Deployment, Held, Neighbour

#: Words of a place for what is said of the reasons: what wants a look, and what merely was not there.
_STYLE = {"divergent": "bold red", "refuted": "bold red"}


def print_deployment(found: Deployment, console: Console) -> None:
    """Print the table, what was measured on what, and the recommendation last."""
    numbered = [one for one in found.candidates if one.has_number]
    if numbered:
        console.print(_table(found, numbered))
    for one in found.candidates:
        if not one.has_number:
            text = f"{one.title} ({one.runner}): {one.verdict}: {one.reason}"
            console.print(Text(text, style=_STYLE.get(one.verdict, "dim")), overflow="fold")
    for note in found.notes:
        console.print(Text(f"note: {note}", style="yellow"), overflow="fold")
    for text in measured(found):
        console.print(text, overflow="fold")
    print_choice(found, console)


def print_choice(found: Deployment, console: Console) -> None:
    """Print what is recommended, or that nothing is, with the reason."""
    best = found.choice
    if best is None:
        console.print(Text(headline(found), style="bold yellow"))
    else:
        console.print(Text.assemble("deploy ", (best.runner, "bold green"), f" ({best.title})"))
    for reason in found.why:
        console.print(f"  {reason}", overflow="fold")
    if found.held is not None:
        for reason in again(found.held):
            console.print(Text(f"  {reason}", style="" if found.held.holds else "yellow"), overflow="fold")
    for remedy in found.remedy:
        console.print(Text(f"  {remedy}", style="yellow"), overflow="fold")


def _table(found: Deployment, numbered: Sequence[Candidate]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("nothing beats", max_width=36, overflow="fold")
    for title in ("ms", "between", "lost", "at most", "MiB", "file", "start s"):
        table.add_column(title, justify="right")
    dominated = False
    for one in numbered:
        if one.place == "dominated" and not dominated:
            dominated = True
            table.add_row(Text("beaten", style="bold"), *[""] * 7)
        style = "bold green" if one.runner == found.recommended else "dim" if one.place == "dominated" else ""
        table.add_row(*cells(one), style=style)
    return table


def cells(one: Candidate) -> list[str]:
    """Return a candidate's figures in words: title, latency, its interval, loss, bound, memory, file, start."""
    assert one.latency is not None
    assert one.cost is not None
    low, high = one.latency.low_ms, one.latency.high_ms
    between = "-" if low is None or high is None else f"{ms(low)}-{ms(high)}"
    start = "-" if one.start_s is None else f"{one.start_s:.1f}"
    return [
        one.title, ms(one.latency.median_ms), between, loss(one.cost), rate(one.cost.high), mib(one.peak_memory),
        mib(one.file_bytes), start,
    ]  # fmt: skip


def loss(cost: Cost) -> str:
    """Put what is lost into words: how many images, and the share where there is any."""
    return f"{cost.lost:,}" if not cost.lost else f"{cost.lost:,} ({cost.lost / cost.images:.2%})"


def ms(value: float) -> str:
    """Put a time into words."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def headline(found: Deployment) -> str:
    """Say in one line what to deploy, or that nothing is known to do."""
    best, limit = found.choice, found.asked.at_most_loss
    if best is None:
        if not any(one.has_number for one in found.candidates):
            return "Nothing to deploy: no candidate is faithful and ran"
        kept = [] if limit is None else [f"loses at most {limit:.2%}"]
        kept += [] if found.asked.slo is None else [f"keeps {found.asked.slo}"]
        return f"Nothing to deploy: no candidate is known to be one that {' and '.join(kept) or 'is allowed'}"
    assert best.latency is not None
    assert best.cost is not None
    doubt = "" if found.held is None or found.held.holds else ", which did not hold when it was measured again"
    return f"Deploy {best.title}: {ms(best.latency.median_ms)} ms, at most {rate(best.cost.high)} lost{doubt}"


def measured(found: Deployment) -> list[str]:
    """Say what the figures were made on, and what they mean."""
    asked, seen = found.asked, found.seen
    said = []
    if seen is not None:
        drawn = "" if seen.drawn_from is None else f", drawn from {seen.drawn_from:,}"
        what = (
            f"labels that the float64 run has right ({seen.accuracy:.2%} of {seen.labelled:,}) and the runner wrong"
            if seen.labelled and seen.accuracy is not None
            else "another class than the float64 run's, by more than float32's rounding explains"
        )
        said.append(
            f"lost, of {seen.images:,} images{drawn}: {what}. at most: the rate, with 95% confidence for each runner "
            f"(Clopper-Pearson), if the images were drawn at random. {seen.weights} weights, {seen.oracle}, output "
            f"'{seen.output}'."
        )
    rounds = max((one.latency.rounds for one in found.candidates if one.latency is not None), default=0)
    if rounds:
        said.append(
            f"ms: median of {rounds} fresh processes, interleaved, and their 95% interval; batch {asked.batch}, "
            f"{asked.device}, {asked.threads} threads. MiB: the most that a process held; file: what it loads, in MiB; "
            "start: from its start to its first result."
        )
    environment = found.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    said.append(f"made with {packages} on {environment.get('processor')} in {found.seconds['wall']:.0f} s")
    return said


def again(held: Held) -> list[str]:
    """Say what measuring the recommended one again showed."""
    if held.median_ms is None:
        return ["measured again, it has no number any more: it is not the same from run to run"]
    said = "holds" if held.holds else "does not hold"
    beside = "; ".join(map(_beside, held.neighbours))
    return [
        f"measured again over {held.pairs} rounds, {ms(held.median_ms)} ms, it {said}{f': {beside}' * bool(beside)}"
    ]


def _beside(one: Neighbour) -> str:
    words = {"slower": "slower", "faster": "faster", "equivalent": "as fast", "undecided": "not told apart"}
    allowed = "" if one.allowed else ", which is not allowed"
    took = f"{one.ratio:.2f} times as long ({one.low:.2f} to {one.high:.2f}: {words[one.change]})"
    return f"{one.runner} takes {took}{allowed}"
