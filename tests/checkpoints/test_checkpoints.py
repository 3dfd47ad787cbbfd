"""Checkpoints: every format holds every dtype, files from strangers run no code and cost no memory, nothing is lost."""

import json
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from portproof import BadInput
from portproof._disk import atomic_path
from portproof.checkpoints import DTYPES, Stored, dtype_of, open_checkpoint, unheld, write_checkpoint
from portproof.checkpoints._pickle import LIMIT
from tests.fuzz_checkpoints import READERS, fuzz

#: Files that are written, and the side whose layouts they hold.
WRITTEN = {"x.pdparams": "paddle", "x.pt": "torch", "x.safetensors": "paddle", "x.safetensors.index.json": "torch"}


def write(path: Path, tensors: dict[str, np.ndarray[Any, Any]], **more: Any) -> Path:
    write_checkpoint(path, {n: Stored.of(a) for n, a in tensors.items()}, WRITTEN[f"x{''.join(path.suffixes)}"], **more)
    return path


# What is written is read, by us and by the frameworks ---------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_survives_every_format(tmp_path: Path, dtype: str, name: str) -> None:
    tensors = {
        "matrix": np.arange(6).reshape(2, 3).astype(dtype_of(dtype)), "scalar": np.array(1, dtype_of(dtype)),
        "empty": np.zeros((0, 4), dtype_of(dtype)), "long.name.of.a.tensor": np.ones(1000, dtype_of(dtype)),
    }  # fmt: skip
    if dtype in unheld(tmp_path / name):  # the framework's own tools make something else of it, in silence
        with pytest.raises(BadInput, match=f"cannot hold 'matrix', which is {dtype}"):
            write(tmp_path / name, tensors)
        assert list(tmp_path.iterdir()) == []
        return
    found = open_checkpoint(write(tmp_path / name, tensors, about={"source": "here"}))
    assert found.side == WRITTEN[name]
    assert found.about["source"] == "here"
    assert set(found.tensors) == set(tensors)
    for key, array in tensors.items():
        stored = found.tensors[key]
        assert (stored.dtype, stored.shape) == (array.dtype, array.shape)
        assert stored.read().tobytes() == array.tobytes()


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_signs_of_zeros_and_payloads_of_nans_survive(tmp_path: Path, dtype: str, name: str) -> None:
    size = dtype_of(dtype).itemsize
    bits = np.random.default_rng(0).integers(0, 256, 4096 * size, np.uint8).view(dtype_of(dtype))  # NaNs among them
    found = open_checkpoint(write(tmp_path / name, {"w": bits, "zero": -np.zeros(3, dtype_of(dtype))}))
    assert found.tensors["w"].read().tobytes() == bits.tobytes()
    assert np.signbit(found.tensors["zero"].read()).all()


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_tensors_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    tensors = {"b": np.ones(3), "a": np.arange(4, dtype=np.float32)}
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        write(folder / name, tensors)
        files.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert files[0] == files[1]


def test_torch_reads_what_is_written_and_its_own_files_are_read(tmp_path: Path) -> None:
    import torch

    tensors = {"w": np.random.default_rng(0).random((30, 40)), "h": np.arange(3).astype(ml_dtypes.bfloat16)}
    file = write(tmp_path / "x.pt", tensors)
    for options in ({}, {"mmap": True}):
        state = torch.load(file, weights_only=True, **options)
        np.testing.assert_array_equal(state["w"].numpy(), tensors["w"])
        assert state["h"].dtype == torch.bfloat16
    net = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.BatchNorm1d(20))
    state = {**net.state_dict(), "turned": torch.arange(12.0).reshape(3, 4).t(), "part": torch.arange(9)[2:5]}
    contents = (state, {"state_dict": state, "epoch": 3}, {"model": state}, {"w": torch.nn.Parameter(torch.ones(2))})
    for content in contents:
        for zipped in (True, False):
            torch.save(content, tmp_path / "own.pth", _use_new_zipfile_serialization=zipped)
            found = open_checkpoint(tmp_path / "own.pth")
            expected = next((content[key] for key in ("state_dict", "model") if key in content), content)
            assert set(found.tensors) == set(expected)
            for name, tensor in expected.items():
                np.testing.assert_array_equal(found.tensors[name].read(), tensor.detach().numpy())


