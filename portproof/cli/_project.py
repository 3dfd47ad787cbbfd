"""``portproof init``, ``ports``, ``schema`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portproof._text import say
from portproof.cli._options import Force, Json, check_json, say_interpreters, write_json


def ports() -> None:
    """List the ports and the runners that can be named here.

    Examples:
        portproof ports
        cd my_port && portproof ports
    """
    from portproof.cli._print import print_ports
    from portproof.ports._locate import find_project, registered_ports
    from portproof.render._terminal import output
    from portproof.runners import runners

    print_ports(registered_ports(find_project()), runners().values(), output())


def init(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make; its name is the port's.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="PORT", help="googlenet: the flagship, whole.")
    ] = None,
) -> None:
    """Write a port project of five folders, with a small example that works."""
    from portproof.templates import write_project

    written = write_project(folder, source)
    say(f"wrote {len(written)} files into {folder}; now: cd {folder} && portproof verify --quick")


def schema(
    document: Annotated[str, typer.Argument(help="verify, agree, train, faults-training, doctor or bench.")],
) -> None:
    """Print the JSON Schema of what a command writes with --json.

    Examples:
        portproof schema verify
        portproof schema bench > bench.schema.json
    """
    from portproof.cli._schemas import schema_of

    write_json("-", schema_of(document))


def doctor(
    project: Annotated[bool, typer.Option("--project", help="Try the project's own interpreters, too.")] = False,
    json_file: Json = None,
    force: Force = False,
) -> None:
    """Say what is installed, which providers truly load, and what installs the rest.

    Examples:
        portproof doctor
        portproof doctor --project --json doctor.json
    """
    from portproof.cli._doctor import examine
    from portproof.cli._print import print_findings
    from portproof.ports._locate import Project, find_project
    from portproof.render._terminal import output

    check_json(json_file)
    found = find_project() if project else Project()
    say_interpreters(found)
    findings = examine(found)
    if json_file != "-":
        print_findings(findings, output())
    write_json(json_file, findings.to_json())
