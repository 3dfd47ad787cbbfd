"""GoogLeNet's latency suites."""

from portproof.bench import Suite

#: Two minutes: one request at a time, the runners that people start with.
SHORT = Suite(
    port="googlenet",
    runners=("torch-eager", "torch-channels-last", "paddle-dygraph", "paddle-inference", "onnxruntime-torch"),
    processes=8,
    seconds=1.0,
)

#: Every runner that the machine has, one request at a time.
ALL = Suite(port="googlenet", processes=8, seconds=1.5)

#: The fast ones at the batch sizes of a server.
BATCHES = Suite(
    port="googlenet",
    runners=(
        "torch-channels-last", "torch-jit", "paddle-inference", "onnxruntime-torch", "onnxruntime-paddle",
        "openvino-torch",
    ),
    batches=(1, 8, 32),
    processes=5,
    seconds=2.0,
)  # fmt: skip

#: The same runners beside a busy neighbour, spinning and not: who spins loses.
CONTENDED = Suite(
    port="googlenet",
    runners=(
        "torch-eager", "torch-channels-last", "torch-jit", "paddle-inference", "onnxruntime-torch",
        "onnxruntime-torch:spinning=off", "openvino-torch",
    ),
    objective="contended",
)  # fmt: skip
