"""What differs between two calls, in words of both frameworks."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np

from portproof.lines._calls import Call, Given
from portproof.lines._candidate import Candidate
from portproof.lines._match import Matched, base
from portproof.lines._values import is_constant

#: Names of arguments in both frameworks that mean one thing.
_ONE = {
    "axis": "dim", "perm": "dims", "keep_dim": "keepdim", "n_axis": "dim", "dim1": "dim", "input": "x", "self": "x",
    "num_or_sections": "split_size_or_sections", "negative_slope": "slope", "y": "other", "ksize": "kernel_size",
    "normalized_shape": "shape", "epsilon": "eps", "repeat_times": "repeats", "start_axis": "start_dim",
    "stop_axis": "end_dim", "end_axis": "end_dim", "num_groups": "groups", "upscale_factor": "factor",
}  # fmt: skip
#: Parameters of functions that cannot be asked, in order, where both frameworks have the same.
_SHARED: dict[str, tuple[str, ...]] = {
    "softmax": ("x", "dim"), "log_softmax": ("x", "dim"), "mean": ("x", "dim", "keepdim"),
    "max": ("x", "dim", "keepdim"), "stack": ("tensors", "dim"), "flatten": ("x", "start_dim", "end_dim"),
    "leaky_relu": ("x", "slope"), "gelu": ("x", "approximate"),
    "layer_norm": ("x", "shape", "weight", "bias", "eps"),
    "interpolate": ("x", "size", "scale_factor", "mode", "align_corners"), "chunk": ("x", "chunks", "dim"),
    "split": ("x", "split_size_or_sections", "dim"), "pad": ("x", "pad", "mode", "value"),
    "roll": ("x", "shifts", "dims"), "cumsum": ("x", "dim"), "argmax": ("x", "dim"), "unsqueeze": ("x", "dim"),
    "squeeze": ("x", "dim"), "norm": ("x", "p", "dim", "keepdim"), "normalize": ("x", "p", "dim", "eps"),
    "einsum": ("equation",), "tril": ("x", "diagonal"), "triu": ("x", "diagonal"),
    "conv2d": ("x", "weight", "bias", "stride", "padding", "dilation", "groups"),
}  # fmt: skip
#: The same with those in which they differ.
_SIGNATURES: dict[str, dict[str, tuple[str, ...]]] = {
    "torch": {
        **_SHARED,
        "sum": ("x", "dim", "keepdim"), "cat": ("tensors", "dim"), "transpose": ("x", "dim0", "dim1"),
        "permute": ("x",), "avg_pool2d": ("x", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
        "max_pool2d": ("x", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
        "clamp": ("x", "min", "max"), "dropout": ("x", "p", "training", "inplace"),
    },
    "paddle": {
        **_SHARED,
        "sum": ("x", "dim", "dtype", "keepdim"), "concat": ("tensors", "dim"), "transpose": ("x", "dims"),
        "avg_pool2d": ("x", "kernel_size", "stride", "padding", "ceil_mode", "exclusive"),
        "max_pool2d": ("x", "kernel_size", "stride", "padding", "return_mask", "ceil_mode"),
        "clip": ("x", "min", "max"), "dropout": ("x", "p", "dim", "training", "mode"),
    },
}  # fmt: skip
#: What an argument is where a call leaves it out, where both frameworks have one default.
_DEFAULTS = {
    "keepdim": "False", "ceil_mode": "False", "align_corners": "False", "approximate": "False", "diagonal": "0",
    "padding": "0", "start_dim": "0", "groups": "1", "dilation": "1",
}  # fmt: skip
_OPPOSITE = {"exclusive": "count_include_pad"}
#: Arguments that say nothing of the function.
_SILENT = {"inplace", "training", "data_format", "name", "recompute_scale_factor", "antialias", "out", "stride"}
_SLOPE = 1e-9


def differ(candidate: Candidate, matched: Matched, torch: Call | None, paddle: Call | None) -> str:
    """Say what differs between two calls; "" where nothing can be said."""
    if torch is None and paddle is None:
        return ""
    if candidate.given and torch is not None and paddle is not None:
        said = _inputs(matched, torch, paddle)
        return "; ".join(said) if said else "it is given another tensor"
    if paddle is None:
        assert torch is not None
        return f"torch computes {torch.name.strip('_')} here; Paddle does not, at these lines or between them"
    if torch is None:
        return f"Paddle computes {paddle.name.strip('_')} here, torch does not"
    said = [] if torch.part else _arguments(torch, paddle)
    said += _inputs(matched, torch, paddle) if not torch.part else []
    said += _values(matched, candidate) if not said else []
    if base(torch.name) != base(paddle.name) and not torch.part:
        said.insert(0, f"{paddle.name.strip('_')} where torch has {torch.name.strip('_')}")
    return "; ".join(dict.fromkeys(said))


def _arguments(torch: Call, paddle: Call) -> list[str]:
    """Compare the arguments by name, of functions of one name."""
    if base(torch.name) != base(paddle.name):
        return []
    mine, theirs = _named("torch", torch), _named("paddle", paddle)
    if base(torch.name) == "transpose":
        return _axes(torch, paddle)
    said = []
    for name in dict.fromkeys([*mine, *theirs]):
        if name in _SILENT or name.isdigit():
            continue
        one, other = mine.get(name, _DEFAULTS.get(name)), theirs.get(name, _DEFAULTS.get(name))
        if one is None or other is None or "tensor" in one + other:
            continue
        if _plain(one) != _plain(other):
            said.append(f"{name} is {other} in Paddle, {one} in torch")
    if base(torch.name) == "getitem" and mine.get("1") != theirs.get("1") and "tensor" not in str(mine.get("1")):
        said.append(f"[{theirs.get('1')}] in Paddle, [{mine.get('1')}] in torch".replace("None:", ":"))
    if base(torch.name) == "reshape" and torch.arguments and paddle.arguments:
        shapes = [_after_first(call.arguments) for call in (torch, paddle)]
        if _plain(shapes[0]) != _plain(shapes[1]):
            said.append(f"to {shapes[1]} in Paddle, to {shapes[0]} in torch")
    return said


def _after_first(arguments: Mapping[str, str]) -> str:
    rest = [value for key, value in arguments.items() if key != "0"]
    return rest[0] if len(rest) == 1 else f"[{', '.join(rest)}]"


def _axes(torch: Call, paddle: Call) -> list[str]:
    one, other = _after_first(torch.arguments), _after_first(paddle.arguments)
    return [f"axes {other} in Paddle, {one} in torch"] if one != other else []


def _named(side: str, call: Call) -> dict[str, str]:
    names = _SIGNATURES[side].get(call.name.strip("_"), ())
    found: dict[str, str] = {}
    for key, value in call.arguments.items():
        name = key
        if key.isdigit() and int(key) < len(names):
            name = names[int(key)]
        if name in _OPPOSITE and value in ("True", "False"):
            name, value = _OPPOSITE[name], str(value == "False")
        found[_ONE.get(name, name)] = value
    return found


def _plain(text: str) -> object:
    """Return an argument as a number, lists of one number as that."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, (list, tuple)):
        return value[0] if value and all(one == value[0] for one in value) else tuple(value)
    if isinstance(value, bool) or value in ("tanh", "none"):
        return value in (True, "tanh")
    return value


