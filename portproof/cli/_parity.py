"""``portproof verify``, ``capture``, ``compare`` and ``match``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portproof._errors import BadInput
from portproof._text import say
from portproof.cli import _complete
from portproof.cli._help import JUDGED, WRITTEN
from portproof.cli._options import (
    Device,
    Force,
    Images,
    Inputs,
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
    write_json,
)

PortOrModel = Annotated[
    str | None,
    typer.Argument(
        metavar="PORT",
        help="A registered name, module:NAME or file.py:NAME. Default: the project's first. Or a model, file.py:NAME.",
        autocompletion=_complete.ports,
    ),
]
OtherModel = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="The other model, file.py:NAME, where no port is written yet; needs --input."),
]
Module = Annotated[
    str,
    typer.Option("--module", metavar="PATH", help="Judge one part of a half-finished port.", rich_help_panel=JUDGED),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="A difference that reaches no output is a fault.", rich_help_panel=JUDGED)
]
Quick = Annotated[
    bool, typer.Option("--quick", help="No exports, no planted faults: for the edit loop.", rich_help_panel=JUDGED)
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Stay, and judge again as --quick does whenever the code is saved; needs a terminal.",
        rich_help_panel=JUDGED,
    ),
]
Modules = Annotated[
    bool,
    typer.Option(
        "--modules/--no-modules", help="Replay module by module, to name the culprits.", rich_help_panel=JUDGED
    ),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="Lower precisions to judge too: bfloat16, float16.", rich_help_panel=JUDGED),
]
Runners = Annotated[
    str | None,
    typer.Option(
        "--runners",
        help="Other runners to judge too, with commas; see `portproof ports`.",
        autocompletion=_complete.runners,
        rich_help_panel=JUDGED,
    ),
]
Gradients = Annotated[bool, typer.Option("--gradients", help="Judge the backward pass too.", rich_help_panel=JUDGED)]
Steps = Annotated[
    int,
    typer.Option(
        "--steps", min=0, help="Train both sides so many steps too, compared one by one.", rich_help_panel=JUDGED
    ),
]
Blockwise = Annotated[
    bool,
    typer.Option(
        "--blockwise", help="Hold one module at a time, its weights read from --weights.", rich_help_panel=JUDGED
    ),
]
NoMap = Annotated[
    bool,
    typer.Option(
        "--no-map",
        help="Look for no weight map where names do not fit; `portproof map` does.",
        rich_help_panel=JUDGED,
    ),
]
Lines = Annotated[
    bool,
    typer.Option(
        "--lines/--no-lines",
        help="Where the two differ, look for the lines of code that do.",
        rich_help_panel=JUDGED,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Run everything, take nothing from earlier runs (`portproof cache`).", rich_help_panel=JUDGED
    ),
]
Reports = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Also write a page (.html), a summary (.md) or JUnit (.xml).",
        rich_help_panel=WRITTEN,
    ),
]


def verify(
    port: PortOrModel = None,
    other: OtherModel = None,
    inputs: Inputs = None,
    weights: Weights = None,
    images: Images = None,
    module: Module = "",
    strict: Strict = False,
    quick: Quick = False,
    watch: Watch = False,
    modules: Modules = True,
    precision: Precision = None,
    runners: Runners = None,
    gradients: Gradients = False,
    steps: Steps = 0,
    training: Training = None,
    blockwise: Blockwise = False,
    no_map: NoMap = False,
    lines: Lines = True,
    no_cache: NoCache = False,
    json_file: Json = None,
    quiet: Quiet = False,
    report_files: Reports = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Judge a port, or two models: the chain from Paddle to PyTorch to both exports to the runtime, hop by hop.

    Examples:
        portproof verify my_port.py --quick
        portproof verify my_torch.py:Net my_paddle.py:Net --input 1,3,224,224
    """
    from portproof.cli._models import judging
    from portproof.parity._options import Options
    from portproof.render import write_report
    from portproof.render._terminal import output, print_report, watching

    check_json(json_file)
    kwargs = settings_of(settings)
    pages = any(target.suffix == ".html" for target in report_files or [])
    options = Options(
        weights=weights, images=images, module=module, quick=quick, strict=strict, modules=modules, seed=seed,
        device=device_named(device), kwargs=kwargs, blockwise=blockwise, find_map=not no_map, gradients=gradients,
        precisions=tuple(precision.split(",")) if precision else (), steps=steps, lines=lines, pictures=pages,
        runners=tuple(runners.split(",")) if runners else (), training=settings_of(training, "--with"),
        cache=not no_cache,
    )  # fmt: skip
    targets = report_files or []
    judge = judging(port, other, inputs, options, targets)
    if watch:
        from portproof.cli._watch import watch_saves

        if json_file or report_files or quiet:
            raise BadInput(
                "--watch shows what it finds, and o opens it as a page: leave out --json, --report, --quiet."
            )
        raise typer.Exit(watch_saves(judge, options.device))
    with watching(enabled=not quiet) as doing:
        report = judge(quick, doing, None, None)
    if json_file != "-":
        print_report(report, output(), quiet=quiet)
    write_json(json_file, report.to_json())
    for target in targets:
        write_report(report, target)
    raise typer.Exit(report.exit_code)


