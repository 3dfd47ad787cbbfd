"""Who is to blame for a graph's other results, as values: read without ONNX."""

from __future__ import annotations

from dataclasses import dataclass

from portproof.judge._report import Line
from portproof.replay._taps import TapDifference


@dataclass(frozen=True)
class Nodes:
    """Nodes that are wrong together.

    Attributes:
        named: as a person would name them; of nodes that differ between two graphs, how.
        origins: lines of the model that they come from, where the exporter wrote that.
    """

    named: str
    origins: tuple[Line, ...] = ()


@dataclass(frozen=True)
class NodeTap:
    """How a module's output, as the graph computes it from the recorded input, differs from the recording.

    Attributes:
        tap: the difference, under the module's key.
        nodes: what computes it.
    """

    tap: TapDifference
    nodes: Nodes


@dataclass(frozen=True)
class PassBlame:
    """What an optimiser does wrongly.

    Attributes:
        passes: without which the model is right; empty where leaving none out heals it.
        first: the first tensor, in the graph's order, whose optimised subgraph is wrong.
        nodes: what computes it.
    """

    passes: tuple[str, ...]
    first: str
    nodes: Nodes


@dataclass(frozen=True)
class NodeFault:
    """What is wrong with a node of a graph in lower precision, or with a run of it.

    Attributes:
        node: as a person would name it.
        text: what is wrong, as the end of a sentence.
        origins: lines of the model that it comes from, where the exporter wrote that.
    """

    node: str
    text: str
    origins: tuple[Line, ...] = ()


@dataclass(frozen=True)
class LowerSeen:
    """What was seen of a graph in lower precision, part by part.

    Attributes:
        units: parts that were run on right levels.
        graph: what is wrong with the graph itself.
        runtime: units that the runtime computes wrongly.
        costs: what quantising loses at the outputs, and where it loses most, in words.
    """

    units: int
    graph: tuple[NodeFault, ...] = ()
    runtime: tuple[NodeFault, ...] = ()
    costs: tuple[str, ...] = ()
