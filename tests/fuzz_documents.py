"""What commands take beside checkpoints: results, costs, captures, trainings, maps, graphs, shards and pictures.

Each document is a whole one with a few damages; what is done with it is what commands do, up to what they print.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portproof._machine import tool_version
from portproof.agree._images import Images, Labels, read_bytes
from portproof.agree._plan import plan_of, read_costs
from portproof.agree._print import print_plan
from portproof.bench._compare import compare_results
from portproof.bench._html import page
from portproof.bench._print import print_choice, print_comparison, print_result
from portproof.bench._recommend import Slo, recommend_from
from portproof.bench._result import BenchResult, read_result
from portproof.checkpoints import Stored
from portproof.convert._table import map_csv, read_map
from portproof.convert._transfer import transferred
from portproof.faults._campaign import SCHEMA_VERSION, FaultReport, _Results
from portproof.faults._print import print_faults
from portproof.graphs._interpret import Graph, load_graph
from portproof.graphs._match import match_graphs
from portproof.judge._read import read_report
from portproof.judge._report import Culprit, Hop, Report, Sight, Source, Worst
from portproof.parity._captures import compare_captures
from portproof.ports._inputs import preprocess, read_photograph
from portproof.render._diff import diff_markdown, diff_reports, print_diff
from portproof.render._history import Kept, Point, keep, kept_report, read_kept, tracks
from portproof.render._summary import junit, markdown
from portproof.render._terminal import output, print_report
from portproof.render._timeline import page as history_page
from portproof.render._timeline import print_history
from portproof.training._plot import plot_curves
from portproof.training._print import recent
from portproof.training._state import _digest, load, require_same
from portproof.training._train import table
from tests.fuzz_checkpoints import MEMORY, Found, attack, damaged

ROOT = Path(__file__).parents[1]
Rng = np.random.Generator


@dataclass(frozen=True)
class Document:
    """A kind of document.

    Attributes:
        suffix: of its file.
        seeds: makes whole ones, in a folder.
        encode: one as its file has it.
        use: reads a file and does what commands do with what it holds; the number says how many came before.
        memory: that this may take.
    """

    suffix: str
    seeds: Callable[[Path], list[Any]]
    encode: Callable[[Any], bytes]
    use: Callable[[Path, int], None]
    memory: int = MEMORY

    def make(self, rng: Rng, seed: Any) -> bytes:
        """Return a damaged one: of a document first what it says, and of one in eight its text."""
        if isinstance(seed, bytes):
            return damaged(rng, seed)
        content = self.encode(mutated(rng, seed))
        return damaged(rng, content) if rng.integers(8) == 0 else content


#: What no writer would put where it puts another value.
_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.5, -0.5, 1e-300, 5e-324, 1e300, float("inf"), float("nan"), 2**31, 2**63, 10**39,
    10**400, "", "x", "torch", "paddle", "\ud800", "\x1b[2K", "$\\frac{$", "{0}", "{n}{n}", "a.b.{n}", "\x00", [], {},
    [[]], [0], [-1, 0], [""], {"": 0}, {"type": "Split"}, [1e300, 1e300], "9" * 400,
)  # fmt: skip


def mutated(rng: Rng, document: Any, times: int = 0) -> Any:
    """Return a document with one to a few damages: values that are others, gone, twice, moved, or under other keys."""
    made = json.loads(json.dumps(document))
    for _ in range(times or int(rng.integers(1, 4))):
        places = list(_places(made))
        if not places:
            return made
        holder, key = places[int(rng.integers(len(places)))]
        kind = int(rng.integers(7))
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other, place = places[int(rng.integers(len(places)))]
            holder[key] = copy.deepcopy(other[place])
        elif kind == 2 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 3 and isinstance(holder, dict):
            holder[str(rng.choice(["", "x", "type", "0.weight", "\x1b[2K"]))] = holder.pop(key)
        elif kind == 4 and isinstance(holder[key], float):
            holder[key] = holder[key] * float(rng.choice([0, -1, 1e-12, 1e12, 0.5]))
        elif kind == 5 and isinstance(holder[key], list | dict):
            holder[key].clear()
        else:
            holder[key] = copy.deepcopy(_ODD[int(rng.integers(len(_ODD)))])
    return made


def _places(value: Any) -> Any:
    """Yield each place of a document as what holds it and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _print(show: Callable[[Any, Any], None], *shown: Any) -> None:
    console = output()
    with console.capture():
        for each in shown:
            show(each, console)


