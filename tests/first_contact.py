"""What people type in their first ten minutes and should not, and what must stand in the answer.

A table: a command, its exit code, and words of what it says. :func:`place` writes the files that they name. None of
them builds a model, but for those where only a model can tell: an answer that takes half a minute is half an answer.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TORCH = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, image, scale=1.0):
        return torch.relu(self.fc(image)) * scale
"""
PADDLE = """
import paddle.nn.functional as F
from paddle import nn

class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, image, scale=1.0):
        return F.relu(self.fc(image)) * scale
"""


@dataclass(frozen=True)
class Contact:
    """One mistake.

    Attributes:
        typed: behind ``portproof``; quoted as in a shell.
        code: of the exit.
        words: that must stand in what is said, on either stream.
        project: whether the folder is a port project.
        builds: whether only a model can tell.
        lines: of the answer; 0 for those of the command line's parser and for help, which have their own form.
    """

    typed: str
    code: int
    words: tuple[str, ...]
    project: bool = True
    builds: bool = False
    lines: int = 1


def _parsed(typed: str, *words: str) -> Contact:
    """Return a mistake that the parser of the command line answers."""
    return Contact(typed, 2, words, lines=0)


def _both(rest: str, *words: str) -> Contact:
    """Return a mistake with two models."""
    return Contact(f"verify my_torch.py:Net my_paddle.py:Net {rest}", 2, words)


CONTACTS = (
    # The name of the command, and nothing else.
    _parsed("", "portproof verify my_torch.py:Net my_paddle.py:Net", "portproof COMMAND -h"),
    _parsed("bench", "portproof bench run"),
    _parsed("verfy tiny", "No such command 'verfy'", "Did you mean 'verify'?"),
    _parsed("verify tiny --quik", "--quik", "--quick"),
    _parsed("verify --weights", "--weights", "requires an argument"),
    _parsed("convert", "Missing argument 'SRC'", "portproof convert -h"),
    # What is to be judged.
    Contact("verify", 2, ("no port given", "`portproof init my_port`"), project=False),
    Contact("verify googlenet", 2, ("`portproof init my_googlenet --from googlenet`",), project=False),
    Contact("verify tinny", 2, ("no port 'tinny'", "Did you mean tiny?")),
    Contact("verify tniy.py", 2, ("no such file; did you mean tiny.py?",)),
    Contact("verify tiny.py:TINNY", 2, ("did you mean TINY?",)),
    Contact("verify my_torch.py", 2, ("has no Port", "portproof verify my_torch.py:Net OTHER.py:NAME", "PORT = Port(")),
    Contact("verify my_torch.py:Net", 2, ("is a torch model", "portproof verify my_torch.py:Net OTHER.py:NAME")),
    Contact("verify graph.onnx", 2, ("graph.onnx OTHER.py:NAME", '"image": Input(shape=("batch", 8))', '("logits",)')),
    Contact("verify torn.onnx", 2, ("'torn.onnx' was refused", "cut short")),
    Contact("verify weights.pdparams", 2, ("portproof verify PORT --weights FILE",)),
    Contact("verify .", 2, ("it is a port project, so: cd . && portproof verify",)),
    Contact("verify empty", 2, ("`portproof init my_port` writes a project with one",)),
    Contact(r"verify 'C:\work\my_port.py'", 2, ("here it is written /mnt/c/work/my_port.py",)),
    # Two models.
    _both("", "--input is missing", "--input image=1,3,224,224"),
    _both("--input 1,8,x", "--input takes NAME=1,3,224,224", "found '1,8,x'"),
    _both("--input ids=1,8:int64", "whole numbers need a range", "ids=1,8:int64:0..999"),
    _both("--input 1,8:flaot32", "no dtype 'flaot32'; did you mean float32?"),
    _both("--input 1,8 --steps 3", "no training on the paddle side", "training={'paddle': 'module:Training'}"),
    Contact("verify my_torch.py:Nett my_paddle.py:Net --input 1,8", 2, ("it has Net; did you mean Net?",)),
    Contact("verify my_torch.py:Net my_pad.py:Net --input 1,8", 2, ("no such file; did you mean my_paddle.py?",)),
    Contact("verify my_torch.py:Net my_torch.py:Net --input 1,8", 2, ("both torch models", "one of Paddle's")),
    Contact("verify my_torch.py:Net graf.onnx", 2, ("'graf.onnx': no such file; did you mean graph.onnx?",)),
    Contact("verify my_torch.py:Net graph.onnx --input img=1,8", 2, ("'graph.onnx' has the inputs image.",)),
    Contact("verify my_torch.py:Net torn.onnx", 2, ("'torn.onnx' was refused", "cut short")),
    Contact("verify my_torch.py:Net model.json", 2, ("a port has it as a side; portproof verify model.json",)),
    Contact("verify my_torch.py:Net empty --input 1,8", 2, ("'empty' names no model; expected file.py:NAME",)),
    Contact(r"verify 'C:\a\my_torch.py:Net' my_paddle.py:Net --input 1,8", 2, ("written /mnt/c/a/my_torch.py:Net",)),
    Contact("verify tiny --input 1,8", 2, ("--input is for two models", "leave it out")),
    # How it is to be judged.
    Contact("verify tiny --weights nowhere.pt", 2, ("'nowhere.pt': no such file",)),
    Contact("verify tiny --weights tiny.py", 2, ("expected one of .pdparams, .pt", "found '.py'")),
    Contact("verify tiny --device gpu", 2, ("--device takes cpu or cuda, found 'gpu'",)),
    Contact("verify tiny --report out.pdf", 2, ("ending in .html, .md, .xml, found 'out.pdf'",)),
    Contact("verify tiny --json nowhere/out.json", 2, ("nowhere", "does not exist")),
    Contact("verify tiny --set classes", 2, ("--set takes NAME=VALUE, found 'classes'",)),
    Contact("verify tiny --runners onnxruntme-torch", 2, ("did you mean onnxruntime-torch?",)),
    Contact("verify tiny --precision int8", 2, ("bfloat16 or float16, found 'int8'",)),
    Contact("verify tiny --images photographs", 2, ("takes no image", "leave the option out")),
    Contact("verify tiny --module 9", 2, ("no module '9'",), builds=True),
    Contact("verify tiny --set colour=8 --quick", 2, ("factory of port 'tiny'", "colour"), builds=True),
    # Checkpoints at the door.
    Contact("convert torch.safetensors", 2, ("DST is missing", "--suggest FILE")),
    Contact("convert nowhere.pt out.pdparams", 2, ("'nowhere.pt': no such file",)),
    Contact("convert torch.safetensors out.weights", 2, ("expected one of .pdparams", "found '.weights'")),
    Contact("convert torch.safetensors torch.safetensors", 2, ("are one file; name another DST",)),
    Contact("convert torch.safetensors there.pdparams", 2, ("there.pdparams", "--force")),
    Contact("convert torch.safetensors out.pdparams --from paddle", 2, ("holds torch weights", "leave it out")),
    Contact("convert torch.safetensors out.pdparams --to torch", 2, ("holds paddle's layouts, and --to says torch",)),
    Contact("convert torch.safetensors out.pdparams --map nowhere.csv", 2, ("no such map", "portproof account -o")),
    Contact("convert two.npz out.pdparams --key encoder", 2, ("no name of a tensor begins with 'encoder.'",)),
    Contact("convert model.pt out.pdparams", 2, ("nothing in the file is run", "python -c")),
    Contact("convert neutral.safetensors --suggest map.csv", 2, ("--from torch or --from paddle",)),
    Contact("convert m.pdopt m.safetensors", 2, ("needs --params: the .pdparams",)),
    Contact(
        "convert two.npz out.pdparams --from torch", 2,
        ("does not fit the model", "--suggest map.csv", "--map map.csv"), builds=True,
    ),
    # The other commands.
    Contact("train tiny --data digits -o runs", 2, ("no training on the torch side", "docs/training.md")),
    Contact("train tiny -o runs", 2, ("--data is missing; there are digits, mnist",)),
    Contact("export tiny -o m.onnx", 2, ("--from takes paddle or torch",)),
    Contact("export tiny --from torch", 2, ("-o is missing; name the .onnx file",)),
    Contact("capture tiny -o c", 2, ("--runner is missing; there are torch-eager",)),
    Contact("compare here there", 2, ("here",)),
    Contact("agree tiny", 2, ("--images is missing; name a folder",)),
    Contact("agree tiny --images photographs --at-most 1", 2, ("--at-most takes a percentage such as 5%",)),
    Contact("deploy tiny", 2, ("--images is missing; name a folder",)),
    Contact("deploy tiny --images photographs --slo 30ms", 2, ("--slo takes p50, p90 or p99", "such as p99=30ms")),
    Contact("deploy tiny --images photographs --at-most-loss 0%", 2, ("leave it out for float32 alone",)),
    Contact("deploy tiny --images photographs --runners openvnio-torch", 2, ("did you mean openvino-torch?",)),
    Contact("bench report none.json", 2, ("no such file; `portproof bench run PORT -o none.json` writes one",)),
    Contact("plan none.json", 2, ("--costs none.json` writes one",)),
    Contact("convert torch.safetensors out.pdparams", 2, ("no port given", "--port"), project=False),
    Contact("bench run tiny --budget 5", 2, ("--budget takes a time such as 120s, 5m",)),
    Contact("init", 2, ("NAME is missing", "portproof init my_port")),
    Contact("init 3d-net", 2, ("'3d-net' cannot name a port project", "such as my_port")),
    Contact("init my_port --from resnet", 2, ("--from takes googlenet, found 'resnet'",)),
    Contact("init --from-models my_torch.py:Net my_torch.py:Net", 2, ("both torch models",)),
    Contact("cache clean", 2, ("cache takes nothing, or clear, found 'clean'",)),
    Contact("schema verfy", 2, ("no document 'verfy'", "did you mean verify?")),
    Contact("explain organised-otherwize", 2, ("did you mean organised otherwise?", "`portproof explain` lists them")),
)  # fmt: skip


