"""The GPU check: every GPU path, proven and timed on a machine that has nothing but a GPU and PyTorch.

    python -m benchmarks.gpu_check bundle -o build/gpu-bundle.zip           # with Paddle, without a GPU
    python -m benchmarks.gpu_check run build/gpu-bundle.zip -o build/gpu    # with a GPU, without Paddle

The bundle carries Paddle's float64 and float32 runs, the weights that they were made with and both exports, so that the
second machine needs no Paddle. ``run --device cpu`` rehearses every step that is not CUDA's own.
"""
