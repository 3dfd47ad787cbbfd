"""The first thing that a person types: whatever it is, the line that refuses it says what to type next."""

import re
from pathlib import Path

import pytest

from portproof import BadInput, verify
from tests.conftest import PORT_FILE, Run

MODELS = """
from torch import nn
import paddle

class Mine(nn.Module):
    def forward(self, image, mask, scale=1.0):
        return image

def paddle_model():
    return paddle.nn.Linear(3, 3)
"""


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("tinny", "Did you mean tiny?"),
        ("tiny:TINYY", "has no 'TINYY'"),
        ("tiny.TINY", "Did you mean tiny:TINY?"),
        ("tniy.py", "no such file; did you mean tiny.py?"),
        ("tiny.py:TIMY", "did you mean TINY?"),
        ("model.onnx", 'torch="model.onnx", inputs={"x": Input(("batch", 3, 224, 224))}); then: portproof verify'),
        ("weights.pdparams", "portproof verify PORT --weights FILE"),
        (r"C:\work\my_port.py", "here it is written /mnt/c/work/my_port.py"),
        (r"C:/work/my_port.py:PORT", "here it is written /mnt/c/work/my_port.py:PORT"),
        (r"sub\my_port.py", "here it is written sub/my_port.py"),
        (".", "it is a port project, so: cd . && portproof verify"),
        ("files", "name a file in it, such as files/one.py."),
        ("empty", "`portproof init my_port` writes a project with one"),
        ("models.py", 'PORT = Port("models", paddle=paddle_model, torch=Mine, inputs={"image": Input(('),
        ("models.py", '"mask": Input('),
        ("models", "Did you mean models.py?"),
    ],
)
def test_a_name_that_is_none_is_answered_with_what_to_type(project: Path, run: Run, typed: str, words: str) -> None:
    (project / "models.py").write_text(MODELS)
    (project / "empty").mkdir()
    (project / "files").mkdir()
    (project / "files" / "one.py").write_text(PORT_FILE)
    run("verify", typed).refused(2, words)
    with pytest.raises(BadInput, match=re.escape(words)):
        verify(typed)


def test_outside_of_a_project_the_flagship_and_a_project_are_offered(project: Path, run: Run) -> None:
    (project / "pyproject.toml").unlink()
    run("verify", "googlenet").refused(2, "`portproof init my_googlenet --from googlenet`")
    run("verify").refused(2, "no port given", "`portproof init my_port`")


def test_the_port_that_is_printed_is_one(project: Path, run: Run) -> None:
    file = project / "alone.py"
    file.write_text(PORT_FILE.partition("TINY =")[0])
    said = run("verify", "alone.py").err
    port = said[said.index("from portproof") :].strip().replace('("batch", 3, 224, 224)', '("batch", 8)')
    file.write_text(f"{file.read_text()}\n{port}\n")
    assert run("verify", "alone.py", "--quick", "--no-modules").code == 0
