"""GoogLeNet's latency suites."""

from portproof.bench import Suite

RUNNERS = ("torch-eager", "paddle-dygraph", "onnxruntime-torch", "onnxruntime-paddle")

#: A minute: one request at a time.
SHORT = Suite(port="googlenet", runners=RUNNERS, batches=(1,), processes=3, seconds=1.5)

#: The same at the batch sizes of a server.
BATCHES = Suite(port="googlenet", runners=RUNNERS, batches=(1, 8, 32), processes=5, seconds=3.0)
