"""Checkpoints in the forms that people have, of one small model, each with what ``convert`` should say of it.

Reduced from training scripts and published files: torchvision, timm, BasicSR, DINO, Lightning, Hugging Face,
ultralytics, PaddleClas and PaddleOCR. The reference is a state dict of each side; a case says where a file's differs.
"""

from __future__ import annotations

import argparse
import collections
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A file, and what a conversion of it says.

    Attributes:
        file: its name.
        words: that are said.
        refused: whether it cannot be read without running code.
        exact: whether the weights are the reference's, bit for bit.
    """

    file: str
    words: tuple[str, ...] = ()
    refused: bool = False
    exact: bool = True


TORCH = (
    Case("module_prefix.pth", ("beginning 'module.' of names taken off",)),
    Case("imagenet.pth.tar", ("weights under 'state_dict'", "'optimizer' (dict)", "'best_acc1' (a tensor)")),
    Case("nested_module.pth", ("weights under 'state_dict'", "beginning 'module.' of names taken off")),
    Case("compiled.pt", ("beginning '_orig_mod.' of names taken off",)),
    Case(
        "ema_namespace.pth",
        ("weights under 'model'", "'ema' (9 tensors; convert --key takes it)", "(argparse.Namespace)"),
    ),
    Case("basicsr.pth", ("weights under 'params'", "left: 'params_ema' (9 tensors; convert --key takes it)")),
    Case("tutorial.pt", ("weights under 'model_state_dict'", "left: 'loss' (float)")),
    Case("numpy_scalar.pth", ("weights under 'net'", "left: 'acc' (a NumPy scalar)")),
    Case("dino.pth", ("weights under 'student'", "left: 'teacher' (9 tensors; convert --key takes it)")),
    Case(
        "lightning.ckpt", ("weights under 'state_dict'", "beginning 'model.' of names taken off", "'callbacks' (dict)")
    ),
    Case("whole_module.pt", ("it asks for 'torch.nn.modules.container.Sequential'", "python -c"), refused=True),
    Case("module_inside.pt", ("it asks for 'torch.nn.modules.container.Sequential'", 'x["model"].state_dict()'), True),
    Case("parameters_only.pt", ("not in the file: '1.running_mean' and 1 more running statistics",)),
    Case("bf16.pt", ("8 tensors kept as bfloat16", "--dtype float32"), exact=False),
    Case("fp16.pt", ("8 tensors kept as float16", "--dtype float32"), exact=False),
    Case("strided.pt", exact=False),
    Case("legacy.pt"),
    Case("torchscript.pt", ("tensors of a TorchScript archive, whose code was not run",)),
    Case("pytorch_model.bin"),
    Case("no_num_batches.pt"),
    Case("float8.pt", ("'4.weight' from float8_e4m3fn to float32, exactly: .pdparams cannot hold it",), exact=False),
    Case("complex_buffer.pt", ("left: 'freqs_cis'",)),
    Case("list.pt", ("weights under '0'", "left: '1' (dict)")),
    Case("numpy_values.pt"),
    Case("values.npz", ("names and shapes are torch's and not the other side's",)),
    Case("generator.pt", ("weights under 'generator'",)),
)
PADDLE = (
    *(Case(f"protocol{number}.pdparams") for number in (2, 3, 4)),
    Case("names_table.pdparams"),
    Case("sliced.pdparams"),
    Case("distilled.pdparams", ("beginning 'Student.' of names taken off", "left: 'Teacher.' (8 tensors")),
    Case("bytes_keys.pdparams"),
    Case("nested.pdparams", ("weights under 'model'", "left: 'epoch' (int), 'lr' (float)")),
    Case("bf16.pdparams", ("8 tensors kept as bfloat16",), exact=False),
    Case("fp16.pdparams", ("8 tensors kept as float16",), exact=False),
    Case("infer.json", ("parameters by the names of 'infer.json'", "3 layers by shape, 0 by order: unproven")),
    Case("infer.pdiparams", ("3 layers by shape, 0 by order: unproven",)),
    Case("old.pdmodel", ("names of the model by 'old.pdiparams.info'",)),
    Case("old.pdiparams", ("names of the model by 'old.pdiparams.info'",)),
)


def torch_model() -> Any:
    """Return the model of these files."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


def paddle_model() -> Any:
    """Return Paddle's."""
    from paddle import nn

    return nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