# Results of benchmarks ------------------------------------------------------------------------------------------------


def _bench(folder: Path) -> list[Any]:
    """Return a result of two runners and three processes with few samples, and one on a GPU."""
    whole = json.loads((ROOT / "benchmarks/results/short.json").read_text())
    whole["rows"] = [row for row in whole["rows"] if row["runner"] in ("torch-eager", "onnxruntime-torch")]
    for row in whole["rows"]:
        row["processes"] = row["processes"][:3]
        for process in row["processes"]:
            process["samples_ms"], process["claims"] = process["samples_ms"][:3], process["claims"][:1]
            process["evidence"] = {"threads": 2}
    whole["skipped"] = [{"runner": "x", "reason": "y", "batch": None, "asked": False}]
    whole["marks"] = whole["marks"][:2]
    whole["suite"]["runners"] = ["torch-eager", "onnxruntime-torch"]
    whole.pop("sha256", None)
    (folder / "whole.json").write_text(json.dumps(whole))
    gpu = copy.deepcopy(whole)
    gpu["suite"]["device"] = "cuda"
    for process in (process for row in gpu["rows"] for process in row["processes"]):
        process["gpu"] = {"idle": {"used_mib": 1.0}, "after": {"used_mib": 9.0, "memory_mib": None}}
        process["event_ms"], process["evidence"] = [1.0, 2.0], {"cpu_nodes": {"Shape": 1}}
    return [whole, gpu]


@functools.lru_cache(maxsize=1)
def _whole_result(path: Path) -> BenchResult:
    return read_result(path)


def _use_bench(path: Path, number: int) -> None:
    found, whole = read_result(path), _whole_result(path.parent / "whole.json")
    chosen = [recommend_from(found, found.suite.batches[0], slo) for slo in (None, Slo.parse("p50=30ms"))]
    _print(print_result, found)
    _print(print_choice, *chosen)
    if number % 1000 == 0:
        page(found, whole)
        page(whole, found)
    if found.suite.port == whole.suite.port:
        for pair in ((found, whole), (whole, found)):
            _print(lambda one, console: print_comparison(one, console, ("a", "b")), compare_results(*pair, 0.05))


# Reports and their history --------------------------------------------------------------------------------------------


def _reports(folder: Path) -> list[Any]:
    """Return a report that holds and one that does not, and keep the first for comparisons."""
    worst = Worst("out", 1.5, 1e-7, 1e-6, 3.0)
    hop = Hop("semantics", "torch float64 (oracle)", "Paddle float64", "float64", "sensitised", "equivalent", worst)
    sides = {"torch": {"versions": {"torch": "2"}}}
    about = {"portproof": "0.1", "processor": "x", "packages": {"onnx": "1"}, "sides": sides}
    whole = Report(
        "p", "equivalent", (hop, replace(hop, kind="numerics", target="torch eager float32", worst=None)),
        sight=Sight(8, 8, 7, ("a",)), edges=(("0", "1"),), weights=("sensitised",),
        ignored=(("torch", "x", "because"),), inputs=("noise",), notes=("n",), environment=about,
        seconds={"total": 1.0},
    )  # fmt: skip
    culprit = Culprit("paddle", "1", "computes", "forward", "differs", 1e15, "", (Source("torch", "a.py", 3, "A"),))
    apart = replace(hop, verdict="divergent", worst=replace(worst, ratio=None))
    broken = replace(whole, verdict="divergent", hops=(apart, *whole.hops[1:]), culprits=(culprit,))
    (folder / "whole.json").write_text(json.dumps(whole.to_json()))
    return [whole.to_json(), broken.to_json()]


def _use_report(path: Path, number: int) -> None:
    found, whole = read_report(path), read_report(path.parent / "whole.json")
    if found.port == whole.port:
        for pair in ((found, whole), (whole, found)):
            diff = diff_reports(*pair)
            _print(lambda one, console: print_diff(one, console, ("a", "b")), diff)
            diff_markdown(diff)
    kept = kept_report(found, "r", "2026-01-01T00:00:00+00:00")
    if number % 100 == 0:  # which waits for the disk
        keep(path.parent / "kept", kept)


def _histories(folder: Path) -> list[Any]:
    points = Point("a", "equivalent", 1.5), Point("b, batch 1", "divergent", None, 1.0, 2.0, "torch")
    when, versions = "2026-01-01T00:00:00+01:00", {"torch": "2"}
    kept = Kept("verify", "p", "abc", when, "equivalent", "sensitised", points, ("1",), versions)
    return [asdict(kept), asdict(replace(kept, kind="bench", points=(points[1], replace(points[1], value=1.5))))]


