"""``portproof faults``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from portproof.cli._options import (
    Force,
    Json,
    PageFile,
    PortName,
    Setting,
    Training,
    check_json,
    check_page,
    find_port_named,
    settings_of,
    write_json,
)


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
    report_file: PageFile = None,
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Plant faults on either side of a right port, and count what the check sees of them.

    Examples:
        portproof faults my_port.py --count 1000 -o faults.jsonl
        portproof faults my_port.py --training
    """
    check_json(json_file)
    check_page(report_file)
    located = _found(port, report_file)
    if training:
        _training_faults(located, settings_of(with_settings, "--with"), settings_of(settings), json_file, report_file)
    from portproof.faults._campaign import FaultOptions, plant_faults
    from portproof.faults._print import print_faults
    from portproof.parity._mapped import with_map
    from portproof.render._terminal import output, watching

    options = FaultOptions(count, groups, seeds, jobs, out, settings_of(settings))
    with watching() as watch:
        report = plant_faults(with_map(located, options.kwargs, watch), options, watch)
    if json_file != "-":
        print_faults(report, output())
    write_json(json_file, report.to_json())
    if report_file is not None:
        from portproof._disk import write_text
        from portproof.faults._page import page

        write_text(report_file, page(report))
    raise typer.Exit(report.exit_code)


def _found(port: str | None, report_file: Path | None) -> Any:
    """Return the port, once all that it and its page need is installed."""
    from portproof._errors import require_packages
    from portproof.sides._session import frameworks_here

    located = find_port_named(port)
    pages = [] if report_file is None else ["jinja2"]
    require_packages(f"port '{located.port.name}'", *frameworks_here(located), *pages)
    return located


def _training_faults(
    located: Any, chosen: dict[str, Any], kwargs: dict[str, Any], json_file: str | None, report_file: Path | None
) -> NoReturn:
    """Plant faults into a training, with each optimiser that it has where none is named."""
    from portproof.lockstep._campaign import plant_training_faults
    from portproof.lockstep._print import print_training_faults
    from portproof.render._terminal import output, watching

    each = [chosen] if "optimizer" in chosen else [{**chosen, "optimizer": name} for name in ("sgd", "adamw", "adam")]
    with watching() as watch:
        found = plant_training_faults(located, kwargs, each, 0, watch)
    if json_file != "-":
        print_training_faults(found, output())
    write_json(json_file, found.to_json())
    if report_file is not None:
        from portproof._disk import write_text
        from portproof.lockstep._page import page

        write_text(report_file, page(found))
    raise typer.Exit(found.exit_code)
