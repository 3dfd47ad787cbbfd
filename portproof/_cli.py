"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from portproof._agree_cli import agree, plan
from portproof._bench_cli import bench
from portproof._errors import BadInput, Interrupted, PortproofError, environmental
from portproof._options import (
    Device,
    Images,
    Json,
    PortName,
    Quiet,
    RequiredPort,
    Seed,
    Setting,
    Training,
    Weights,
    check_json,
    device_named,
    find_port_named,
    pair_of,
    settings_of,
    size_of,
    write_json,
)  # fmt: skip
from portproof._train_cli import train

app = typer.Typer(
    name="portproof",
    help="Is the port right, where is it wrong, does it stay right through ONNX, and which runtime is fastest?\n\n"
    "Exit codes: 0 holds, 1 does not hold, 2 bad usage or input, 3 undecided, 4 unavailable.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(bench, name="bench")
app.command()(train)
app.command()(agree)
app.command()(plan)


@app.command()
def verify(
    port: PortName = None,
    weights: Weights = None,
    images: Images = None,
    module: Annotated[
        str, typer.Option("--module", metavar="PATH", help="Judge one part of a half-finished port.")
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="No exports, no planted faults: for the edit loop.")] = False,
    modules: Annotated[
        bool, typer.Option("--modules/--no-modules", help="Replay module by module, to name the culprits.")
    ] = True,
    precision: Annotated[
        str | None, typer.Option("--precision", help="Lower precisions to judge too: bfloat16, float16.")
    ] = None,
    runners: Annotated[
        str | None, typer.Option("--runners", help="Other runners to judge too, with commas; see `portproof ports`.")
    ] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Judge the backward pass too.")] = False,
    steps: Annotated[
        int, typer.Option("--steps", min=0, help="Train both sides so many steps too, compared one by one.")
    ] = 0,
    training: Training = None,
    blockwise: Annotated[
        bool, typer.Option("--blockwise", help="Hold one module at a time, its weights read from --weights.")
    ] = False,
    json_file: Json = None,
    quiet: Quiet = False,
    report_files: Annotated[
        list[Path] | None,
        typer.Option("--report", metavar="FILE", help="Also write a page (.html), a summary (.md) or JUnit (.xml)."),
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Setting = None,
) -> None:
    """Judge a port: the chain from Paddle to PyTorch to both exports to the runtime, hop by hop."""
    from portproof._print import output, print_report, watching
    from portproof._verify import Options
    from portproof._verify import verify as judge
    from portproof.report import check_target, write_report

    check_json(json_file)
    targets = [check_target(target) for target in report_files or []]
    located = find_port_named(port)
    options = Options(
        weights=weights, images=images, module=module, quick=quick, modules=modules, seed=seed,
        device=device_named(device), kwargs=settings_of(settings),
        precisions=tuple(precision.split(",")) if precision else (),
        runners=tuple(runners.split(",")) if runners else (), blockwise=blockwise,
        gradients=gradients, steps=steps, training=settings_of(training, "--with"),
        pictures=any(target.suffix == ".html" for target in targets),
    )  # fmt: skip
    with watching(enabled=not quiet) as watch:
        report = judge(located, options, watch)
    if json_file != "-":
        print_report(report, output(), quiet=quiet)
    write_json(json_file, report.to_json())
    for target in targets:
        write_report(report, target)
    raise typer.Exit(report.exit_code)


@app.command()
def capture(
    port: PortName = None,
    runner: Annotated[str, typer.Option("--runner", help="Which runner; `portproof ports` lists them.")] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The folder to make.")] = None,
    like: Annotated[Path | None, typer.Option("--like", help="Run the inputs and weights of this capture.")] = None,
    weights: Weights = None,
    images: Images = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Setting = None,
) -> None:
    """Run one side, in its own environment, and keep what it put out."""
    from portproof._compare import CaptureOptions
    from portproof._compare import capture as run
    from portproof._environment import thread_budget
    from portproof._print import watching
    from portproof._session import Sessions
    from portproof.runners import runners

    if not runner:
        raise BadInput(f"--runner is missing; there are {', '.join(runners())}.")
    if out is None:
        raise BadInput("-o is missing; name the folder that the capture goes to.")
    with (
        Sessions(find_port_named(port), settings_of(settings), device_named(device), thread_budget()) as sessions,
        watching() as watch,
    ):
        watch("capture", f"running {runner}")
        made = run(sessions, runner, out, CaptureOptions(like, weights, images, seed))
    runs = ", ".join(made.manifest.runs)
    typer.echo(f"{out}: {made.manifest.title} of port '{made.manifest.port}' in {runs}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A capture.")],
    second: Annotated[Path, typer.Argument(help="Another capture of the same port.")],
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Judge two captures, offline."""
    from portproof._compare import compare_captures
    from portproof._print import output, print_report

    check_json(json_file)
    report = compare_captures(first, second)
    if json_file != "-":
        print_report(report, output(), quiet=quiet)
    write_json(json_file, report.to_json())
    raise typer.Exit(report.exit_code)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="A checkpoint: .pdparams, .pt, .pth, .safetensors, .safetensors.index.json, or an .onnx file.",
        ),
    ],
    target: Annotated[Path | None, typer.Argument(metavar="DST", help="The checkpoint to write.")] = None,
    port: RequiredPort = None,
    source_side: Annotated[str | None, typer.Option("--from", help="torch or paddle: whose layouts SRC holds.")] = None,
    target_side: Annotated[str | None, typer.Option("--to", help="torch or paddle: whose layouts DST gets.")] = None,
    table: Annotated[
        Path | None, typer.Option("--map", help="A map of names in place of the port's; `account -o` writes one.")
    ] = None,
    suggest: Annotated[
        Path | None,
        typer.Option("--suggest", metavar="FILE", help="Only write a map with SRC's names, to look through."),
    ] = None,
    params: Annotated[
        Path | None, typer.Option("--params", help="The .pdparams saved with an optimiser's .pdopt, to convert that.")
    ] = None,
    keep_dtype: Annotated[
        bool, typer.Option("--keep-dtype", help="Carry floats of another width as they are.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--verify", help="Prove the round trip bit by bit and, with a port, the outputs.")
    ] = False,
    shard: Annotated[str, typer.Option("--shard", help="Size of each file behind a .safetensors.index.json.")] = "5GB",
    settings: Setting = None,
) -> None:
    """Turn a checkpoint of one side into the other's, bit for bit, one tensor at a time."""
    from portproof._convert import Options, plan_of
    from portproof._convert import convert as run
    from portproof._convert import suggest as write_suggestions
    from portproof._print import watching
    from portproof._session import Sessions

    for option, side in (("--from", source_side), ("--to", target_side)):
        if side not in (None, "torch", "paddle"):
            raise BadInput(f"{option} takes torch or paddle, found '{side}'.")
    options = Options(source_side, target_side, keep_dtype, dry_run, check, size_of("--shard", shard))
    located = find_port_named(port) if port is not None or table is None else None  # a map alone needs no port
    chosen, kwargs = None if located is None else located.port, settings_of(settings)
    if kwargs and chosen is not None:
        chosen = replace(chosen, mapping=None)  # the committed map is of the port as it stands
    with watching() as watch:
        watch("convert", "what corresponds")
        plan = plan_of(chosen, table, lambda: Sessions(find_port_named(port), kwargs))
        if suggest is not None:
            like = write_suggestions(plan, source, options, suggest)
            for name, other in like.items():
                typer.echo(f"'{other}' in place of '{name}'?")
            typer.echo(f"wrote {suggest}: look through it, then convert with --map {suggest}")
            return
        if target is None:
            raise BadInput("DST is missing; name the checkpoint to write.")
        if params is not None or ".pdopt" in (source.suffix.lower(), target.suffix.lower()):
            _convert_optimiser(plan, source, target, params)
            return
        done = run(plan, source, target, options, lambda said: watch("convert", said))
    _print_converted(done)
    if not check or done.written is None or located is None:
        return
    from portproof._print import output, print_report
    from portproof._verify import verify as judge

    with watching() as watch:
        report = judge(located, watch=watch, weights=done.written, kwargs=kwargs, quick=True)
    print_report(report, output())
    raise typer.Exit(report.exit_code)


