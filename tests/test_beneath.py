"""What a document names is opened beneath the document's folder, and nowhere else: whatever links lead to."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from portproof import BadInput, _disk
from portproof.agree._images import Images, read_bytes
from portproof.checkpoints import open_checkpoint
from portproof.graphs._interpret import Graph, load_graph
from tests.conftest import Run
from tests.test_hostile import ROWS, elsewhere, graph

OUTSIDE = (
    "../secret", "{outside}/secret", "link", "../model/../secret", "sub/../../secret", "", ".", "a\0b", "x" * 5000,
    "loop", "pipe", "nowhere",
)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of a stranger's, with links and a pipe, and beside it what none of its documents may read."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    np.arange(4, dtype=np.float32).tofile(tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    np.full(4, 7, np.float32).tofile(folder / "sub" / "data")
    (folder / "inner").symlink_to("sub/data")
    return folder


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_or_nowhere(model: Path, name: str) -> None:
    with pytest.raises(BadInput, match="no file of its folder") as refused:
        _disk.beneath(model / "document", name.format(outside=model.parent))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_names_that_stay_inside(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sub/data", "inner", "./sub/data"):
        assert _disk.beneath(model / "document", name).read_bytes() == np.full(4, 7, np.float32).tobytes()
    monkeypatch.chdir(model / "sub")
    assert _disk.beneath(Path("document"), "data") == model / "sub" / "data"


def in_function(path: Path, location: str) -> Path:
    """Write a graph whose function's body has a constant with external data."""
    file = graph(path, [helper.make_node("F", ["x"], ["out"], domain="own")])
    proto = onnx.load(file)
    body = [
        helper.make_node("Constant", [], ["w"], value=elsewhere(location)),
        helper.make_node("Add", ["a", "w"], ["y"]),
    ]
    proto.functions.append(helper.make_function("own", "F", ["a"], ["y"], body, [helper.make_opsetid("", 17)]))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    file.write_bytes(proto.SerializeToString())
    return file


def sparse(path: Path, location: str) -> Path:
    """Write a graph with a sparse initialiser whose values lie elsewhere."""
    file = graph(path, [helper.make_node("Add", ["x", "w"], ["out"])])
    proto = onnx.load(file)
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(elsewhere(location), indices, [4]))
    file.write_bytes(proto.SerializeToString())
    return file


def in_constant(path: Path, location: str) -> Path:
    """Write a graph with a constant whose data lie elsewhere."""
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere(location))
    return graph(path, [constant, helper.make_node("Add", ["x", "w"], ["out"])])


@pytest.mark.parametrize("write", [in_function, in_constant, sparse])
@pytest.mark.parametrize("location", ["secret", "../secret", "link", "{outside}/secret"])
def test_no_tensor_of_a_graph_is_read_elsewhere(
    model: Path, monkeypatch: pytest.MonkeyPatch, run: Run, write: Callable[[Path, str], Path], location: str
) -> None:
    monkeypatch.chdir(model.parent)  # which holds a file of that name
    file = write(model / "a.onnx", location.format(outside=model.parent))
    with pytest.raises(BadInput, match="no file of its folder"):
        load_graph(file)
    run("match", file, file, "--port", "tests.small_ports:PICTURES").refused(2, "a.onnx", "no file of its folder")


@pytest.mark.parametrize("write", [in_function, in_constant])
@pytest.mark.parametrize("location", ["sub/data", "inner"])
def test_external_data_of_its_folder_is_read_wherever_a_command_is_started(
    model: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, str], Path], location: str
) -> None:
    monkeypatch.chdir("/")
    found = Graph(load_graph(write(model / "a.onnx", location)), "float32").run(ROWS)
    np.testing.assert_array_equal(found["out"], np.full((2, 4), 7, np.float32))


def test_external_data_that_is_not_there_in_full(model: Path) -> None:
    proto = onnx.load(in_constant(model / "a.onnx", "sub/data"), load_external_data=False)
    for key, value in (("offset", "8"), ("offset", "-1"), ("length", "-16"), ("length", str(2**62)), ("offset", "x")):
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        for entry in changed.graph.node[0].attribute[0].t.external_data:
            if entry.key == key:
                entry.value = value
        (model / "b.onnx").write_bytes(changed.SerializeToString())
        with pytest.raises(BadInput, match=r"b\.onnx"):
            load_graph(model / "b.onnx")


INDEX = '{"weight_map": {"w": "m.safetensors"}}'