def test_paddle_reads_what_is_written_and_its_own_files_are_read(tmp_path: Path) -> None:
    import paddle

    tensors = {"w": np.random.default_rng(0).random((30, 40)), "h": np.arange(3).astype(ml_dtypes.bfloat16)}
    state = paddle.load(str(write(tmp_path / "x.pdparams", tensors, about={"source": "here"})))
    np.testing.assert_array_equal(state["w"].numpy(), tensors["w"])
    assert state["h"].dtype == paddle.bfloat16
    layer = paddle.nn.Sequential(paddle.nn.Linear(30, 20), paddle.nn.Linear(20, 3))
    layer[1].to(dtype="bfloat16")
    for protocol in (2, 3, 4):
        paddle.save(layer.state_dict(), str(tmp_path / "own.pdparams"), protocol=protocol)
        found = open_checkpoint(tmp_path / "own.pdparams")
        assert found.tensors["1.weight"].dtype.name == "bfloat16"
        for name, tensor in layer.state_dict().items():
            assert found.tensors[name].read().tobytes() == tensor.numpy().tobytes()


def test_the_initialisers_of_an_onnx_file_are_read_inside_it_and_beside_it(tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    w, h = np.arange(600, dtype=np.float32).reshape(20, 30), np.arange(4, dtype=np.float16)
    initialisers = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(h, "h")]
    model = helper.make_model(helper.make_graph([], "g", [], [], initialisers))
    onnx.save(model, tmp_path / "one.onnx")
    onnx.save(model, tmp_path / "two.onnx", save_as_external_data=True, location="two.bin", size_threshold=0)
    for name in ("one.onnx", "two.onnx"):
        found = open_checkpoint(tmp_path / name)
        np.testing.assert_array_equal(found.tensors["w"].read(), w)
        np.testing.assert_array_equal(found.tensors["h"].read(), h)
        assert found.side is None
    moved = onnx.load(tmp_path / "two.onnx", load_external_data=False)
    for entry in moved.graph.initializer[0].external_data:
        entry.value = "../../etc/passwd" if entry.key == "location" else entry.value
    onnx.save(moved, tmp_path / "three.onnx")
    with pytest.raises(BadInput, match="no file of its folder"):
        open_checkpoint(tmp_path / "three.onnx")


def test_a_checkpoint_of_several_files_is_one(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": np.full(100, i, np.float32) for i in range(5)}
    index = write(tmp_path / "m.safetensors.index.json", tensors, shard=900)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "m-00001-of-00003.safetensors", "m-00002-of-00003.safetensors", "m-00003-of-00003.safetensors", index.name,
    ]  # fmt: skip
    document = json.loads(index.read_text())
    assert document["metadata"]["total_size"] == 2000
    assert open_checkpoint(index).tensors["layer.4"].read()[0] == 4
    for placed, words in (
        ({**document["weight_map"], "layer.0": "../m-00001-of-00003.safetensors"}, "files lie beside the index"),
        ({**document["weight_map"], "layer.0": "other.safetensors"}, "is missing"),
        ({**document["weight_map"], "layer.9": "m-00001-of-00003.safetensors"}, "does not hold 'layer.9'"),
        ({k: v for k, v in document["weight_map"].items() if k != "layer.0"}, "not in its weight_map"),
        ([], "no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": placed}))
        with pytest.raises(BadInput, match=words):
            open_checkpoint(index)


# Files from strangers -----------------------------------------------------------------------------------------------


