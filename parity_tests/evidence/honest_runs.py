"""Thousands of honest runs of GoogLeNet, each judged by portproof's rule and by the default gates of other tools.

Run from the repository's root: ``python -m parity_tests.evidence.honest_runs [SEEDS]``. Every run computes the right
function; what varies is the framework, the kernel, the instruction set, the number of threads, the batch, the memory
layout, the export, the optimisation level, and how the model is written. A divergence here is a false alarm. It writes
``honest.json`` beside this file and draws ``docs/honest.svg``.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from portproof.sides._tasks import Tasks

#: Environments that force other kernels. ONNX Runtime picks its own kernels whatever these say.
FORCED = {
    "native": {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "SSE4.1, Paddle with oneDNN": {
        "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "FLAGS_use_onednn": "1",
    },
}  # fmt: skip
BATCHES = (1, 2, 5)
ROWS = 16


def main(seeds: int) -> None:
    """Make weights and oracles, run every configuration in every environment, and write what was found."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", __spec__.name, "--prepare", folder, str(seeds)], check=True)
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(_in_environment, folder, seeds, name) for name in FORCED]:
                done.result()
        runs = [json.loads(line) for path in sorted(Path(folder).glob("*.jsonl")) for line in path.open()]
    summary = summarise(runs)
    Path(__file__).with_name("honest.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw(runs)
    print(json.dumps(summary, indent=1))


def _in_environment(folder: str, seeds: int, name: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--run", folder, str(seeds), name]
    subprocess.run(command, check=True, env=os.environ | FORCED[name])


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Count runs and false alarms, ours and the gates', and give the quantiles of the ratios."""
    import onnxruntime
    import paddle
    import torch

    from portproof._machine import processor

    ratios = np.array([run["ratio"] for run in runs])
    gates = Counter(name for run in runs for name, passed in run["gates"].items() if not passed)
    return {
        "runs": len(runs),
        "verdicts": dict(Counter(run["verdict"] for run in runs)),
        "ratio": {str(q): round(float(np.quantile(ratios, q)), 3) for q in (0.5, 0.9, 0.99, 0.999, 1.0)},
        "largest by configuration": {
            name: round(max(run["ratio"] for run in runs if run["name"] == name), 2)
            for name in sorted({run["name"] for run in runs})
        },
        "false alarms of other gates": {name: gates.get(name, 0) for name in runs[0]["gates"]},
        "made with": f"torch {torch.__version__}, paddlepaddle {paddle.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, {processor()}",
    }


def draw(runs: list[dict[str, Any]]) -> None:
    """Draw the distribution of ratios, by family, with the multiple that decides."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "portproof"
    import matplotlib.pyplot as plt

    from portproof.judge._floor import FLOOR_MULTIPLE
    from portproof.render._plots import DIVERGENCE, SIDE_COLOURS

    families = {"torch": ("torch", "torch"), "Paddle": ("Paddle", "paddle"), "ONNX Runtime": ("ORT", "")}
    figure, axes = plt.subplots(figsize=(9, 3.6))
    bins = np.geomspace(0.05, 64, 60)
    for title, (prefix, side) in families.items():
        chosen = [run["ratio"] for run in runs if run["name"].startswith(prefix)]
        axes.hist(
            np.maximum(chosen, 0.05), bins=bins, histtype="step", linewidth=1.6, label=f"{title} ({len(chosen):,})",
            color=SIDE_COLOURS[side],
        )  # fmt: skip
    axes.axvline(FLOOR_MULTIPLE, color=DIVERGENCE, label=f"a divergence begins at {FLOOR_MULTIPLE:.0f}")
    axes.set(xscale="log", xlabel="error of the farthest output, in noise floors", ylabel="honest runs")
    alarms = sum(run["verdict"] == "divergent" for run in runs)
    said = f"{alarms} false alarms" if alarms else "no false alarm below the line"
    axes.set_title(f"{len(runs):,} honest runs of GoogLeNet: {said}")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig("docs/honest.svg", metadata={"Date": None})


def prepare(folder: Path, seeds: int) -> None:
    """Write, per seed, the rows, both sides' sensitised weights, the oracle and the floors; and both exports."""
    from safetensors.numpy import load_file, save_file

    from convert.googlenet import GOOGLENET
    from portproof.ports._inputs import make_batch
    from portproof.ports._locate import find_port
    from portproof.ports._port import Side
    from portproof.sides._session import Sessions
    from portproof.sides._sides import Sides

    with Sessions(find_port("convert.googlenet:GOOGLENET"), {}, "cpu", 1) as sessions:
        sides = Sides(sessions)
        sides.require_match()
        for seed in range(seeds):
            inputs = folder / f"{seed}-inputs.safetensors"
            save_file(make_batch(GOOGLENET, seed=seed, rows=ROWS).arrays, inputs)
            files = sides.spread(*sides.sensitise(inputs, seed, 2))
            pending = []
            for side, file in files.items():
                save_file(load_file(file), folder / f"{seed}-{side}.safetensors")
                sides.do(side, "", Tasks.load, weights=file)
                pending.append(sides.do(
                    side, "", Tasks.run, runner=Side(side).eager, inputs=inputs, out=folder / f"{seed}-{side}",
                    precisions=["float64", "float32"], single=0,
                ))  # fmt: skip
                exported = folder / f"{seed}-{side}.onnx"
                pending.append(sides.do(side, "", Tasks.export, inputs=inputs, out=exported))
            for future in pending:
                future.result()


def run(folder: Path, seeds: int, forced: str) -> None:
    """Run every configuration under the environment of this process and judge its outputs."""
    from safetensors.numpy import load_file

    from parity_tests.evidence.gates import judged
    from portproof.judge._floor import output_floors
    from portproof.judge._hops import judge_outputs

    with (folder / f"{list(FORCED).index(forced)}.jsonl").open("w") as results:
        models = Models(folder)
        for seed in range(seeds):
            rows = load_file(folder / f"{seed}-inputs.safetensors")["image"]
            outputs = {
                side: {p: load_file(folder / f"{seed}-{side}" / f"{p}.safetensors") for p in ("float32", "float64")}
                for side in ("torch", "paddle")
            }
            floors = output_floors([(outputs[s]["float32"], outputs[s]["float64"]) for s in outputs])
            oracle, other = outputs["torch"]["float64"], outputs["paddle"]["float32"]
            for threads in (1, 2):
                for name, call in models.ready(seed, threads):
                    for batch in BATCHES:
                        found = call(rows[:batch])
                        expected = {key: value[:batch] for key, value in oracle.items()}
                        hop = judge_outputs("numerics", "", name, "float32", "", found, expected, floors)
                        theirs = {key: value[:batch] for key, value in other.items()}
                        line = {"name": name, "forced": forced, "seed": seed, "threads": threads, "batch": batch,
                                "verdict": hop.verdict, "ratio": hop.worst.ratio if hop.worst else None,
                                "gates": judged(found, theirs)}  # fmt: skip
                        results.write(json.dumps(line) + "\n")


class Models:
    """Every way to run GoogLeNet that this process has, reloaded for each seed."""

    def __init__(self, folder: Path) -> None:
        import paddle
        import torch

        from paddle_impl.googlenet import GoogLeNet as PaddleGoogLeNet
        from parity_tests.evidence import rewrites
        from torch_impl.googlenet import GoogLeNet as TorchGoogLeNet

        self.folder, self.torch, self.paddle = folder, torch, paddle
        self.torch_models = {
            "torch eager": TorchGoogLeNet().eval(),
            "torch functional, no dropout": rewrites.torch_functional().eval(),
            "torch AdaptiveAvgPool": rewrites.torch_adaptive().eval(),
        }
        self.paddle_models = {"Paddle dygraph": PaddleGoogLeNet(), "Paddle functional": rewrites.paddle_functional()}

    def ready(self, seed: int, threads: int) -> Iterator[tuple[str, Callable[[np.ndarray], dict[str, np.ndarray]]]]:
        """Yield each configuration's name and its call, on one seed's weights."""
        yield from self._torch(seed, threads)
        yield from self._paddle(seed, threads)
        yield from self._exports(seed, threads)

    def _torch(self, seed: int, threads: int) -> Iterator[tuple[str, Any]]:
        from safetensors.torch import load_file

        torch = self.torch
        torch.set_num_threads(threads)
        state = load_file(self.folder / f"{seed}-torch.safetensors")

        def call(model: Any, **layout: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
            def called(rows: np.ndarray) -> dict[str, np.ndarray]:
                with torch.inference_mode():
                    return _named([t.numpy() for t in model(torch.tensor(rows).to(**layout))])

            return called

        for name, model in self.torch_models.items():
            model.load_state_dict(state)
            yield name, call(model)
        eager = self.torch_models["torch eager"]
        with torch.backends.mkldnn.flags(enabled=False):
            yield "torch without oneDNN", call(eager)
        eager.to(memory_format=torch.channels_last)
        yield "torch channels_last", call(eager, memory_format=torch.channels_last)
        eager.to(memory_format=torch.contiguous_format)

    def _paddle(self, seed: int, threads: int) -> Iterator[tuple[str, Any]]:
        from safetensors.numpy import load_file

        paddle = self.paddle
        paddle.core.set_num_threads(threads)
        state = load_file(self.folder / f"{seed}-paddle.safetensors")
        for name, model in self.paddle_models.items():
            model.eval()
            model.set_state_dict(state)

            def called(rows: np.ndarray, model: Any = model) -> dict[str, np.ndarray]:
                with paddle.no_grad():
                    return _named([t.numpy() for t in model(paddle.to_tensor(rows))])

            yield name, called

    def _exports(self, seed: int, threads: int) -> Iterator[tuple[str, Any]]:
        import onnxruntime

        level = onnxruntime.GraphOptimizationLevel
        levels = {"as written": level.ORT_DISABLE_ALL, "basic": level.ORT_ENABLE_BASIC,
                  "extended": level.ORT_ENABLE_EXTENDED, "all": level.ORT_ENABLE_ALL}  # fmt: skip
        for side in ("torch", "paddle"):
            for title, chosen in levels.items():
                options = onnxruntime.SessionOptions()
                options.graph_optimization_level, options.intra_op_num_threads = chosen, threads
                session = onnxruntime.InferenceSession(
                    str(self.folder / f"{seed}-{side}.onnx"), options, ["CPUExecutionProvider"]
                )

                def called(rows: np.ndarray, session: Any = session) -> dict[str, np.ndarray]:
                    return _named(session.run(["out", "out1", "out2"], {"image": rows}))

                yield f"ORT, {side} export, {title}", called


def _named(arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(("out", "out1", "out2"), arrays, strict=True))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--prepare"]:
        prepare(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--run"]:
        run(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
