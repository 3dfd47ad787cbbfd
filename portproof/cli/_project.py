"""``portproof init``, ``ports``, ``schema`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portproof._errors import BadInput
from portproof._text import say
from portproof.cli import _complete
from portproof.cli._options import Force, Inputs, Json, Setting, check_json, say_interpreters, settings_of, write_json


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
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="NAME", help="The folder to make; its name is the port's. Of --from-models: the file, my_port.py."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="PORT", help="googlenet: the flagship, whole.")
    ] = None,
    models: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--from-models", metavar="A B", help="Write the port of two models that are there, each file.py:NAME."
        ),
    ] = None,
    inputs: Inputs = None,
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Write a port project of five folders with a small example that works, or the port file of two models.

    Examples:
        portproof init my_port && cd my_port && portproof verify --quick
        portproof init --from-models my_torch.py:Net my_paddle.py:Net --input 1,3,224,224
    """
    if models is not None:
        from portproof.cli._models import write_port

        if source is not None:
            raise BadInput("--from and --from-models exclude each other; leave one out.")
        file, note = write_port(models, inputs or (), settings_of(settings), folder or Path("my_port.py"))
        if note:
            say(f"portproof: look through it: {note}", err=True)
        say(f"wrote {file}; now: portproof verify {file} --quick")
        return
    if folder is None:
        raise BadInput("NAME is missing: portproof init my_port writes a project into the folder my_port.")
    if inputs or settings:
        raise BadInput("--input and --set go with --from-models A B; a project has an example of its own.")
    from portproof.render.templates import write_project

    written = write_project(folder, source)
    say(f"wrote {len(written)} files into {folder}; now: cd {folder} && portproof verify --quick")


def schema(
    document: Annotated[
        str,
        typer.Argument(
            help="verify, agree, map, train, faults-training, doctor or bench.", autocompletion=_complete.documents
        ),
    ],
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
