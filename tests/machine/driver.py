"""A stand-in for nvidia-ml-py: answers like the real library, refuses like it, and can be told to hang."""

import threading
import types


class Refused(Exception):
    """NVMLError: a value that this card, driver or system does not tell."""


def library(**changes):
    """An object with the functions of pynvml for one RTX 4070 Ti; changes replace answers, Refused() refuses."""
    mib = 1024**2
    answers = {
        "nvmlInit": None, "nvmlShutdown": None, "nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlSystemGetDriverVersion": "580.95.05", "nvmlSystemGetCudaDriverVersion_v2": 13000,
        "nvmlDeviceGetName": b"NVIDIA GeForce RTX 4070 Ti",
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(total=12282 * mib, free=11500 * mib, used=782 * mib),
        "nvmlDeviceGetCudaComputeCapability": (8, 9), "nvmlDeviceGetUUID": "GPU-0123",
        "nvmlDeviceGetPciInfo": types.SimpleNamespace(busId=b"00000000:01:00.0"),
        "nvmlDeviceGetEnforcedPowerLimit": 285000, "nvmlDeviceGetPowerManagementDefaultLimit": 285000,
        "nvmlDeviceGetPowerManagementLimitConstraints": (100000, 366000), "nvmlDeviceGetRemappedRows": Refused(),
        "nvmlDeviceGetCurrentDriverModel": Refused(), "nvmlDeviceGetMaxClockInfo": 3105, "nvmlDeviceGetMemoryBusWidth": 192,
        "nvmlDeviceGetNumGpuCores": 7680, "nvmlDeviceGetMaxPcieLinkGeneration": 4, "nvmlDeviceGetMaxPcieLinkWidth": 16,
        "nvmlDeviceGetCurrPcieLinkGeneration": 1, "nvmlDeviceGetCurrPcieLinkWidth": 16, "nvmlDeviceGetDisplayActive": 1,
        "nvmlDeviceGetPersistenceMode": 0, "nvmlDeviceGetEccMode": Refused(), "nvmlDeviceGetTotalEccErrors": Refused(),
        "nvmlDeviceGetMigMode": Refused(), "nvmlDeviceGetUtilizationRates": types.SimpleNamespace(gpu=37, memory=11),
        "nvmlDeviceGetClockInfo": 2745, "nvmlDeviceGetPowerUsage": 211500, "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x24,
        "nvmlDeviceGetComputeRunningProcesses": [types.SimpleNamespace(pid=4000001, usedGpuMemory=300 * mib)],
        "nvmlDeviceGetGraphicsRunningProcesses": [types.SimpleNamespace(pid=4000002, usedGpuMemory=None)],
        **changes,
    }  # fmt: skip
    lib = types.SimpleNamespace(
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
        NVML_VOLATILE_ECC=0,
    )
    for name, answer in answers.items():
        setattr(lib, name, _function(answer))
    return lib


def _function(answer):
    def call(*_):
        if answer is HANGS:
            threading.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    return call


HANGS = object()
