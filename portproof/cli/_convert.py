"""``portproof convert``, ``account`` and ``export``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from portproof._errors import BadInput, and_more
from portproof._machine import size_of
from portproof._text import plain, say
from portproof.cli._options import Force, PortName, RequiredPort, Setting, Weights, find_port_named, settings_of

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="A checkpoint: .pdparams, .pt, .pth, .bin, .ckpt, .safetensors or its index, .npz, .pkl, .onnx, "
        ".pdiparams with its program, or a folder with one.",
    ),
]
Key = Annotated[
    str | None, typer.Option("--key", help="Where in SRC the weights are: state_dict, model.ema, or names' beginning.")
]
Cast = Annotated[
    str | None, typer.Option("--dtype", help="float32, float16 or bfloat16: of all floats; rounding is counted.")
]

Suggest = Annotated[
    Path | None, typer.Option("--suggest", metavar="FILE", help="Only write a map with SRC's names, to look through.")
]
Params = Annotated[
    Path | None, typer.Option("--params", help="The .pdparams saved with an optimiser's .pdopt, to convert that.")
]
Like = Annotated[
    Path | None,
    typer.Option(
        "--like", metavar="FILE", help="Pair with a checkpoint of the other side by names and shapes: unproven."
    ),
]


def convert(
    source: Source,
    target: Annotated[Path | None, typer.Argument(metavar="DST", help="The checkpoint to write, or a folder.")] = None,
    port: RequiredPort = None,
    source_side: Annotated[str | None, typer.Option("--from", help="torch or paddle: whose layouts SRC holds.")] = None,
    target_side: Annotated[str | None, typer.Option("--to", help="torch or paddle: whose layouts DST gets.")] = None,
    table: Annotated[
        Path | None, typer.Option("--map", help="A map of names in place of the port's; `account -o` writes one.")
    ] = None,
    suggest: Suggest = None,
    params: Params = None,
    like: Like = None,
    key: Key = None,
    keep_dtype: Annotated[
        bool, typer.Option("--keep-dtype", help="Carry floats wider than the model's as they are.")
    ] = False,
    dtype: Cast = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    check: Annotated[
        bool, typer.Option("--verify", help="Prove the round trip bit by bit and, with a port, the outputs.")
    ] = False,
    shard: Annotated[
        str, typer.Option("--shard", "--shard-size", help="Size of each file behind a .safetensors.index.json.")
    ] = "5GB",
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Turn a checkpoint of one side into the other's, bit for bit, one tensor at a time.

    Examples:
        portproof convert weights.pdparams weights.pt --port my_port.py --verify
        portproof convert model.safetensors model.pdparams --port my_port.py --from torch --map map.csv
    """
    from portproof.convert._cast import CASTS
    from portproof.convert._convert import ConvertOptions, require_files, require_suggestion
    from portproof.convert._convert import convert as run
    from portproof.ports._port import SIDES
    from portproof.render._terminal import watching
    from portproof.sides._given import plan_of
    from portproof.sides._session import Sessions

    for option, side in (("--from", source_side), ("--to", target_side)):
        if side not in (None, *SIDES):
            raise BadInput(f"{option} takes torch or paddle, found '{side}'.")
    if dtype not in (None, *CASTS):
        raise BadInput(f"--dtype takes {', '.join(CASTS)}, found '{dtype}'.")
    options = ConvertOptions(
        source_side, target_side, keep_dtype, dry_run, check, size_of("--shard", shard), key, dtype
    )
    if like is not None:
        _convert_like(source, target, like, options, suggest)
        return
    optimiser = ".pdopt" in (source.suffix.lower(), str(target).lower()[-6:])
    # Before two models are built for nothing.
    if suggest is not None:
        require_suggestion(source, options, suggest)
    elif optimiser and params is None:
        raise BadInput("an optimiser's .pdopt needs --params: the .pdparams that was saved with it.")
    else:
        require_files(source, target, options)
    located = find_port_named(port) if port is not None or table is None else None  # a map alone needs no port
    if located is not None:
        options = replace(options, python=located.project.python.get("torch"))
    chosen, kwargs = None if located is None else located.port, settings_of(settings)
    if kwargs and chosen is not None:
        chosen = replace(chosen, mapping=None)  # the committed map is of the port as it stands
    with watching() as watch:
        watch("convert", "what corresponds")
        plan = plan_of(chosen, table, lambda: Sessions(find_port_named(port), kwargs))
        if suggest is not None:
            _suggest(plan, source, options, suggest)
            return
        assert target is not None
        if params is not None:
            _convert_optimiser(plan, source, target, params)
            return
        done = run(plan, source, target, options, lambda said: watch("convert", said))
    _print_converted(done)
    if check and done.written is not None and located is not None:
        _judge(located, done.written, kwargs)


