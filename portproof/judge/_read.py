"""A report that was written, read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from portproof._disk import as_kind, having, read_json
from portproof._errors import BadInput
from portproof.judge._report import SCHEMA_VERSION, Report

#: What no reader of an old report asks for; its figures may be null where they are no numbers.
_LEFT: dict[str, Any] = {"modules": None, "details": (), "edges": (), "accepted": (), "deviations": ()}
#: What is read of what machines and packages say of themselves.
_SIDE = Annotated[dict[str, Any], having({}, versions=dict[str, Any])]


@dataclass(frozen=True)
class _Made:
    environment: Annotated[dict[str, Any], having({}, sides=dict[str, _SIDE], packages=dict[str, Any])]


def read_report(path: Path) -> Report:
    """Read what ``verify --json`` or ``compare --json`` wrote: hops, culprits, sight, and what they rest on.

    The modules one by one, and what was accepted, are left out.

    Raises:
        BadInput: it is no such document, is cut short, or is of another schema.
        Unavailable: pydantic is not installed.
    """
    return report_of(read_json(path, "no report of `portproof verify --json`"), path)


def report_of(document: Any, path: Path) -> Report:
    """Return a document as the report that it is; see :func:`read_report`."""
    if isinstance(document, Mapping) and "suite" in document:
        raise BadInput(f"'{path}' is a benchmark's result; `portproof bench compare` compares two of those.")
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or "hops" not in document or version != SCHEMA_VERSION:
        raise BadInput(
            f"'{path}' is no report of `portproof verify --json`: expected hops under schema {SCHEMA_VERSION}, found "
            f"{'schema ' + repr(version)[:20] if version is not None else 'something else'}; make it again."
        )
    try:
        hops = tuple(_hop(hop) for hop in document["hops"])
        environment = as_kind(_Made, {"environment": document.get("environment", {})}).environment
        return as_kind(Report, {**document, "hops": hops, "environment": environment, **_LEFT})
    except (ValueError, TypeError) as error:
        raise BadInput(f"'{path}' is damaged: {error}; make it again.") from error


def _hop(hop: Any) -> dict[str, Any]:
    if not isinstance(hop, Mapping):
        raise ValueError(f"hops: expected objects, found {type(hop).__name__}")
    return {**hop, "source": hop.get("from"), "target": hop.get("to"), "modules": None}
