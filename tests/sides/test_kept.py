"""A port's sides answered from the store: what changed is run again, and reports are the same but for times."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from portproof._disk import save_arrays
from portproof._errors import BadInput
from portproof.ports._locate import find_port, find_project
from portproof.sides import _kept
from portproof.sides._kept import KeptSession
from portproof.sides._session import Sessions
from portproof.sides._store import Piece
from portproof.sides._tasks import Tasks
from tests.conftest import PORT_FILE, Run

pytestmark = pytest.mark.processes

Asked = Callable[[], tuple[list[str], list[str]]]


@pytest.fixture(autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("PORTPROOF_CACHE", "1GB")
    monkeypatch.setattr(_kept, "TICK_NS", 0)
    # What is compiled in the second in which it was saved is not kept, and these tests save twice in one.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def opened() -> Sessions:
    return Sessions(find_port("tiny", find_project()), keep=True)


def asked(sessions: Sessions, seed: int = 0, *, again: bool = False) -> KeptSession:
    """Ask the Paddle side for some answers."""
    session = sessions.open("paddle")
    assert isinstance(session, KeptSession)
    rows = sessions.folder / "rows.safetensors"
    save_arrays(rows, {"x": np.random.default_rng(seed).standard_normal((16, 8)).astype(np.float32)})
    out = sessions.folder / "weights.safetensors"
    session.call(Tasks.describe)
    session.call(Tasks.sensitise, rows, out, seed)
    session.call(Tasks.load, out)
    session.call(Tasks.run, "paddle-dygraph", rows, sessions.folder / "ran", ["float64", "float32"])
    if again:
        session.call(Tasks.save_state, sessions.folder / "state.safetensors")
    return session


def test_what_changed_is_asked_again_and_told_what_it_missed(project: Path) -> None:
    (project / "helper.py").write_text("CLASSES = 3\n")
    source = PORT_FILE.replace("from paddle import nn", "from paddle import nn\n    import helper", 1)
    (project / "tiny.py").write_text(source)
    with opened() as sessions:
        first = asked(sessions)
        state = first.call(Tasks.save_state, sessions.folder / "s.safetensors")
        expected = (sessions.folder / "s.safetensors").read_bytes()
        ran = (sessions.folder / "ran" / "float64.safetensors").read_bytes()
    assert state is None
    assert first.why_not == ""
    assert first.taken == []
    with opened() as sessions:
        second = asked(sessions)
        assert second.made == []
        assert (sessions.folder / "ran" / "float64.safetensors").read_bytes() == ran
        # Only now is a process needed, and it has the weights that it was never told to load.
        second.call(Tasks.save_state, sessions.folder / "t.safetensors", precision="float64")
        second.call(Tasks.save_state, sessions.folder / "s.safetensors")
        assert second.made == ["save_state"]
        assert (sessions.folder / "s.safetensors").read_bytes() == expected
    (project / "helper.py").write_text("CLASSES = 4\n")
    with opened() as sessions:
        assert asked(sessions).taken == []
    (project / "helper.py").write_text("CLASSES = 3\n")
    with opened() as sessions:
        assert asked(sessions).made == []  # undone: what it was is known
        (project / "helper.py").write_text("CLASSES = 5\n")
        with pytest.raises(BadInput, match=r"helper\.py' was changed while this ran"):
            sessions.kept[0].call(Tasks.tables, sessions.folder / "rows.safetensors", sessions.folder / "t")


def test_an_answer_is_kept_as_it_was_though_its_file_is_written_over_or_cleared_away(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = _kept.Digests.piece

    def slowly(self: _kept.Digests, path: str, ending: str) -> Piece:
        time.sleep(0.3)
        return piece(self, path, ending)

    monkeypatch.setattr(_kept.Digests, "piece", slowly)
    with opened() as sessions:
        session, out = sessions.open("torch"), sessions.folder / "state.safetensors"
        assert isinstance(session, KeptSession)
        session.call(Tasks.save_state, out)
        narrow = out.read_bytes()
        session.call(Tasks.save_state, out, precision="float64")
        wide = out.read_bytes()
        assert narrow != wide
        session.call(Tasks.save_state, gone := sessions.folder / "gone.safetensors")
        gone.unlink()
        session.call(Tasks.save_state, again := sessions.folder / "state.safetensors")  # on its way, and waited for
        assert (session.made, session.taken) == (["save_state"] * 3, [])  # what this run made is no earlier one's
        assert again.read_bytes() == narrow
    assert session.why_not == ""
    with opened() as sessions:
        session, out = sessions.open("torch"), sessions.folder / "state.safetensors"
        assert isinstance(session, KeptSession)
        session.call(Tasks.save_state, out)
        assert out.read_bytes() == narrow
        session.call(Tasks.save_state, out, precision="float64")
        assert out.read_bytes() == wide
        assert session.made == []
        session.call(Tasks.save_state, sessions.folder / "gone.safetensors")
        assert session.made == ["save_state"]


def without_times(file: str) -> dict[str, object]:
    report = json.loads(Path(file).read_text())
    del report["seconds"], report["kept"]
    return dict(report)


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_reports_are_the_same_with_and_without_the_store(project: Path, run: Run, broken: bool) -> None:
    if broken:
        (project / "tiny.py").write_text(PORT_FILE[::-1].replace("ReLU"[::-1], "GELU"[::-1], 1)[::-1])
    for name, more in (("without", "--no-cache"), ("cold", "--force"), ("warm", "--force")):
        assert run("verify", "--json", f"{name}.json", more).code == int(broken)
    assert without_times("without.json") == without_times("cold.json") == without_times("warm.json")
    kept = json.loads(Path("warm.json").read_text())["kept"]
    assert not any(found["asked"] for found in kept.values())
    assert all(found["taken"] for found in kept.values())
    assert json.loads(Path("without.json").read_text())["kept"] == {}
    with (project / "tiny.py").open("a") as file:
        file.write("# what is written here changes no model\n")
    assert run("verify", "--json", "changed.json").code == int(broken)
    assert without_times("changed.json") == without_times("without.json")
    kept = json.loads(Path("changed.json").read_text())["kept"]["torch"]
    assert "sensitise" in kept["taken"]
    assert "run" in kept["asked"]


@pytest.mark.parametrize("function", ["known", ""])
def test_what_follows_from_what_a_model_computes_is_known_by_another_text(project: Path, function: str) -> None:
    for number in range(2):
        (project / "tiny.py").write_text(f"{PORT_FILE}# {number}\n")
        with opened() as sessions:
            session, rows = sessions.open("torch"), sessions.folder / "rows.safetensors"
            assert isinstance(session, KeptSession)
            save_arrays(rows, {"x": np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)})
            session.call(Tasks.sensitise, rows, sessions.folder / "weights.safetensors", 0, function=function)
            assert session.taken == (["sensitise"] if function and number else [])


IMAGES = """
from portproof import Input, Port

