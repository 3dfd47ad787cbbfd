"""What is left out where a budget has no room for all: never what may be the fastest."""

from portproof.bench._result import Process
from portproof.bench._run import _Entry, first_to_go
from portproof.runners import find_runner
from portproof.runners._choice import Choice


def entry(name: str, batch: int, ms: float, cost_s: float) -> _Entry:
    """Return a row whose process took so long a request, and cost so much in all."""
    process = Process(0, 1.0, 1.0, 5.0, 3, 0.1, 1, (ms,) * 10, 10 * ms / 1e3, 0.9, 10 * batch, 2, 0.0, 0, 10**9)
    return _Entry(Choice(find_runner(name), {}), batch, [process], cost_s=cost_s)


def test_the_costliest_of_those_far_behind_go_first_and_the_fastest_of_each_precision_last() -> None:
    running = [
        entry("openvino-int8-torch", 1, 11.9, 5.0),  # the fastest of all, and dear to start
        entry("onnxruntime-int8-torch", 1, 13.0, 3.0),
        entry("onnxruntime-dynamic-int8-torch", 1, 40.0, 2.0),
        entry("torch-compile", 1, 16.5, 20.0),
        entry("onnxruntime-torch", 1, 16.0, 3.0),
        entry("torch-eager", 1, 50.0, 3.0),
        entry("onnxruntime-torch", 8, 100.0, 4.0),
    ]
    left = []
    while len(running) > 1:
        gone = first_to_go(running)
        left.append((gone.choice.name, gone.batch))
        running.remove(gone)
    assert left == [
        ("torch-eager", 1), ("onnxruntime-dynamic-int8-torch", 1), ("torch-compile", 1), ("openvino-int8-torch", 1),
        ("onnxruntime-torch", 8), ("onnxruntime-int8-torch", 1),
    ]  # fmt: skip


def test_what_has_no_time_yet_goes_before_what_has_one() -> None:
    slow = entry("torch-eager", 1, 50.0, 3.0)
    unknown = _Entry(Choice(find_runner("onnxruntime-torch"), {}), 1, cost_s=1.0)
    assert first_to_go([slow, unknown]) is unknown
