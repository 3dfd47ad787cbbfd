"""``portproof agree`` and ``portproof plan``. Nothing heavy is imported before one of them needs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portproof._errors import BadInput
from portproof.cli._options import (
    Device,
    Force,
    Json,
    PortName,
    Quiet,
    Seed,
    Setting,
    Weights,
    check_json,
    check_page,
    device_named,
    duration,
    find_port_named,
    numbers_of,
    settings_of,
    share,
    write_json,
)

if TYPE_CHECKING:
    from portproof.agree._prepare import AgreeOptions
    from portproof.agree._result import Agreement
    from portproof.agree._run import AgreeProgress

Where = Annotated[
    str | None,
    typer.Option(
        "--images", metavar="WHERE", help="A folder, a list (.txt), or tar shards (WebDataset); a path or a URL."
    ),
]


Count = Annotated[int | None, typer.Option("--count", min=1, help="Draw so many of the images, by --seed.")]
Classes = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="FILE", help="Lines of NAME,INDEX; or folders: one a class. Shards bring theirs (.cls)."
    ),
]
Output = Annotated[
    str | None, typer.Option("--output", help="Whose classes are compared. Default: the port's first output.")
]
AtMost = Annotated[
    str | None,
    typer.Option("--at-most", metavar="0.1%", help="Exit 1 where more images flip, 3 where too few were seen to say."),
]
Store = Annotated[
    str | None,
    typer.Option("--store", help="Folder or URL that keeps results, so that a run goes on. Default: the user's cache."),
]


def agree(
    port: PortName = None,
    images: Where = None,
    runners: Annotated[
        str | None,
        typer.Option("--runners", help="Names with commas. Default: the frameworks, and both exports in ONNX Runtime."),
    ] = None,
    count: Count = None,
    labels: Classes = None,
    weights: Weights = None,
    output: Output = None,
    at_most: AtMost = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Of dask, in place of this machine's cores.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes on this machine. Default: as many as fill it.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Compute threads of each runner.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images in a request.")] = 16,
    unit: Annotated[int, typer.Option("--unit", min=1, help="Images in a work unit, a multiple of --batch.")] = 64,
    store: Store = None,
    limit: Annotated[
        str, typer.Option("--limit", help="Time that a runner may take over one unit, such as 30m.")
    ] = "30m",
    costs: Annotated[
        Path | None, typer.Option("--costs", metavar="FILE", help="Write what it took, for `portproof plan`.")
    ] = None,
    json_file: Json = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Also write a page (.html) with the worst images.")
    ] = None,
    quiet: Quiet = False,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Hold runners against a side's float64 run over a whole data set: who flips, how far out, and the bound on it.

    Examples:
        portproof agree my_port.py --images photographs/ --report agree.html
        portproof agree my_port.py --images photographs/ --at-most 0.1% --costs costs.json
    """
    from portproof.agree._prepare import AgreeOptions
    from portproof.agree._run import agree as run
    from portproof.render._terminal import output as console
    from portproof.render._terminal import print_verdict

    check_json(json_file)
    _require_targets(costs, report)
    if images is None:
        raise BadInput("--images is missing; name a folder, a list (.txt) or tar shards.")
    options = AgreeOptions(
        images=images, runners=tuple(runners.split(",")) if runners else (), count=count, labels=labels,
        weights=weights, output=output, batch=batch, unit=unit, threads=threads, workers=workers, scheduler=scheduler,
        store=store, device=device_named(device), seed=seed, measure=costs is not None,
        limit_s=duration("--limit", limit), at_most=None if at_most is None else share("--at-most", at_most),
        kwargs=settings_of(settings),
    )  # fmt: skip
    located = find_port_named(port)
    _require_packages(located, options, report)
    with _showing(enabled=not quiet) as (watch, seen):
        found, progress = run(located, options, watch, seen)
    if quiet:
        print_verdict(found.verdict, console())
    elif json_file != "-":
        from portproof.agree._print import print_agreement

        print_agreement(found, progress, console())
    write_json(json_file, found.to_json())
    _write_beside(located, found, progress, options, costs, report)
    raise typer.Exit(found.exit_code)


def _require_targets(costs: Path | None, report: Path | None) -> None:
    """See that what is to be written can be, before anything runs for hours."""
    from portproof._disk import require_new

    if costs is not None:
        require_new(costs)
    check_page(report)


def _require_packages(located: Any, options: AgreeOptions, report: Path | None) -> None:
    """See that all that a run and its page need is installed."""
    from portproof._errors import require_packages
    from portproof.agree._run import packages_of

    require_packages("agree", *packages_of(located, options), *([] if report is None else ["jinja2"]))


def _write_beside(
    located: Any,
    found: Agreement,
    progress: AgreeProgress,
    options: AgreeOptions,
    costs: Path | None,
    report: Path | None,
) -> None:
    """Write what it took, and the page, where they were asked for."""
    from portproof._disk import write_text

    if costs is not None:
        from portproof.agree._plan import costs_of

        write_text(costs, json.dumps(costs_of(found, progress, options), indent=1) + "\n")
    if report is not None:
        from portproof.agree._page import page
        from portproof.agree._prepare import images_of

        write_text(report, page(found, images_of(located.port, options)))


def plan(
    costs: Annotated[Path, typer.Argument(metavar="COSTS", help="What `portproof agree --costs` wrote.")],
    images: Annotated[str, typer.Option("--images", help="How many, with commas.")] = "50000,100000000",
    workers: Annotated[str, typer.Option("--workers", help="How many, with commas.")] = "1,10,100,1000",
    unit: Annotated[int | None, typer.Option("--unit", min=1, help="Images in a unit. Default: as measured.")] = None,
    bandwidth: Annotated[
        str, typer.Option("--bandwidth", help="That all workers together read images with, a second.")
    ] = "1GB",
    price: Annotated[float, typer.Option("--price", min=0, help="Of a worker's hour.")] = 0.05,
) -> None:
    """Say what a data set takes over so many workers: time, what holds it up, core hours, money, room in the store.

    Examples:
        portproof plan costs.json
        portproof plan costs.json --images 1000000 --workers 4,64
    """
    from portproof._machine import size_of
    from portproof.agree._plan import plan_of, read_costs
    from portproof.agree._print import print_plan
    from portproof.render._terminal import output

    measured = read_costs(costs)
    rows = plan_of(
        measured, numbers_of("--images", images), numbers_of("--workers", workers), unit or measured.unit,
        size_of("--bandwidth", bandwidth), price,
    )  # fmt: skip
    print_plan(measured, rows, output())


@contextmanager
def _showing(enabled: bool) -> Iterator[tuple[Any, Callable[[Any], None]]]:
    """Show what is being prepared, then how far the run is and the time left; nothing where there is no terminal."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from portproof.render._terminal import Watching, errors

    console, watch = errors(), Watching()
    if not (enabled and console.is_terminal):
        yield watch, lambda _: None
        return
    bar = Progress(
        TextColumn("{task.fields[images]:,} images"), BarColumn(), TextColumn("{task.fields[rate]:.1f}/s, left"),
        TimeRemainingColumn(), speed_estimate_period=120,
    )  # fmt: skip

    def seen(progress: Any) -> None:
        if not bar.tasks:
            bar.add_task("agree", total=progress.total, images=0, rate=0.0)
        rate = progress.images / progress.wall_s if progress.wall_s else 0.0
        bar.update(bar.tasks[0].id, completed=progress.weight, images=progress.images, rate=rate)

    with Live(Group(bar, watch), console=console, refresh_per_second=2, transient=True):
        yield watch, seen