def _convert_like(source: Path, target: Path | None, like: Path, options: Any, suggest: Path | None) -> None:
    """Convert by what a file of the other side has in common with the source, or write that as a map."""
    from portproof._disk import require_new, write_text
    from portproof.convert._convert import convert, require_files
    from portproof.convert._like import likeness
    from portproof.convert._table import map_csv

    found = likeness(source, like, options)
    if suggest is not None:
        require_new(suggest)
        write_text(suggest, map_csv(found.plan.account, found.plan.entries))
        for line in (*found.said, *found.unsure):
            say(line)
        say(f"wrote {suggest}: look through it, then convert with --map {suggest}")
        return
    require_files(source, target, options)
    assert target is not None
    if found.unsure:
        raise BadInput(
            f"not certain: {and_more(found.unsure)}; --suggest FILE writes the map, to look through and give to --map."
        )
    done = convert(found.plan, source, target, replace(options, unproven=found.said[0]), lambda _: None)
    _print_converted(replace(done, said=(*done.said, *found.said)))


def _suggest(plan: Any, source: Path, options: Any, out: Path) -> None:
    from portproof.convert._convert import suggest

    for name, other in suggest(plan, source, options, out).items():
        say(f"'{other}' in place of '{name}'?")
    say(f"wrote {out}: look through it, then convert with --map {out}")


def _judge(located: Any, weights: Path, kwargs: dict[str, Any]) -> NoReturn:
    """Judge both models on weights that were just converted."""
    from portproof.parity._verify import verify as judge
    from portproof.render._terminal import output, print_report, watching

    with watching() as watch:
        report = judge(located, watch=watch, weights=weights, kwargs=kwargs, quick=True)
    print_report(report, output())
    raise typer.Exit(report.exit_code)


def _convert_optimiser(plan: Any, source: Path, target: Path, params: Path) -> None:
    from portproof.convert._optimiser import convert_optimiser

    count = convert_optimiser(plan, source, target, params)
    say(f"{count} tensors of the optimiser's state; by {plan.origin}")
    say(f"wrote {target}")


def _print_converted(done: Any) -> None:
    """Print the account of a conversion in short."""
    from collections import Counter

    rows = done.plan.account.rows
    counted = Counter(row.transform for row in rows)
    said = ", ".join(f"{count} {transform}" for transform, count in sorted(counted.items()))
    renamed = sum(row.torch != row.paddle for row in rows)
    if done.source == done.target and done.plan.own is None:
        say(f"{len(rows)} tensors of {done.source}, names and layouts as they were; by {done.plan.origin}")
    else:
        say(
            f"{len(rows)} tensors from {done.source} to {done.target}: {said}; {renamed} renamed; by {done.plan.origin}"
        )
    left_out: dict[tuple[str, str], list[str]] = {}
    for side, name, reason in done.plan.account.ignored:
        left_out.setdefault((side, reason), []).append(name)
    for (side, reason), names in left_out.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"left out: {side} '{names[0]}'{more}: {reason}")
    for line in done.said:
        say(line)
    if done.constants:
        say(f"left out: {', '.join(done.constants)}: integers of the graph, no weights")
    if done.verified is not None:
        say(f"{done.verified} tensors read back and turned again: every bit as in the source")
    say(f"wrote {done.written}" if done.written else "dry run: nothing was written")


def export(
    port: PortName = None,
    side: Annotated[str, typer.Option("--from", help="torch or paddle.")] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .onnx file.")] = None,
    weights: Weights = None,
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Export one side to ONNX, with a dynamic batch and the port's input and output names.

    Examples:
        portproof export my_port.py --from torch -o torch.onnx
        portproof export my_port.py --from paddle --weights weights.pdparams -o paddle.onnx
    """
    from portproof._api import export as run
    from portproof.render._terminal import watching

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
        say(f"'{name}' is fixed at the port's size: the exporter cannot leave it open")
    say(
        f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB, with "
        + (f"the weights of {weights.name}" if weights else "freshly initialised weights")
    )


def account(
    port: PortName = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table to this file.")] = None,
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Print how the two state dicts correspond, a row a tensor, as CSV.

    Examples:
        portproof account my_port.py
        portproof account my_port.py -o map.csv
    """
    from portproof._disk import require_new, write_text
    from portproof.convert._table import map_csv
    from portproof.sides._given import account_of
    from portproof.sides._session import Sessions

    if out is not None:
        require_new(out)
    with Sessions(find_port_named(port), settings_of(settings)) as sessions:
        plan = account_of(sessions)
    found, entries = plan.account, plan.entries
    for problem in found.problems:
        say(f"{problem.kind}: {problem.message}", err=True)
    text = map_csv(found, entries)
    if out is None:
        _print_table(text)
    else:
        write_text(out, text)
    for side, name, reason in found.ignored:
        say(f"left out: {side} '{name}': {reason}", err=True)
    raise typer.Exit(1 if found.problems else 0)


def _print_table(text: str) -> None:
    """Print a map; a name in it that a terminal would obey is written out, and that is said."""
    import csv
    import io

    rows = list(csv.reader(io.StringIO(text, newline="")))
    shown = [[plain(cell) for cell in row] for row in rows]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(shown)
    for line in written.getvalue().splitlines():
        say(line)
    if shown != rows:
        say("names with characters that a terminal obeys are written out here; -o FILE has them as they are", err=True)
