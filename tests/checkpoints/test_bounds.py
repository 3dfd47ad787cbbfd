"""Small files that would hang, kill or swamp a reader: each is refused in a moment, with little memory."""

import json
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from portproof import BadInput
from portproof.checkpoints import open_checkpoint
from tests.conftest import Run
from tests.fuzz_checkpoints import _limited

_SECONDS = 2
_DOUBLED = b"(tp0\n" + b"".join(b"0g%d\ng%d\n\x86p%d\n" % (i, i, i + 1) for i in range(27))  # t = (t, t), 27 times


def _pickled(body: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + body + pickle.STOP


def _key(key: bytes) -> bytes:
    return _pickled(b"}" + key + b"K\x01s")


def _named(name: bytes, arguments: bytes) -> bytes:
    return b"c" + name + b"\n" + arguments + b"R"


def _array(shape: bytes) -> bytes:
    made = _named(b"numpy.core.multiarray\n_reconstruct", b"(cnumpy\nndarray\nK\x00\x85C\x01bt")
    dtype = _named(b"numpy\ndtype", b"(X\x02\x00\x00\x00f4\x89\x88t")
    return made + b"(K\x01" + shape + dtype + b"\x89C\x04\0\0\0\0tb"


#: What a review reported, and its kin. The text of a name, a shape or an argument is what makes it grow.
PICKLES: dict[str, tuple[bytes, str]] = {
    "a key of tuples that double": (_key(_DOUBLED), "no flat value"),
    "a key of 200,000 nested tuples": (_key(b"N" + b"\x85" * 200_000), "no flat value|times of its own size"),
    "a key of nested lists": (_key(b"]" * 50_000 + b"a" * 49_999), "no flat value|times of its own size"),
    "a member of a set of tuples that double": (_pickled(b"\x8f(" + _DOUBLED + b"\x90"), "found a list"),
    "sets without end": (_pickled(pickle.EMPTY_SET * 4_000_000), "times of its own size"),
    "memoised dictionaries without end": (_pickled(b"}\x94" * 2_000_000), "times of its own size"),
    "marks without end": (_pickled(pickle.MARK * 4_000_000), "times of its own size"),
    "names without end": (_pickled(b"".join(b"ca\nb%d\n" % i for i in range(400_000))), "times of its own size"),
    "a text that is encoded again and again": (
        _pickled(
            b"X\x80\x0e\x00\x00" + b"x" * 3712 + b"\x940c_codecs\nencode\n\x940" + b"h\x01h\x00\x85R" * 1_000_000
        ),
        "times of its own size",
    ),
    "a dictionary that is copied again and again": (
        _pickled(
            b"](" + b"".join(b"(K%cK\x01l" % (i % 256) for i in range(20_000)) + b"e\x940"
            b"ccollections\nOrderedDict\n\x940" + b"h\x01h\x00\x85R" * 500_000
        ),
        "times of its own size",
    ),
    "a size that is copied again and again": (
        _pickled(
            b"](" + b"K\x01" * 20_000 + b"e\x940cbuiltins\ntuple\n\x940" + b"h\x01h\x00\x85R" * 500_000
        ),
        "times of its own size",
    ),
    "a name of 5,000 letters": (_key(b"X\x88\x13\x00\x00" + b"x" * 5000), "a Text and no flat value"),
    "a name of 4,090 bytes and a long number": (_key(b"\x8b\xf0\x0f\x00\x00" + b"\x7f" * 4080), "no flat value"),
    "a shape of tuples that double": (_pickled(b"}X\x01\0\0\0w" + _array(_DOUBLED) + b"s"), "a tensor of shape"),
    "a shape of 1,000 dimensions": (
        _pickled(b"}X\x01\0\0\0w" + _array(b"(" + b"K\x01" * 1000 + b"t") + b"s"), "1000 dimensions",
    ),
    "a shape of 2^40 and nothing": (
        _pickled(b"}X\x01\0\0\0w" + _array(b"K\x00" + b"\x8a\x06\0\0\0\0\0\x01" * 2 + b"\x87") + b"s"), "of shape",
    ),
    "a dtype of tuples that double": (_pickled(_named(b"numpy\ndtype", _DOUBLED + b"\x85")), "expected tensors"),
    "a dictionary inside itself": (_pickled(b"}\x94X\x01\0\0\0ah\0s"), "no tensors"),
    "a list of itself, again and again": (_pickled(b"]\x94(" + b"h\x00" * 200_000 + b"e"), "inside each other"),
    "a call of what is no name": (_pickled(b"K\x01K\x02\x85R"), "it calls 1"),
    "a storage of tuples that double": (_pickled(_DOUBLED + b"Q"), "storage"),
    "a state of tuples that double": (_pickled(b"]" + _DOUBLED + b"b"), "gives a state to a list"),
    "a whole of tuples that double": (_pickled(_DOUBLED), "found a tuple"),
}  # fmt: skip


@pytest.mark.parametrize("what", PICKLES)
@pytest.mark.parametrize("suffix", [".pdparams", ".ckpt", ".pt"])
def test_a_pickle_is_refused_in_a_moment(tmp_path: Path, what: str, suffix: str) -> None:
    content, words = PICKLES[what]
    file = tmp_path / f"x{suffix}"
    if suffix == ".pt":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x/data.pkl", content)
    else:
        file.write_bytes(content)
    begun = time.process_time()
    with _limited(), pytest.raises(BadInput, match=words) as told:
        open_checkpoint(file)
    assert time.process_time() - begun < _SECONDS
    assert len(str(told.value)) < 600


def test_what_a_state_of_an_optimiser_holds_beside_tensors_is_bounded(tmp_path: Path) -> None:
    from portproof.convert._optimiser import _read

    for body in (_DOUBLED, b"N" + b"\x85" * 50_000):
        (tmp_path / "x.pdopt").write_bytes(_pickled(b"}X\x01\0\0\0w" + body + b"s"))
        with _limited(), pytest.raises(BadInput):
            _read(tmp_path / "x.pdopt")


def _script(depth: int) -> bytes:
    """Return a TorchScript module whose every level names the next one twice."""
    body = b"c__torch__\nM\n)\x81}X\x01\0\0\0wNsb\x940"
    for level in range(depth):
        body += b"c__torch__\nM\n)\x81}(X\x01\0\0\0ah%cX\x01\0\0\0bh%cub\x940" % (level, level)
    return _pickled(body + b"h%c" % depth)


def _header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _zip(members: dict[str, bytes]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return write


_THOUSAND = {"dtype": "U8", "shape": [1] * 1000, "data_offsets": [0, 1]}


def _npz(descr: str, shape: str) -> Callable[[Path], None]:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return _zip({"w.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header})


FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "modules that name each other": (
        "x.pt", _zip({"x/data.pkl": _script(40), "x/constants.pkl": b"", "x/code/a.py": b""}), "over and over",
    ),
    "a header that nests": ("x.safetensors", lambda f: f.write_bytes(_header(b"[" * 900_000)), "recursion|Recursion"),
    "a header of 1,000 dimensions": (
        "x.safetensors",
        lambda f: f.write_bytes(_header(json.dumps({"w": _THOUSAND}).encode()) + b"1"),
        "1000 dimensions",
    ),
    "an array of tuples": ("x.npz", _npz("<f4", "(" * 60), "x.npz"),
    "an array of 2^60": ("x.npz", _npz("<f4", f"({2**60},)"), "of shape"),
    "a header of 4 GiB": ("x.npz", _zip({"w.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}"}), "EOF|expected"),
    "an array of objects": ("x.npz", _npz("|O", "(1,)"), "expected plain numbers"),
    "a program that nests": ("x.json", lambda f: f.write_bytes(b"[" * 900_000), "ecursion"),
    "a program without parameters": ("y.pdmodel", lambda f: f.write_bytes(b"\x0a\xff\xff\xff\xff\xff\x0f"), "missing"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_a_file_is_refused_in_a_moment(tmp_path: Path, what: str) -> None:
    name, write, words = FILES[what]
    write(tmp_path / name)
    if name == "x.json":
        (tmp_path / "x.pdiparams").write_bytes(b"")
    begun = time.process_time()
    with _limited(), pytest.raises(BadInput, match=words):
        open_checkpoint(tmp_path / name)
    assert time.process_time() - begun < _SECONDS


@pytest.mark.slow
def test_an_honest_file_of_50_000_tensors_stays_within_the_bounds(tmp_path: Path) -> None:
    import torch

    state = {f"layers.{i}.weight": torch.ones(()) for i in range(50_000)}
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert len(open_checkpoint(tmp_path / "x.pt").tensors) == 50_000
    arrays = {f"layers.{i}.weight": np.ones(1, np.float32) for i in range(30_000)}
    for protocol in (2, 4):
        (tmp_path / "x.pdparams").write_bytes(pickle.dumps(arrays, protocol))
        assert len(open_checkpoint(tmp_path / "x.pdparams").tensors) == 30_000


def test_a_map_or_a_checkpoint_of_a_command_is_refused_in_one_line(project: Path, run: Run) -> None:
    Path("x.pdparams").write_bytes(PICKLES["a key of tuples that double"][0])
    run("convert", "x.pdparams", "y.pt").refused(2, "'x.pdparams' was refused", "no flat value")
    run("verify", "--quick", "--weights", "x.pdparams").refused(2, "'x.pdparams' was refused")