def _use_history(path: Path, number: int) -> None:
    kept = read_kept(path)
    found = tracks([kept, replace(kept, revision="other"), kept])
    _print(print_history, found)
    if number % 100 == 0:
        history_page(found)


# Costs ----------------------------------------------------------------------------------------------------------------


def _costs(folder: Path) -> list[Any]:
    return [{
        "schema_version": 1, "port": "p", "processor": "x", "images": 10, "unit": 2, "threads": 1,
        "runners": {"oracle": 1.0, "torch-eager": 1.0}, "read_s": 0.1, "decode_s": 0.1, "image_bytes": 1e4,
        "classes": 10, "start_s": 1.0, "driver_s": 0.1,
    }]  # fmt: skip


def _use_costs(path: Path, number: int) -> None:
    costs = read_costs(path)
    plans = plan_of(costs, (1, 100_000_000), (1, 1000), costs.unit, 10**9, 0.05)
    _print(lambda one, console: print_plan(one, plans, console), costs)


# Captures -------------------------------------------------------------------------------------------------------------


def _captures(folder: Path) -> list[Any]:
    """Write two captures of a small port, one a side; return the first one's manifest."""
    from safetensors.numpy import save_file

    rng, manifests = np.random.default_rng(0), []
    weight, rows = rng.standard_normal((3, 4)).astype(np.float32), rng.standard_normal((4, 3))
    for side in ("torch", "paddle"):
        place = folder if side == "torch" else folder / "other"
        place.mkdir(exist_ok=True)
        own = weight if side == "torch" else np.ascontiguousarray(weight.T)
        save_file({"0.weight": own, "1.w": weight}, place / "weights.safetensors")
        for precision in ("float64", "float32"):
            for single in ("", ".single"):
                made = (rows[:1] if single else rows).astype(precision)
                save_file({"out": made}, place / f"{precision}{single}.safetensors")
        entries = [
            {"name": "0.weight", "shape": list(own.shape), "dtype": "float32", "layer": "Linear", "module": "0",
             "kind": "parameter", "tied": ""},
            {"name": "1.w", "shape": [3, 4], "dtype": "float32", "layer": "Own", "module": "1", "kind": "parameter",
             "tied": ""},
        ]  # fmt: skip
        manifests.append({
            "port": "p", "side": side, "runner": f"{side}-eager", "title": f"{side} eager", "inputs_hash": "0",
            "weights_hash": side, "outputs": ["out"], "runs": {"float64": True, "float32": True},
            "environment": {"processor": "x", "versions": {"torch": "2"}}, "entries": entries,
            "modules": [["", "Sequential"], ["0", "Linear"], ["1", "Own"]], "capture_version": 1,
            "weight_map": {"rename": {"{n}.v": "{n}.u"}, "ignore": {"none": "because"},
                           "transforms": {"1.w": {"type": "Permute", "axes": [0, 1]}}}, "seconds": {"float32": 1.0},
        })  # fmt: skip
    (folder / "other/manifest.json").write_text(json.dumps(manifests[1]))
    split: Any = copy.deepcopy(manifests[0])
    split["weight_map"]["transforms"] = {
        "1.w": {"type": "Split", "into": ["1.w"], "axis": 0, "sizes": [3], "groups": 1},
        "0.weight": {"type": "Reshape", "axes": [1, 0]},
    }
    return [manifests[0], manifests[0], split]


def _use_capture(path: Path, number: int) -> None:
    report = compare_captures(path.parent, path.parent / "other")
    _print(print_report, report)
    markdown(report)
    junit(report)
    json.dumps(report.to_json())


# Trainings ------------------------------------------------------------------------------------------------------------


def _trainings(folder: Path) -> list[Any]:
    row = {"step": 1, "epoch": 0.5, "learning_rate": 0.1, "loss": 1.0, "accuracy": 0.5, "images": 16, "checksum": 77,
           "seconds": 0.1}  # fmt: skip
    recipe = {"data": "digits", "fingerprint": "0", "batch": 16, "steps": 2, "seed": 0, "augment": False,
              "mirror": False, "dropout": "off", "settings": {}, "kwargs": {"n": 3}, "threads": 1}  # fmt: skip
    return [{
        "port": "p", "step": 2, "recipe": recipe, "scheduler": {"last_epoch": 2}, "rows": [row, {**row, "step": 2}],
        "tests": [{"step": 2, "out": 0.5}],
    }]  # fmt: skip


