"""``portproof train`` on a real, small network: what it reaches, what it keeps, and what it refuses."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from portproof import BadInput, find_port
from portproof.checkpoints import open_checkpoint
from portproof.training._batches import Batches, cut
from portproof.training._data import load_data
from portproof.training._state import load, write
from portproof.training._train import train
from portproof.training._trained import TrainOptions
from tests.conftest import Run

# Bytes of trainings that were killed are held against those of trainings that were not: all as a person runs them.
pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
PORT = "tests.learning_ports:LEARNER"
TRAIN = ("train", PORT, "--threads", "1")
SIZES = {"torch": "weights.pt", "paddle": "weights.pdparams"}


class Silent:
    """Hears of a training and says nothing."""

    def doing(self, side: str, what: str) -> None: ...
    def steps(self, side: str, rows: Any, done: int, total: int) -> None: ...
    def tested(self, side: str, row: Any) -> None: ...


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "portproof", *TRAIN, *arguments]


def spawned(*arguments: str, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, **options)


def small(out: Path, **more: Any) -> TrainOptions:
    given = {"data": "digits", "out": out, "epochs": 1, "kwargs": {"classes": 10}, "agree": False, "threads": 1, **more}
    return TrainOptions(**given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("trained")
    settings = {"learning_rate": 0.01}
    found = train(find_port(PORT), small(out, epochs=3, agree=True, settings=settings), Silent())
    return out, found.to_json()


def test_both_sides_learn_the_digits(trained: tuple[Path, dict]) -> None:
    for side in ("torch", "paddle"):
        assert trained[1]["tests"][side]["out1"] > 0.9


def test_both_sides_saw_the_same_bytes(trained: tuple[Path, dict]) -> None:
    assert trained[1]["same_bytes"] is True


def test_trained_weights_say_the_same_on_the_other_side_and_in_both_exports(trained: tuple[Path, dict]) -> None:
    agreements = trained[1]["agreements"]
    assert [(a["weights"], a["runner"]) for a in agreements] == [
        (weights, runner)
        for weights, first, second in (("torch", "torch", "Paddle"), ("paddle", "Paddle", "torch"))
        for runner in (first, f"{first} export, ONNX Runtime", second, f"{second} export, ONNX Runtime")
    ]
    assert all(set(a["differing"].values()) == {0} and a["images"] == 359 for a in agreements)


def test_what_is_kept_can_be_read_by_the_frameworks_own_users(trained: tuple[Path, dict]) -> None:
    import paddle
    import torch

    out, _ = trained
    assert torch.load(out / "torch" / "weights.pt", weights_only=True)["main.3.weight"].shape == (10, 16)
    assert paddle.load(str(out / "paddle" / "weights.pdparams"))["main.3.weight"].shape == [16, 10]
    assert open_checkpoint(out / "start.safetensors").side == "torch"
    assert (out / "curves.svg").read_text().count("Paddle") >= 1
    rows = (out / "torch" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,epoch,learning_rate,loss,out,out1,out2,accuracy")
    assert len(rows) == 1 + round(3 * 1438 / 16)


def kept(folder: Path, side: str) -> tuple[dict[str, bytes], list[dict], bytes]:
    """Return everything that a training kept, without the time that it took."""
    state = load(folder / side / "training.safetensors")
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in state.rows]
    tensors = {name: stored.read().tobytes() for name, stored in state.tensors.items()}
    return tensors, [*rows, *state.tests, dict(state.scheduler)], (folder / side / SIZES[side]).read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trainings that nobody disturbed."""
    outs = [tmp_path_factory.mktemp(f"alone{i}") for i in range(2)]
    for out in outs:
        train(find_port(PORT), small(out, epochs=2), Silent())
    return outs


@pytest.mark.parametrize("side", ["torch", "paddle"])
@pytest.mark.slow
def test_a_training_is_the_same_bytes_again(alone: list[Path], side: str) -> None:
    one, two = (kept(out, side) for out in alone)
    assert one == two


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.slow
def test_stopped_at_any_moment_and_resumed_it_ends_as_one_left_alone(
    alone: list[Path], tmp_path: Path, sent: signal.Signals
) -> None:
    out, rng = tmp_path / "run", random.Random(int(sent))
    arguments = ["--data", "digits", "--set", "classes=10", "--epochs", "2", "--no-agree", "-o", str(out)]
    kills = 0
    for attempt in range(40):
        resume = ["--resume"] if attempt else []
        process = subprocess.Popen(
            command(*arguments, "--keep-every", "0", *resume), cwd=ROOT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        states = [out / side / "training.safetensors" for side in SIZES]
        begun = time.monotonic()
        before = [state.stat().st_mtime_ns if state.exists() else 0 for state in states]
        if kills < 3:  # once something new was kept, wait for a moment that nobody chose
            while process.poll() is None and time.monotonic() - begun < 60:
                now = [state.stat().st_mtime_ns if state.exists() else 0 for state in states]
                if now != before:
                    break
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.8))
            if process.poll() is None:
                os.killpg(process.pid, sent)
                kills += 1
                assert process.wait(60) in (-sent, 130, 0)
                continue
        assert process.wait(120) == 0
        break
    assert kills >= 1
    for side in SIZES:
        tensors, log, weights = kept(out, side)
        expected_tensors, expected_log, expected_weights = kept(alone[0], side)
        assert log == expected_log
        assert [name for name in tensors if tensors[name] != expected_tensors[name]] == []
        assert weights == expected_weights


