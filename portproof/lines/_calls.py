"""What a recorded forward is: calls of the framework's functions, in order, with where they stand and what they made.

All of it passes a line between processes; the values themselves are files.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The last call of every recording, which made nothing: it hands the outputs on.
RETURN = "return"
#: In the place of a name, what a function returns.
RETURNED = ""


@dataclass(frozen=True)
class Place:
    """An expression in somebody's code.

    Attributes:
        file, line: where it begins.
        end: its last line.
        text: the expression, on one line.
        module: path of the module whose forward evaluates it.
        reads: local names that its lines read.
    """

    file: str
    line: int
    end: int
    text: str
    module: str = ""
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Value:
    """A tensor as it was at one time.

    Attributes:
        shape, dtype: of the array.
        features: what no order of axes changes; see :func:`portproof.lines._values.features`.
        file: name of the file that holds it, the same for the same values; "" where that was too much.
    """

    shape: tuple[int, ...]
    dtype: str
    features: tuple[float, ...]
    file: str


@dataclass(frozen=True)
class Given:
    """A tensor that a call was given.

    Attributes:
        value: which of the recording's values it held.
        maker: index of the call that made it, -1 for none.
        slot: which of that call's results it is.
        leaf: name of the input, parameter or table that it is; "" for a result, and for an orphan.
    """

    value: int
    maker: int = -1
    slot: int = 0
    leaf: str = ""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a function or of a tensor's method.

    Attributes:
        index: how many calls came before, those among them that are not kept: the same in every run.
        name: of the function.
        places: in whose code, innermost first.
        module: path of the innermost module that was running.
        given: the tensors among its arguments.
        made: values of its results, in order; then of arguments that it wrote into.
        arguments: name or place to what it was, as text; tensors by their shape.
        written: how many of ``made`` are arguments that it wrote into.
        part: it stands for a step inside the call of this index, which can be matched and not exchanged.
        frames: numbers of the frames of ``places``, -1 for one that was not followed.
    """

    index: int
    name: str
    places: tuple[int, ...]
    module: str
    given: tuple[Given, ...]
    made: tuple[int, ...]
    arguments: dict[str, str]
    written: int = 0
    part: bool = False
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bound:
    """A tensor that a name was bound to.

    Attributes:
        name: of the variable or parameter; :data:`RETURNED` for what is returned.
        value: which of the recording's values it held.
        maker, slot, leaf: as those of :class:`Given`.
        whole: the name holds the tensor itself, not a container of it.
    """

    name: str
    value: int
    maker: int = -1
    slot: int = 0
    leaf: str = ""
    whole: bool = True


@dataclass(frozen=True)
class Frame:
    """One run of a function of somebody's code.

    Attributes:
        parent: number of the frame that called it, -1 for none.
        module: path of the module that was running.
        begun: calls that were made before.
        given: its parameters that hold tensors.
        function: its name.
        wraps: it takes whatever it is given (``*args, **kwargs``) as a decorator's does.
    """

    parent: int
    module: str
    begun: int
    given: tuple[Bound, ...]
    function: str = ""
    wraps: bool = False


@dataclass(frozen=True)
class Statement:
    """A statement that was run, and what it bound or returned.

    Attributes:
        place: its lines, whole.
        frame: in which it ran.
        begun, ended: calls that were made before it, and until it was over.
        bound: to what names.
        copies: it does nothing but hand on what one name holds (``h = pooled``, ``return h``).
    """

    place: int
    frame: int
    begun: int
    ended: int
    bound: tuple[Bound, ...]
    copies: bool


@dataclass(frozen=True)
class Asked:
    """A condition that was run (``if self.norm is not None:``).

    Attributes:
        place: its lines.
        frame: in which it ran.
        at: calls that were made before.
        attributes: of ``self`` that it reads.
    """

    place: int
    frame: int
    at: int
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """One side's forward.

    Attributes:
        side: whose.
        calls: in order, the last one :data:`RETURN`, which is given the outputs in their order.
        values: that occurred.
        places: in code.
        outputs: names, in the order of what ``RETURN`` is given.
        orphans: inputs of calls that no recorded call made: what the recorder missed.
        unread: calls whose tensors hold no values (inside ``vmap``, say).
        handed: dropouts, which hand on in evaluation what another call has made: its index, and their places.
        frames: runs of functions.
        statements: that bound or returned a tensor, in the order in which they ended.
        unwritten: values that were too much to write, large parameters apart; they are known by their features.
        idle: paths of modules that never ran inside ones that did, and their classes.
        asked: conditions that were run and read attributes of a module.
    """

    side: str
    calls: tuple[Call, ...]
    values: tuple[Value, ...]
    places: tuple[Place, ...]
    outputs: tuple[str, ...]
    orphans: tuple[str, ...] = ()
    unread: int = 0
    handed: tuple[tuple[int, tuple[int, ...]], ...] = ()
    frames: tuple[Frame, ...] = ()
    statements: tuple[Statement, ...] = ()
    unwritten: int = 0
    idle: tuple[tuple[str, str], ...] = ()
    asked: tuple[Asked, ...] = ()
