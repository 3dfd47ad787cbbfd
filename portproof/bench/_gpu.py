"""What NVML says of the GPU around a timed part. Not yet run on a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def gpu_state() -> dict[str, Any]:
    """Return memory, clocks, power, temperature and throttle reasons of the first visible GPU; empty without NVML.

    Names and units are NVML's (NVIDIA Management Library API reference, device queries): MiB, MHz, W, degrees Celsius.
    """
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        handle = (
            pynvml.nvmlDeviceGetHandleByUUID(visible)
            if visible.startswith("GPU-")
            else pynvml.nvmlDeviceGetHandleByIndex(int(visible or 0))
        )
        own = [p for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if p.pid == os.getpid()]
        reasons = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return {
            "name": pynvml.nvmlDeviceGetName(handle),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "memory_mib": own[0].usedGpuMemory / 2**20 if own and own[0].usedGpuMemory else None,
            "used_mib": pynvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
            "others": len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) - len(own),
            "sm_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
            "sm_mhz_max": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
            "power_w": pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "temperature_c": pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
            "throttled": _reasons(reasons),
        }
    except pynvml.NVMLError as error:
        return {"error": str(error)}
    finally:
        pynvml.nvmlShutdown()


def memory_mib(states: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return the GPU memory of a process: as NVML counts it, or what the whole device holds beyond its idle state.

    In a container NVML names processes by numbers that they do not know of themselves, so that only the whole device
    can be read.

    Args:
        states: of the GPU: ``idle``, before the process used it, and ``after`` its timed part. None is returned where
            they say nothing.
    """
    idle, after = states.get("idle", {}), states.get("after", {})
    own: float | None = after.get("memory_mib")
    if own is None and "used_mib" in after and "used_mib" in idle:
        own = after["used_mib"] - idle["used_mib"]
    return own


#: Bits of nvmlClocksThrottleReasons that slow a run down; idle (bit 0) and the user's own clocks (bit 1) do not.
_REASONS = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x10: "sync boost", 0x20: "software thermal", 0x40: "hardware thermal",
    0x80: "hardware power brake", 0x100: "display clocks",
}  # fmt: skip


def _reasons(bits: int) -> list[str]:
    return [name for bit, name in _REASONS.items() if bits & bit]
