"""Lines of forwards where two models part: named, confirmed by carrying values over, and never made up."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portproof import Input, Port, verify
from portproof.judge._report import LinePair, Report
from portproof.parity._options import Options
from portproof.parity._verify import verify as judge
from portproof.render import write_report
from portproof.render._summary import markdown
from portproof.render._terminal import print_report

HERE = Path(__file__)


def line_of(text: str) -> int:
    """Return the line of this file that ends in a mark."""
    return next(n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {text}"))


def pooled_torch() -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.avg_pool2d(self.act(self.conv(x)), [2, 2])[:, :, :4]  # torch: the pool

    return Net()


def pooled_paddle() -> Any:
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(3, 8, 3, padding=1)

        def forward(self, x: Any) -> Any:
            return nn.functional.avg_pool2d(nn.functional.relu(self.conv(x)), [3, 2])  # paddle: the pool

    return Net()


def skipping_torch() -> Any:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv0, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
            self.conv1 = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = self.conv0(x)
            y = self.conv1(self.relu(x))
            return x + y  # torch: the skip

    return Block()


def skipping_paddle() -> Any:
    from paddle import nn

    class Block(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv0, self.relu = nn.Conv2D(3, 4, 3, padding=1), nn.ReLU()
            self.conv1 = nn.Conv2D(4, 4, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = self.conv0(x)
            y = self.conv1(self.relu(x))
            return x + y  # paddle: the skip

    return Block()


def attending_torch(axis: int = -1, residual: bool = True, depth: int = 2) -> Any:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.q, self.k, self.v = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def attend(self, x: Any) -> Any:
            scores = self.q(x) @ self.k(x).transpose(1, 2)
            weights = torch.softmax(scores, dim=-1)  # torch: softmax
            return weights @ self.v(x)

        def forward(self, x: Any) -> Any:
            return x + self.attend(self.norm(x))  # torch: the sum

    return nn.Sequential(*(Block() for _ in range(depth)))


def attending_paddle(axis: int = -1, residual: bool = True, depth: int = 2) -> Any:
    import paddle
    from paddle import nn

    class Block(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.q, self.k, self.v = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def attend(self, x: Any) -> Any:
            scores = self.q(x) @ self.k(x).transpose([0, 2, 1])
            weights = nn.functional.softmax(scores, axis=axis)  # paddle: softmax
            return paddle.matmul(weights, self.v(x))

        def forward(self, x: Any) -> Any:
            if residual:
                return x + self.attend(self.norm(x))
            return self.attend(self.norm(x))  # paddle: no sum

    return nn.Sequential(*(Block() for _ in range(depth)))


def mixing_torch() -> Any:
    import torch
    from torch import nn

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def heads(self, x: Any) -> Any:
            return x.reshape(-1, 5, 2, 4).transpose(1, 2)

        def forward(self, x: Any) -> Any:
            h = torch.tanh(self.a(x))
            mixed = self.b(x)
            h = h + mixed  # torch: the mixing
            left, right = self.heads(h), self.heads(mixed)  # torch: the heads
            scores = left @ right.transpose(2, 3)
            scores = scores / 2.0  # torch: the scale
            return self.out((scores @ right).transpose(1, 2).reshape(-1, 5, 8))

    return Mixing()


def mixing_paddle(fault: str = "") -> Any:
    import paddle
    from paddle import nn

    class Mixing(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def heads(self, x: Any) -> Any:
            return x.reshape([-1, 5, 2, 4]).transpose([0, 2, 1, 3])

        def forward(self, x: Any) -> Any:
            h = paddle.tanh(self.a(x))
            mixed = self.b(x)
            if fault == "sum":  # noqa: SIM108 — on a line of its own
                h = mixed  # paddle: no mixing
            else:
                h = h + mixed
            left = self.heads(h)
            if fault == "helper":  # noqa: SIM108
                right = self.heads(h)  # paddle: the heads
            else:
                right = self.heads(mixed)
            scores = left @ right.transpose([0, 1, 3, 2])  # paddle: the scores
            if fault != "scale":
                scores = scores / 2.0
            return self.out((scores @ right).transpose([0, 2, 1, 3]).reshape([-1, 5, 8]))

    return Mixing()


IMAGE = {"x": Input(("batch", 3, 8, 8))}
POOLED = Port("pooled", pooled_paddle, pooled_torch, {"x": Input(("batch", 3, 12, 12))})
SKIPPING = Port("skipping", skipping_paddle, skipping_torch, IMAGE)
MIXING = Port("mixing", mixing_paddle, mixing_torch, {"x": Input(("batch", 5, 8))})
ATTENDING = Port("attending", attending_paddle, attending_torch, {"x": Input(("batch", 5, 8))})


def pairs_of(report: Report) -> list[LinePair]:
    return list(dict.fromkeys(pair for culprit in report.culprits for pair in culprit.lines))


def named(report: Report) -> tuple[int, int, bool, str]:
    """Return the one pair: Paddle's line, torch's, whether it is confirmed, and what is said."""
    (pair,) = pairs_of(report)
    assert {Path(line.file) for line in (*pair.paddle, *pair.torch)} == {HERE}
    return pair.paddle[0].line, pair.torch[0].line, pair.confirmed, pair.said


def test_a_function_in_the_model_s_own_code_is_named_by_both_lines_and_what_differs() -> None:
    report = verify(POOLED, quick=True)
    said = "kernel_size is [3, 2] in Paddle, [2, 2] in torch"
    assert named(report) == (line_of("paddle: the pool"), line_of("torch: the pool"), True, said)
    assert [culprit.module for culprit in report.culprits if culprit.lines] == [""]


def test_what_one_side_writes_in_place_is_said_at_the_line_that_reads_it() -> None:
    paddle, torch, confirmed, said = named(verify(SKIPPING, quick=True))
    assert (paddle, torch, confirmed) == (line_of("paddle: the skip"), line_of("torch: the skip"), True)
    assert "written in place" in said


def test_a_line_that_runs_in_every_block_is_one_finding() -> None:
    def other() -> Any:
        return attending_paddle(axis=1)

    report = verify(replace(ATTENDING, paddle=other), quick=True)
    said = "dim is 1 in Paddle, -1 in torch"
    assert named(report) == (line_of("paddle: softmax"), line_of("torch: softmax"), True, said)
    assert pairs_of(report)[0].calls == 2


def test_what_only_torch_computes_is_named_where_paddle_has_the_value_without_it() -> None:
    def other() -> Any:
        return attending_paddle(residual=False)

    paddle, torch, confirmed, said = named(verify(replace(ATTENDING, paddle=other), quick=True))
    assert (paddle, torch, confirmed) == (line_of("paddle: no sum"), line_of("torch: the sum"), True)
    assert said == "torch computes add here; Paddle does not, at these lines or between them"


def mixed_up(fault: str) -> Report:
    return verify(replace(MIXING, paddle=lambda: mixing_paddle(fault)), quick=True)


def test_a_line_without_a_call_is_known_by_the_name_that_it_binds() -> None:
    paddle, torch, confirmed, said = named(mixed_up("sum"))
    assert (paddle, torch, confirmed) == (line_of("paddle: no mixing"), line_of("torch: the mixing"), True)
    assert said.startswith("torch computes add here")


def test_a_tensor_handed_to_a_helper_in_another_s_place_is_named_where_the_helper_is_called() -> None:
    paddle, torch, _, _ = named(mixed_up("helper"))
    assert (paddle, torch) == (line_of("paddle: the heads"), line_of("torch: the heads"))


def test_a_line_that_may_be_one_beside_it_is_likely_and_never_confirmed() -> None:
    paddle, torch, confirmed, _ = named(mixed_up("scale"))
    assert (paddle, torch, confirmed) == (line_of("paddle: the scores"), line_of("torch: the scale"), False)


def test_statements_are_followed_by_what_they_bind_and_all_is_undone() -> None:
    from portproof.lines._calls import Bound
    from portproof.lines._statements import Statements

    def inner(given: str) -> str:
        return given

    def outer(first: str) -> str:
        second = inner(first)
        third = second
        return third + "."

    def known(name: str, value: str) -> Bound:
        return Bound(name, len(value))

    before = sys.gettrace()
    seen = Statements(
        lambda file: file == str(HERE), lambda value: isinstance(value, str), known, lambda: 0, lambda: "m"
    )
    with seen.following():
        outer("a")
    assert sys.gettrace() is before
    code = outer.__code__.co_firstlineno
    names = [(place.line - code, [one.name for one in ran.bound], ran.copies) for place, ran in seen.found]
    assert names == [(-2, [""], True), (1, ["second"], False), (2, ["third"], True), (3, [""], False)]
    assert [(frame.parent, [one.name for one in frame.given]) for frame in seen.frames] == [
        (-1, ["first"]),
        (0, ["given"]),
    ]


def test_nothing_is_said_of_what_is_right_and_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import portproof.lines._find as lines

    def never(*_: Any) -> Any:
        raise AssertionError("lines were looked for")

    monkeypatch.setattr(lines, "find_lines", never)
    report = verify(ATTENDING, quick=True)
    assert report
    assert pairs_of(report) == []
    assert not [note for note in report.notes if "lines" in note]


def test_a_search_that_fails_is_a_note_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    import portproof.lines._find as lines

    def failing(*_: Any) -> Any:
        raise ZeroDivisionError("of a recorder")

    monkeypatch.setattr(lines, "find_lines", failing)
    report = verify(POOLED, quick=True)
    assert report.verdict == "divergent"
    assert pairs_of(report) == []
    assert any(
        "the search for them failed" in note and "ZeroDivisionError: of a recorder" in note for note in report.notes
    )


def test_large_parameters_are_not_written_and_lines_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import portproof.lines._recorder as recorder

    recordings = []
    real = recorder.Recorder.recording

    def kept(self: Any, outputs: Any) -> Any:
        recordings.append(real(self, outputs))
        return recordings[-1]

    monkeypatch.setattr(recorder, "_WEIGHT", 8)
    monkeypatch.setattr(recorder.Recorder, "recording", kept)
    assert named(verify(POOLED, quick=True))[2]
    for recording in recordings:
        files = {
            given.leaf: recording.values[given.value].file
            for call in recording.calls for given in call.given if given.leaf
        }  # fmt: skip
        assert files["conv.weight"] == ""
        assert files["conv.bias"]
        assert files["input 0"]


def test_values_beyond_the_room_for_them_are_said_and_outputs_are_compared_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import portproof.lines._find as find

    monkeypatch.setattr(find, "BYTES", 0)
    report = verify(POOLED, quick=True)
    assert any("of torch were too much to write" in note for note in report.notes)
    assert not any("every output agrees" in note for note in report.notes)


def test_no_lines_leaves_them_out() -> None:
    report = verify(POOLED, quick=True, lines=False)
    assert report.verdict == "divergent"
    assert pairs_of(report) == []


def test_the_verdict_and_its_culprits_are_told_before_the_lines_are_looked_for() -> None:
    told: list[Report] = []
    report = judge(POOLED, Options(quick=True), first=told.append)
    _, early = told
    assert [one.verdict for one in told] == ["divergent"] * 2
    assert report.verdict == "divergent"
    assert [culprit.module for culprit in early.culprits] == [culprit.module for culprit in report.culprits]
    assert [culprit.sources for culprit in early.culprits] == [culprit.sources for culprit in report.culprits]
    assert early.hops == report.hops
    assert pairs_of(early) == []
    assert pairs_of(report) != []


def test_all_reports_have_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = verify(POOLED, quick=True)
    print_report(report)
    at = f":{line_of('paddle: the pool')}"
    expression = "nn.functional.avg_pool2d(nn.functional.relu(self.conv(x)), [3, 2])"
    write_report(report, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    for text in (capsys.readouterr().out, markdown(report), str(report), page):
        joined = " ".join(text.split())
        assert f"test_lines.py{at}" in joined
        assert expression in joined
        assert "every output agrees" in joined
    assert f"&gt;{line_of('paddle: the pool'):5}" in page  # with a few lines around it
    document = report.to_json()["culprits"][0]["lines"][0]
    assert document["confirmed"] is True
    assert document["paddle"][0]["line"] == line_of("paddle: the pool")


def test_paddle_is_as_it_was_when_the_looking_is_over() -> None:
    import paddle

    from portproof.lines._paddle import seeing_calls

    def held() -> dict[str, Any]:
        spaces = {"F": paddle.nn.functional, "paddle": paddle, "ops": paddle._C_ops, "Tensor": paddle.Tensor}
        return {f"{space}.{name}": value for space, holder in spaces.items() for name, value in vars(holder).items()}

    before, seen = held(), []

    def around(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        seen.append(name)
        return function(*args, **kwargs)

    def interrupted() -> None:
        with seeing_calls(around):
            paddle.nn.functional.relu(paddle.ones([2]) + 1)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        interrupted()
    assert "relu" in seen
    assert "__add__" in seen
    assert all(value is before[name] for name, value in held().items())
    count = len(seen)
    paddle.nn.functional.relu(paddle.ones([2]))
    assert len(seen) == count


@pytest.mark.slow
def test_faults_in_forwards_own_code_are_named() -> None:
    """A dozen of those that the ranking was made on; docs/lines.md has those that were held back."""
    from parity_tests.evidence.lines.__main__ import run, written_ports

    rows = [row for port in written_ports()[:3] for row in run(port, "first", 4, 1, 120.0)]
    assert len(rows) == 12
    assert sum(row.exact for row in rows) >= 11
    assert sum(row.healthy for row in rows) == 0
