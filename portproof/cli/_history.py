"""``portproof diff`` and ``portproof history``. Nothing heavy is imported before one of them needs it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portproof._errors import BadInput
from portproof._text import say
from portproof.cli._options import Force, PageFile, check_page

if TYPE_CHECKING:
    from portproof.render._history import Kept


def diff(
    first: Annotated[Path, typer.Argument(metavar="BEFORE", help="A report of `portproof verify --json`.")],
    second: Annotated[Path, typer.Argument(metavar="NOW", help="A later one of the same port.")],
    markdown: Annotated[
        str | None, typer.Option("--markdown", metavar="FILE", help="Write it for a pull request; - prints it alone.")
    ] = None,
    force: Force = False,
) -> None:
    """Say what got better, worse or appeared between two reports; exit 1 where something got worse.

    Examples:
        portproof diff before.json now.json
        portproof diff before.json now.json --markdown change.md
    """
    from portproof._disk import require_new, write_text
    from portproof.judge._read import read_report
    from portproof.render._diff import diff_markdown, diff_reports, print_diff
    from portproof.render._terminal import output

    if markdown not in (None, "-"):
        require_new(Path(str(markdown)))
    found = diff_reports(read_report(first), read_report(second))
    if markdown == "-":
        sys.stdout.write(diff_markdown(found))
    else:
        print_diff(found, output(), (first.name, second.name))
        if markdown is not None:
            write_text(markdown, diff_markdown(found))
    raise typer.Exit(found.exit_code)


def history(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that results are kept in, by revision.")],
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", metavar="FILE", help="Keep a result of `verify --json` or `bench run -o` there first."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="That the added results are of. Default: git's, of this folder.")
    ] = None,
    report: PageFile = None,
    force: Force = False,
) -> None:
    """Show what verdicts and times were and are, revision by revision; keep new ones with --add.

    Examples:
        portproof history kept --add report.json
        portproof history kept --report history.html
    """
    from portproof._disk import write_text
    from portproof.render._history import keep, read_history, tracks
    from portproof.render._layout import require_jinja
    from portproof.render._terminal import output
    from portproof.render._timeline import page, print_history

    check_page(report)
    if report is not None:
        require_jinja()
    if revision is not None and not add:
        raise BadInput("--revision says what --add keeps a result of; name a result by --add.")
    if add:
        named, when = _revision(revision)
        for kept in [_kept(path, named, when) for path in add]:
            say(f"kept {keep(folder, kept)}", err=True)
    found = tracks(read_history(folder))
    print_history(found, output())
    if report is not None:
        write_text(report, page(found))


def _kept(path: Path, revision: str, when: str) -> Kept:
    """Return the record of a result, whichever of the two kinds it is."""
    from portproof._disk import read_json
    from portproof.judge._read import report_of
    from portproof.render._history import kept_report

    document = read_json(path, "no result of `portproof verify --json` or `bench run`")
    if not isinstance(document, dict) or "suite" not in document:
        return kept_report(report_of(document, path), revision, when)
    from portproof._errors import require_packages

    require_packages("a benchmark's result", "scipy")
    from portproof.bench._kept import kept_result
    from portproof.bench._result import read_result

    return kept_result(read_result(path), revision, when)


def _revision(named: str | None) -> tuple[str, str]:
    """Return a revision's short name and when it was made; of what git does not know, its name and now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = _git("log", "-1", "--format=%h %cI", "--end-of-options", named or "HEAD", "--")
    if found is None:
        if named is None:
            raise BadInput("--revision is missing: git knows none of this folder; name what the result is of.")
        return named, now
    short, _, when = found.partition(" ")
    if named is None and _git("diff", "--quiet", "HEAD", "--") is None:
        return f"{short}+", now  # with changes that are not committed
    return short, when


def _git(*arguments: str) -> str | None:
    """Return what git says; None where it refuses, or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