@pytest.mark.slow
def test_a_training_goes_on_on_the_other_side(alone: list[Path], tmp_path: Path) -> None:
    """Half on torch, carried over with its optimiser, half on Paddle."""
    first = small(tmp_path / "half", epochs=2, side="torch", dropout="off")
    options = small(tmp_path / "whole", epochs=2, side="torch", dropout="off")
    train(find_port(PORT), options, Silent())
    stopped = _Stop(tmp_path / "half" / "torch" / "training.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(find_port(PORT), TrainOptions(**{**vars(first), "keep_every": 0}), stopped)
    state = tmp_path / "half" / "torch" / "training.safetensors"
    at = load(state).step
    assert 0 < at < 180
    there = small(tmp_path / "there", epochs=2, side="paddle", dropout="off", start=str(state))
    train(find_port(PORT), there, Silent())
    moved, whole = (
        load(tmp_path / "there" / "paddle" / "training.safetensors"),
        load(tmp_path / "whole" / "torch" / "training.safetensors"),
    )
    assert moved.step == whole.step == 180
    losses = [np.array([row["loss"] for row in state.rows]) for state in (moved, whole)]
    assert np.array_equal(losses[0][:at], losses[1][:at])
    assert abs(losses[0][at] - losses[1][at]) < 1e-3 * losses[1][at]  # the first step there, with torch's momentum
    assert abs(losses[0][-20:].mean() - losses[1][-20:].mean()) < 0.2 * losses[1][-20:].mean()


class _Stop(Silent):
    """Interrupts a training when something was kept, as a person does."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept

    def steps(self, side: str, rows: Any, done: int, total: int) -> None:
        if self.kept.exists():
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert spawned("--data", "digits", "--set", "classes=10", "--epochs", "1", "--no-agree", "--side", "torch",
                   "-o", str(out)).returncode == 0  # fmt: skip
    state = out / "torch" / "training.safetensors"
    ended = load(state)
    write(state, replace(ended, recipe=replace(ended.recipe, steps=95)))  # it goes on a little, to write once more
    document = state.read_bytes()
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    found = spawned("--data", "digits", "--set", "classes=10", "--epochs", str(95 * 16 / 1438), "--no-agree", "--side",
                    "torch", "-o", str(out), "--resume", preexec_fn=limit)  # fmt: skip
    assert found.returncode == 2, found.stderr
    assert "cannot write" in found.stderr
    assert "Traceback" not in found.stderr
    assert state.read_bytes() == document
    assert [path.name for path in (out / "torch").iterdir() if path.name.startswith(".")] == []


def pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for title in classes:
        (folder / title).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(folder / title / f"{index}.png")
    return folder


def test_a_folder_per_class_is_a_data_set(tmp_path: Path) -> None:
    found = load_data(str(pictures(tmp_path / "data")))
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.test)) == (6, 2)
    assert sorted(found.test.labels.tolist()) == [0, 1]
    assert found.fingerprint == load_data(str(tmp_path / "data")).fingerprint


def test_a_folder_may_bring_its_own_test_images(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "train")
    pictures(tmp_path / "data" / "test", count=1)
    found = load_data(str(tmp_path / "data"))
    assert (len(found.train), len(found.test)) == (8, 2)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    (pictures(tmp_path / "data") / "emu").mkdir()
    with pytest.raises(BadInput, match="class 'emu' is empty"):
        load_data(str(tmp_path / "data"))


def test_a_truncated_image_is_named_before_any_work(tmp_path: Path) -> None:
    broken = pictures(tmp_path / "data") / "cat" / "2.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"cat/2\.png' cannot be read as an image"):
        load_data(str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "digits", "-o", "OUT"], "'digits' has 10 classes, the model's 'out' has shape [1, 5]"),
        (["--data", "nowhere", "-o", "OUT"], "'nowhere' is no folder and no data set; there are digits, mnist"),
        (["--data", "digits"], "-o is missing"),
        (["-o", "OUT"], "--data is missing"),
        (["--data", "digits", "-o", "OUT", "--with", "lr=0.1"], "no setting 'lr'; it takes optimizer, learning_rate"),
        (["--data", "digits", "-o", "OUT", "--with", "optimizer=lion"], "optimizer is 'sgd', 'adam' or 'adamw'"),
        (["--data", "digits", "-o", "OUT", "--batch", "5000"], "--batch is 5000, more than the 1438 images"),
        (["--data", "digits", "-o", "OUT", "--side", "jax"], "--side takes torch, paddle or both, found 'jax'"),
        (["--data", "digits", "-o", "OUT/deep/er"], "does not exist; make it first"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    out = str(tmp_path / "out")
    given = [argument.replace("OUT", out) for argument in arguments]
    extra = [] if "has 10 classes" in said else ["--set", "classes=10"]
    found = run(*TRAIN, *given, *extra, *([] if "--side" in given else ["--side", "torch"]))
    assert found.code == 2
    lines = [line for line in found.err.splitlines() if line.strip()]
    assert len(lines) == 1, found.err
    assert said in lines[0]


def test_another_training_is_neither_overwritten_nor_gone_on_with(run: Run, alone: list[Path]) -> None:
    arguments = ["--data", "digits", "--set", "classes=10", "--no-agree", "-o", str(alone[1])]
    before = kept(alone[1], "torch")
    again, other = run(*TRAIN, *arguments, "--epochs", "2"), run(*TRAIN, *arguments, "--epochs", "3", "--resume")
    assert "holds a training already; --resume goes on with it" in again.err
    assert "is another training: its steps is 180, asked for is 270" in other.err
    assert (again.code, other.code) == (2, 2)
    assert kept(alone[1], "torch") == before


def test_a_training_that_is_no_training_is_refused(run: Run, alone: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out" / "torch"
    out.mkdir(parents=True)
    (out / "training.safetensors").write_bytes((alone[0] / "start.safetensors").read_bytes())
    found = run(*TRAIN, "--data", "digits", "--set", "classes=10", "--side", "torch", "--resume", "-o", str(out.parent))
    assert found.code == 2
    assert "is no training that `portproof train` kept" in found.err
    run(*TRAIN, "--data", "digits", "-o", str(out.parent), "--report", "r.pdf").refused(2, ".html", "r.pdf")


def test_batches_depend_on_the_step_alone() -> None:
    data = load_data("digits")
    one, two = (Batches(data, (32, 32), 16, seed=3) for _ in range(2))
    one.at(0)
    assert one.at(200).checksum == two.at(200).checksum
    assert one.at(200).checksum != one.at(201).checksum
    assert Batches(data, (32, 32), 16, seed=4).at(200).checksum != one.at(200).checksum


def test_an_epoch_shows_every_image_once() -> None:
    data = load_data("digits")
    batches = Batches(data, (8, 8), 1, seed=0, augment=False)
    shown = sorted(int(batches._shuffled(5)[place]) for place in range(len(data.train)))
    assert shown == list(range(len(data.train)))


def test_a_cut_stays_inside_the_image() -> None:
    image = np.full((30, 50, 3), 200, np.uint8)
    for seed in range(50):
        assert (cut(image, (16, 16), np.random.default_rng(seed), mirror=True) == 200).all()


def test_the_mnist_subset_is_there() -> None:
    found = load_data("mnist")
    assert (len(found.train), len(found.test)) == (4000, 1000)
    assert found.train.image(0).shape == (28, 28, 3)


def test_help_loads_no_framework() -> None:
    code = "import sys; sys.argv=['portproof','train','--help']\nimport portproof.cli._app\ntry:\n portproof.cli._app.main()\nexcept SystemExit: pass\nprint(json.dumps([m for m in ('torch','paddle','numpy','PIL') if m in sys.modules]))"  # noqa: E501
    found = subprocess.run([sys.executable, "-c", f"import json\n{code}"], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(found.stdout.splitlines()[-1]) == []


def test_what_a_killed_run_left_in_memory_is_cleared_away_and_a_live_one_is_not(tmp_path: Path) -> None:
    import fcntl

    from portproof.sides._session import scratch_folder

    dead, live = tmp_path / "portproof-dead", tmp_path / "portproof-live"
    for folder in (dead, live):
        folder.mkdir()
        (folder / "in-use").touch()
    with (live / "in-use").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with scratch_folder(str(tmp_path)) as mine:
            assert not dead.exists()
            assert live.exists()
            with scratch_folder(str(tmp_path)):
                assert Path(mine).exists()
