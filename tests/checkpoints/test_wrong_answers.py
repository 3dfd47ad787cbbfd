"""Honest files whose weights could come out other than they are, in silence; each was wrong once, or may be."""

import io
import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portproof import BadInput
from portproof.checkpoints import Stored, open_checkpoint, write_checkpoint


def test_torch_s_negative_and_conjugate_bits_are_applied(tmp_path: Path) -> None:
    import torch

    x = torch.complex(torch.tensor([1.0, -2.0, 0.0]), torch.tensor([3.0, -0.0, 5.0]))
    state = {
        "negative": x.conj().imag,
        "conjugate": x.conj(),
        "both": torch._neg_view(x.conj()),
        "plain": torch.ones(2),
    }
    assert state["negative"].is_neg()
    assert state["conjugate"].is_conj()
    for zipped in (True, False):
        for name, tensor in state.items():
            torch.save({name: tensor}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
            found = open_checkpoint(tmp_path / "x.pt").tensors[name].read()
            expected = torch.load(tmp_path / "x.pt", weights_only=True)[name].resolve_neg().resolve_conj().numpy()
            assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "metadata", [{"neg": 1}, {"scale": 2.0}, {"conj": True}, {"neg": True, "x": False}, [1], "neg"]
)
def test_metadata_that_are_not_known_are_refused(tmp_path: Path, metadata: Any) -> None:
    import torch

    torch.save({"w": torch.ones(2)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    index = members["whole/data.pkl"]
    at = index.rindex(pickle.REDUCE) - 3  # the tensor's arguments end with the hooks; metadata follow them
    assert index[at : at + 1] == pickle.TUPLE, index
    changed = index[:at] + pickle.dumps(metadata, 2)[2:-1].replace(b"q\x00", b"") + index[at:]
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name, content in {**members, "whole/data.pkl": changed}.items():
            archive.writestr(name, content)
    with pytest.raises(BadInput, match=r"metadata that are not known|negated or conjugated"):
        open_checkpoint(tmp_path / "x.pt")


def _members(path: Path, *members: tuple[str, bytes]) -> Path:
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w") as archive:  # "Duplicate name"
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def test_members_that_stand_twice_are_refused(tmp_path: Path) -> None:
    """PyTorch takes the first of two, Python's zipfile the last."""
    import torch

    torch.save({"w": torch.zeros(4)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    other = np.ones(4, np.float32).tobytes()
    for name, words in (
        ("whole/data/0", "'whole/data/0' twice"), ("whole/DATA/0", "'whole/DATA/0' twice"),
        ("other/data/0", "lie in 2 folders"), ("data/0", "lie in 2 folders"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            open_checkpoint(_members(tmp_path / "x.pt", *members, (name, other)))
    assert open_checkpoint(_members(tmp_path / "x.pt", *members)).tensors["w"].read().tolist() == [0.0] * 4


def test_a_member_of_two_names_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.zeros(4), "b": torch.ones(4)}, tmp_path / "x.pt")
    content = (tmp_path / "x.pt").read_bytes()
    first = content.index(b"x/data/1")
    (tmp_path / "x.pt").write_bytes(content[:first] + b"x/data/0" + content[first + 8 :])
    with pytest.raises(BadInput, match="has two names"):
        open_checkpoint(tmp_path / "x.pt")


def test_a_name_that_stands_twice_is_refused_in_every_format(tmp_path: Path) -> None:
    import onnx
    from onnx import helper, numpy_helper

    header = (
        b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
    )
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"12")
    initialisers = [numpy_helper.from_array(np.full(2, i, np.float32), "w") for i in range(2)]
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], initialisers)), tmp_path / "x.onnx")
    buffer = io.BytesIO()
    np.save(buffer, np.ones(2))
    _members(tmp_path / "x.npz", ("w.npy", buffer.getvalue()), ("w.npy", buffer.getvalue()))
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": np.ones(2), b"w": np.zeros(2)}))
    for name in ("x.safetensors", "x.onnx", "x.npz", "x.pdparams"):
        with pytest.raises(BadInput, match="twice"):
            open_checkpoint(tmp_path / name)


