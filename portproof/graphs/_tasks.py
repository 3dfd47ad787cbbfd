"""What the runtime's process answers about ONNX graphs: interpreted, matched, blamed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof.frameworks import load_framework
from portproof.graphs._blamed import LowerSeen, Nodes, NodeTap, PassBlame
from portproof.ports._port import LEADING
from portproof.replay._taps import TapStore
from portproof.sides._roles import answers
from portproof.sides._workplace import Workplace


class GraphTasks:
    """ONNX graphs, in the process that interprets or runs exported files. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        for side in LEADING:
            if side in sys.modules:  # imported before this process was forked; else the environment says how many
                load_framework(side).set_threads(place.job.threads)

    @answers("out")
    def interpret(self, artefact: Path, inputs: Path, out: Path, precision: str = "float64") -> str:
        """Interpret a graph and write its outputs; returns the precision that it is written in."""
        from portproof.graphs._interpret import Graph, load_graph, precision_of

        proto = load_graph(artefact)
        graph = Graph(proto, precision)
        graph.require_interface(str(artefact), self.place.job.port)
        found = self.place.job.port.rows_first(graph.run(load_file(inputs)))
        save_arrays(out, {name: np.asarray(array) for name, array in found.items()})
        return precision_of(proto)

    @answers("out")
    def lower(self, artefact: Path, kind: str, calibration: Path, out: Path) -> None:
        """Write an export in lower precision; see :func:`portproof.graphs._lower.lower`."""
        from portproof.graphs._lower import lower

        lower(artefact, kind, calibration, out)

    @answers("out")
    def quantised(self, artefact: Path, inputs: Path, out: Path) -> dict[str, tuple[float, float]]:
        """Interpret a quantised graph and write its outputs; returns root mean square and tail of each one's floor."""
        from portproof.graphs._interpret import load_graph
        from portproof.graphs._quantised import meaning_of

        found, port = meaning_of(load_graph(artefact), load_file(inputs)), self.place.job.port
        save_arrays(out, port.rows_first(found.outputs))
        return {name: (floor.rms, floor.tail) for name, floor in found.floors.items()}

    @answers()
    def see_lower(self, artefact: Path, inputs: Path, runtime: str, per_channel: bool) -> LowerSeen:
        """Look at a graph in lower precision node by node, and run each unit of a quantised one in its runtime."""
        from portproof.graphs._cost import told
        from portproof.graphs._interpret import load_graph, precision_of
        from portproof.graphs._quantised import is_quantised
        from portproof.graphs._units import judge_units, overflows, unsound

        proto, rows = load_graph(artefact), load_file(inputs)
        if not is_quantised(proto):
            return LowerSeen(0, tuple(overflows(proto, rows)) if precision_of(proto) == "float16" else ())
        if runtime == "openvino":
            from portproof.runners._openvino import run_bytes as run
        else:
            from portproof.runners._onnxruntime import run_optimised as run
        faults, plain = unsound(proto, per_channel=per_channel), artefact.with_suffix(".float.onnx")
        units, found = judge_units(proto, rows, run)
        costs = told(load_graph(plain), proto, rows) if plain.is_file() else ()
        return LowerSeen(units, tuple(faults), tuple(found), costs)

    @answers()
    def saturating(self, artefact: Path) -> str:
        """Say which product of a quantised graph can overflow in a narrow instruction, "" for none."""
        from portproof.graphs._interpret import load_graph
        from portproof.graphs._units import saturating

        return saturating(load_graph(artefact))

    @answers()
    def precision(self, artefact: Path) -> str:
        """Return the precision that a graph is written in."""
        from portproof.graphs._interpret import load_graph, precision_of

        return precision_of(load_graph(artefact))

    @answers()
    def match(self, artefacts: list[Path], inputs: Path) -> list[Nodes]:
        """Match two graphs node by node and return what differs, in words and with the lines that it comes from."""
        from portproof.graphs._interpret import load_graph
        from portproof.graphs._match import match_graphs

        one, two = (load_graph(path) for path in artefacts)
        found = match_graphs(one, two, load_file(inputs), LEADING)
        return [Nodes(text, lines) for text, lines in zip(found.differences, found.origins, strict=True)]

    @answers()
    def blame_export(
        self, artefact: Path, exporter: str, keys: dict[str, str], inputs: Path, folder: Path
    ) -> list[NodeTap]:
        """Interpret a graph on recorded taps; returns how each module's nodes differ from it."""
        from portproof.graphs._blame import force_graph, pair_tensors
        from portproof.graphs._interpret import Graph, load_graph

        proto = load_graph(artefact)
        taps = pair_tensors(proto, exporter, keys)
        return force_graph(Graph(proto), taps, load_file(inputs), TapStore(folder))

    @answers()
    def blame_runtime(self, artefact: Path, inputs: Path) -> list[Nodes]:
        """Name the nodes that ONNX Runtime computes wrongly although their inputs are right."""
        from portproof.graphs._blame import blame_runtime
        from portproof.runners._onnxruntime import run_bytes

        return blame_runtime(str(artefact), load_file(inputs), run_bytes)

    @answers()
    def blame_optimiser(self, artefact: Path, inputs: Path) -> PassBlame:
        """Name ONNX Runtime's optimiser passes, and the first subgraph, that change what a model computes."""
        from portproof.graphs._blame import blame_optimiser, passes_that_acted
        from portproof.runners._onnxruntime import optimiser_log, run_bytes

        acted = passes_that_acted(optimiser_log(str(artefact)))
        return blame_optimiser(str(artefact), load_file(inputs), run_bytes, acted)
