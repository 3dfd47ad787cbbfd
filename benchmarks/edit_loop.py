"""How long it takes from changing a line of a model to the verdict: cold, with a warm store, and watching.

    python -m benchmarks.edit_loop [--edits 20] [--json FILE]

GoogLeNet's two models are copied into a project of their own. One edit after the other breaks a line of one side, or
mends it; each is judged by ``verify --quick --no-cache``, by ``verify --quick`` with the store as the edit before left
it, and by a ``verify --watch`` that stays; the imports of both frameworks are timed beside each, since a machine that
others use, too, is now fast and now slow. Once: a forward in each precision, each framework's exporter by itself, and
PaDiff on the same pair where it is installed. After that the whole chain: without the store, with an empty one, where
nothing, a comment or a line of one side has changed.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from portproof._machine import host
from portproof.render._terminal import output

ROOT = Path(__file__).parents[1]
#: What breaks a line of either model, by what stands there.
BREAKS = (
    ("nn.Dropout(0.4)", "nn.Dropout(0.5)"),
    ("x = self.inception4c(x)", "x = self.inception4c(x) * 1.001"),
    ("[self.p1(x), self.p2(x)", "[self.p1(x) + 1e-4, self.p2(x)"),
    ("d = self.inception4d(x)", "d = abs(self.inception4d(x) - 0.1)"),
    ("x = self.max_pool4(x)", "x = self.max_pool4(-x)"),
)
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TICKS = os.sysconf("SC_CLK_TCK")
_IMPORTS = "import torch, paddle"
#: Rows in both precisions, timed.
_RUNS = """
import time, numpy
from {side}_impl.googlenet import GoogLeNet
x = numpy.random.default_rng(0).random(({rows}, 3, 224, 224))
taken = dict()
for dtype in ("float64", "float32"):
    {side}.set_default_dtype(getattr({side}, dtype))
    model = GoogLeNet()
    model.eval()
    given = torch.tensor(x, dtype=getattr(torch, dtype)) if "{side}" == "torch" else paddle.to_tensor(x, dtype=dtype)
    with {side}.no_grad():
        begun = time.perf_counter()
        model(given)
        taken[dtype] = time.perf_counter() - begun
"""
_FORWARD = f"""
import json, torch, paddle
{_RUNS}
print(json.dumps(taken))
"""
#: What a changed model's export takes at least: the framework and its exporter imported, the model built and exported.
_EXPORTS = {
    "torch": """
import torch
from torch_impl.googlenet import GoogLeNet
program = torch.onnx.export(
    GoogLeNet().eval(), (torch.rand(2, 3, 224, 224),), dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False,
    external_data=False,
)
program.save("alone.onnx")
""",
    "paddle": """
import paddle, paddle2onnx
from paddle_impl.googlenet import GoogLeNet
model = GoogLeNet()
model.eval()
paddle.jit.save(model, "alone", input_spec=[paddle.static.InputSpec([-1, 3, 224, 224])])
paddle2onnx.export("alone.json", "alone.pdiparams", "alone.onnx", opset_version=18, optimize_tool="None")
""",
}
#: What the whole chain cannot do without on a side: the above, without a look for garbage meanwhile; sixteen images in
#: both precisions; the runtime on the graph as written and as it rewrites it.
_LEAST = f"""
import gc
gc.disable()
{{export}}
{_RUNS}
import onnxruntime
for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession("alone.onnx", options, providers=["CPUExecutionProvider"])
    session.run(None, {{{{session.get_inputs()[0].name: x.astype("float32")}}}})
