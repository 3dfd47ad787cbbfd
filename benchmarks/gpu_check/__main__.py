"""The command: ``bundle``, ``run``, ``cut`` and ``join``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from portproof._disk import require_writable
from portproof._errors import BadInput, PortproofError


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands; returns the exit code."""
    asked = _parser().parse_args(arguments)
    with contextlib.suppress(BrokenPipeError):
        try:
            return int(asked.command(asked))
        except PortproofError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _bundle(asked: argparse.Namespace) -> int:
    from benchmarks.gpu_check._bundle import PORTS, write_bundle

    out = Path(asked.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    require_writable(out)
    write_bundle(out, asked.ports.split(",") if asked.ports else PORTS, _say)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
    return 0


def _run(asked: argparse.Namespace) -> int:
    from benchmarks.gpu_check._check import Check, Plan
    from benchmarks.gpu_check._steps import STEPS

    steps = tuple(asked.steps.split("+")) if asked.steps else tuple(STEPS)
    unknown = [name for name in steps if name not in STEPS]
    if unknown:
        raise BadInput(f"no step '{unknown[0]}'; there are {', '.join(f'{name!r}' for name in STEPS)}.")
    if not asked.budget > 0:
        raise BadInput(f"--budget takes seconds, found {asked.budget}.")
    out = Path(asked.out)
    if out.exists() and not out.is_dir():
        raise BadInput(f"'{out}' is a file; name a folder.")
    findings = Check(Plan(Path(asked.bundle), asked.device, out, asked.budget, steps), _say).run()
    print((out / "gpu-check.md").read_text())
    return findings.exit_code


def _cut(asked: argparse.Namespace) -> int:
    from benchmarks.gpu_check._pieces import cut

    for path in cut(Path(asked.wheel), Path(asked.out), int(asked.mib * 2**20)):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    return 0


def _join(asked: argparse.Namespace) -> int:
    from benchmarks.gpu_check._pieces import join

    print(f"{join(Path(asked.folder), Path(asked.out))} is in {asked.out}: put that folder first in PYTHONPATH")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu_check", description="Prove and time every GPU path.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    bundle = commands.add_parser("bundle", help="with Paddle: write what the GPU machine needs")
    bundle.add_argument("-o", "--out", default="build/gpu-bundle.zip")
    bundle.add_argument("--ports", help="names, comma-separated; GoogLeNet, its family and three more by default")
    bundle.set_defaults(command=_bundle)
    run = commands.add_parser("run", help="on the GPU machine: all steps")
    run.add_argument("bundle")
    run.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu rehearses what is not CUDA's own")
    run.add_argument("-o", "--out", default="build/gpu-check")
    run.add_argument("--budget", type=float, default=540.0, metavar="SECONDS")
    run.add_argument("--steps", help="names joined by +; all by default")
    run.set_defaults(command=_run)
    cut = commands.add_parser("cut", help="cut a wheel into pieces")
    cut.add_argument("wheel")
    cut.add_argument("-o", "--out", default="build/pieces")
    cut.add_argument("--mib", type=float, default=58.0, help="of a piece")
    cut.set_defaults(command=_cut)
    join = commands.add_parser("join", help="unpack pieces into a folder of packages")
    join.add_argument("folder")
    join.add_argument("-o", "--out", default="build/site")
    join.set_defaults(command=_join)
    return parser


if __name__ == "__main__":
    sys.exit(main())