def _encode_training(document: Any) -> bytes:
    """Return a training's file whose checksum is right, so that what it says is looked at."""
    text = json.dumps(document)
    about = {"portproof.side": "torch", "portproof.training": text}
    stored = {"model/w": Stored.of(np.ones(2, np.float32)), "optimiser/w/exp_avg": Stored.of(np.ones(2, np.float32))}
    about["portproof.sha256"] = _digest(text, stored)
    header: dict[str, Any] = {"__metadata__": about}
    content = b""
    for name, tensor in stored.items():
        piece = bytes(tensor.bytes())
        offsets = [len(content), len(content) + len(piece)]
        header[name] = {"dtype": "F32", "shape": [2], "data_offsets": offsets}
        content += piece
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return len(packed).to_bytes(8, "little") + packed + content


def _use_training(path: Path, number: int) -> None:
    state = load(path)
    state.model()
    state.slots()
    table(list(state.rows))
    table(list(state.tests))
    if state.rows:
        recent(list(state.rows))
        if number % 1000 == 0:
            plot_curves(state.port, {state.side: state.rows}, {state.side: state.tests})
    require_same(path, state.recipe, state.recipe)


# Results of faults ----------------------------------------------------------------------------------------------------

_ABOUT = {"port": "p"}
_HEADER = {"schema_version": SCHEMA_VERSION, "portproof": tool_version(), **_ABOUT}


def _faults(folder: Path) -> list[Any]:
    answer = {"faults": [{"kind": "bias", "modules": ["0"]}], "planted": ["0"], "modules": ["0"], "seen": True,
              "named": ["0"], "effective": True, "tap": "0", "ulp": 3.0, "why": []}  # fmt: skip
    blind = {**answer, "effective": False, "seen": False, "why": ["too small"], "ulp": None, "named": []}
    lines = [{"seed": 0, "side": "torch", "answer": answer}, {"seed": 1, "side": "paddle", "answer": blind}]
    return [lines]


def _encode_faults(document: Any) -> bytes:
    """Return lines whose checksums are right, behind the header that is this run's."""
    lines = [json.dumps(line) for line in [_HEADER, *(document if isinstance(document, list) else [document])]]
    return "".join(f"{text}\t{zlib.crc32(text.encode()):08x}\n" for text in lines).encode()


def _use_faults(path: Path, number: int) -> None:
    with _Results.of(path, _ABOUT) as found:
        report = FaultReport("p", tuple(found.planted), {}, 1.0)
        json.dumps(report.to_json())
        _print(print_faults, report)


# Maps and labels ------------------------------------------------------------------------------------------------------

_MAP = """torch,paddle,transform,torch_shape,paddle_shape,dtype
a.weight,a.weight,transpose,4x3,3x4,float32
b,b,copy,5,5,float16
c,c,permute 0 2 1,2x3x4,2x4x3,int64
d,d,reshape permute 1 0,2x3,6,float32
e,e1 + e2,split 0 in 2,8x3,4x3 + 4x3,float32
f1 + f2,f,split 0,4x3 + 2x3,6x3,float32
g + h,g,tied,3 + 3,3,float32
i,,left out: because,scalar,,bool
"""


def _maps(folder: Path) -> list[Any]:
    return [_MAP.encode(), [line.split(",") for line in _MAP.splitlines()]]


def _encode_map(document: Any) -> bytes:
    rows = document if isinstance(document, list) else [document]
    cells = [[str(cell) for cell in row] if isinstance(row, list) else [str(row)] for row in rows]
    return "\n".join(map(",".join, cells)).encode("utf-8", "surrogatepass")


def _use_map(path: Path, number: int) -> None:
    account, entries = read_map(path)
    map_csv(account, entries)
    for source, target in (("torch", "paddle"), ("paddle", "torch")):
        small = all(np.prod([float(n) for n in entry.shape]) < 1e4 for entry in entries[source])
        if small:
            tensors = {e.name: Stored.of(np.zeros(e.shape, np.float32)) for e in entries[source]}
            for stored in transferred(tensors, account.rows, target).values():
                stored.read()


def _use_labels(path: Path, number: int) -> None:
    Labels.read(path)


def _lists(folder: Path) -> list[Any]:
    for name in ("a.jpg", "b c.png"):
        (folder / name).write_bytes(b"x")
    return [b"a.jpg\nb c.png\n\n"]