def test_numpy_s_uint16_is_bfloat16_in_paddle_s_files_alone(tmp_path: Path) -> None:
    import torch

    numbers = np.arange(300, dtype=np.uint16)
    torch.save({"w": numbers}, tmp_path / "x.pt")
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": numbers}))
    np.savez(tmp_path / "x.npz", w=numbers)
    for name, dtype in (("x.pt", "uint16"), ("x.npz", "uint16"), ("x.pdparams", "bfloat16")):
        found = open_checkpoint(tmp_path / name).tensors["w"]
        assert (found.dtype.name, found.read().tobytes()) == (dtype, numbers.tobytes())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_any_length_and_protocol_lie_where_they_are_read(tmp_path: Path, protocol: int) -> None:
    """In a .pt they lie in a member of an archive; protocol 2 writes them as a text."""
    import torch

    rng = np.random.default_rng(0)
    arrays = {f"w{size}": rng.integers(0, 256, size, np.uint8) for size in (1, 255, 256, 4095, 4096, 100_000)}
    arrays["columns"] = np.asfortranarray(rng.random((70, 80)))
    torch.save(arrays, tmp_path / "x.pt", pickle_protocol=protocol)
    torch.save(arrays, tmp_path / "y.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps(arrays, protocol))
    for name in ("x.pt", "y.pth", "x.pdparams"):
        for key, stored in open_checkpoint(tmp_path / name).tensors.items():
            np.testing.assert_array_equal(stored.read(), arrays[key])


@pytest.mark.parametrize("text", ["é" * 3000 + "Ā" * 2000, "\x7f" * 4000 + "\U0001f600" * 500])
def test_a_text_that_stands_for_no_bytes_is_refused(tmp_path: Path, text: str) -> None:
    size = len(text)
    made = pickle.dumps({"w": np.zeros(size, np.uint8)}, 2)
    was, now = ("\0" * size).encode(), text.encode()
    assert struct.pack("<I", len(was)) + was in made
    (tmp_path / "x.pdparams").write_bytes(
        made.replace(struct.pack("<I", len(was)) + was, struct.pack("<I", len(now)) + now)
    )
    with pytest.raises(BadInput, match=r"needs \d+ bytes|stands for no bytes"):
        open_checkpoint(tmp_path / "x.pdparams").tensors["w"].read()


def test_one_storage_as_two_kinds_of_numbers_is_refused(tmp_path: Path) -> None:
    import torch

    torch.save({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int32)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    changed = [
        (n, c.replace(b"X\x01\x00\x00\x001", b"X\x01\x00\x00\x000") if n.endswith("pkl") else c) for n, c in members
    ]
    with pytest.raises(BadInput, match="storage '0' as two kinds of numbers"):
        open_checkpoint(_members(tmp_path / "x.pt", *changed))


def test_a_tensor_of_a_stranger_s_class_is_no_plain_one(tmp_path: Path) -> None:
    import torch

    class Scaled(torch.Tensor):
        pass

    globals()["Scaled"] = Scaled
    Scaled.__qualname__ = "Scaled"
    torch.save({"w": torch.ones(2).as_subclass(Scaled)}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match=r"a tensor of the class tests\.checkpoints\.test_wrong_answers\.Scaled"):
        open_checkpoint(tmp_path / "x.pt")
    attributed = torch.ones(2)
    attributed.note = "mine"  # type: ignore[attr-defined]
    torch.save({"w": attributed, "p": torch.nn.Parameter(torch.ones(1))}, tmp_path / "x.pt")
    assert set(open_checkpoint(tmp_path / "x.pt").tensors) == {"w", "p"}


def test_files_of_one_index_agree_with_it(tmp_path: Path) -> None:
    tensors = {name: Stored.of(np.ones(3)) for name in "ab"}
    write_checkpoint(tmp_path / "m.safetensors.index.json", tensors, "torch", shard=8)
    index = json.loads((tmp_path / "m.safetensors.index.json").read_text())
    (tmp_path / index["weight_map"]["b"]).unlink()
    with pytest.raises(BadInput, match=r"its file 'm-00002-of-00002.safetensors' is missing"):
        open_checkpoint(tmp_path / "m.safetensors.index.json")