def make_torch(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Write torch's files; returns the state dict that they hold."""
    import torch

    torch.manual_seed(0)
    model = torch_model()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    state = model.state_dict()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    model.eval()(torch.randn(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    state = {name: tensor.clone() for name, tensor in state.items()}
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}

    def under(lead: str) -> dict[str, Any]:
        return collections.OrderedDict((lead + name, tensor) for name, tensor in state.items())

    average = {**state, **{name: tensor + 1 for name, tensor in floats.items()}}
    files: dict[str, Any] = {
        "module_prefix.pth": under("module."), "compiled.pt": under("_orig_mod."),
        "imagenet.pth.tar": {
            "epoch": 3, "state_dict": state, "best_acc1": torch.tensor(71.2), "optimizer": optimiser.state_dict()
        },
        "nested_module.pth": {"state_dict": under("module."), "epoch": 3},
        "ema_namespace.pth": {"model": state, "ema": average, "args": argparse.Namespace(lr=0.1)},
        "basicsr.pth": {"params": state, "params_ema": state}, "tutorial.pt": {"model_state_dict": state, "loss": 0.3},
        "numpy_scalar.pth": {"net": state, "acc": np.float64(93.1)}, "dino.pth": {"student": state, "teacher": average},
        "lightning.ckpt": {
            "state_dict": under("model."), "pytorch-lightning_version": "2.0", "hyper_parameters": {"lr": 1e-3},
            "callbacks": {},
        },
        "whole_module.pt": model, "module_inside.pt": {"model": model, "epoch": 1},
        "parameters_only.pt": dict(model.named_parameters()),
        "bf16.pt": {**state, **{n: t.bfloat16() for n, t in floats.items()}},
        "fp16.pt": {**state, **{n: t.half() for n, t in floats.items()}},
        "strided.pt": {**state, "4.weight": torch.randn(144, 5).t()}, "pytorch_model.bin": state,
        "no_num_batches.pt": floats, "float8.pt": {**state, "4.weight": state["4.weight"].to(torch.float8_e4m3fn)},
        "complex_buffer.pt": {**state, "freqs_cis": torch.randn(4, 2, dtype=torch.complex64)},
        "list.pt": [state, {"epoch": 1}], "numpy_values.pt": {name: t.numpy() for name, t in state.items()},
        "generator.pt": {"generator": state},
    }  # fmt: skip
    for name, content in files.items():
        torch.save(content, folder / name)
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(model), str(folder / "torchscript.pt"))
    np.savez(folder / "values.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    return {name: tensor.numpy() for name, tensor in state.items()}


def make_paddle(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Write Paddle's files; returns the state dict that they hold."""
    import paddle

    paddle.seed(0)
    model = paddle_model()
    state = model.state_dict()
    for tensor in state.values():
        tensor.set_value(paddle.rand(tensor.shape))
    for protocol in (2, 3, 4):
        paddle.save(state, str(folder / f"protocol{protocol}.pdparams"), protocol=protocol)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    old = {**arrays, "StructuredToParameterName@@": {name: tensor.name for name, tensor in state.items()}}
    whole, step = arrays["4.weight"], 300
    parts = [whole.ravel()[at : at + step] for at in range(0, whole.size, step)]
    names = [f"4.weight@@.{number}" for number in range(len(parts))]
    cut = {name: array for name, array in old.items() if name != "4.weight"} | dict(zip(names, parts, strict=True))
    cut["UnpackBigParamInfor@@"] = {"4.weight": {"OriginShape": whole.shape, "slices": names}}
    both = {f"{who}.{name}": array for who in ("Student", "Teacher") for name, array in arrays.items()}
    pickles = {
        "names_table": (old, 2), "sliced": (cut, 2), "distilled": (both, 4),
        "bytes_keys": ({name.encode(): array for name, array in arrays.items()}, 2),
    }  # fmt: skip
    for name, (content, protocol) in pickles.items():
        (folder / f"{name}.pdparams").write_bytes(pickle.dumps(content, protocol))
    paddle.save({"model": state, "epoch": 3, "lr": 0.1}, str(folder / "nested.pdparams"))
    for dtype, name in (("bfloat16", "bf16"), ("float16", "fp16")):
        paddle.save({n: tensor.astype(dtype) for n, tensor in state.items()}, str(folder / f"{name}.pdparams"))
    model.eval()
    spec = [paddle.static.InputSpec([None, 3, 8, 8], "float32", "x")]
    paddle.jit.save(model, str(folder / "infer"), input_spec=spec)
    # A program before Paddle 3 needs a process of its own to be written: the same parameters, and names beside them.
    (folder / "old.pdiparams").write_bytes((folder / "infer.pdiparams").read_bytes())
    (folder / "old.pdmodel").write_bytes(program({tensor.name: tensor.shape for tensor in state.values()}))
    info = {tensor.name: {"structured_name": name, "stop_gradient": False} for name, tensor in state.items()}
    (folder / "old.pdiparams.info").write_bytes(pickle.dumps(info, 2))
    return arrays


def program(shapes: dict[str, list[int]]) -> bytes:
    """Return a ProgramDesc with these parameters and what every program has beside them: feed, fetch, a result."""

    def field(number: int, content: bytes) -> bytes:
        return bytes((number << 3 | 2, len(content) & 127 | 128, len(content) >> 7)) + content

    def variable(name: str, kind: int, *, persistent: bool, inner: bytes = b"") -> bytes:
        text = field(1, name.encode()) + field(2, bytes((8, kind)) + inner)
        return field(3, text + (b"\x18\x01" if persistent else b""))

    variables = [variable("feed", 9, persistent=True), variable("fetch", 10, persistent=True)]
    variables += [variable("relu_0.tmp_0", 7, persistent=False)]
    for name in shapes:
        tensor = field(
            1, b"\x08\x05" + b"".join(b"\x10" + bytes((size & 127 | 128, size >> 7)) for size in shapes[name])
        )
        variables.append(variable(name, 7, persistent=True, inner=field(3, tensor)))
    return field(1, b"".join(variables))


def write_port(folder: Path) -> None:
    """Write a port of these models, by their names in this module."""
    (folder / "ck.py").write_text(
        "from portproof import Input, Port\n"
        "from tests.checkpoints.as_people_have_them import paddle_model, torch_model\n"
        "PORT = Port('ck', paddle_model, torch_model, {'x': Input(('batch', 3, 8, 8))})\n"
    )
    (folder / "pyproject.toml").write_text('[tool.portproof]\nports = ["ck:PORT"]\n')