"""
_PADIFF = """
import time
import torch, paddle
from padiff import auto_diff
from paddle_impl import googlenet as in_paddle
from torch_impl import googlenet as in_torch
class TorchNet(in_torch.GoogLeNet): pass  # of one name, it would compare one of them with itself
class PaddleNet(in_paddle.GoogLeNet): pass
given = torch.rand(8, 3, 224, 224)
first, second = PaddleNet(), TorchNet()
first.eval(), second.eval()
begun = time.perf_counter()
auto_diff(first, second, ({"image": paddle.to_tensor(given.numpy())}, {"image": given}), options={"atol": 1e-4})
print(time.perf_counter() - begun)
"""


def main(edits: int, target: Path | None) -> None:
    """Measure, print a table and, where it is asked for, write JSON."""
    with tempfile.TemporaryDirectory(prefix="edit-loop-") as folder:
        project = Path(folder, "project")
        for name in ("convert", "paddle_impl", "torch_impl"):
            copytree(ROOT / name, project / name, ignore=ignore_patterns("__pycache__"))
        (project / "pyproject.toml").write_text('[tool.portproof]\nports = ["convert.googlenet:GOOGLENET"]\n')
        limits: dict[str, Any] = {"forward": _forwards(project), "padiff": _padiff(project)}
        found = list(_edited(project, edits, Path(folder)))
        limits["imports"] = _medians([edit["imports"] for edit in found] or [_timed(_IMPORTS, project)])
        alone = {side: Path(copytree(project, Path(folder, side))) for side in _EXPORTS}
        limits["exports"] = {side: _timed(_EXPORTS[side], home) for side, home in alone.items()}
        limits["least"] = _side_by_side(alone)
        chain = list(_chain(project, Path(folder) / "chain"))
    document = {"host": host(), "limits": limits, "edits": found, "chain": chain}
    _print(document, output())
    if target is not None:
        target.write_text(json.dumps(document, indent=1) + "\n")


def _edited(project: Path, edits: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what each edit took and came to, in each way."""
    whole = {side: (project / f"{side}_impl/googlenet.py").read_text() for side in ("paddle", "torch")}
    _command(project, folder / "cached", "--quick")
    with _Watching(project, folder / "watched") as watching:
        for number in range(edits):
            side = ("paddle", "torch")[number // 2 % 2]
            breaks = number % 2 == 0
            old, new = BREAKS[number // 4 % len(BREAKS)]
            text = whole[side].replace(old, new, 1) if breaks else whole[side]
            assert breaks == (text != whole[side]), (side, old)
            (project / f"{side}_impl/googlenet.py").write_text(f"{text}\n# edit {number}\n")
            ways = {"watching": watching.judged()}
            ways["cached"] = _command(project, folder / "cached", "--quick")
            ways["cold"] = _command(project, folder / "cold", "--quick", "--no-cache")
            culprits = ways["cold"].pop("culprits")
            ways["cached"]["agrees"] = ways["cached"].pop("culprits") == culprits
            shown = ways["watching"].pop("screen")
            ways["watching"]["agrees"] = _shows(shown, culprits)
            for way in ("cached", "watching"):
                ways[way]["agrees"] &= ways[way]["verdict"] == ways["cold"]["verdict"]
            imports = _timed(_IMPORTS, project)
            yield {"side": side, "breaks": new if breaks else "", "culprits": culprits, "imports": imports, **ways}


def _chain(project: Path, cache: Path) -> Iterator[dict[str, Any]]:
    """Yield what the whole chain takes: without the store, with an empty one, and after each of some edits."""
    for what, options in (("without the store", ("--no-cache",)), ("with an empty store", ()), ("nothing changed", ())):
        yield {"what": what, **_command(project, cache, *options)}
    old, new = BREAKS[1]
    for side in ("paddle", "torch"):
        file = project / f"{side}_impl/googlenet.py"
        whole = file.read_text()
        for what, text in (("a comment", f"{whole}# changed\n"), ("a line", whole.replace(old, new, 1)), ("", whole)):
            file.write_text(text)
            if what:
                yield {"what": f"{what} of {side}'s changed", **_command(project, cache)}


def _shows(screen: str, culprits: Sequence[str]) -> bool:
    """Whether a screen names all culprits; of those of one kind it names the first, and counts the others."""
    shown = [(module or "(root)") in screen for module in culprits]
    return all(shown) or (" more" in screen and any(shown))


def _command(project: Path, cache: Path, *options: str) -> dict[str, Any]:
    """Run ``verify``, and return what it took and found."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "portproof", "verify", "--json", "-", *options], cwd=project,
            env=_environment(cache), stdout=out, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        wall_s = time.perf_counter() - begun
        out.seek(0)
        report = json.load(out)
    return {
        "wall_s": round(wall_s, 3), "cpu_s": round(used.ru_utime + used.ru_stime, 3), "verdict": report["verdict"],
        "culprits": sorted(culprit["module"] for culprit in report["culprits"]),
        "steps": {name: taken for name, taken in report["seconds"].items() if name != "total"},
    }  # fmt: skip


def _environment(cache: Path) -> dict[str, str]:
    """Return a person's environment, in which what was compiled once is not compiled again."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    paths = filter(None, (str(ROOT), own.get("PYTHONPATH")))
    return {**own, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(paths)}


class _Watching:
    """``verify --watch`` in a terminal of its own."""

    def __init__(self, project: Path, cache: Path) -> None:
        self._screen, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "portproof", "verify", "--watch"], cwd=project, stdin=theirs, stdout=theirs,
            stderr=theirs, env={**_environment(cache), "TERM": "xterm", "COLUMNS": "200", "LINES": "200"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def judged(self) -> dict[str, Any]:
        """Wait for the next verdict, and for all that is said of it; what that took, and what stands on the screen."""
        begun, cpu_s, text, verdict_s = time.perf_counter(), self._cpu_s(), "", 0.0
        while (end := re.search(r"verdict: (\w+).*q quit", text, re.DOTALL)) is None:
            assert select.select([self._screen], [], [], 600)[0], text[-2000:]
            text += _CONTROLS.sub("", os.read(self._screen, 2**16).decode(errors="replace"))
            if not verdict_s and re.search(r"verdict: \w", text):
                verdict_s = time.perf_counter() - begun
        steps = re.search(r"of which (.*)", text)
        taken = dict(re.findall(r"(\w+: [^,]+) ([\d.]+) s", steps[1]) if steps else [])
        return {
            "wall_s": round(verdict_s, 3), "all_s": round(time.perf_counter() - begun, 3),
            "cpu_s": round(self._cpu_s() - cpu_s, 3), "verdict": end[1], "screen": text,
            "steps": {name: float(value) for name, value in taken.items()}, "memory_mb": self._memory_mb(),
        }  # fmt: skip

    def _each(self) -> Iterator[tuple[Path, list[str]]]:
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self._process.pid:
                yield status.parent, fields

    def _cpu_s(self) -> float:
        return sum(sum(map(int, fields[11:15])) for _, fields in self._each()) / _TICKS

    def _memory_mb(self) -> int:
        """Return what the processes that wait have in memory, shared pages counted once."""
        found = 0
        for process, _ in self._each():
            told = re.search(r"Pss:\s+(\d+)", (process / "smaps_rollup").read_text())
            found += int(told[1]) if told else 0
        return found // 1000

    def __enter__(self) -> Self:
        self.judged()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._screen, b"q")
        self._process.wait(60)
        os.close(self._screen)


def _timed(code: str, project: Path, **variables: str) -> dict[str, float]:
    """Run code in a new interpreter, with variables of its environment beside ours, and return what that took."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=project, env={**os.environ, **variables},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, code
    return {"wall_s": round(time.perf_counter() - begun, 3), "cpu_s": round(used.ru_utime + used.ru_stime, 3)}


def _side_by_side(alone: Mapping[str, Path]) -> dict[str, float]:
    """Do for both sides at once what the whole chain cannot do without, a thread each, and return what that took.

    ``alone``: side to a folder of its own that its model is in.
    """
    with ThreadPoolExecutor(len(alone)) as pool:
        begun = time.perf_counter()
        codes = {side: _LEAST.format(side=side, export=_EXPORTS[side], rows=16) for side in alone}
        runs = [pool.submit(_timed, codes[side], home, OMP_NUM_THREADS="1") for side, home in alone.items()]
        cpu_s = sum(run.result()["cpu_s"] for run in runs)
        return {"wall_s": round(time.perf_counter() - begun, 3), "cpu_s": round(cpu_s, 3)}


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def _forwards(project: Path) -> dict[str, dict[str, float]]:
    """Return the seconds of one forward of eight images, a side and a precision."""
    return {side: json.loads(_last_line(_FORWARD.format(side=side, rows=8), project)) for side in ("paddle", "torch")}


def _padiff(project: Path) -> float | None:
    """Return the seconds that PaDiff takes, imports apart, None where it is not installed."""
    with_it = subprocess.run([sys.executable, "-c", "import padiff"], cwd=project, capture_output=True, check=False)
    return float(_last_line(_PADIFF, project)) if with_it.returncode == 0 else None


def _last_line(code: str, project: Path) -> str:
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    return found.stdout.splitlines()[-1]


def _figures(edits: Sequence[dict[str, Any]], way: str) -> Iterator[str]:
    """Yield what edits took in one way: the median, and of the imports that were timed beside each median and most."""
    for key in ("wall_s", "cpu_s"):
        of_imports = [edit[way][key] / edit["imports"][key] for edit in edits]
        yield f"{statistics.median(edit[way][key] for edit in edits):.2f}"
        yield f"{statistics.median(of_imports):.2f}"
        yield f"{max(of_imports):.2f}"
    yield "" if way == "cold" else f"{sum(edit[way]['agrees'] for edit in edits)} of {len(edits)}"


def _print(document: dict[str, Any], console: Console) -> None:
    edits, limits = document["edits"], document["limits"]
    imports = limits["imports"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "wall, s", "of imports", "most", "CPU, s", "of imports", "most", "as cold"):
        table.add_column(heading, justify="right" if heading else "left")
    for way in ("cold", "cached", "watching"):
        for side in ("paddle", "torch"):
            for what in ("right", "wrong"):
                found = [edit for edit in edits if edit["side"] == side and bool(edit["breaks"]) == (what == "wrong")]
                if found:
                    table.add_row(f"{way}, {side} changed, {what}", *_figures(found, way))
    console.print(table)
    for run in document["chain"]:
        console.print(
            f"whole chain, {run['what']}: {run['wall_s']:.1f} s, {run['cpu_s']:.1f} s of CPU, {run['verdict']}"
        )
    for way in ("cold", "cached", "watching"):
        steps = {name for edit in edits for name in edit[way]["steps"]}
        means = {name: statistics.fmean(edit[way]["steps"].get(name, 0.0) for edit in edits) for name in steps}
        longest = sorted(means.items(), key=lambda item: -item[1])[:4]
        console.print(f"{way}: {', '.join(f'{name} {value:.2f} s' for name, value in longest)}")
    forward = {f"{side} {dtype}": s for side, by in limits["forward"].items() for dtype, s in by.items()}
    console.print(f"imports of both frameworks: {imports['wall_s']:.2f} s, {imports['cpu_s']:.2f} s of CPU")
    console.print("one forward of 8 images: " + ", ".join(f"{name} {value:.2f} s" for name, value in forward.items()))
    for side, taken in limits["exports"].items():
        console.print(f"{side}'s exporter alone, with imports: {taken['wall_s']:.1f} s, {taken['cpu_s']:.1f} s of CPU")
    least = limits["least"]
    console.print(
        f"imports, both exports, 16 images in both precisions and in the runtime, side by side: {least['wall_s']:.1f} s"
    )
    padiff = "not installed" if limits["padiff"] is None else f"{limits['padiff']:.2f} s, imports apart"
    console.print(f"PaDiff on the same pair: {padiff}")
    if edits:
        console.print(f"memory while watching: {max(edit['watching']['memory_mb'] for edit in edits)} MB")
    console.print(f"on {document['host']['processor']}, {document['host']['threads']} threads")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=20, help="how many; half of them break a line")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    given = parser.parse_args()
    main(given.edits, given.json)
