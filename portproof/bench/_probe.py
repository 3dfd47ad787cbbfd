"""What this processor can do at best, measured: a kernel of fused multiply-adds and a copy.

GEMM is no ceiling: a runtime's convolution can beat a library's matrix product. So the peak is that of independent
FMA chains in registers, in the widest vectors that the processor has, compiled on the spot by LLVM.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from portproof._errors import require_packages

#: Independent chains: latency times throughput of an FMA is 4 x 2 on today's cores; more would spill registers.
_CHAINS = 12
_INNER = 4096


@dataclass(frozen=True)
class Probe:
    """One measurement of the machine.

    Attributes:
        gflops: float32, multiply and add counted as two, over all threads; the best of four windows.
        bits: of the vectors that reach it.
        narrow_gflops: the same with vectors of half the width; who computes faster than that used the wide ones.
        copy_gbs: bytes read and written by a copy between arrays beyond any cache, per second, in 1e9.
        seconds: that it took.
    """

    gflops: float
    bits: int
    narrow_gflops: float
    copy_gbs: float
    seconds: float


def probe(threads: int, seconds: float = 0.05) -> Probe:
    """Measure peak arithmetic and copy bandwidth over some threads.

    Raises:
        Unavailable: llvmlite is not installed.
    """
    begun = time.perf_counter()
    width = _widest()
    gflops, narrow = (_peak(threads, seconds, lanes) for lanes in (width, width // 2))
    size = 1 << 23  # 32 MiB a thread and array
    arrays = [(np.ones(size, np.float32), np.empty(size, np.float32)) for _ in range(threads)]
    copies = _rate(threads, seconds, lambda i: lambda: np.copyto(arrays[i][1], arrays[i][0]))
    return Probe(gflops, 32 * width, narrow, copies * 8 * size / 1e9, time.perf_counter() - begun)


def _peak(threads: int, seconds: float, width: int) -> float:
    kernel, operations = _kernel(width)
    return max(_rate(threads, seconds / 4, lambda _: kernel) for _ in range(4)) * operations / 1e9


def _rate(threads: int, seconds: float, work: Callable[[int], Callable[[], Any]]) -> float:
    """Return calls per second over all threads, each calling until the time is over."""
    counts = [0.0] * threads
    barrier = threading.Barrier(threads)

    def run(index: int) -> None:
        call = work(index)
        call()
        barrier.wait()
        begun, done = time.perf_counter(), 0
        while (taken := time.perf_counter() - begun) < seconds:
            call()
            done += 1
        counts[index] = done / taken

    running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts)


def _llvm() -> Any:
    require_packages("measuring the peak of this processor", "llvmlite")
    from llvmlite import binding

    return binding


def _widest() -> int:
    """Return the float32 lanes of this processor's widest vectors."""
    features = _llvm().get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


@cache
def _kernel(width: int) -> tuple[Callable[[], Any], int]:
    """Compile the kernel for vectors of some lanes; returns it and the operations of one call.

    ctypes lets other threads run meanwhile.
    """
    binding = _llvm()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=3
    )
    # LLVM may prefer 256-bit vectors on a processor that has 512: the attribute holds it to those asked for.
    module = binding.parse_assembly(_source(width))
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(engine.get_function_address("fma_peak"))
    _KEPT.append(engine)
    repeats = 16
    return lambda: function(_INNER * repeats), 2 * width * _CHAINS * _INNER * repeats


_KEPT: list[Any] = []  # compiled code lives as long as its engine


def _source(width: int) -> str:
    """Return LLVM's assembly of the kernel: chains of x = x * m + a, which stay finite."""
    vector = f"<{width} x float>"
    zero = f"<{', '.join(['float 1.0'] * width)}>"
    half = f"<{', '.join(['float 0.5'] * width)}>"
    chains = range(_CHAINS)
    phis = "\n".join(f"  %x{i} = phi {vector} [ {zero}, %entry ], [ %y{i}, %loop ]" for i in chains)
    steps = "\n".join(
        f"  %y{i} = call {vector} @llvm.fma.v{width}f32({vector} %x{i}, {vector} {half}, {vector} {half})"
        for i in chains
    )
    total, sums = "%y0", []
    for i in chains[1:]:
        sums.append(f"  %s{i} = fadd {vector} {total}, %y{i}")
        total = f"%s{i}"
    return f"""
declare {vector} @llvm.fma.v{width}f32({vector}, {vector}, {vector})
define float @fma_peak(i64 %n) #0 {{
entry:
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{steps}
  %next = add i64 %k, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
{chr(10).join(sums)}
  %first = extractelement {vector} {total}, i32 0
  ret float %first
}}
attributes #0 = {{ "prefer-vector-width"="{32 * width}" }}
"""
