"""``bench gate``: is this version of a project slower than another? Both are run anew, process by process in turn."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from portproof._errors import BadInput, one_line
from portproof.bench._result import BenchResult, Suite
from portproof.bench._run import Stage, Watch, run_interleaved
from portproof.ports._locate import Located, find_project


def run_gate(located: Located, base: str, suite: Suite, watch: Watch) -> tuple[BenchResult, BenchResult]:
    """Time another version of the project and the one at hand, next to each other.

    Both are judged by the parity engine, each against its own oracle, before and after timing; the engine and the
    packages are the same for both.

    Args:
        located: the port, as it stands.
        base: what it is held against: a revision that git knows, or the folder of another checkout.
        suite: what to time in both.
        watch: told how far it is.

    Returns:
        The results of the other version and of this one; processes of the same round make pairs.

    Raises:
        BadInput: there is no such version.
    """
    with _version(located, base) as other, Stage.of(other, suite, watch) as first, \
            Stage.of(located, suite, watch) as second:  # fmt: skip
        before, after = run_interleaved((first, second), suite)
    return before, after


@contextlib.contextmanager
def _version(located: Located, base: str) -> Iterator[Located]:
    """Put another version of the project into a folder of its own, where it is none yet."""
    root = located.project.root
    if root is None:
        raise BadInput("a gate compares two versions of a project; there is no [tool.portproof] here or above.")
    if Path(base).is_dir():
        yield _moved(located, root, Path(base).resolve())
        return
    with tempfile.TemporaryDirectory(prefix="portproof-base-") as folder:
        command = ["git", "-C", str(root), "archive", "--format=tar", "--end-of-options", base]
        try:
            done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise BadInput(f"--base '{base}' is no folder, and git does not run ({one_line(error)}).") from error
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())[:120]
            raise BadInput(f"--base takes a revision that git knows or a folder, found '{base}' ({said}).")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield _moved(located, root, Path(folder))


def _moved(located: Located, root: Path, folder: Path) -> Located:
    """Return the port as it is found in another folder."""
    project = find_project(folder)
    if project.root != folder.resolve():
        raise BadInput(f"'{folder}' has no pyproject.toml with [tool.portproof]; name a version of this project.")
    file, colon, name = (located.locator or "").rpartition(":")
    if file.endswith(".py"):
        if not Path(file).is_relative_to(root):
            raise BadInput(f"'{file}' is outside of the project '{root}'; a gate has no other version of it.")
        file = str(folder / Path(file).relative_to(root))
        if not Path(file).is_file():
            raise BadInput(f"the other version has no '{Path(file).relative_to(folder)}'.")
    # The interpreters are this version's: what is compared is the code, not where it runs.
    return replace(located, locator=f"{file}{colon}{name}", project=replace(project, python=located.project.python))
