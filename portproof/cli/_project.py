"""``portproof init``, ``ports``, ``schema`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portproof.cli._options import Json, check_json, write_json


def ports() -> None:
    """List the ports and the runners that can be named here."""
    from rich.table import Table

    from portproof.ports._locate import find_project, registered_ports
    from portproof.render._terminal import output
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


def init(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make; its name is the port's.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="PORT", help="googlenet: the flagship, whole.")
    ] = None,
) -> None:
    """Write a port project of five folders, with a small example that works."""
    from portproof.templates import write_project

    written = write_project(folder, source)
    typer.echo(f"wrote {len(written)} files into {folder}; now: cd {folder} && portproof verify --quick")


def schema(
    document: Annotated[str, typer.Argument(help="verify, agree, train, faults-training, doctor or bench.")],
) -> None:
    """Print the JSON Schema of what a command writes with --json."""
    import json

    from portproof.cli._schemas import schema_of

    typer.echo(json.dumps(schema_of(document), indent=1))


def doctor(json_file: Json = None) -> None:
    """Say what is installed, which providers truly load, and what installs the rest."""
    from portproof.cli._doctor import examine, print_findings
    from portproof.render._terminal import output

    check_json(json_file)
    findings = examine()
    if json_file != "-":
        print_findings(findings, output())
    write_json(json_file, findings.to_json())
