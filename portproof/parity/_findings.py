"""What ``verify`` has found so far, and the report that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from portproof._machine import host, package_versions
from portproof.faults._sight import hidden_by_given
from portproof.judge._floor import FLOOR_MULTIPLE, LOWER_MULTIPLE
from portproof.judge._found import Found
from portproof.judge._report import (
    AcceptedDeviation,
    Culprit,
    Deviation,
    Hop,
    Kept,
    ModuleDetail,
    Modules,
    Report,
    Sight,
    Verdict,
    gravest,
)
from portproof.parity._lines import Parted
from portproof.ports._inputs import Batch
from portproof.ports._port import Accepted
from portproof.replay._judge import settle_accepted
from portproof.replay._replay import Replayed
from portproof.sides._kept import KeptSession
from portproof.sides._sides import Sides
from portproof.sides._weights import Weights


@dataclass
class Findings:
    """What the steps found; ``verify`` alone adds to it.

    Attributes:
        hops, culprits, latent, deviations, accepted: see :class:`Report`.
        notes: of the steps, in their order.
        modules: what was covered module by module, the first time or when something last diverged.
        details: the modules as they were seen then.
        sight: under weights of the check's own.
        edges: which module hands a tensor to which.
        evidence: side to what it says of its framework.
        given: label of weights that a person gave.
        strict: whether what is latent is a fault.
        parted: rows on which the sides differ in float64, under the weights that are loaded last.
        told: called once the sides are known to be two functions, before it is known where.
    """

    hops: list[Hop] = field(default_factory=list)
    culprits: list[Culprit] = field(default_factory=list)
    latent: list[Culprit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deviations: list[Deviation] = field(default_factory=list)
    accepted: list[AcceptedDeviation] = field(default_factory=list)
    modules: Modules | None = None
    details: tuple[ModuleDetail, ...] = ()
    sight: Sight | None = None
    edges: tuple[tuple[str, str], ...] = ()
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)
    given: str | None = None
    strict: bool = False
    parted: Parted | None = None
    told: Callable[[Findings], None] = field(default=lambda _: None)

    def add(self, found: Found) -> None:
        """Add what a step found; a deviation that is known is not said again."""
        self.hops += found.hops
        self.culprits += found.culprits
        self.notes += found.notes
        known = {(deviation.module, deviation.cause) for deviation in self.deviations}
        self.deviations += [d for d in found.deviations if (d.module, d.cause) not in known]

    def replayed(self, found: Replayed, accepting: Mapping[str, Accepted]) -> None:
        """Add the modules that compute something else on the same input, and what follows for the outputs.

        Args:
            found: module by module.
            accepting: module to the deviation that the port's author accepts there.
        """
        diverged = bool(found.modules.first_divergence)
        if self.modules is None or diverged or not self.culprits:
            self.details = found.details
        if self.modules is None or diverged:
            self.modules = found.modules
        self.notes += found.harmless()
        known = {culprit.module for culprit in self.latent}
        self.latent += [culprit for culprit in found.latent if culprit.module not in known]
        kept, accepted = settle_accepted(accepting, found.culprits, found.found, found.absolved)
        self.accepted = self.accepted or accepted
        kept += [culprit for culprit in found.latent if self.strict and culprit.module not in accepting]
        if found.culprits:  # they say where a model that raised went wrong; where it raised is a consequence
            raised = {culprit.module for culprit in self.culprits if culprit.kind == "raises"}
            self.culprits = [culprit for culprit in self.culprits if culprit.kind != "raises"]
            # But for one that raises on the other side's input as well: that is why nothing comes of the model.
            kept.sort(key=lambda culprit: not (culprit.kind == "raises" and culprit.module in raised))
        known = {culprit.module for culprit in self.culprits}
        self.culprits += [culprit for culprit in kept if culprit.module not in known]
        self.hops = [_settled(hop, kept, accepted) if hop.kind == "semantics" else hop for hop in self.hops]

    def is_another_function(self) -> bool:
        """Whether the sides differ in float64 once what the author accepts is settled."""
        return any(hop.kind == "semantics" and hop.verdict == "divergent" for hop in self.hops)

    def tell(self, judged: Found, accepting: Mapping[str, Accepted]) -> None:
        """Tell that the sides are two functions, where a judgement settles that: it is not known yet where they part.

        Args:
            judged: of the outputs; one side at least is a function.
            accepting: what the port's author accepts, with which they may yet be one.
        """
        found = replace(self, hops=[*self.hops, *judged.hops])
        if found.is_another_function() and not accepting:
            self.told(found)

    def seen(self, sight: Sight, weights: Weights) -> None:
        """Add what was seen of planted faults; of given weights, which faults they hide."""
        if weights.kind == "given":
            self.notes += hidden_by_given(sight)
        else:
            self.sight = sight

    def report(self, sides: Sides, batch: Batch, seconds: float) -> Report:
        """Return the report.

        Args:
            sides: that were judged.
            batch: what they were judged on.
            seconds: that the run took.
        """
        names = ("onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "paddle2onnx")
        return Report(
            port=sides.sessions.located.port.name,
            verdict=self._verdict(),
            hops=tuple(self.hops),
            culprits=tuple(self.culprits),
            latent=tuple(self.latent),
            sight=self.sight,
            modules=self.modules,
            details=self.details,
            edges=self.edges,
            weights=tuple(dict.fromkeys(hop.weights for hop in self.hops)),
            ignored=sides.account.ignored,
            accepted=tuple(self.accepted),
            deviations=tuple(self.deviations),
            inputs=tuple(dict.fromkeys(batch.families)),
            notes=tuple(dict.fromkeys(self.notes)),
            environment={
                **host(),
                "packages": package_versions(*names) if "runtime" in sides.open else {},
                "sides": self.evidence,
                "floor_multiple": FLOOR_MULTIPLE,
                "floor_multiple_lower": LOWER_MULTIPLE,
            },
            seconds={**sides.seconds, "total": round(seconds, 3)},
            kept=_by_side(sides.sessions.kept),
        )

    def _verdict(self) -> Verdict:
        """Return the gravest verdict; given weights that hide faults settle nothing, others are judged beside them."""
        verdicts = [hop.verdict for hop in self.hops if (hop.verdict, hop.weights) != ("inconclusive", self.given)]
        stale = any(culprit.kind == "accepted" for culprit in self.culprits)
        if stale or (self.culprits and all(hop.verdict != "divergent" for hop in self.hops)):
            verdicts.append("divergent")
        return gravest(verdicts)


def _by_side(sessions: Sequence[KeptSession]) -> dict[str, Kept]:
    """Return what the store answered each side; one in two processes as if it had one."""
    found: dict[str, Kept] = {}
    for session in sessions:
        before = found.get(session.side, Kept((), ()))
        taken, asked = (*before.taken, *session.taken), (*before.asked, *session.made)
        found[session.side] = Kept(taken, asked, before.why_not or session.why_not)
    return found


def _settled(hop: Hop, kept: list[Culprit], accepted: list[AcceptedDeviation]) -> Hop:
    """Return the hop of the two sides' outputs as it stands once their modules are judged."""
    kept = [culprit for culprit in kept if culprit.kind != "precision"]  # float32's hops show it, and not float64's
    if kept and hop.verdict != "divergent":
        module, acts = kept[0].module or "(root)", kept[0].kind == "setting"
        reason = f"module '{module}' " + ("differs in training" if acts else "differs, though no output shows it here")
        return replace(hop, verdict="divergent", reason=reason)
    if not kept and accepted and hop.verdict == "divergent" and hop.worst is not None:
        reason = "every module agrees but for the accepted deviations, which reach the outputs"
        return replace(hop, verdict="equivalent", reason=reason)
    return hop