def _convert_optimiser(plan: Any, source: Path, target: Path, params: Path | None) -> None:
    from portproof._optimiser import convert_optimiser

    if params is None:
        raise BadInput("an optimiser's .pdopt needs --params: the .pdparams that was saved with it.")
    count = convert_optimiser(plan, source, target, params)
    typer.echo(f"{count} tensors of the optimiser's state; by {plan.origin}")
    typer.echo(f"wrote {target}")


def _print_converted(done: Any) -> None:
    """Print the account of a conversion in short."""
    from collections import Counter

    rows = done.plan.account.rows
    counted = Counter(row.transform for row in rows)
    said = ", ".join(f"{count} {transform}" for transform, count in sorted(counted.items()))
    renamed = sum(row.torch != row.paddle for row in rows)
    if done.source == done.target and done.plan.own is None:
        typer.echo(f"{len(rows)} tensors of {done.source}, names and layouts as they were; by {done.plan.origin}")
    else:
        typer.echo(
            f"{len(rows)} tensors from {done.source} to {done.target}: {said}; {renamed} renamed; by {done.plan.origin}"
        )
    left_out: dict[tuple[str, str], list[str]] = {}
    for side, name, reason in done.plan.account.ignored:
        left_out.setdefault((side, reason), []).append(name)
    for (side, reason), names in left_out.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        typer.echo(f"left out: {side} '{names[0]}'{more}: {reason}")
    if done.constants:
        typer.echo(f"left out: {', '.join(done.constants)}: integers of the graph, no weights")
    if done.verified is not None:
        typer.echo(f"{done.verified} tensors read back and turned again: every bit as in the source")
    typer.echo(f"wrote {done.written}" if done.written else "dry run: nothing was written")


