"""Files from strangers: no code runs, no path leads out, memory stays within what docs/threat-model.md states."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from portproof import BadInput
from portproof._disk import read_json
from portproof.bench._html import page as bench_page
from portproof.bench._result import read_result
from portproof.graphs._interpret import Graph, load_graph
from portproof.ports._inputs import MOST_PIXELS, decode_photograph, read_photograph
from portproof.render._layout import page_file
from tests.conftest import Run

ROOT = Path(__file__).parents[1]
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&"


def graph(path: Path, nodes: Sequence[Any], tensors: Sequence[TensorProto] = ()) -> Path:
    """Write a graph that no builder would make."""
    x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "out"))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [out], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def elsewhere(location: str) -> TensorProto:
    """Return a tensor whose data lie in a file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


ADD = helper.make_node("Add", ["x", "w"], ["out"])
ROWS = {"x": np.zeros((2, 4), np.float32)}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder for the file, with something outside that it should not read."""
    np.arange(4, dtype=np.float32).tofile(tmp_path / "secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    return folder


@pytest.mark.parametrize("location", ["../secret", "{outside}/secret", "link", "../model/../secret", "", "."])
def test_external_data_stays_in_the_folder(secret: Path, run: Run, location: str) -> None:
    location = location.format(outside=secret.parent)
    in_graph = graph(secret / "a.onnx", [ADD], [elsewhere(location)])
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere(location))
    in_node = graph(secret / "b.onnx", [constant, ADD])
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
    branch = helper.make_node("If", ["c"], ["w2"], then_branch=inner, else_branch=inner)
    always = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    in_branch = graph(secret / "c.onnx", [branch, helper.make_node("Add", ["x", "w2"], ["out"])], [always])
    for file in (in_graph, in_node, in_branch):
        with pytest.raises(BadInput, match=r"no file of its folder|no sound ONNX graph"):
            load_graph(file)
    run("convert", in_graph, secret / "out.safetensors", "--port", "tests.small_ports:PICTURES").refused(2, "a.onnx")
    import onnxruntime

    for file in (in_graph, in_node, in_branch):
        with pytest.raises(Exception, match=r"(?i)external|invalid|directory"):
            onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def test_a_cycle_is_no_graph(tmp_path: Path, run: Run) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Relu", ["b"], ["out"])]  # fmt: skip
    file = graph(tmp_path / "cycle.onnx", nodes)
    with pytest.raises(BadInput, match="no sound ONNX graph"):
        load_graph(file)
    run("match", file, file, "--port", "tests.small_ports:PICTURES").refused(2, "cycle.onnx", "no sound ONNX graph")


def test_a_graph_that_calls_itself_ends(tmp_path: Path) -> None:
    file = graph(tmp_path / "self.onnx", [helper.make_node("F", ["x"], ["out"], domain="own")])
    proto = onnx.load(file)
    body = helper.make_function(
        "own", "F", ["x"], ["y"], [helper.make_node("F", ["x"], ["y"], domain="own")],
        [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
    )  # fmt: skip
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    file.write_bytes(proto.SerializeToString())
    said = bounded(f"""
        from pathlib import Path
        from portproof.graphs._interpret import Graph, load_graph
        import numpy as np
        Graph(load_graph(Path({str(file)!r}))).run({{"x": np.zeros((2, 4), np.float32)}})
    """)
    assert said.returncode != -11, said.stderr
    assert "PortproofError" in said.stdout, said.stdout + said.stderr


def bounded(code: str, memory: str = "2GB") -> subprocess.CompletedProcess[str]:
    """Run code in a process that may hold so much; prints the error's base class where it is one of ours."""
    import textwrap

    body = textwrap.indent(textwrap.dedent(code), "    ")
    script = (
        "from portproof._machine import bound_memory, peak_memory\n"
        "from portproof._errors import PortproofError, environmental\n"
        "bound_memory()\n"
        f"try:\n{body}\n"
        "except Exception as error:\n"
        "    found = error if isinstance(error, PortproofError) else environmental(error)\n"
        "    if found is None: raise\n"
        "    print('PortproofError', type(found).__name__, found)\n"
        "print('peak', peak_memory())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PORTPROOF_MEMORY": memory},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("size", [2**31, 2**36, 2**62])
def test_a_giant_shape_costs_no_more_than_the_bound(tmp_path: Path, size: int) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2, size])
    ones = helper.make_tensor("v", TensorProto.FLOAT, [1], [1])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"], value=ones),
        helper.make_node("ReduceMax", ["big"], ["most"]),
        helper.make_node("Add", ["x", "most"], ["out"]),
    ]  # fmt: skip
    file = graph(tmp_path / "giant.onnx", nodes, [shape])
    said = bounded(f"""
        from pathlib import Path
        from portproof.graphs._interpret import Graph, load_graph
        import numpy as np
        Graph(load_graph(Path({str(file)!r}))).run({{"x": np.zeros((2, 4), np.float32)}})
    """)
    assert "PortproofError" in said.stdout, said.stdout + said.stderr
    assert int(said.stdout.split("peak")[1]) < 3e9


