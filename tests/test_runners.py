"""Runners: one that somebody else registers runs on the weights under judgement."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from portproof import BadInput, runners
from portproof._tasks import Tasks
from portproof.runners import RunnerInfo, find_runner
from portproof.runners._eager import Eager
from tests import small_ports


class Foreign(Eager):
    """A runner of the framework's model that is not the engine's own."""


FOREIGN = RunnerInfo("torch-foreign", "torch", "foreign", "tests.test_runners:Foreign", ("torch",), "torch")


def test_a_foreign_runner_of_the_model_runs_on_the_weights_that_were_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "_OWN", (*runners._OWN, FOREIGN))
    tasks = Tasks(small_ports.MLP, "torch")
    inputs, weights = str(tmp_path / "inputs.safetensors"), str(tmp_path / "weights.safetensors")
    save_file({"x": np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)}, inputs)
    tasks.sensitise(inputs, weights, seed=3)
    tasks.load(weights)
    found = []
    for runner in ("torch-eager", "torch-foreign"):
        tasks.capture(runner, inputs, str(tmp_path / runner), ["float32"], {"inputs": "", "weights": ""})
        found.append(load_file(tmp_path / runner / "float32.safetensors")["out"])
    np.testing.assert_array_equal(*found)
    tasks.close()


def test_a_name_that_nobody_registered_is_refused() -> None:
    with pytest.raises(BadInput, match="no runner 'torch-foreign'"):
        find_runner("torch-foreign")