def place(folder: Path) -> None:
    """Write the files that the commands name beside a project's own."""
    from onnx import TensorProto, helper
    from safetensors.numpy import save_file

    (folder / "my_torch.py").write_text(TORCH)
    (folder / "my_paddle.py").write_text(PADDLE)
    (folder / "empty").mkdir()
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in ("image", "logits")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["logits"])], "g", value[:1], value[1:])
    model = helper.make_model(graph).SerializeToString()
    (folder / "graph.onnx").write_bytes(model)
    (folder / "model.json").write_text("{}")
    (folder / "torn.onnx").write_bytes(model[:-9])
    tensors = {"0.weight": np.ones((8, 8), np.float32), "0.bias": np.ones(8, np.float32)}
    save_file(tensors, folder / "torch.safetensors", {"portproof.side": "torch"})
    save_file(tensors, folder / "neutral.safetensors")
    np.savez(folder / "two.npz", **{f"body.{name}": array for name, array in tensors.items()})  # type: ignore[arg-type]
    (folder / "there.pdparams").write_bytes(b"x")
    (folder / "m.pdopt").write_bytes(b"")
    with zipfile.ZipFile(folder / "model.pt", "w") as file:  # a pickled model, as torch.save(model) writes it
        file.writestr("model/data.pkl", b"\x80\x02cmine\nNet\n)\x81.")
        file.writestr("model/version", b"3\n")