def capture(
    port: PortName = None,
    runner: Annotated[
        str,
        typer.Option("--runner", help="Which runner; `portproof ports` lists them.", autocompletion=_complete.runners),
    ] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The folder to make.")] = None,
    like: Annotated[Path | None, typer.Option("--like", help="Run the inputs and weights of this capture.")] = None,
    weights: Weights = None,
    images: Images = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Run one side, in its own environment, and keep what it put out.

    Examples:
        portproof capture my_port.py --runner torch-eager -o captures/torch
        portproof capture my_port.py --runner paddle-dygraph --like captures/torch -o captures/paddle
    """
    from portproof._disk import require_new
    from portproof._machine import thread_budget
    from portproof.parity._captures import CaptureOptions
    from portproof.parity._captures import capture as run
    from portproof.render._terminal import watching
    from portproof.runners import runners
    from portproof.sides._session import Sessions

    if not runner:
        raise BadInput(f"--runner is missing; there are {', '.join(runners())}.")
    if out is None:
        raise BadInput("-o is missing; name the folder that the capture goes to.")
    if out.is_dir():
        require_new(out / "manifest.json")
    with (
        Sessions(find_port_named(port), settings_of(settings), device_named(device), thread_budget()) as sessions,
        watching() as watch,
    ):
        watch("capture", f"running {runner}")
        made = run(sessions, runner, out, CaptureOptions(like, weights, images, seed))
    runs = ", ".join(made.manifest.runs)
    say(f"{out}: {made.manifest.title} of port '{made.manifest.port}' in {runs}")


def compare(
    first: Annotated[Path, typer.Argument(help="A capture.")],
    second: Annotated[Path, typer.Argument(help="Another capture of the same port.")],
    json_file: Json = None,
    quiet: Quiet = False,
    force: Force = False,
) -> None:
    """Judge two captures, offline.

    Examples:
        portproof compare captures/torch captures/paddle
        portproof compare captures/torch captures/paddle --json result.json
    """
    from portproof.parity._captures import compare_captures
    from portproof.render._terminal import output, print_report

    check_json(json_file)
    report = compare_captures(first, second)
    if json_file != "-":
        print_report(report, output(), quiet=quiet)
    write_json(json_file, report.to_json())
    raise typer.Exit(report.exit_code)


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
    """Match two graphs node by node, attributes and weights bit by bit.

    Examples:
        portproof match torch.onnx paddle.onnx --port my_port.py
        portproof match torch.onnx published.onnx --port my_port.py --shapes --rename data=image
    """
    from portproof._errors import missing_packages, require_packages

    one_of = ["torch"] if len(missing_packages("torch", "paddle")) == 2 else []  # either computes convolutions
    require_packages("match", "onnx", *one_of)
    from portproof.graphs._interpret import load_graph
    from portproof.graphs._match import fixed_rows, match_graphs, renamed
    from portproof.ports._inputs import make_batch, take_rows

    located = find_port_named(port)
    names = dict(pair_of("--rename", "OLD=NEW", text) for text in rename or [])
    protos = [load_graph(path) for path in (first, second)]
    one = min(fixed_rows(proto) or 2 for proto in protos)
    batch = make_batch(located.port, rows=2)
    rows = take_rows(located.port, batch.arrays, list(range(one)))
    protos[1] = renamed(protos[1], names)
    found = match_graphs(protos[0], protos[1], rows, (first.name, second.name), "shapes" if shapes else "bits")
    for difference in found.differences:
        say(difference)
    counts = [len(proto.graph.node) for proto in protos]
    say(
        f"{len(found.matched)} steps matched, of {counts[0]} and {counts[1]} nodes; "
        + (f"{len(found.differences)} differences" if found.differences else "the graphs are the same")
    )
    raise typer.Exit(1 if found.differences else 0)
