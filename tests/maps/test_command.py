"""``portproof map`` as a person calls it, and ``verify`` of a port without a map."""

from pathlib import Path

import pytest

from tests.conftest import Run

RENAMED = """
from portproof import Input, Port

def torch_model():
    from torch import nn
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

def paddle_model():
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            self.head, self.two = nn.Linear(8, 3), nn.Linear(8, 8)
            self.one, self.norm = nn.Linear(8, 8), nn.BatchNorm1D(8)

        def forward(self, x):
            return self.head(self.norm(self.two(nn.functional.SLOPE(self.one(x)))))

    return Net()

TINY = Port("tiny", "tiny:paddle_model", "tiny:torch_model", {"x": Input(("batch", 8))})
"""


@pytest.fixture
def renamed(project: Path) -> Path:
    """The small project with a port whose names do not fit."""
    (project / "tiny.py").write_text(RENAMED.replace("SLOPE", "relu"))
    return project


def test_a_map_is_printed_ready_to_paste_and_written_where_it_is_asked_for(run: Run, renamed: Path) -> None:
    answer = run("map", "-o", renamed / "map.csv", "--write")
    assert answer.code == 0, answer
    assert "map: proven" in answer.out
    assert (
        'weights=WeightMap({\n    "0": "one",\n    "2": "two",\n    "3": "norm",\n    "4": "head",\n}),' in answer.out
    )
    assert "3.running_mean,norm._mean,copy,8,8,float32" in (renamed / "map.csv").read_text()
    assert run("account").code == 0  # the port's own map is right now


def test_verify_finds_the_map_where_none_is_given(run: Run, renamed: Path) -> None:
    answer = run("verify", "--quick")
    assert answer.code == 0, answer
    assert "map found: 4 rules, proven; `portproof map` writes it" in " ".join(answer.out.split())


def test_verify_looks_for_none_where_a_person_says_so(run: Run, renamed: Path) -> None:
    answer = run("verify", "--quick", "--no-map")
    assert answer.code == 1
    assert "tensors have no equal" in answer.out
    assert "map found" not in answer.out


def test_under_a_found_map_a_fault_has_its_culprit(run: Run, renamed: Path) -> None:
    (renamed / "tiny.py").write_text(RENAMED.replace("SLOPE", "leaky_relu"))
    answer = run("map", "--quiet")
    assert (answer.code, answer.out) == (1, "map: the map is certain, and the two are not one function\n")
    judged = run("verify", "--quick")
    assert judged.code == 1
    assert "map found" in judged.out
    assert "culprits" in judged.out


def test_a_given_map_that_crosses_two_layers_is_told_what_is_proven(run: Run, renamed: Path) -> None:
    text = (
        (renamed / "tiny.py")
        .read_text()
        .replace("Input, Port", "Input, Port, WeightMap")
        .replace(
            '("batch", 8))})',
            '("batch", 8))},\n    weights=WeightMap({"0": "two", "2": "one", "3": "norm", "4": "head"}))',
        )
    )
    (renamed / "tiny.py").write_text(text)
    answer = run("verify", "--quick")
    assert answer.code == 1
    said = " ".join(answer.out.split())
    assert "your map pairs '0.weight' with 'two.weight': crossed; proven is 'one.weight'" in said


def test_what_cannot_be_found_says_why_and_writes_nothing(run: Run, renamed: Path) -> None:
    text = RENAMED.replace("SLOPE", "relu").replace("return self.head(", "return self.more(self.head)(")
    text = text.replace("super().__init__()", "super().__init__()\n            self.last = nn.Linear(3, 3)")
    more = "    def more(self, head):\n            return lambda x: self.last(head(x))\n\n        def forward"
    (renamed / "tiny.py").write_text(text.replace("    def forward", more))
    answer = run("map", "-o", renamed / "map.csv")
    assert answer.code == 3, answer
    assert "paddle last.weight [3, 3]" in answer.out
    assert "nothing was written" in answer.err
    assert not (renamed / "map.csv").exists()


def test_a_port_of_one_side_has_no_map(run: Run, renamed: Path) -> None:
    (renamed / "tiny.py").write_text(RENAMED.replace('"tiny:paddle_model", ', "None, "))
    run("map").refused(2, "has not two models")


def test_faults_finds_the_map_where_none_is_given(run: Run, renamed: Path) -> None:
    answer = run("faults", "--count", 8, "--groups", 0, "--seeds", 1)
    assert answer.code == 0, answer
    (renamed / "tiny.py").write_text(RENAMED.replace("SLOPE", "leaky_relu"))
    run("faults", "--count", 8).refused(2, "the two are not one function")
