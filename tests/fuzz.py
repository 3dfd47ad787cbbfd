"""Damages every kind of file that a command takes, and does with each what commands do.

python -m tests.fuzz [COUNT] [KIND ...]; of graphs and pictures, which are run and decoded, a tenth of them.
"""

import sys
import tempfile
import time
from pathlib import Path

from portproof.sides._session import memory_folder
from tests.fuzz_checkpoints import READERS, Found, fuzz
from tests.fuzz_documents import DOCUMENTS, SLOW, fuzz_document

KINDS = (*READERS, *DOCUMENTS)


def run(kind: str, count: int, folder: Path, seed: int) -> Found:
    """Fuzz one kind; see :func:`tests.fuzz_checkpoints.fuzz`."""
    return (fuzz if kind in READERS else fuzz_document)(kind, count, folder, seed)


def main() -> None:
    """Fuzz the kinds named on the command line, or all; exit code 1 where there was a failure."""
    asked, names = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, sys.argv[2:] or list(KINDS)
    failed = 0
    for name in names:
        count = asked // 10 if name in SLOW else asked
        with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
            begun = time.perf_counter()
            found = run(name, count, Path(folder), seed=1)
        print(
            f"{name}: {count} damaged files in {time.perf_counter() - begun:.0f} s, {found.refused} refused, "
            f"{found.read} read, slowest {found.slowest_s:.2f} s, {len(found.failures)} failures", flush=True,
        )  # fmt: skip
        for failure in found.failures[:5]:
            print(f"  {failure[:300]}", flush=True)
        failed += len(found.failures)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