@app.command()
def export(
    port: PortName = None,
    side: Annotated[str, typer.Option("--from", help="torch or paddle.")] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .onnx file.")] = None,
    weights: Weights = None,
    settings: Setting = None,
) -> None:
    """Export one side to ONNX, with a dynamic batch and the port's input and output names."""
    from portproof._api import export as run
    from portproof._print import watching

    located = find_port_named(port)
    if side not in located.port.sides:
        raise BadInput(
            f"--from takes {' or '.join(located.port.sides)} for port '{located.port.name}', found '{side}'."
        )
    if out is None:
        raise BadInput("-o is missing; name the .onnx file to write.")
    with watching() as watch:
        watch(side, "exporting to ONNX")
        fixed = run(located, side, out, weights=weights, kwargs=settings_of(settings))
    for name in fixed:
        typer.echo(f"'{name}' is fixed at the port's size: the exporter cannot leave it open")
    typer.echo(
        f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB, with "
        + (f"the weights of {weights.name}" if weights else "freshly initialised weights")
    )


@app.command()
def faults(
    port: PortName = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Single faults, over all seeds and both sides.")] = 200,
    groups: Annotated[int, typer.Option("--groups", min=0, help="Pairs and triples planted together.")] = 20,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Of weights, probes and places.")] = 2,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Seeds at a time. Default: by the cores.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Results as they come, a line each; a run that was cut off goes on."),
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="Plant them into the port's training.")] = False,
    with_settings: Training = None,
    json_file: Json = None,
    settings: Setting = None,
) -> None:
    """Plant faults on either side of a right port, and count what the check sees of them."""
    if training:
        _training_faults(port, settings_of(with_settings, "--with"), settings_of(settings), json_file)
    from portproof._print import output, watching
    from portproof.faults._campaign import FaultOptions, plant_faults
    from portproof.faults._print import print_faults

    check_json(json_file)
    options = FaultOptions(count, groups, seeds, jobs, out, settings_of(settings))
    with watching() as watch:
        report = plant_faults(find_port_named(port), options, watch)
    if json_file != "-":
        print_faults(report, output())
    write_json(json_file, report.to_json())
    raise typer.Exit(report.exit_code)


def _training_faults(
    port: str | None, chosen: dict[str, Any], kwargs: dict[str, Any], json_file: str | None
) -> NoReturn:
    """Plant faults into a training, with each optimiser that it has where none is named."""
    from portproof._print import output, watching
    from portproof.training._campaign import plant_training_faults, print_training_faults

    check_json(json_file)
    each = [chosen] if "optimizer" in chosen else [{**chosen, "optimizer": name} for name in ("sgd", "adamw", "adam")]
    with watching() as watch:
        found = plant_training_faults(find_port_named(port), kwargs, each, 0, watch)
    if json_file != "-":
        print_training_faults(found, output())
    write_json(json_file, found.to_json())
    raise typer.Exit(found.exit_code)


