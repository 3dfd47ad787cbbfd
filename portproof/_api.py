"""The Python interface for tests."""

from __future__ import annotations

from typing import Any

from portproof._port import Port
from portproof._resolve import Located
from portproof._verify import verify


def assert_equivalent(port: Port | Located, **options: Any) -> None:
    """Raise AssertionError, with what differs and where, unless the port's verdict holds.

    Args:
        port: what to judge.
        **options: fields of :class:`portproof.Options`.

    Raises:
        AssertionError: the verdict is not ``identical`` or ``equivalent``.
    """
    report = verify(port, **options)
    if report:
        return
    lines = [f"port '{report.port}' is {report.verdict}"]
    lines += [f"  {c.kind} in '{c.module or '(root)'}' ({c.side} side): {c.message}" for c in report.culprits]
    lines += [
        f"  {h.source} -> {h.target}: {h.verdict} {h.reason or ''}"
        for h in report.hops
        if h.verdict not in ("identical", "equivalent")
    ]
    raise AssertionError("\n".join(lines))