def shard(path: Path) -> Path:
    save_file({"w": np.zeros(2, np.float32)}, path)
    return path


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_an_index_does_not_link_outside(model: Path, run: Run, suffix: str) -> None:
    index = model / f"m.{suffix}.index.json"
    index.write_text(INDEX.replace("safetensors", suffix))
    file = model / f"m.{suffix}"
    file.symlink_to(shard(model.parent / "outside.safetensors"))
    with pytest.raises(BadInput, match="no file of its folder"):
        open_checkpoint(index)
    run("convert", index, model / "out.npz", "--map", "none.csv").refused(2, "no file of its folder")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(BadInput, match="no file of its folder"):
        open_checkpoint(index)


def test_hugging_face_s_cache_is_made_of_links(tmp_path: Path) -> None:
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    shard(cache / "blobs" / "feed")
    (cache / "blobs" / "beef").write_text(INDEX)
    (snapshot / "m.safetensors").symlink_to("../../blobs/feed")
    (snapshot / "m.safetensors.index.json").symlink_to("../../blobs/beef")
    assert list(open_checkpoint(snapshot / "m.safetensors.index.json").tensors) == ["w"]
    (cache / "blobs" / "feed").rename(tmp_path / "outside")
    (cache / "blobs" / "feed").symlink_to(tmp_path / "outside")
    with pytest.raises(BadInput, match="no file of its folder"):
        open_checkpoint(snapshot / "m.safetensors.index.json")
    other = tmp_path / "blobs"
    other.mkdir()
    (tmp_path / "snapshots" / "0123").mkdir(parents=True)
    (tmp_path / "snapshots" / "0123" / "m").symlink_to(shard(other / "feed"))
    with pytest.raises(BadInput, match="no file of its folder"):
        _disk.beneath(tmp_path / "snapshots" / "0123" / "index", "m")


def test_a_program_s_parameters_are_not_linked_outside(model: Path) -> None:
    (model / "m.json").write_text('{"program": {"regions": []}}')
    (model.parent / "secret.pdiparams").write_bytes(b"")
    (model / "m.pdiparams").symlink_to(model.parent / "secret.pdiparams")
    with pytest.raises(BadInput, match="no file of its folder"):
        open_checkpoint(model / "m.json")


@pytest.mark.parametrize("name", ["inputs.safetensors", "float32.safetensors", "manifest.json"])
def test_a_capture_has_no_links_that_lead_out(project: Path, run: Run, name: str) -> None:
    assert run("capture", "--runner", "torch-eager", "-o", "one").code == 0
    assert run("capture", "--runner", "paddle-dygraph", "--like", "one", "-o", "two").code == 0
    assert run("compare", "one", "two").code == 0
    Path("one", name).rename(Path("outside"))
    Path("one", name).symlink_to(Path("outside").absolute())
    if name == "inputs.safetensors":
        run("capture", "--runner", "paddle-dygraph", "--like", "one", "-o", "three").refused(2, "no file of its folder")
    else:
        run("compare", "one", "two").refused(2, "no file of its folder")


@pytest.mark.parametrize("line", ["../secret.jpg", "{outside}/secret.jpg", "link.jpg", "file://{outside}/secret.jpg"])
def test_a_list_of_images_names_those_of_its_folder(model: Path, line: str) -> None:
    (model.parent / "secret.jpg").write_bytes(b"secret")
    (model / "sub" / "a.jpg").write_bytes(b"a")
    (model / "link.jpg").symlink_to(model.parent / "secret.jpg")
    listed = model / "list.txt"
    listed.write_text(f"sub/a.jpg\n{model}/sub/a.jpg\n")
    assert [read_bytes(picture) for picture in Images(str(listed))] == [b"a"]  # one file, however it is named
    listed.write_text("sub/a.jpg\n" + line.format(outside=model.parent) + "\n")
    with pytest.raises(BadInput, match="line 2 of"):
        list(Images(str(listed)))


def test_a_list_elsewhere_names_those_of_its_folder() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("/data/a.jpg", "/data/sub/b.jpg", "/secret.jpg"):
        memory.pipe_file(name, b"x")
    for line in ("../secret.jpg", "/secret.jpg", "memory://secret.jpg", "sub/../../secret.jpg", "file:///etc/passwd"):
        memory.pipe_file("/data/list.txt", f"a.jpg\nsub/b.jpg\n{line}\n".encode())
        with pytest.raises(BadInput, match="line 3 of"):
            list(Images("memory://data/list.txt"))
    memory.pipe_file("/data/list.txt", b"a.jpg\nmemory:///data/sub/b.jpg\n")
    assert len(list(Images("memory://data/list.txt"))) == 2
