"""What a person sees of what there is here: ports, runners, packages."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portproof.cli._doctor import Findings
from portproof.ports._locate import Located
from portproof.runners import RunnerInfo


def print_ports(ports: Iterable[Located], runners: Iterable[RunnerInfo], console: Console) -> None:
    """Print the ports and the runners that can be named."""
    table = Table("port", "sides", "inputs", "outputs", "named by", box=None, pad_edge=False, header_style="bold")
    for located in ports:
        found = located.port
        inputs = ", ".join(f"{name} {'x'.join(map(str, declared.shape))}" for name, declared in found.inputs.items())
        table.add_row(found.name, ", ".join(found.sides), inputs, ", ".join(found.outputs), located.locator)
    if table.row_count:
        console.print(table)
    else:
        console.print("no port is registered here; add [tool.portproof] ports to pyproject.toml, or name file.py:NAME")
    table = Table("runner", "runs", "needs", box=None, pad_edge=False, header_style="bold")
    for info in runners:
        table.add_row(info.name, info.title, ", ".join(info.needs))
    console.print()
    console.print(table)


def print_findings(findings: Findings, console: Console) -> None:
    """Print the findings."""
    machine = findings.host
    quota = "none" if findings.quota is None else f"{findings.quota:g} cores"
    console.print(f"{machine['processor']}, {', '.join(machine['instruction_sets'])}", overflow="fold")
    console.print(
        f"{machine['threads']} threads (cgroup quota: {quota}), {machine['memory_gib']} GiB, Python {machine['python']}"
    )
    table = Table("package", "version", "for", "", box=None, pad_edge=False, header_style="bold")
    for package in findings.packages:
        state = Text(package.version or "missing", style="green" if package.version else "yellow")
        table.add_row(package.name, state, package.purpose, "" if package.version else package.install)
    console.print(table)
    missing = [package for package in findings.developing if package.version is None]
    here = ", ".join(f"{package.name} {package.version}" for package in findings.developing if package.version)
    console.print(f"for working on portproof: {here or 'nothing'}", overflow="fold")
    for line in sorted({package.install for package in missing}):
        names = ", ".join(package.name for package in missing if package.install == line)
        console.print(Text(f"  missing: {names}: {line}", style="dim"))
    for mismatch in findings.mismatches:
        console.print(Text(mismatch, style="bold red"), overflow="fold")
    for provider, said in findings.providers.items():
        console.print(Text.assemble(f"{provider}: ", (said, "green" if said == "loads" else "yellow")))
    for side, where in findings.interpreters.items():
        console.print(f"{side} runs in {where}")
    if findings.project is not None:
        console.print(f"project: {findings.project}", overflow="fold")
