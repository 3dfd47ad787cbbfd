"""What a check found, as Markdown: the table of docs/gpu.md is this one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.gpu_check._rows import Findings, Row
from portproof.bench._gpu import memory_mib
from portproof.bench._result import QUIET


def markdown(findings: Findings) -> str:
    """Return all that is known so far."""
    parts = [
        f"# GPU check on {_device(findings)}",
        _made_with(findings),
        *_parity(findings.rows),
        *_others("What must be refused, and its right twin", [r for r in findings.rows if r.step == "misconfigured"]),
        *_others("A runner against itself", [row for row in findings.rows if row.step == "against itself"]),
        *(part for name, document in findings.documents.items() if name.startswith("latency")
          for part in _latency(name, document)),
        *_steps(findings),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _device(findings: Findings) -> str:
    if findings.device == "cpu":
        return f"a CPU (a rehearsal, no measurement of a GPU): {findings.environment.get('processor')}"
    return str(findings.documents.get("torch", {}).get("device", "CUDA"))


def _made_with(findings: Findings) -> str:
    state = findings.documents.get("doctor", {}).get("gpu", {})
    driver = f", driver {state['driver']}" if "driver" in state else ""
    versions = ", ".join(f"{name} {version}" for name, version in findings.environment["packages"].items())
    theirs = ", ".join(f"{name} {version}" for name, version in findings.bundle.get("packages", {}).items())
    unexpected = [row for row in findings.rows if not row.as_expected]
    there = findings.bundle.get("processor")
    verdict = "every row is as expected" if not unexpected else f"{len(unexpected)} rows are not as expected"
    ended = [step for step in findings.steps if step.state != "done"]
    if ended:
        verdict += f"; {len(ended)} of {len(findings.steps)} steps did not end by themselves"
    return (
        f"{len(findings.rows)} rows in {findings.seconds:.0f} s; {verdict}.\n\n"
        f"{versions}{driver}. Judged against Paddle's float64 run, made with {theirs} on {there}."
    )


def _parity(rows: Sequence[Row]) -> Iterable[str]:
    rows = [row for row in rows if row.step == "parity"]
    if not rows:
        return
    yield "## Parity with Paddle's float64 run"
    yield _table(
        ("port", "runner", "precision", "verdict", "floors", ""),
        [(row.port, row.what, row.setting, row.verdict, _floors(row), _note(row)) for row in rows],
    )


def _others(title: str, rows: Sequence[Row]) -> Iterable[str]:
    if not rows:
        return
    yield f"## {title}"
    yield _table(("runner", "what", "verdict", ""), [(row.what, row.setting, row.verdict, _note(row)) for row in rows])


def _latency(name: str, document: dict[str, Any]) -> Iterable[str]:
    """Medians over processes of medians; events are the device's own clock beside them."""
    yield f"## {name[0].upper()}{name[1:]}, ms"
    table = []
    for row in sorted(document["rows"], key=lambda row: (row["batch"], _median(row) or float("inf"))):
        processes = row["processes"]
        events = [ms for process in processes for ms in process["event_ms"]]
        memory = [used for process in processes if (used := memory_mib(process["gpu"])) is not None]
        state = processes[-1]["gpu"].get("after", {}) if processes else {}
        shares = [process["foreign_share"] for process in processes]
        said = row["reason"] or row["verdict"]
        if shares and statistics.median(shares) > QUIET:
            said += ", contended"
        table.append((
            row["title"], str(row["batch"]), _ms(_median(row)), _ms(statistics.median(events) if events else None),
            str(len(processes)), f"{max(memory):.0f}" if memory else "-", _clock(state), said,
        ))  # fmt: skip
    yield _table(("runner", "batch", "wall", "events", "processes", "GPU MiB", "GPU state", "parity"), table)
    skipped = [f"{entry['runner']}: {entry['reason']}" for entry in document["skipped"]]
    if skipped:
        yield "Not timed: " + _cell("; ".join(skipped)) + "."


def _steps(findings: Findings) -> Iterable[str]:
    if findings.steps:
        yield "## Steps"
        yield _table(
            ("step", "", "s", "limit", "why"),
            [(s.name, s.state, f"{s.seconds:.0f}", f"{s.limit:.0f}", s.note) for s in findings.steps],
        )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Return text that cannot end its cell; names and reasons come from files and runtimes."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|").replace("<", "&lt;")


def _note(row: Row) -> str:
    return row.note if row.as_expected else f"**not as expected** {row.note}".strip()


def _floors(row: Row) -> str:
    if row.ratio is None:
        return "-"
    return f"{row.ratio:.1f}" if row.ratio < 1000 else f"{row.ratio:,.0f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _median(row: dict[str, Any]) -> float | None:
    times = [statistics.median(process["samples_ms"]) for process in row["processes"]]
    return statistics.median(times) if times else None


def _clock(state: dict[str, Any]) -> str:
    if "sm_mhz" not in state:
        return "-"
    said = [f"{state['sm_mhz']} of {state['sm_mhz_max']} MHz", f"{state['power_w']:.0f} W"]
    return ", ".join([*said, *state["throttled"], *([f"{state['others']} others"] if state["others"] else [])])