def torch_model():
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

def paddle_model():
    from paddle import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

IMAGES = Port(name="images", torch="tiny:torch_model", paddle="tiny:paddle_model",
              inputs={"x": Input(("batch", 3, 8, 8), preprocess="prepared:prepared")})
"""


@pytest.mark.slow
def test_another_preprocessing_and_other_weights_are_seen(project: Path, run: Run) -> None:
    def asked(*more: str) -> set[str]:
        assert run("verify", "--quick", "--no-modules", "--json", "out.json", "--force", *more).code == 0
        return {task for found in json.loads(Path("out.json").read_text())["kept"].values() for task in found["asked"]}

    def prepare(scale: int) -> None:
        text = f"return (photograph[:8, :8] * {scale / 255}).transpose(2, 0, 1).astype('float32')"
        (project / "prepared.py").write_text(f"def prepared(photograph):\n    {text}\n")

    def save(scale: float) -> None:
        weight = np.random.default_rng(0).standard_normal((3, 192)).astype(np.float32)
        tensors = {"1.weight": scale * weight, "1.bias": np.ones(3, np.float32)}
        save_file(tensors, project / "w.safetensors", {"portproof.side": "torch"})

    (project / "tiny.py").write_text(IMAGES)
    (project / "pyproject.toml").write_text('[tool.portproof]\nports = ["tiny:IMAGES"]\n')
    prepare(1)
    save(1.0)
    given = "--weights", "w.safetensors"
    assert {"sensitise", "run"} <= asked()
    assert asked() == set()
    assert {"load", "run"} <= asked(*given)
    assert asked(*given) == set()
    save(2.0)
    assert {"load", "run"} <= asked(*given)
    prepare(2)
    assert {"sensitise", "run"} <= asked()


def test_only_what_no_answer_follows_from_is_left_out_of_the_environment() -> None:
    for name in ("TERM", "COLUMNS", "SSH_CONNECTION", "TERM_SESSION_ID", "KITTY_WINDOW_ID", "_", "PORTPROOF_CACHE"):
        assert _kept._IDLE.fullmatch(name), name
    for name in (
        "FLAGS_DETERMINISTIC",
        "TF_DETERMINISTIC_OPS",
        "OMP_NUM_THREADS",
        "MODEL_PS1",
        "HOME",
        "TERMS",
        "PATH",
    ):
        assert not _kept._IDLE.fullmatch(name), name