@app.command()
def match(
    first: Annotated[Path, typer.Argument(help="An .onnx file.")],
    second: Annotated[Path, typer.Argument(help="Another.")],
    port: RequiredPort = None,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="OLD=NEW", help="An input or output of the second file.")
    ] = None,
    shapes: Annotated[
        bool, typer.Option("--shapes", help="Compare weights by shape only: the files hold other weights.")
    ] = False,
) -> None:
    """Match two graphs node by node, attributes and weights bit by bit."""
    from portproof._environment import bound_memory
    from portproof._inputs import make_batch, take_rows
    from portproof._resolve import resolve_callable
    from portproof.graphs._interpret import load_graph
    from portproof.graphs._match import fixed_rows, match_graphs, renamed

    bound_memory()  # a stranger's graph is run here
    located = find_port_named(port)
    names = dict(pair_of("--rename", "OLD=NEW", text) for text in rename or [])
    protos = [load_graph(path) for path in (first, second)]
    one = min(fixed_rows(proto) or 2 for proto in protos)
    batch = make_batch(located.port, rows=2, resolve=lambda name: resolve_callable(name, "preprocess"))
    rows = take_rows(located.port, batch.arrays, list(range(one)))
    protos[1] = renamed(protos[1], names)
    found = match_graphs(protos[0], protos[1], rows, (first.name, second.name), "shapes" if shapes else "bits")
    for difference in found.differences:
        typer.echo(difference)
    counts = [len(proto.graph.node) for proto in protos]
    typer.echo(
        f"{len(found.matched)} steps matched, of {counts[0]} and {counts[1]} nodes; "
        + (f"{len(found.differences)} differences" if found.differences else "the graphs are the same")
    )
    raise typer.Exit(1 if found.differences else 0)


@app.command()
def ports() -> None:
    """List the ports and the runners that can be named here."""
    from rich.table import Table

    from portproof._print import output
    from portproof._resolve import find_project, registered_ports
    from portproof.runners import runners

    project = find_project()
    console = output()
    table = Table("port", "sides", "inputs", "outputs", "named by", box=None, pad_edge=False, header_style="bold")
    for located in registered_ports(project):
        found = located.port
        inputs = ", ".join(f"{name} {'x'.join(map(str, declared.shape))}" for name, declared in found.inputs.items())
        table.add_row(found.name, ", ".join(found.sides), inputs, ", ".join(found.outputs), located.locator)
    if table.row_count:
        console.print(table)
    else:
        console.print("no port is registered here; add [tool.portproof] ports to pyproject.toml, or name file.py:NAME")
    table = Table("runner", "runs", "needs", box=None, pad_edge=False, header_style="bold")
    for info in runners().values():
        table.add_row(info.name, info.title, ", ".join(info.needs))
    console.print()
    console.print(table)


@app.command()
def account(
    port: PortName = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table to this file.")] = None,
    settings: Setting = None,
) -> None:
    """Print how the two state dicts correspond, a row a tensor, as CSV."""
    from portproof._atomic import write_text
    from portproof._convert import account_of
    from portproof._mapping import map_csv
    from portproof._session import Sessions

    with Sessions(find_port_named(port), settings_of(settings)) as sessions:
        plan = account_of(sessions)
    found, entries = plan.account, plan.entries
    for problem in found.problems:
        typer.echo(f"{problem.kind}: {problem.message}", err=True)
    text = map_csv(found, entries)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
    for side, name, reason in found.ignored:
        typer.echo(f"left out: {side} '{name}': {reason}", err=True)
    raise typer.Exit(1 if found.problems else 0)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make; its name is the port's.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="PORT", help="googlenet: the flagship, whole.")
    ] = None,
) -> None:
    """Write a port project of five folders, with a small example that works."""
    from portproof._init import write_project

    written = write_project(folder, source)
    typer.echo(f"wrote {len(written)} files into {folder}; now: cd {folder} && portproof verify --quick")


@app.command()
def schema(
    document: Annotated[str, typer.Argument(help="verify, agree, train, faults-training, doctor or bench.")],
) -> None:
    """Print the JSON Schema of what a command writes with --json."""
    import json

    from portproof._schemas import schema_of

    typer.echo(json.dumps(schema_of(document), indent=1))


@app.command()
def doctor(json_file: Json = None) -> None:
    """Say what is installed, which providers truly load, and what installs the rest."""
    from portproof._doctor import examine, print_findings
    from portproof._print import output

    check_json(json_file)
    findings = examine()
    if json_file != "-":
        print_findings(findings, output())
    write_json(json_file, findings.to_json())


def main() -> NoReturn:
    """Run the command line. An error made on purpose is one line on standard error."""
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        app(standalone_mode=True)
    except PortproofError as error:
        print(f"portproof: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted:
        print("portproof: interrupted", file=sys.stderr)
        sys.exit(130)
    except (OSError, MemoryError) as raised:
        found = environmental(raised)
        if found is None:
            raise
        print(f"portproof: {found}", file=sys.stderr)
        sys.exit(found.exit_code)
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(0)


def _interrupt(*_: object) -> NoReturn:
    """Raise something that Typer does not know: it would answer a KeyboardInterrupt with 1, "does not hold"."""
    raise Interrupted
