"""A report for people and for CI: a page, a summary in Markdown, and JUnit XML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from portproof._disk import require_new, write_text
from portproof._errors import BadInput
from portproof.judge._report import Report


def _html(report: Report) -> str:
    from portproof.render._page import page

    return page(report)


def _markdown(report: Report) -> str:
    from portproof.render._summary import markdown

    return markdown(report)


def _junit(report: Report) -> str:
    from portproof.render._summary import junit

    return junit(report)


#: File ending to what is written.
FORMATS: dict[str, Callable[[Report], str]] = {".html": _html, ".md": _markdown, ".xml": _junit}


def check_target(target: Path) -> Path:
    """Refuse a file that cannot be written, or whose ending says nothing, before anything is run.

    Raises:
        BadInput: see above.
        Unavailable: a page was asked for and jinja2 is not installed.
    """
    if target.suffix not in FORMATS:
        raise BadInput(f"--report takes a file ending in {', '.join(FORMATS)}, found '{target}'.")
    require_new(target)
    if target.suffix == ".html":
        from portproof.render._layout import require_jinja

        require_jinja()
    return target


def write_report(report: Report, target: Path) -> None:
    """Write a report as its file's ending says: a page, Markdown or JUnit XML."""
    write_text(target, FORMATS[target.suffix](report))
