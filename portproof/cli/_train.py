"""``portproof train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portproof._errors import BadInput, Interrupted
from portproof._text import say
from portproof.cli._options import (
    Device,
    Force,
    Json,
    PageFile,
    PortName,
    Setting,
    Training,
    check_json,
    check_page,
    device_named,
    find_port_named,
    settings_of,
    write_json,
)


def train(
    port: PortName = None,
    side: Annotated[str, typer.Option("--side", help="torch, paddle or both at a time.")] = "both",
    data: Annotated[
        str, typer.Option("--data", help="digits, mnist, or a folder with a folder of images per class.")
    ] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for what is kept.")] = None,
    epochs: Annotated[float, typer.Option("--epochs", help="How often each image is seen.")] = 5,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a step.")] = 16,
    settings: Training = None,
    start: Annotated[
        str, typer.Option("--start", help="normalised, factory, a checkpoint, or a training of either side.")
    ] = "normalised",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the folder's training was left.")] = False,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Cut images at random.")] = True,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mirror them too; not for what has a right and a left.")
    ] = False,
    dropout: Annotated[
        str, typer.Option("--dropout", help="shared (masks of both sides), own (the framework's), off.")
    ] = "shared",
    keep_every: Annotated[float, typer.Option("--keep-every", help="Seconds between two writings.")] = 60,
    agree: Annotated[
        bool, typer.Option("--agree/--no-agree", help="Carry the weights over and to ONNX; see the same there?")
    ] = True,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of each side. Default: the machine's, shared.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all that chance decides.")] = 0,
    json_file: Json = None,
    report_file: PageFile = None,
    device: Device = "cpu",
    kwargs: Setting = None,
    force: Force = False,
) -> None:
    """Train a port's models on either side, from one start; stop and go on at will.

    Examples:
        portproof train my_port.py --data digits -o runs
        portproof train my_port.py --data photographs/ -o runs --resume
    """
    from portproof.render._layout import require_jinja
    from portproof.render._terminal import output
    from portproof.training._print import print_trained, showing
    from portproof.training._train import train as run
    from portproof.training._trained import TrainOptions

    if not data:
        raise BadInput("--data is missing; there are digits, mnist, or a folder with a folder of images per class.")
    if out is None:
        raise BadInput("-o is missing; name the folder that the training is kept in.")
    check_json(json_file)
    check_page(report_file)
    if report_file is not None:
        require_jinja()
    options = TrainOptions(
        data=data, out=out, side=side, epochs=epochs, batch=batch, seed=seed, start=start, resume=resume,
        augment=augment, mirror=mirror, dropout=dropout, kwargs=settings_of(kwargs),
        settings=settings_of(settings, "--with"),
        keep_every=keep_every, threads=threads, device=device_named(device), agree=agree,
    )  # fmt: skip
    try:
        with showing() as progress:
            trained = run(find_port_named(port), options, progress)
    except Interrupted as interrupted:
        kept = any(out.glob("*/training.safetensors"))
        what = f"what was learned is kept in '{out}', and --resume goes on" if kept else "nothing was learned yet"
        say(f"portproof: interrupted; {what}", err=True)
        raise typer.Exit(interrupted.exit_code) from None
    if json_file != "-":
        print_trained(trained, output())
    write_json(json_file, trained.to_json())
    if report_file is not None:
        from portproof._disk import write_text
        from portproof.training._page import page

        write_text(report_file, page(trained, (out / "curves.svg").read_text(encoding="utf-8")))
    raise typer.Exit(trained.exit_code)
