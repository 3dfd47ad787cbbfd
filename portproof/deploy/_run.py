"""``portproof deploy``: verdicts, then losses on images, then latency in rounds, then the choice measured once more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from portproof._errors import BadInput, PortproofError
from portproof._machine import thread_budget
from portproof.agree._decode import Pictures, image_input
from portproof.agree._images import Images, labels_of
from portproof.agree._judge import bounds
from portproof.agree._prepare import AgreeOptions, images_of, write_calibration
from portproof.agree._prepare import chosen as agreeing
from portproof.agree._result import Agreement, RunnerAgreement
from portproof.agree._run import AgreeProgress, agree, packages_of
from portproof.bench._prepare import REQUESTS
from portproof.bench._recommend import Slo
from portproof.bench._result import BenchResult, TimedRow, quantiles
from portproof.bench._run import LEAST_ROUNDS, Stage, Watch
from portproof.bench._standing import comparisons
from portproof.bench._stats import interval, samples_needed
from portproof.deploy._frontier import Chosen, chosen, neighbours, placed
from portproof.deploy._options import DeployOptions, candidates, images_needed
from portproof.deploy._result import Asked, Candidate, Deployment, Held, Latency, Neighbour, Seen
from portproof.graphs._lowered import QUANTISED
from portproof.judge._report import HOLDS, Verdict, gravest
from portproof.ports._locate import Located
from portproof.runners._choice import parse

#: Rounds of fresh processes: of all candidates, and of the recommended one beside its neighbours.
_ROUNDS, _AGAIN = 5, 6
#: Timed seconds of a process: as a rule, and at most, where a percentile needs many samples.
_SECONDS, _MOST_S = 0.5, 4.0
#: Images that requests are made of.
_TIMED = 16
#: Of the budget: what the losses may take, and what is kept for measuring again.
_FOR_AGREEMENT, _FOR_AGAIN = 0.5, 0.12


@dataclass
class Parts:
    """What a deployment was made from, as the commands of each write it.

    Attributes:
        bench: latencies; None where nothing ran.
        again: the recommended one beside its neighbours; None where there was none.
        agreement: losses; None where no candidate came so far.
    """

    bench: BenchResult | None = None
    again: BenchResult | None = None
    agreement: Agreement | None = None


@dataclass
class _Losses:
    """What the images showed, and who was not asked."""

    found: Agreement | None = None
    out: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> RunnerAgreement | None:
        return None if self.found is None else next((one for one in self.found.runners if one.name == name), None)


def deploy(located: Located, options: DeployOptions, watch: Watch | None = None) -> tuple[Deployment, Parts]:
    """Say what to deploy.

    Args:
        located: the port; it needs a locator, since every runner gets a process of its own.
        options: what to do.
        watch: told what is being done.

    Returns:
        What to deploy, and the documents that it was made from.

    Raises:
        BadInput: images, labels, runners or weights are wrong.
        Unavailable: a package or the device is not there, or no runner fits.
    """
    return _Deploying(located, options, watch or (lambda *_: None)).run()


def required(located: Located, options: DeployOptions) -> list[str]:
    """Return the packages that a run needs in this environment, whatever else its candidates need.

    Raises:
        BadInput: a runner or an output does not exist.
    """
    port = located.port
    names = candidates(port, options)
    agreeing(port, options.agreement(names))
    if options.output is not None and options.output not in port.outputs:
        raise BadInput(f"--output: port '{port.name}' has {', '.join(port.outputs)}, found '{options.output}'.")
    return packages_of(located, options.agreement(options.runners or names[:1]))


def require_enough(images: Images, options: DeployOptions) -> None:
    """See that the answer is not known already: of too few images no loss is small, even where nothing is lost.

    Raises:
        BadInput: there are too few.
    """
    limit = options.at_most_loss
    there, need = sum(1 for _ in images), 2 if limit is None else images_needed(limit)
    if there >= need:
        return
    if limit is None:
        raise BadInput(
            f"--images has one image, '{next(iter(images)).name}': of one nothing can be seen to move; give more."
        )
    apart = f" beside the {len(images.apart)} that int8 is calibrated on" if images.apart else ""
    raise BadInput(
        f"--at-most-loss {limit:.2%} takes {need:,} images of which none is lost, there are {there:,}{apart}; "
        f"give more, or allow --at-most-loss {math.ceil(1e4 * bounds(0, there)[1]) / 100:.2f}%."
    )


class _Deploying:
    """One run."""

    def __init__(self, located: Located, options: DeployOptions, watch: Watch) -> None:
        self.located, self.options, self.watch = located, options, watch
        required(located, options)
        image_input(located.port)
        self.names = candidates(located.port, options)
        images = images_of(located.port, options.agreement(self.names))
        self.images, self.labels = images, labels_of(options.labels, images)
        require_enough(images, options)
        self.begun = time.monotonic()
        self.seconds = dict.fromkeys(("prepare", "agreement", "rounds", "again", "wall"), 0.0)
        self.parts = Parts()

    @property
    def left_s(self) -> float:
        return self.options.budget_s - (time.monotonic() - self.begun)

    def run(self) -> tuple[Deployment, Parts]:
        options, port = self.options, self.located.port.name
        suite = options.suite(
            port, self.names, processes=1, seconds=_SECONDS, threads=thread_budget(), budget_s=options.budget_s
        )
        with Stage.of(self.located, suite, self.watch, self._put_rows) as stage:
            self.seconds["prepare"] = time.monotonic() - self.begun
            self._require_labels(stage)
            heat = self._timed("rounds", lambda: stage.run(suite))
            alive = [row for row in heat.rows if row.processes]
            losses = self._timed("agreement", lambda: self._losses(alive)) if alive else _Losses()
            self.parts.agreement = losses.found
            result = heat
            kept = tuple(row.runner for row in alive if row.runner not in losses.out)
            if kept:
                budget = heat.seconds["wall"] + max(1.0, self.left_s - _FOR_AGAIN * options.budget_s)
                rounds = replace(
                    suite, runners=kept, processes=_ROUNDS, budget_s=budget, seconds=_seconds(alive, options.slo)
                )
                result = self._timed("rounds", lambda: stage.run(rounds, resumed=heat))
            self.parts.bench = result
            found = placed(_candidates(self.names, heat, result, losses))
            choice = chosen(found, result, options)
            held = None
            if choice.runner is not None:
                recommended = choice.runner
                held = self._timed("again", lambda: self._again(stage, choice, recommended, result))
        self.seconds["wall"] = time.monotonic() - self.begun
        return self._deployment(choice, held, losses), self.parts

    def _put_rows(self, folder: Path) -> None:
        """Have images timed that are judged, and the runners calibrated on those that are set apart."""
        write_calibration(self.located.port, self.images, folder)
        Pictures(self.located.port).decode(0, list(islice(self.images, _TIMED)), folder / REQUESTS)

    def _require_labels(self, stage: Stage) -> None:
        """See that the labels are of the output's classes, now that these are known."""
        scores = stage.prepared.oracle[self.options.output or self.located.port.outputs[0]]
        if self.labels is not None and scores.ndim == 2:
            self.labels.require(self.images, scores.shape[1])

    def _timed(self, what: str, step: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        try:
            return step()
        finally:
            self.seconds[what] += time.monotonic() - begun

    def _losses(self, alive: Sequence[TimedRow]) -> _Losses:
        """Count what each runner loses, the fastest first: what that takes says which others there is time for."""
        losses = _Losses()
        if self.options.runners:  # asked for by name: whatever it takes
            found = self._asked(tuple(row.runner for row in alive), losses.out)
            losses.found = None if found is None else found[0]
            return losses
        waiting = sorted(alive, key=lambda row: row.median_ms or 0.0)
        begun = time.monotonic()
        first = None
        while waiting and first is None:
            first = self._asked((waiting.pop(0).runner,), losses.out)
        if first is None:
            return losses
        losses.found = first[0]
        names, images = [first[0].runners[0].name], first[0].images
        left = _FOR_AGREEMENT * self.options.budget_s - (time.monotonic() - begun)
        for row in waiting:
            # A process of its own in every worker, each of one thread: what is timed has them all.
            takes = (row.setup_s or 0.0) + images * (row.median_ms or 0.0) / 1e3 / row.batch
            if takes <= left:
                left -= takes
                names.append(row.runner)
                continue
            need = self.options.budget_s + (takes - left) / _FOR_AGREEMENT
            losses.out[row.runner] = (
                f"no time for its {images:,} images, about {takes:.0f} s; give --budget {need / 60:.0f}m, or fewer "
                "images with --count"
            )
        whole = self._asked(tuple(names), losses.out) if len(names) > 1 else first
        losses.found = losses.found if whole is None else whole[0]
        return losses

    def _asked(self, names: tuple[str, ...], out: dict[str, str]) -> tuple[Agreement, AgreeProgress] | None:
        """Ask runners what the images show; one that fails is left out with its reason, and the others asked again."""

        def seen(progress: AgreeProgress) -> None:
            self.watch("agreement", f"{len(names)} runners, {progress.images:,} images")

        try:
            return agree(self.located, self._agreement(names), self.watch, seen)
        except PortproofError as error:
            # What fails is named in the error, which begins with it; a mistake in what was asked names none.
            failed = next((name for name in names if str(error).startswith(f"'{name}' ")), None)
            if failed is None:
                raise
            out[failed] = str(error)
            rest = tuple(name for name in names if name != failed)
            return self._asked(rest, out) if rest else None
        finally:
            self.watch("agreement", None)

    def _agreement(self, names: tuple[str, ...]) -> AgreeOptions:
        """Return what ``agree`` is asked of some candidates: on the same images, whoever is among them."""
        return self.options.agreement(names, calibrates=bool(self.images.apart))

    def _again(self, stage: Stage, choice: Chosen, runner: str, before: BenchResult) -> Held:
        """Measure the recommended one and its neighbours next to each other."""
        names = (runner, *neighbours(choice.candidates, runner))
        options = self.options
        suite = options.suite(
            self.located.port.name, names, processes=_AGAIN, seconds=_SECONDS, threads=thread_budget(),
            budget_s=max(1.0, self.left_s, _FOR_AGAIN * options.budget_s),
        )  # fmt: skip
        found = self.parts.again = stage.run(suite)
        first, now = (comparisons(result, options.batch, runner) for result in (before, found))
        row = next((row for row in found.rows if row.runner == runner and row.processes), None)
        allowed = {one.runner for one in choice.candidates if one.allowed}
        beside = tuple(
            Neighbour(
                name, name in allowed, now[name].change, now[name].ratio, now[name].low, now[name].high,
                first[name].ratio if name in first else None,
            )
            for name in names[1:] if name in now
        )  # fmt: skip
        holds = row is not None and not any(one.allowed and one.change == "faster" for one in beside)
        return Held(holds, None if row is None else row.median_ms, len(row.processes) if row else 0, beside)

    def _deployment(self, choice: Chosen, held: Held | None, losses: _Losses) -> Deployment:
        options, found, bench = self.options, losses.found, self.parts.bench
        slo = None if options.slo is None else str(options.slo)
        asked = Asked(options.at_most_loss, slo, options.budget_s, options.batch, options.device, thread_budget())
        seen = None if found is None else Seen(
            found.images, found.drawn_from, found.fingerprint, found.labelled, found.accuracy, found.oracle,
            found.output, found.weights,
        )  # fmt: skip
        remedy = list(choice.remedy)
        if held is not None and not held.holds:
            remedy.append("they lie too close for this machine as it is: run it again where nothing else runs")
        environment: Mapping[str, Any] = bench.environment if bench is not None else {}
        return Deployment(
            self.located.port.name, asked, seen, choice.candidates, choice.runner, choice.why, tuple(remedy),
            choice.undecided, held, tuple(_notes(found, bench)),
            {name: round(value, 1) for name, value in self.seconds.items()}, dict(environment),
        )  # fmt: skip


def _seconds(alive: Sequence[TimedRow], slo: Slo | None) -> float:
    """Return the timed seconds of a process: more where a percentile must be known of the fastest."""
    if slo is None or slo.quantile == 0.5:
        return _SECONDS
    fast = min((row.median_ms or 0.0 for row in alive), default=0.0) * 1.5
    return min(_MOST_S, max(_SECONDS, 1.2 * samples_needed(slo.quantile) * fast / 1e3 / LEAST_ROUNDS))


def _candidates(
    names: Sequence[str], heat: BenchResult, result: BenchResult, losses: _Losses
) -> list[Candidate]:  # fmt: skip
    """Put together what is known of every runner, in the order in which they were asked for."""
    rows = {row.runner: row for row in (*heat.rows, *result.rows)}
    skipped = {one.runner: one.reason for one in (*heat.skipped, *result.skipped)}
    found = []
    for name in (parse(name).name for name in names):
        choice = parse(name)
        about: dict[str, Any] = {
            "runner": name, "title": choice.title, "side": choice.info.side, "precision": choice.info.precisions[-1]
        }  # fmt: skip
        row, loss = rows.get(name), losses.of(name)
        reason = skipped.get(name) or losses.out.get(name)
        if reason is not None or row is None:
            found.append(Candidate(**about, verdict="unavailable", reason=reason or "it did not run"))
        elif not row.processes:
            found.append(Candidate(**about, verdict=row.verdict, reason=_said(row)))
        elif loss is None:
            found.append(Candidate(**about, verdict="unavailable", reason="its loss is not known"))
        else:
            found.append(_measured(about, row, loss))
    return found


def _said(row: TimedRow) -> str:
    far = "" if row.ratio is None else f"{row.ratio:,.1f} noise floors from the float64 run; "
    return f"{far}{row.reason}" if row.verdict != "refuted" else row.reason or ""


def _measured(about: Mapping[str, Any], row: TimedRow, loss: RunnerAgreement) -> Candidate:
    verdicts: list[Verdict] = [row.verdict]  # type: ignore[list-item]
    if about["precision"] not in QUANTISED:
        verdicts.append(loss.verdict)
    verdict = gravest(verdicts)
    if verdict not in HOLDS:
        worst = loss.worst[0].name if loss.worst else ""
        reason = (
            f"{loss.beyond} images differ by more than rounding, '{worst}' by {loss.ratios['max']:,.1f} noise floors"
            if verdict == "divergent" else "the scores hardly move from image to image: nothing could be seen"
        )  # fmt: skip
        return Candidate(**about, verdict=verdict, reason=reason)
    low, high = interval(row.times_ms)
    tail = quantiles(row.samples_ms)
    known = len(row.processes) > 1
    latency = Latency(
        row.median_ms or 0.0, low if known else None, high if known else None, tail["p90"], tail["p99"],
        len(row.processes),
    )  # fmt: skip
    return Candidate(
        **about, verdict=verdict, latency=latency, cost=loss.accuracy_cost or loss.changed,
        peak_memory=row.peak_memory, file_bytes=row.file_bytes, start_s=row.setup_s,
    )  # fmt: skip


def _notes(found: Agreement | None, bench: BenchResult | None) -> list[str]:
    notes = [] if found is None else list(found.notes)
    if found is not None and found.weights == "sensitised":
        notes.append(
            "sensitised weights: latency and memory are the model's, losses are not: name yours with --weights"
        )
    if found is not None and found.unreadable_count:
        notes.append(f"{found.unreadable_count} images cannot be read and do not count, such as "
                     f"'{found.unreadable[0].name}'")  # fmt: skip
    contended = [] if bench is None else [row.title for row in bench.rows if row.contended]
    if contended:
        notes.append(f"others used the machine while {len(contended)} of the candidates were timed: latencies are high")
    return notes
