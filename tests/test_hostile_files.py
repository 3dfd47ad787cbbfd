"""Checkpoints from strangers run no code, and damaged ones lose nothing."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof import BadInput
from portproof._atomic import atomic_path
from portproof._checkpoint import read_checkpoint, write_checkpoint


class Evil:
    """Unpickling this runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    file, mark = tmp_path / "evil.pdparams", tmp_path / "ran"
    file.write_bytes(pickle.dumps({"w": Evil(mark)}))
    with pytest.raises(BadInput, match="system"):
        read_checkpoint(file)
    assert not mark.exists()


def test_a_torch_file_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    import torch

    file, mark = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"w": Evil(mark)}, file)
    with pytest.raises(BadInput, match="is not a PyTorch checkpoint"):
        read_checkpoint(file)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["numpy.load", "builtins.eval", "numpy.ctypeslib.load_library"])
def test_nothing_but_arrays_is_admitted(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    file = tmp_path / "x.pdparams"
    file.write_bytes(f"c{module}\n{attribute}\n(S'x'\ntR.".encode())
    with pytest.raises(BadInput, match="nothing in the file is run"):
        read_checkpoint(file)


@pytest.mark.parametrize("content", [[1, 2], {"w": "text"}, {1: np.zeros(2)}, {"w": np.array([None])}, {}])
def test_what_is_no_dictionary_of_arrays_is_refused(tmp_path: Path, content: object) -> None:
    file = tmp_path / "x.pdparams"
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(BadInput):
        read_checkpoint(file)


def test_a_header_that_declares_more_than_the_file_has(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(BadInput, match="more than the file has"):
        read_checkpoint(file)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("suffix", [".pdparams", ".pt", ".safetensors"])
def test_every_dtype_survives_every_format(tmp_path: Path, dtype: str, suffix: str) -> None:
    tensors = {"w": np.arange(6).reshape(2, 3).astype(dtype), "scalar": np.array(1, dtype)}
    side = "torch" if suffix == ".pt" else "paddle"
    file = tmp_path / f"x{suffix}"
    write_checkpoint(file, tensors, side)
    found = read_checkpoint(file)
    assert found.side == side
    for name, array in tensors.items():
        assert found.tensors[name].dtype == array.dtype
        assert found.tensors[name].shape == array.shape
        np.testing.assert_array_equal(found.tensors[name], array)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_text("old")
    with atomic_path(file) as temporary:
        temporary.write_text("new")
    assert file.read_text() == "new"

    def fail() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]