def _inputs(matched: Matched, torch: Call, paddle: Call) -> list[str]:
    """Compare what two calls are given: the same in another order, written in place, or from elsewhere."""
    mine = [g for g in torch.given if not is_constant(matched.of["torch"].values[g.value].features)]
    theirs = [g for g in paddle.given if not is_constant(matched.of["paddle"].values[g.value].features)]
    kinds = [matched.kind("torch", g.value) for g in mine], [matched.kind("paddle", g.value) for g in theirs]
    if kinds[0] != kinds[1] and sorted(kinds[0]) == sorted(kinds[1]):
        return ["the same parts in another order"]
    said = []
    for given, kind in zip(mine, kinds[0], strict=True):
        if kind not in kinds[1]:
            said.append(f"torch {_origin(matched, 'torch', given)}")
    for given, kind in zip(theirs, kinds[1], strict=True):
        if kind not in kinds[0]:
            said.append(f"Paddle {_origin(matched, 'paddle', given)}")
    return said[:4] if len(said) < 6 else []


def _origin(matched: Matched, side: str, given: Given) -> str:
    if given.leaf:
        lone = "" if matched.agrees(side, given.value) else ", which has no equal on the other side"
        return f"reads '{given.leaf}'{lone}"
    call = matched.call(side, given.maker)
    if call is None:
        return "reads a tensor that no recorded call made"
    where = ""
    if call.places:
        place = matched.of[side].places[call.places[0]]
        where = f" of line {place.line}"
    wrote = ", written in place" if call.written or _wrote_in_place(matched, side, call) else ""
    return f"reads what {call.name.strip('_')}{where} makes{wrote}"


def _wrote_in_place(matched: Matched, side: str, call: Call) -> bool:
    return call.arguments.get("inplace") == "True" or (call.name.endswith("_") and not call.name.endswith("__"))


def _values(matched: Matched, candidate: Candidate) -> list[str]:
    """Relate two results: a factor, an offset, another order of axes."""
    if candidate.paddle is None or candidate.given:
        return []
    pairs = zip(candidate.values[0], candidate.paddle.made, strict=False)
    one, other = next(((a, b) for a, b in pairs if a is not None), (None, None))
    if one is None or other is None:
        return []
    x, y = matched.array("torch", one), matched.array("paddle", other)
    if x is None or y is None:
        return []
    if x.shape != y.shape:
        return [f"the result is {list(y.shape)} in Paddle, {list(x.shape)} in torch"]
    if x.dtype.kind not in "fiu" or y.dtype.kind not in "fiu" or not x.size:
        return []
    x, y = x.astype(np.float64), y.astype(np.float64)
    scale = float(np.abs(x).max(initial=0.0))
    if not (np.isfinite(x).all() and np.isfinite(y).all() and scale):
        return []
    factor = float((x * y).sum() / (x * x).sum())
    if abs(factor - 1) > _SLOPE and np.allclose(y, factor * x, rtol=0, atol=_SLOPE * scale * abs(factor)):
        return [f"Paddle's result is {factor:.6g} times torch's"]
    offset = y - x
    if float(np.ptp(offset)) < _SLOPE * scale and abs(float(offset.flat[0])) > _SLOPE * scale:
        return [f"Paddle's result is torch's plus {float(offset.flat[0]):.6g}"]
    if np.allclose(np.sort(x, None), np.sort(y, None), rtol=0, atol=_SLOPE * scale):
        return ["the same values in another order"]
    changed = ~np.isclose(x, y, rtol=0, atol=_SLOPE * scale)
    share = float(changed.mean())
    return [f"{share:.0%} of the values differ"] if share < 0.995 else []
