"""Faults as people make them in a forward's own code: rewritings of the syntax tree of one function, a place each."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Node = ast.AST
#: Given a node, yields what may stand in its place.
Rule = Callable[[ast.AST, ast.FunctionDef], Iterator[ast.AST]]


@dataclass(frozen=True)
class Fault:
    """A fault in one function.

    Attributes:
        kind: of fault.
        first, last: lines of the statement that has it.
        function: the whole function with it.
        text: the expression as it is now.
    """

    kind: str
    first: int
    last: int
    function: ast.FunctionDef
    text: str


def faults(function: ast.FunctionDef) -> Iterator[Fault]:
    """Yield every fault that the rules find in a function."""
    for kind, rule in RULES.items():
        for number, node in enumerate(ast.walk(function)):
            for place in range(len(list(rule(node, function)))):
                whole = copy.deepcopy(function)
                target = list(ast.walk(whole))[number]
                made = list(rule(target, whole))[place]
                ast.copy_location(made, target)
                statement = _exchange(whole, target, made)
                if statement is None:
                    continue
                ast.fix_missing_locations(whole)
                last = statement.body[0].lineno - 1 if hasattr(statement, "body") else statement.end_lineno
                yield Fault(kind, statement.lineno, max(statement.lineno, last or 0), whole, ast.unparse(made)[:90])


def _exchange(whole: ast.AST, target: ast.AST, made: ast.AST) -> ast.stmt | None:
    """Put a node in another's place and return the innermost statement around it."""
    found: list[ast.stmt] = []

    class Exchange(ast.NodeTransformer):
        stack: list[ast.stmt] = []  # noqa: RUF012

        def visit(self, node: ast.AST) -> ast.AST:
            if isinstance(node, ast.stmt):
                self.stack = [*self.stack, node]
            if node is target:
                found.append(self.stack[-1])
                return made
            result: ast.AST = self.generic_visit(node)
            if isinstance(node, ast.stmt):
                self.stack = self.stack[:-1]
            return result

    Exchange().visit(whole)
    return found[0] if found and not isinstance(found[0], ast.FunctionDef) else None


