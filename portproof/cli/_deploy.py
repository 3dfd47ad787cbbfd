"""``portproof deploy``. Nothing heavy is imported before it needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portproof._errors import BadInput
from portproof.cli._agree import Classes, Output, Store, Where
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
    device_named,
    duration,
    find_port_named,
    settings_of,
    share,
    write_json,
)

if TYPE_CHECKING:
    from portproof.deploy._run import Parts

#: What -o holds: the page, its document, and those that it was made from.
_FILES = ("deploy.html", "deploy.json", "bench.json", "again.json", "agree.json")


def deploy(
    port: PortName = None,
    images: Where = None,
    at_most_loss: Annotated[
        str | None,
        typer.Option(
            "--at-most-loss", metavar=".5%", help="Of the images, with 95% confidence. Default: float32 alone."
        ),
    ] = None,
    slo: Annotated[
        str | None, typer.Option("--slo", metavar="p99=30ms", help="What the latency must keep: p50, p90 or p99.")
    ] = None,
    labels: Classes = None,
    weights: Weights = None,
    runners: Annotated[
        str | None,
        typer.Option("--runners", help="Candidates with commas. Default: all that fit, in every precision."),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="Time for all of it, such as 5m or 30m.")] = "14m",
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Images to draw. Default: as many as the loss needs.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows in a timed request.")] = 1,
    output: Output = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="A folder for the page (deploy.html) and all documents.")
    ] = None,
    json_file: Json = None,
    quiet: Quiet = False,
    store: Store = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Say which runner and precision to deploy: is it faithful, what does it lose on images, how fast and large is it?

    Examples:
        portproof deploy my_port.py --images photographs/ --weights my.pt -o deployment
        portproof deploy my_port.py --images photographs/ --at-most-loss .5% --slo p99=30ms
    """
    from portproof._errors import require_packages
    from portproof.bench._recommend import Slo
    from portproof.deploy._options import DeployOptions
    from portproof.deploy._print import print_choice, print_deployment
    from portproof.deploy._run import deploy as run
    from portproof.deploy._run import required
    from portproof.render._terminal import output as console
    from portproof.render._terminal import watching

    check_json(json_file)
    _check_folder(out)
    if images is None:
        raise BadInput("--images is missing; name a folder, a list (.txt) or tar shards.")
    options = DeployOptions(
        images=images, runners=tuple(runners.split(",")) if runners else (), labels=labels, weights=weights,
        at_most_loss=None if at_most_loss is None else share("--at-most-loss", at_most_loss),
        slo=None if slo is None else Slo.parse(slo), count=count, batch=batch, budget_s=duration("--budget", budget),
        output=output, device=device_named(device), store=store, seed=seed, kwargs=settings_of(settings),
    )  # fmt: skip
    located = find_port_named(port)
    require_packages("deploy", *required(located, options), *([] if out is None else ["jinja2", "matplotlib"]))
    with watching(not quiet) as watch:
        found, parts = run(located, options, watch)
    if json_file != "-":
        (print_choice if quiet else print_deployment)(found, console())
    write_json(json_file, found.to_json())
    if out is not None:
        _write(out, found, parts)
    raise typer.Exit(found.exit_code)


def _check_folder(out: Path | None) -> None:
    """See that the folder can be written, before anything runs for minutes."""
    if out is None:
        return
    from portproof._disk import require_new

    if out.exists() and not out.is_dir():
        raise BadInput(f"-o takes a folder, '{out}' is a file; name another.")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"-o: '{out.absolute().parent}' does not exist; make it first.")
    if out.is_dir():
        for name in _FILES:
            require_new(out / name)


def _write(out: Path, found: Any, parts: Parts) -> None:
    from portproof._disk import write_text
    from portproof._text import say
    from portproof.deploy._page import page

    out.mkdir(exist_ok=True)
    documents = {
        "deploy.json": found.to_json(),
        **{
            f"{name}.json": part.to_json()
            for name, part in (("bench", parts.bench), ("again", parts.again), ("agree", parts.agreement))
            if part is not None
        },
    }
    for name, document in documents.items():
        write_text(out / name, json.dumps(document, indent=1) + "\n")
    write_text(out / "deploy.html", page(found))
    say(f"wrote {out / 'deploy.html'}")
