"""What ``verify`` and ``init`` make of two models that a person names by their files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portproof._errors import BadInput
from portproof.cli._options import find_port_named, say_interpreters

if TYPE_CHECKING:
    from portproof.judge._report import Report
    from portproof.parity._options import Options
    from portproof.sides._sides import Watch

    #: Judges a port: told whether to do without exports and planted faults, whom to tell what processes do, whom to
    #: give the report as soon as its verdict stands, and as soon as its culprits are known, and where one judgement
    #: finds what the one before left (see ``verify``).
    Judge = Callable[[bool, Watch, Callable[[Report], None] | None, Path | None], Report]


@contextlib.contextmanager
def port_or_models(
    port: str | None, other: str | None, inputs: Sequence[str] | None, kwargs: Mapping[str, Any], *, keep: bool = False
) -> Iterator[tuple[Any, Callable[[Any], Any]]]:
    """Yield the port that a person named, or that of two models; and what completes it, told what processes do.

    What models return is told by running them, so that it waits until all else is known to be right; ``keep``: or by
    what an earlier run kept.
    """
    if other is None:
        if inputs:
            raise BadInput("--input is for two models; a port has its inputs: leave it out, or name the other model.")
        located = find_port_named(port)
        yield located, lambda _: located
        return
    from portproof.parity._files import located_in, port_of_files
    from portproof.ports._locate import Located, find_project
    from portproof.sides._session import memory_folder, scratch_folder

    project = find_project()
    declared = port_of_files(str(port), other, inputs or (), kwargs)
    say_interpreters(project)
    with scratch_folder(memory_folder()) as folder:
        yield (
            Located(declared, None, project),
            lambda watch: located_in(Path(folder), declared, project, watch, keep=keep),
        )


def judging(
    port: str | None, other: str | None, inputs: Sequence[str] | None, options: Options, targets: Sequence[Path] = ()
) -> Judge:
    """Return what judges the port that a person named, or that of two models, as it is when that is called.

    ``targets``: files that the report is to be written to, refused before anything is built.
    """

    def judge(quick: bool, watch: Watch, first: Callable[[Report], None] | None, earlier: Path | None) -> Report:
        from portproof._errors import require_packages
        from portproof.parity._verify import verify
        from portproof.render import check_target
        from portproof.sides._session import frameworks_here

        with port_or_models(port, other, inputs, options.kwargs, keep=options.cache) as (located, complete):
            pages = ["jinja2"] if options.pictures else []
            require_packages(f"port '{located.port.name}'", *frameworks_here(located), *pages)
            for target in targets:
                check_target(target)
            chosen = replace(options, quick=quick)
            chosen.require_possible(located.port)
            return verify(complete(watch), chosen, watch, first, earlier)

    return judge


def write_port(
    models: tuple[str, str], inputs: Sequence[str], kwargs: Mapping[str, Any], target: Path
) -> tuple[Path, str]:
    """Write the port file of two models.

    Args:
        models: as they are named.
        inputs: of them, as ``--input`` gives them; without, the forwards' arguments are taken for images.
        kwargs: of both factories.
        target: the file, or its name without ``.py``.

    Returns:
        The file, and what is to be looked at in it ("" for nothing).

    Raises:
        BadInput: see :func:`~portproof.parity._files.port_of_files`; or the file is there.
    """
    from portproof._disk import require_new, write_text
    from portproof._errors import ModelRaised, require_packages
    from portproof.parity._files import beside, located_in, port_of_files
    from portproof.ports._files import GUESS, by_side, port_source
    from portproof.ports._locate import Located, find_project
    from portproof.render._terminal import watching
    from portproof.sides._session import frameworks_here, memory_folder, scratch_folder

    file = target if target.suffix == ".py" else target.with_name(f"{target.name}.py")
    require_new(file)
    named = by_side(*models).values()
    told = next((model for model in named if model.takes), None)
    guessed = [f"{name}={GUESS}" for name in (told.takes[: told.needs] if told else ("x",))]
    known = bool(inputs) or any(model.graph for model in named)
    declared = port_of_files(*models, inputs if known else guessed, kwargs)
    project = find_project()
    require_packages("init --from-models", *frameworks_here(Located(declared, None, project)))
    say_interpreters(project)
    note = "" if known else "the sizes of the inputs are guesses"
    with scratch_folder(memory_folder()) as folder, watching() as watch:
        try:
            complete = located_in(Path(folder), declared, project, watch).port
        except ModelRaised as error:
            complete, note = declared, f"{note or 'the names of the outputs are guesses'}: {error}"
    write_text(file, port_source(beside(complete, file), note and f"Look through it: {note.splitlines()[0]}"))
    return file, note