def test_an_initialiser_that_is_less_than_it_declares(tmp_path: Path) -> None:
    short = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**40], raw_data=bytes(16))
    file = graph(tmp_path / "short.onnx", [ADD], [short])
    with pytest.raises(Exception, match=r".+") as raised:
        Graph(load_graph(file)).run(ROWS)
    assert type(raised.value).__name__ in ("BadInput", "Unavailable")


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a field of 2**63 bytes
        b"\x3a" * 4096,  # graphs within graphs
        b"".join(b"\x3a" + bytes([0x80 | (n & 127), n >> 7]) for n in range(9000, 0, -3)),
        b"\x0b" * 100_000,  # groups within groups, which have no end
        b"",
    ],
)
def test_protobuf_bombs(tmp_path: Path, run: Run, content: bytes) -> None:
    file = tmp_path / "bomb.onnx"
    file.write_bytes(content)
    run("match", file, file, "--port", "tests.small_ports:PICTURES").refused(2, "bomb.onnx")
    run("convert", file, tmp_path / "out.pdparams", "--port", "tests.small_ports:PICTURES").refused(2, "bomb.onnx")


def png(width: int, height: int, content: bytes) -> bytes:
    """Return a PNG that declares a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(60_000, 60_000, zlib.compress(bytes(10_000_000))))
    said = bounded(f"""
        from pathlib import Path
        from portproof.ports._inputs import read_photograph
        read_photograph(Path({str(bomb)!r}))
    """, "600MB")  # fmt: skip
    assert "PortproofError BadInput" in said.stdout, said.stdout + said.stderr
    assert int(said.stdout.split("peak")[1]) < 300e6
    with pytest.raises(BadInput, match="pixels"):
        decode_photograph(io.BytesIO(png(MOST_PIXELS, 2, b"")), "x")


def test_a_piece_that_says_it_has_gigabytes_is_not_asked_for(tmp_path: Path) -> None:
    picture = bytearray(png(32, 24, zlib.compress(bytes(24 * 97))))
    picture[33:37] = (2**31 - 1).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(picture)
    said = bounded(f"""
        from pathlib import Path
        from portproof.ports._inputs import read_photograph
        print(read_photograph(Path({str(tmp_path / "a.png")!r})).shape)
    """, "600MB")  # fmt: skip
    assert "OutOfMemory" not in said.stdout, said.stdout
    assert said.returncode == 0, said.stderr


def test_an_image_of_another_kind_is_none(tmp_path: Path) -> None:
    """Pillow would hand an EPS to Ghostscript, whatever the file is called."""
    file = tmp_path / "x.jpg"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(BadInput, match="cannot be read as an image"):
        read_photograph(file)
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "GIF")
    file.write_bytes(out.getvalue())
    with pytest.raises(BadInput, match="cannot be read as an image"):
        read_photograph(file)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, "9" * 10_000, '{"schema_version": NaN}', "null", "\0"]
)
def test_json_from_a_stranger(tmp_path: Path, run: Run, text: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(text)
    for command in (
        ("bench", "validate"),
        ("bench", "recommend"),
        ("bench", "report"),
        ("plan",),
        ("diff", file),
        ("history", tmp_path / "kept", "--revision", "r", "--add"),
    ):
        run(*command, file).refused(2, "result.json")


def test_json_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    with file.open("wb") as opened:
        opened.truncate(300 << 20)
    with pytest.raises(BadInput, match="300 MiB"):
        read_json(file, "no result")


def harmless(text: str) -> None:
    assert "<script" not in text.replace(f"<script>{page_file('script.js')}</script>", "")  # the page's own
    assert "<img src=x" not in text
    assert "&lt;script&gt;" in text


def test_a_page_of_bench_shows_scripts_as_text() -> None:
    found = read_result(next(iter(sorted((ROOT / "benchmarks" / "results").glob("*.json")))))
    rows = tuple(replace(row, title=SCRIPT, runner=SCRIPT) for row in found.rows)
    suite = replace(found.suite, port=SCRIPT)
    environment = {**found.environment, "processor": SCRIPT, "packages": {SCRIPT: SCRIPT}}
    harmless(bench_page(replace(found, rows=rows, suite=suite, environment=environment)))


def test_costs_from_a_stranger(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "costs.json"
    for document in ([], {"schema_version": 1}, {"schema_version": 1, "runners": {"a": -1}}, {"schema_version": 2}):
        file.write_text(json.dumps(document))
        run("plan", file).refused(2, "costs.json")


def test_a_member_of_a_shard_that_is_larger_than_any_picture(tmp_path: Path) -> None:
    """A header may declare 2^40 bytes: cut off it is no whole shard, and as a hole in the disk it is all there."""
    import tarfile

    from portproof.agree._images import Images, read_bytes

    member = tarfile.TarInfo("a.jpg")
    member.size = 2**40
    header = member.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "cut.tar").write_bytes(header + b"x" * 1024)
    with pytest.raises(BadInput, match=r"no whole tar file .*unexpected end"):
        list(Images(str(tmp_path / "cut.tar")))
    with (tmp_path / "hole.tar").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2**40 + 1024)
    (found,) = list(Images(str(tmp_path / "hole.tar")))
    with pytest.raises(BadInput, match="has 1099511627776 bytes in its shard; at most 300 MiB are read"):
        read_bytes(found)
