"""``portproof bench``: its commands. Nothing heavy is imported before one of them needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from portproof._errors import BadInput, Interrupted
from portproof._text import say
from portproof.cli._help import Command, Group
from portproof.cli._options import (
    Device,
    Force,
    PortName,
    Setting,
    Weights,
    device_named,
    duration,
    find_port_named,
    numbers_of,
    say_interpreters,
    settings_of,
    share,
)

bench = typer.Typer(
    cls=Group,
    help="""Time the runners of a port, with numbers that hold.

    Examples:
        portproof bench run my_port.py --budget 5m -o bench.json
        portproof bench recommend bench.json
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[Path | None, typer.Option("-o", "--out", help="The file to write.")]
Declared = Annotated[
    str | None, typer.Option("--suite", metavar="module:NAME", help="A declared suite, in place of the above.")
]
Processes = Annotated[int, typer.Option("--processes", help="Fresh processes a runner; with --budget the most.")]
Timed = Annotated[
    str | None,
    typer.Option("--runners", help="Names with commas, name:setting=value for settings. Default: all there are."),
]
File = Annotated[Path, typer.Argument(help="A result of `portproof bench run`.")]


@bench.command("run", cls=Command)
def run(
    port: PortName = None,
    runners: Timed = None,
    every: Annotated[bool, typer.Option("--sweep", help="All runners with all settings and thread counts.")] = False,
    batch: Annotated[str, typer.Option("--batch", help="Rows in a request, with commas.")] = "1",
    processes: Processes = 5,
    seconds: Annotated[float, typer.Option("--seconds", help="Timed calls in each process.")] = 1.5,
    threads: Annotated[str, typer.Option("--threads", help="Of each process; auto for all this one may use.")] = "auto",
    device: Device = "cpu",
    precision: Annotated[str, typer.Option("--precision", help="Of the runners, with commas.")] = "float32",
    scenario: Annotated[str, typer.Option("--scenario", help="single, offline or server.")] = "single",
    rate: Annotated[float | None, typer.Option("--rate", help="Requests a second, for --scenario server.")] = None,
    boundary: Annotated[str, typer.Option("--boundary", help="host or device.")] = "host",
    objective: Annotated[str, typer.Option("--objective", help="latency, throughput or contended.")] = "latency",
    budget: Annotated[str | None, typer.Option("--budget", help="Time for all rounds, such as 120s or 5m.")] = None,
    suite: Declared = None,
    weights: Weights = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the file of -o.")] = False,
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Time runners on what has just passed parity: fresh processes, interleaved in random order.

    Examples:
        portproof bench run my_port.py --budget 5m -o bench.json
        portproof bench run my_port.py --runners torch-eager,onnxruntime-torch --batch 1,16
    """
    from portproof._disk import is_special, write_text
    from portproof.bench._choose import sweep
    from portproof.bench._print import print_result
    from portproof.bench._result import BenchResult
    from portproof.bench._run import run_suite
    from portproof.render._terminal import output

    if suite is not None:
        located, declared = _declared(suite)
    else:
        located = find_port_named(port)
        named = tuple(runners.split(",")) if runners else ()
        if every:
            named = sweep(located.port, device_named(device), scenario, tuple(precision.split(",")))
        declared = _suite(
            located.port.name, runners=named,
            batches=numbers_of("--batch", batch), processes=processes, seconds=seconds,
            threads=None if threads == "auto" else numbers_of("--threads", threads)[0], device=device_named(device),
            precisions=tuple(precision.split(",")), scenario=scenario, rate=rate, boundary=boundary,
            objective=objective, budget_s=None if budget is None else duration("--budget", budget),
            kwargs=settings_of(settings), weights=None if weights is None else str(weights),
        )  # fmt: skip
    _require("bench run", located=located, out=None if resume else out)
    resumed = _resumed(out, declared) if resume else None

    def keep(result: BenchResult) -> None:
        if out is not None:
            write_text(out, json.dumps(result.to_json(), indent=1) + "\n")

    last, code = list[BenchResult](), 0
    with _live() as (watch, show):

        def seen(result: BenchResult) -> None:
            last[:] = [result]
            show(result)
            if out is not None and not is_special(out):  # a pipe takes one result, the last
                keep(result)

        try:
            result = run_suite(located, declared, watch, seen, resumed)
        except Interrupted as interrupted:
            if not last:
                raise
            result, code = last[0], interrupted.exit_code
    keep(result)
    print_result(result, output())
    if not result.complete:
        where = f"; go on with --resume -o {out}" if out is not None else "; with -o, what was measured is kept"
        say(f"interrupted after {len({m.round for m in result.marks if m.when == 'after'})} rounds{where}")
        raise typer.Exit(code)
    raise typer.Exit(result.exit_code)


@bench.command("compare", cls=Command)
def compare(
    first: File,
    second: File,
    fail_if_slower: Annotated[
        str | None, typer.Option("--fail-if-slower", metavar="5%", help="Exit 1 where the second is slower by more.")
    ] = None,
) -> None:
    """Compare two results row by row; indicative at best, since they were not interleaved.

    Examples:
        portproof bench compare before.json after.json
        portproof bench compare before.json after.json --fail-if-slower 5%
    """
    from portproof.bench._compare import compare_results
    from portproof.bench._print import print_comparison
    from portproof.bench._result import read_result
    from portproof.render._terminal import output

    limit = None if fail_if_slower is None else share("--fail-if-slower", fail_if_slower)
    _require("bench compare")
    found = compare_results(read_result(first), read_result(second), limit)
    print_comparison(found, output(), (first.name, second.name))
    raise typer.Exit(found.exit_code)


@bench.command("gate", cls=Command)
def gate(
    port: PortName = None,
    base: Annotated[
        str, typer.Option("--base", help="The version to hold this one against: a git revision, or a folder.")
    ] = "HEAD",
    runners: Annotated[
        str | None, typer.Option("--runners", help="Names with commas. Default: the frameworks themselves.")
    ] = None,
    batch: Annotated[str, typer.Option("--batch", help="Rows in a request, with commas.")] = "1",
    pairs: Annotated[int, typer.Option("--pairs", min=2, help="Pairs of fresh processes a runner.")] = 8,
    seconds: Annotated[float, typer.Option("--seconds", help="Timed calls in each process.")] = 0.5,
    device: Device = "cpu",
    fail_if_slower: Annotated[str, typer.Option("--fail-if-slower", metavar="5%")] = "5%",
    settings: Setting = None,
) -> None:
    """Run this version and another interleaved; exit 1 where this one is slower beyond doubt, 3 where none can tell.

    Examples:
        portproof bench gate my_port.py --base main
        portproof bench gate my_port.py --base main --fail-if-slower 10%
    """
    from portproof.bench._compare import compare_results
    from portproof.bench._gate import run_gate
    from portproof.bench._print import print_comparison, print_reasons
    from portproof.render._terminal import output, watching

    located = find_port_named(port)
    named = tuple(runners.split(",")) if runners else tuple(side.eager for side in located.port.sides)
    suite = _suite(
        located.port.name, runners=named, batches=numbers_of("--batch", batch), processes=pairs, seconds=seconds,
        device=device_named(device), kwargs=settings_of(settings),
    )  # fmt: skip
    limit = share("--fail-if-slower", fail_if_slower)
    _require("bench gate", located=located)
    with watching() as watch:
        results = run_gate(located, base, suite, watch)
    for name, result in zip((base, "now"), results, strict=True):
        print_reasons(result, output(), f"{name}: ")
        if result.exit_code in (1, 4):
            raise typer.Exit(result.exit_code)
    found = compare_results(*results, limit, interleaved=True)
    print_comparison(found, output(), (base, "now"))
    raise typer.Exit(found.exit_code)


@bench.command("selfcheck", cls=Command)
def selfcheck(
    port: PortName = None,
    runner: Annotated[str, typer.Option("--runner", help="Compared with itself.")] = "onnxruntime-torch",
    comparisons: Annotated[int, typer.Option("--comparisons", min=1, help="Of each kind.")] = 20,
    pairs: Annotated[int, typer.Option("--pairs", min=2, help="Pairs of fresh processes in a comparison.")] = 8,
    seconds: Annotated[float, typer.Option("--seconds", help="Timed calls in each process.")] = 0.3,
    slowdown: Annotated[str, typer.Option("--slowdown", help="Planted into one of the two.")] = "5%",
    kinds: Annotated[
        str, typer.Option("--kinds", help="same, slower; quiet, neighbour: what to measure, with commas.")
    ] = "same,slower,quiet,neighbour",
    threads: Annotated[int, typer.Option("--threads", help="Of each process.")] = 1,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure on this machine how often equal runners are called different, and what change can be told.

    Examples:
        portproof bench selfcheck my_port.py
        portproof bench selfcheck my_port.py --comparisons 5 -o selfcheck.json
    """
    from portproof._disk import require_new, write_text
    from portproof.bench._print import print_selfcheck
    from portproof.bench._selfcheck import SelfCheck, run_selfcheck
    from portproof.render._terminal import output, watching

    if out is not None:
        require_new(out)
    asked = SelfCheck(
        runner, comparisons, pairs, seconds, share("--slowdown", slowdown), tuple(kinds.split(",")), threads
    )

    def keep(document: dict[str, Any]) -> None:
        if out is not None:
            write_text(out, json.dumps(document, indent=1) + "\n")

    located = find_port_named(port)
    _require("bench selfcheck", located=located)
    with watching() as watch:
        found = run_selfcheck(located, asked, watch, keep)
    print_selfcheck(found, output())
    raise typer.Exit(found.exit_code)


@bench.command("recommend", cls=Command)
def recommend(
    result: Annotated[Path | None, typer.Argument(help="A result to choose from; without, runners are raced.")] = None,
    port: Annotated[str | None, typer.Option("--port", help="The port to race, where there is no result.")] = None,
    slo: Annotated[
        str | None, typer.Option("--slo", metavar="p99=30ms", help="What a choice must keep: p50, p90 or p99.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows in a request.")] = 1,
    objective: Annotated[str, typer.Option("--objective", help="latency, throughput or contended.")] = "latency",
    runners: Annotated[str | None, typer.Option("--runners", help="To choose among, with commas.")] = None,
    device: Device = "cpu",
    out: Out = None,
    force: Force = False,
) -> None:
    """Name the runner and settings to deploy, and why; races them where no result is given.

    Examples:
        portproof bench recommend bench.json --slo p99=30ms
        portproof bench recommend --port my_port.py
    """
    from portproof._disk import require_new, write_text
    from portproof.bench._print import print_choice
    from portproof.bench._recommend import Slo, recommend_from
    from portproof.bench._result import read_result
    from portproof.render._terminal import output, watching

    kept = None if slo is None else Slo.parse(slo)
    if result is not None:
        _require("bench recommend")
        found = recommend_from(read_result(result), batch, kept)
        print_choice(found, output())
        raise typer.Exit(found.exit_code)
    from portproof.bench._race import race

    if out is not None:
        require_new(out)
    named = tuple(runners.split(",")) if runners else ()
    located = find_port_named(port)
    _require("bench recommend", located=located)
    with watching() as watch:
        raced = race(located, named, batch, device_named(device), objective, watch)  # type: ignore[arg-type]
    if out is not None:
        write_text(out, json.dumps(raced.result.to_json(), indent=1) + "\n")
    found = recommend_from(raced.result, batch, kept)
    print_choice(found, output(), raced)
    raise typer.Exit(found.exit_code)


@bench.command("report", cls=Command)
def report(
    result: File,
    html: Annotated[Path | None, typer.Option("--html", help="The page to write.")] = None,
    contended: Annotated[
        Path | None, typer.Option("--contended", help="A result of the same suite beside a busy neighbour.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw a result as one page that needs no network: distributions, shares of the peak, batches, break-even.

    Examples:
        portproof bench report bench.json
        portproof bench report bench.json --html bench.html
    """
    from portproof._disk import require_new, write_text
    from portproof.bench._html import page
    from portproof.bench._result import read_result

    target = html or result.with_suffix(".html")
    _require("bench report", "jinja2", "matplotlib")
    require_new(target)
    write_text(target, page(read_result(result), None if contended is None else read_result(contended)))
    say(f"wrote {target}")


@bench.command("validate", cls=Command)
def validate(
    result: Annotated[Path | None, typer.Argument(help="A result of `portproof bench run`.")] = None,
) -> None:
    """Check a result against the schema, and make its figures again from its samples.

    Examples:
        portproof bench validate bench.json
        portproof bench validate benchmarks/results/googlenet.json
    """
    from portproof.bench._result import read_result

    if result is None:
        raise BadInput("name a result of `portproof bench run`; its schema is `portproof schema bench`.")
    found = read_result(result)
    samples = sum(len(row.samples_ms) for row in found.rows)
    say(f"{result}: schema {found.schema_version}, {len(found.rows)} rows, {samples:,} samples"
               f"{'' if found.complete else ', not complete'}")  # fmt: skip


def _require(command: str, *packages: str, located: Any = None, out: Path | None = None) -> None:
    """See that what a command needs in the end is there before it begins, and that its file can be written."""
    from portproof._disk import require_new
    from portproof._errors import require_packages
    from portproof.sides._session import frameworks_here

    require_packages(command, "scipy", *packages, *([] if located is None else frameworks_here(located)))
    if out is not None:
        require_new(out)


def _suite(port: str, **fields: Any) -> Any:
    from portproof.bench._result import Suite

    return Suite(port, **fields)


def _declared(name: str) -> tuple[Any, Any]:
    """Return the port and the suite that a project declares."""
    from portproof.bench._result import Suite
    from portproof.ports._locate import find_port, find_project, import_attribute

    project = find_project()
    project.put_on_path()
    module, _, attribute = name.partition(":")
    declared = import_attribute(module, attribute or "SHORT", f"suite '{name}'")
    if not isinstance(declared, Suite):
        raise BadInput(f"suite '{name}' is a {type(declared).__name__}, expected a portproof.bench.Suite.")
    say_interpreters(project)
    return find_port(declared.port, project), declared


def _resumed(out: Path | None, suite: Any) -> Any:
    """Return the interrupted result that a run goes on from."""
    from dataclasses import replace

    from portproof._machine import processor, thread_budget
    from portproof.bench._result import read_result

    if out is None:
        raise BadInput("--resume goes on from the file of -o; name it.")
    found = read_result(out)
    if found.complete:
        raise BadInput(f"'{out}' is complete; there is nothing to resume.")
    wanted = replace(suite, threads=suite.threads or thread_budget())
    for name in wanted.__dataclass_fields__:
        old, new = getattr(found.suite, name), getattr(wanted, name)
        if old != new:
            raise BadInput(f"'{out}' was run with {name} {old}, this run asks for {new}; name another file.")
    if found.environment.get("processor") != processor():
        raise BadInput(f"'{out}' was run on {found.environment.get('processor')}, this is {processor()}; begin anew.")
    return found


def _live() -> Any:
    """Return a context with a watch and a function that shows the rows so far, where standard error is a terminal."""
    from collections.abc import Callable, Iterator
    from contextlib import contextmanager

    from rich.console import Group
    from rich.live import Live

    from portproof.bench._print import running_table
    from portproof.bench._result import BenchResult
    from portproof.render._terminal import Watching, errors

    @contextmanager
    def live() -> Iterator[tuple[Watching, Callable[[BenchResult], None]]]:
        console, watch = errors(), Watching()
        if not console.is_terminal:
            yield watch, lambda _: None
            return
        # Once a second: what this process draws is taken from what it times.
        with Live(watch, console=console, refresh_per_second=1, transient=True) as shown:
            yield watch, lambda result: shown.update(Group(running_table(result), watch))

    return live()