def _name(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _with(node: ast.Call, key: str, value: ast.expr) -> ast.Call:
    keywords = [ast.keyword(k.arg, value if k.arg == key else k.value) for k in node.keywords]
    return ast.Call(node.func, node.args, keywords)


def _number(node: ast.AST) -> int | float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    return None


def _constant(value: object) -> ast.expr:
    return ast.parse(repr(value), mode="eval").body


def _argument(names: tuple[str, ...], keys: tuple[str, ...], place: int, other: Callable[[int], int]) -> Rule:
    """Another number for an argument, given by key or by place (of a function; of a method one less)."""

    def rule(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
        if _name(node) not in names:
            return
        assert isinstance(node, ast.Call)
        for keyword in node.keywords:
            value = _number(keyword.value)
            if keyword.arg in keys and isinstance(value, int):
                yield _with(node, keyword.arg or "", _constant(other(value)))
        for at in {place, place - 1} & set(range(len(node.args))):
            value = _number(node.args[at])
            if isinstance(value, int) and (at == place or not any(k.arg in keys for k in node.keywords)):
                args = [_constant(other(value)) if i == at else arg for i, arg in enumerate(node.args)]
                yield ast.Call(node.func, args, node.keywords)
                return

    return rule


def _flip(key: str, names: tuple[str, ...] = ()) -> Rule:
    def rule(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
        if not isinstance(node, ast.Call) or (names and _name(node) not in names):
            return
        for keyword in node.keywords:
            if keyword.arg == key and isinstance(keyword.value, ast.Constant) and type(keyword.value.value) is bool:
                yield _with(node, key, ast.Constant(not keyword.value.value))

    return rule


def _list_argument(names: tuple[str, ...], change: Callable[[list[ast.expr]], list[ast.expr] | None]) -> Rule:
    """Another order of a list that is an argument."""

    def rule(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
        if _name(node) not in names:
            return
        assert isinstance(node, ast.Call)
        for at, arg in enumerate(node.args):
            if isinstance(arg, (ast.List, ast.Tuple)):
                changed = change(list(arg.elts))
                if changed is not None:
                    args = [ast.List(changed, ast.Load()) if i == at else a for i, a in enumerate(node.args)]
                    yield ast.Call(node.func, args, node.keywords)
        for keyword in node.keywords:
            if isinstance(keyword.value, (ast.List, ast.Tuple)):
                changed = change(list(keyword.value.elts))
                if changed is not None:
                    yield _with(node, keyword.arg or "", ast.List(changed, ast.Load()))

    return rule


def _swapped(first: int, second: int) -> Callable[[list[ast.expr]], list[ast.expr] | None]:
    def change(items: list[ast.expr]) -> list[ast.expr] | None:
        if len(items) < 2 or len(items) <= max(first, second) or ast.dump(items[first]) == ast.dump(items[second]):
            return None
        items[first], items[second] = items[second], items[first]
        return items

    return change


def _renamed(names: dict[str, str], count: int = 1) -> Rule:
    def rule(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
        new = names.get(_name(node))
        if new is None or not isinstance(node, ast.Call):
            return
        func = node.func
        named: ast.expr = ast.Attribute(func.value, new, ast.Load()) if isinstance(func, ast.Attribute) else func
        if named is not func and len(node.args) == count and not node.keywords:
            yield ast.Call(named, node.args, node.keywords)

    return rule


def _binary(kinds: tuple[type[ast.operator], ...], made: Callable[[ast.BinOp], Iterator[ast.expr]]) -> Rule:
    def rule(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, kinds):
            yield from made(node)

    return rule


def _tensorish(node: ast.AST) -> bool:
    """Whether an expression may be a tensor: a call, or a short name as forwards give them."""
    return isinstance(node, ast.Call) or (isinstance(node, ast.Name) and not node.id.isupper())


def _no_residual(node: ast.BinOp) -> Iterator[ast.expr]:
    if _tensorish(node.left) and _tensorish(node.right):
        yield node.right if isinstance(node.left, ast.Name) else node.left


def _no_scale(node: ast.BinOp) -> Iterator[ast.expr]:
    if isinstance(node.right, (ast.Attribute, ast.Constant)) or (
        isinstance(node.right, ast.BinOp) and isinstance(node.right.op, ast.Pow)
    ):
        yield node.left


def _other_scale(node: ast.BinOp) -> Iterator[ast.expr]:
    if isinstance(node.right, (ast.Attribute, ast.Constant)):
        yield ast.BinOp(node.left, ast.Div() if isinstance(node.op, ast.Mult) else ast.Mult(), node.right)


def _turned(node: ast.BinOp) -> Iterator[ast.expr]:
    if _tensorish(node.left) or _tensorish(node.right):
        yield ast.BinOp(node.right, node.op, node.left)


def _to_integers(node: ast.BinOp) -> Iterator[ast.expr]:
    if _tensorish(node.left):
        yield ast.BinOp(node.left, ast.FloorDiv(), node.right)


def _other_source(node: ast.AST, function: ast.FunctionDef) -> Iterator[ast.AST]:
    """A sum's own name exchanged for another that the function assigns or takes."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.left, ast.Name)):
        return
    for name in _locals(function):
        if name != node.left.id:
            yield ast.BinOp(ast.Name(name, ast.Load()), node.op, node.right)
            return


def _other_argument(node: ast.AST, function: ast.FunctionDef) -> Iterator[ast.AST]:
    """A call's first argument exchanged for another name."""
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Name):
        return
    if isinstance(node.func, ast.Name) and node.func.id in _BUILTIN:
        return
    names = [name for name in _locals(function) if name != node.args[0].id]
    if names:
        yield ast.Call(node.func, [ast.Name(names[0], ast.Load()), *node.args[1:]], node.keywords)


def _locals(function: ast.FunctionDef) -> list[str]:
    names = [arg.arg for arg in function.args.args if arg.arg != "self"]
    names += [node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return list(dict.fromkeys(names))


def _bounds(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Slice):
        return
    for which in ("lower", "upper"):
        value = _number(getattr(node, which)) if getattr(node, which) is not None else None
        if isinstance(value, int) and value:
            made = ast.Slice(node.lower, node.upper, node.step)
            setattr(made, which, _constant(value + 1 if value != -1 else -2))
            yield made


def _index(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        value = _number(node.slice)
        shape = isinstance(node.value, ast.Attribute) and node.value.attr == "shape"
        if isinstance(value, int) and not shape:
            yield ast.Subscript(node.value, _constant(value - 1 if value > 0 else value + 1), node.ctx)


def _step(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """The start of a slice that takes every second."""
    if isinstance(node, ast.Slice) and node.step is not None and _number(node.lower) in (0, 1):  # type: ignore[arg-type]
        yield ast.Slice(_constant(1 - int(_number(node.lower) or 0)), node.upper, node.step)  # type: ignore[arg-type]


def _off_by_one(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if _name(node) in ("arange", "ones", "zeros") and isinstance(node, ast.Call) and node.args:
        if _name(node) == "arange" and len(node.args) == 1:
            yield ast.Call(node.func, [_constant(1), ast.BinOp(node.args[0], ast.Add(), _constant(1))], node.keywords)
        elif _name(node) == "arange" and _number(node.args[0]) is not None:
            moved = [ast.BinOp(arg, ast.Sub(), _constant(1)) for arg in node.args[:2]]
            yield ast.Call(node.func, [*moved, *node.args[2:]], node.keywords)


def _comparison(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    flips = {ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.GtE: ast.Lt, ast.LtE: ast.Gt}
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in flips:
        text = ast.dump(node)
        if "shape" not in text and "training" not in text and "None" not in text:
            yield ast.Compare(node.left, [flips[type(node.ops[0])]()], node.comparators)


def _branch(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and "raise" not in ast.unparse(node):
        yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)


def _mask_sign(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _number(node.left) in (1, 1.0):
        yield node.right


def _wrong_constant(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if isinstance(node, ast.Constant) and type(node.value) is float and node.value not in (0.0,):
        yield _constant(node.value * 1.25)


def _power(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and _number(node.right) == 2:
        yield ast.BinOp(node.left, ast.Pow(), _constant(4))
    if _name(node) == "pow" and isinstance(node, ast.Call) and node.args and _number(node.args[-1]) == 2:
        yield ast.Call(node.func, [*node.args[:-1], _constant(4)], node.keywords)


def _two_turned(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """f(g(x)) as g(f(x))."""
    if not (isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords):
        return
    inner = node.args[0]
    if isinstance(inner, ast.Call) and len(inner.args) == 1 and not inner.keywords:
        yield ast.Call(inner.func, [ast.Call(node.func, inner.args, [])], [])


def _dropped(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """A call of a function of one tensor left out."""
    if isinstance(node, ast.Call) and _name(node) in _UNARY and len(node.args) == 1 and not node.keywords:
        yield node.args[0]


def _added(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """A call of an activation made twice over: relu after something that has none."""
    if not (
        isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name)
    ):
        return
    if ast.unparse(node.value.func).startswith("self.") and ast.unparse(node.value.func).count(".") == 1:
        yield ast.Assign(node.targets, ast.Call(ast.Attribute(node.value, "abs", ast.Load()), [], []))


def _skipped(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """A line ``x = f(x)`` left out."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        used = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if name in used and isinstance(node.value, ast.Call):
            yield ast.Pass()


def _unpacked(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """``q, k = …`` as ``k, q = …``."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        elts = list(node.targets[0].elts)
        if len(elts) >= 2 and "shape" not in ast.unparse(node.value):
            elts[0], elts[1] = elts[1], elts[0]
            yield ast.Assign([ast.Tuple(elts, ast.Store())], node.value)


def _in_place(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    names = {ast.Add: "add_", ast.Sub: "subtract_", ast.Mult: "multiply_"}
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=[ast.Name(), *_]) if name in _WRITING:
            yield ast.Call(ast.Attribute(value, f"{name}_", ast.Load()), node.args, node.keywords)
        case ast.BinOp(left=ast.Name() as left, right=ast.Call() | ast.Name() as right) if type(node.op) in names:
            yield ast.Call(ast.Attribute(left, names[type(node.op)], ast.Load()), [right], [])


def _letters(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if _name(node) == "einsum" and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
        left, _arrow, right = str(node.args[0].value).replace(" ", "").partition("->")
        if len(right) >= 2:
            turned = right[:-2] + right[-1] + right[-2]
            yield ast.Call(node.func, [ast.Constant(f"{left}->{turned}"), *node.args[1:]], node.keywords)
        first = left.split(",")[0]
        if len(first) >= 2:
            turned = first[:-2] + first[-1] + first[-2]
            yield ast.Call(
                node.func, [ast.Constant(f"{turned}{left[len(first) :]}->{right}"), *node.args[1:]], node.keywords
            )


def _dtype(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    """Numbers cast to integers, indices to floats and back."""
    if _name(node) in ("astype", "cast") and isinstance(node, ast.Call) and node.args:
        yield ast.Call(
            ast.Attribute(ast.Call(node.func, [*node.args[:-1], ast.Constant("int32")], []), "astype", ast.Load()),
            [node.args[-1]], [],
        )  # fmt: skip


def _where(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if _name(node) == "where" and isinstance(node, ast.Call) and len(node.args) == 3:
        yield ast.Call(node.func, [node.args[0], node.args[2], node.args[1]], node.keywords)


def _approximate(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if _name(node) == "gelu" and isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        yield ast.Call(node.func, node.args, [ast.keyword("approximate", ast.Constant(True))])


def _matmul(node: ast.AST, _: ast.FunctionDef) -> Iterator[ast.AST]:
    if _name(node) in ("matmul", "bmm") and isinstance(node, ast.Call) and len(node.args) == 2:
        yield ast.Call(node.func, node.args[::-1], node.keywords)


_UNARY = {
    "relu", "gelu", "silu", "tanh", "sigmoid", "softmax", "abs", "softplus", "elu", "hardswish", "sqrt", "rsqrt", "cos",
    "sin",
}  # fmt: skip
_BUILTIN = ("len", "range", "int", "float", "list", "tuple", "isinstance")
_WRITING = ("relu", "tanh", "elu", "softmax")
_AXED = (
    "softmax", "log_softmax", "mean", "sum", "max", "min", "concat", "stack", "split", "chunk", "argmax", "cumsum",
    "normalize", "norm", "var", "std", "flip",
)  # fmt: skip


def _axis(value: int) -> int:
    return {-1: -2, 1: 2, 2: 1, 0: 1, 3: 2}.get(value, value + 1)


#: Kind of fault to where it may be made.
RULES: dict[str, Rule] = {
    "axis": _argument(_AXED, ("axis",), 1, _axis),
    "keepdim": _flip("keepdim"),
    "transpose order": _list_argument(("transpose",), _swapped(-1, -2)),
    "transpose of the first axes": _list_argument(("transpose",), _swapped(1, 2)),
    "reshape order": _list_argument(("reshape", "view"), _swapped(-1, -2)),
    "slice bounds": _bounds,
    "start of a stride": _step,
    "wrong index": _index,
    "off by one": _off_by_one,
    "comparison": _comparison,
    "mask sign": _mask_sign,
    "branch": _branch,
    "dtype": _dtype,
    "concat order": _list_argument(("concat", "stack"), _swapped(0, 1)),
    "split sizes": _list_argument(("split",), _swapped(0, 1)),
    "parts unpacked in another order": _unpacked,
    "scale left out": _binary((ast.Mult, ast.Div), _no_scale),
    "divided instead of multiplied": _binary((ast.Mult, ast.Div), _other_scale),
    "residual left out": _binary((ast.Add,), _no_residual),
    "residual from elsewhere": _other_source,
    "another argument": _other_argument,
    "activation variant": _renamed({
        "relu": "relu6", "silu": "hardswish", "sigmoid": "hardsigmoid", "tanh": "softsign", "hardswish": "silu",
        "elu": "relu", "softplus": "relu", "gelu": "silu",
    }),
    "approximate": _approximate,
    "pool arguments": _flip("exclusive"),
    "pool size": _argument(("avg_pool2d", "max_pool2d", "adaptive_avg_pool2d"), ("kernel_size",), 1, lambda v: v + 1),
    "interpolate arguments": _flip("align_corners"),
    "padding": _list_argument(("pad",), _swapped(0, 1)),
    "shift": _list_argument(("roll",), lambda items: [ast.UnaryOp(ast.USub(), item) for item in items]),
    "in-place write": _in_place,
    "integer division": _binary((ast.Div,), _to_integers),
    "einsum letters": _letters,
    "broadcast": _argument(("unsqueeze",), ("axis",), 1, _axis),
    "wrong constant": _wrong_constant,
    "power": _power,
    "two operations turned round": _two_turned,
    "operands turned round": _binary((ast.Sub, ast.Div), _turned),
    "matmul turned round": _matmul,
    "function left out": _dropped,
    "function too many": _added,
    "line left out": _skipped,
    "reduction": _renamed({"mean": "sum", "max": "mean", "min": "max"}),
    "where turned round": _where,
    "max for min": _renamed({"maximum": "minimum", "minimum": "maximum"}, 2),
    "transpose flag": _flip("transpose_y"),
}  # fmt: skip