class Evil:
    """Unpickling this runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["pdparams", "zip", "legacy"])
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    import torch

    mark = tmp_path / "ran"
    file = tmp_path / ("evil.pdparams" if kind == "pdparams" else "evil.pt")
    if kind == "pdparams":
        file.write_bytes(pickle.dumps({"w": Evil(mark)}))
    else:
        torch.save({"w": Evil(mark)}, file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(BadInput, match=r"asks for '(posix|nt)\.system'; weights need arrays only"):
        open_checkpoint(file)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["numpy.load", "builtins.eval", "builtins.getattr", "torch.load", "numpy.memmap"])
def test_nothing_but_arrays_is_admitted(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    file = tmp_path / "x.pdparams"
    file.write_bytes(f"c{module}\n{attribute}\n(S'x'\ntR.".encode())
    with pytest.raises(BadInput, match="nothing in the file is run"):
        open_checkpoint(file)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"w": "text"}, {1: np.zeros(2)}, {"w": np.array([None])}, {}, {"w": np.zeros(2, ">f4")},
     {"w": np.zeros(2, "f4,f4")}, {"w": np.zeros(2, "m8[s]")}, {"w": np.array(["a"])}],
)  # fmt: skip
def test_what_is_no_dictionary_of_plain_arrays_is_refused(tmp_path: Path, content: object) -> None:
    file = tmp_path / "x.pdparams"
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(BadInput):
        open_checkpoint(file)


def _pickled(body: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + body + pickle.STOP


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (_pickled(pickle.NONE * (LIMIT + 9)), "more than 8 MiB beside its tensors"),
        (_pickled(pickle.EMPTY_LIST * LIMIT), "makes more than 32 times of its own size"),
        (_pickled(pickle.BINUNICODE8 + struct.pack("<Q", 2**60)), "cut short"),
        (_pickled(pickle.BINBYTES8 + struct.pack("<Q", 2**60)), "cut short"),
        (_pickled(pickle.LONG4 + struct.pack("<i", 2**31 - 1)), "more than 8 MiB"),
        (_pickled(pickle.EMPTY_LIST + pickle.EMPTY_DICT + pickle.BUILD), "gives a state to a list"),
    ],
)
def test_a_pickle_cannot_fill_memory(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "x.pdparams"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        open_checkpoint(file)


def test_tensors_that_would_grow_when_read_are_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.zeros(1).expand(100_000, 100_000)}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match="elements over 1; save a copy"):
        open_checkpoint(tmp_path / "x.pt")


def test_an_archive_that_is_none_of_torch_s_is_refused(tmp_path: Path) -> None:
    import torch

    def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(tmp_path / "x.pt", "w", compression) as made:
            for name, content in members.items():
                made.writestr(name, content)
        return tmp_path / "x.pt"

    for words, members, compression in (
        ("is packed", {"a/data.pkl": pickle.dumps({"a": 1}, 2) * 9}, zipfile.ZIP_DEFLATED),
        ("without a data.pkl", {"a/b": b""}, zipfile.ZIP_STORED),
        ("TorchScript archive of something that is no module", {"a/data.pkl": b"N.", "a/code/x": b""}, 0),
        ("lie in 2 folders", {"a/data.pkl": b"", "b/data.pkl": b""}, zipfile.ZIP_STORED),
        ("'a/Data.pkl' twice", {"a/data.pkl": b"", "a/Data.pkl": b""}, zipfile.ZIP_STORED),
        ("big-endian", {"a/data.pkl": b"", "a/byteorder": b"big"}, zipfile.ZIP_STORED),
    ):
        with pytest.raises(BadInput, match=words):
            open_checkpoint(archive(members, compression))
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    torch.jit.save(torch.jit.script(net), str(tmp_path / "script.pt"))
    found = open_checkpoint(tmp_path / "script.pt")
    assert {name: stored.read().tolist() for name, stored in found.tensors.items()} == {
        name: tensor.tolist() for name, tensor in net.state_dict().items()
    }
    assert found.said == ("tensors of a TorchScript archive, whose code was not run",)


def _safetensors(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((2**60).to_bytes(8, "little") + b"{}", "more than the file has"),
        (b"abc", "more than the file has"),
        (_safetensors([], b""), "no object"),
        (_safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"), "cut short"),
        (_safetensors({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"12345678"), "needs 12 bytes"),
        (_safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"), "between them"),
        (_safetensors({n: {"dtype": "I8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"}, b"1234"), "overlap"),
        (_safetensors({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"1"), "is none of F64"),
        (_safetensors({"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, b"12345678"), "is none of"),
        (_safetensors({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"), "is none of"),
    ],
)
def test_a_safetensors_file_is_what_its_header_says(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=words):
        open_checkpoint(file)


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_refused_or_read_and_nothing_else(tmp_path: Path, reader: str) -> None:
    found = fuzz(reader, 500, tmp_path, seed=0)
    assert found.refused > 100
    assert found.failures == []


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_a_hundred_thousand_damaged_files(tmp_path: Path, reader: str) -> None:
    found = fuzz(reader, 100_000, tmp_path, seed=1)
    assert found.failures == []


# Nothing is lost, nothing is held -----------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_text("old")

    def fail() -> np.ndarray[Any, Any]:
        raise RuntimeError("half way")

    tensors = {"a": Stored.of(np.ones(9)), "b": Stored(np.dtype("float64"), (9,), fail)}
    for name in ("x.safetensors", "x.pt", "x.pdparams"):
        (tmp_path / name).write_text("old")
        with pytest.raises(RuntimeError, match="half way"):
            write_checkpoint(tmp_path / name, tensors, "paddle" if name.endswith("params") else "torch")
        assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_path(file) as temporary:
        temporary.write_text("new")
    assert file.read_text() == "new"


def test_reading_and_writing_load_no_framework(tmp_path: Path) -> None:
    write(tmp_path / "x.pt", {"w": np.ones(3)})
    code = (
        "import sys; from pathlib import Path; from portproof.checkpoints import *; "
        f"c = open_checkpoint(Path({str(tmp_path / 'x.pt')!r})); "
        f"write_checkpoint(Path({str(tmp_path / 'y.safetensors')!r}), c.tensors, 'torch'); "
        "assert not {'torch', 'paddle', 'onnx'} & set(sys.modules), 'a framework was loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["x.pt", "x.pdparams", "x.safetensors"])
def test_memory_stays_near_the_largest_tensor(tmp_path: Path, name: str) -> None:
    big = np.zeros((1000, 5000), np.float32)  # 20 MB, 20 of them
    source = write(tmp_path / name, {f"w{i}": big for i in range(20)})
    code = (
        "from pathlib import Path; from portproof.checkpoints import *; import ml_dtypes; "
        "from portproof._machine import peak_memory; before = peak_memory(); "
        f"c = open_checkpoint(Path({str(source)!r})); "
        f"write_checkpoint(Path({str(tmp_path / 'y.safetensors')!r}), c.tensors, 'torch'); "
        "print(peak_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    grown = int(done.stdout)
    assert grown < 3 * big.nbytes, f"{grown / 1e6:.0f} MB for tensors of {big.nbytes / 1e6:.0f} MB"


@pytest.mark.parametrize("file", ["x.pt", "x.pdparams", "x.safetensors", "x.npz", "x.onnx"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "is a pointer of Git LFS"),
        ("\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    ],
)
def test_what_stands_in_a_file_s_place_is_named(tmp_path: Path, file: str, content: str, said: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(BadInput, match=said):
        open_checkpoint(tmp_path / file)


def test_a_graph_that_is_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    from portproof.graphs._interpret import load_graph

    (tmp_path / "x.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BadInput, match="is a pointer of Git LFS"):
        load_graph(tmp_path / "x.onnx")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # what older versions wrote is still about
def test_quantised_weights_are_told_what_to_do(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match="quantised weights"):
        open_checkpoint(tmp_path / "x.pt")