def _use_list(path: Path, number: int) -> None:
    for picture in Images(str(path)):
        read_bytes(picture)


# Graphs, shards and pictures ------------------------------------------------------------------------------------------


def _graphs(folder: Path) -> list[Any]:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "m": (16, 5), "scale": (4,)}
    stored = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    stored.append(numpy_helper.from_array(np.array([2, 16], np.int64), "shape"))
    stored.append(numpy_helper.from_array(np.ones(4, np.float32), "variance"))
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["1"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["1", "scale", "b", "b", "variance"], ["2"], epsilon=1e-5),
        helper.make_node("Relu", ["2"], ["3"]),
        helper.make_node("MaxPool", ["3"], ["4"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Reshape", ["4", "shape"], ["5"]),
        helper.make_node("MatMul", ["5", "m"], ["6"]),
        helper.make_node("Softmax", ["6"], ["out"], axis=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 5])
    model: Any = helper.make_model(
        helper.make_graph(nodes, "g", [x], [out], stored), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, folder / "whole.onnx")
    return [model.SerializeToString()]


def _use_graph(path: Path, number: int) -> None:
    rows = {"x": np.ones((2, 3, 4, 4), np.float32)}
    found, whole = load_graph(path), load_graph(path.parent / "whole.onnx")
    Graph(found).run(rows)
    match_graphs(found, whole, rows, ("a", "b"), "bits")


def _pictures(folder: Path) -> list[Any]:
    rng, made = np.random.default_rng(0), []
    picture = Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8))
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"),
                       ("BMP", "RGB"), ("WEBP", "RGB")):  # fmt: skip
        target = io.BytesIO()
        (Image.new(mode, (32, 24)) if mode == "I;16" else picture.convert(mode)).save(target, kind)
        made.append(target.getvalue())
    return made


def _use_picture(path: Path, number: int) -> None:
    preprocess(read_photograph(path), 24, 24)


def _shards(folder: Path) -> list[Any]:
    made = []
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w", format=form) as tar:
            for number, content in enumerate(_pictures(folder)[:2]):
                long = f"{'d' * 60}/" if form != tarfile.USTAR_FORMAT else ""
                for name, data in ((f"{long}{number}.jpg", content), (f"{long}{number}.cls", b"3")):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        made.append(target.getvalue())
    return made


def _use_shard(path: Path, number: int) -> None:
    for picture in Images(str(path)):
        read_bytes(picture)


#: Kind to what it is.
DOCUMENTS = {
    "bench": Document(".json", _bench, _json, _use_bench),
    "costs": Document(".json", _costs, _json, _use_costs),
    "capture": Document(".json", _captures, _json, _use_capture),
    "training-state": Document(".safetensors", _trainings, _encode_training, _use_training),
    "faults": Document(".jsonl", _faults, _encode_faults, _use_faults),
    "map": Document(".csv", _maps, _encode_map, _use_map),
    "labels": Document(".txt", lambda _: [b"name,label\na.jpg,3\n", b"a.jpg 3\nb c.jpg 4\n"], bytes, _use_labels),
    "list": Document(".txt", _lists, bytes, _use_list),
    "tar": Document(".tar", _shards, bytes, _use_shard),
    "graph": Document(".onnx", _graphs, bytes, _use_graph),
    "picture": Document(".jpg", _pictures, bytes, _use_picture, 3 * MEMORY),  # a hundred million pixels
    "report": Document(".json", _reports, _json, _use_report),
    "history": Document(".json", _histories, _json, _use_history),
}
#: Kinds of which a tenth is asked for: they are computed or decoded.
SLOW = {"graph", "picture"}


def fuzz_document(kind: str, count: int, folder: Path, seed: int) -> Found:
    """Damage documents and use them; see :func:`tests.fuzz_checkpoints.fuzz`."""
    document, rng = DOCUMENTS[kind], np.random.default_rng([seed, 100 + list(DOCUMENTS).index(kind)])
    whole, done = document.seeds(folder), iter(range(count))
    path = folder / ("manifest.json" if kind == "capture" else f"x{document.suffix}")
    for one in whole:  # these are good ones; and what they need is imported before memory is bounded
        path.write_bytes(one if isinstance(one, bytes) else document.encode(one))
        document.use(path, 0)
    return attack(
        path, count, lambda: document.make(rng, whole[int(rng.integers(len(whole)))]),
        lambda made: document.use(made, next(done)), document.memory,
    )  # fmt: skip
