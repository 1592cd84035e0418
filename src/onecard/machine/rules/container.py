"""Containers: is a card handed in, did it stay, and is shared memory large enough for data loaders."""

from onecard.core.finding import ERROR, WARNING
from onecard.core.units import GiB, MiB, show_size
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"


def _wants_gpu(f: Facts) -> bool:
    return bool(f.container and f.torch and f.torch.cuda)


def hidden(f: Facts) -> Values | None:
    wish = f.environment.get("NVIDIA_VISIBLE_DEVICES")
    return {"wish": wish} if f.container and wish in ("void", "none", "") and not f.cards and _wants_gpu(f) else None


def no_gpu(f: Facts) -> Values | None:
    if not _wants_gpu(f) or f.cards or f.device_nodes is None or hidden(f) or f.wsl:
        return None
    if any("nvidia" in n for n in f.device_nodes) or _host_has_none(f):
        return None
    return {"kind": f.container}


def _host_has_none(f: Facts) -> bool:
    """A container shows its host's modules and bus: without NVIDIA's there, a CUDA build is just pip's default."""
    wished = "NVIDIA_VISIBLE_DEVICES" in f.environment
    return f.modules is not None and "nvidia" not in f.modules and not f.nvidia_adapters and not wished


def lost(f: Facts) -> Values | None:
    return {} if f.container and "unknown error" in (f.nvml_error or "").lower() else None


def no_uvm(f: Facts) -> Values | None:
    nodes = f.device_nodes or ()
    if not _wants_gpu(f) or "/dev/nvidia0" not in nodes or "/dev/nvidia-uvm" in nodes:
        return None
    return {}


def capabilities(f: Facts) -> Values | None:
    wish = f.environment.get("NVIDIA_DRIVER_CAPABILITIES")
    if not f.container or wish is None or {"compute", "all"} & {w.strip() for w in wish.split(",")}:
        return None
    return {"wish": wish}


def forward_compatibility(f: Facts) -> Values | None:
    said = (f.deep.unavailable or f.deep.error or "") if f.deep is not None else ""
    return {"error": said} if "forward compatibility" in said else None


def no_toolkit(f: Facts) -> Values | None:
    return (
        {}
        if f.docker and f.docker.toolkit is False and f.has_nvidia and not f.container and not f.docker.snap
        else None
    )


def snap(f: Facts) -> Values | None:
    return {} if f.docker and f.docker.snap and f.has_nvidia and not f.container else None


def not_configured(f: Facts) -> Values | None:
    if not f.docker or f.container or not f.docker.toolkit or f.docker.configured is not False or not f.has_nvidia:
        return None
    return {} if not f.docker.snap else None


def small_shm(f: Facts) -> Values | None:
    if not f.container or f.shm_total is None or f.shm_total > 256 * MiB or not f.torch:
        return None
    return {"size": show_size(f.shm_total)}


def memory_limit(f: Facts) -> Values | None:
    if not f.container or "memory" not in (f.limited_by or "") or (f.memory_total or 8 * GiB) >= 6 * GiB:
        return None
    return {"size": show_size(f.memory_total or 0)}


RULES = (
    Rule(
        id="container-gpu-hidden", title="The container asks for no card", severity=ERROR, check=hidden,
        evidence='NVIDIA_VISIBLE_DEVICES="{wish}"', cause="The image or the call tells the runtime to hand in no card.",
        next={"any": "docker run --gpus all -e NVIDIA_VISIBLE_DEVICES=all ..."}, looks_at="environment, device nodes",
        source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html",
        date="2026-09-01",
    ),
    Rule(
        id="container-no-gpu", title="No card in this container", severity=ERROR, check=no_gpu,
        evidence="{kind}: torch {torch} has CUDA, but there is no /dev/nvidia* inside",
        cause="It was started without --gpus, or the host lacks the NVIDIA container toolkit.",
        next={"any": "docker run --rm --gpus all IMAGE nvidia-smi"}, looks_at="device nodes, torch/version.py",
        source="https://github.com/NVIDIA/nvidia-docker/issues/1034", date="2026-09-01",
    ),
    Rule(
        id="container-lost-gpu", title="The container lost its card", severity=ERROR, check=lost,
        evidence='NVML says "Unknown Error" inside a container',
        cause="systemd on the host reloaded its units and took the device away from the container's control group.",
        messages=("NVML: Unknown Error",),
        next={"any": 'restart the container; on the host set "exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json'},
        looks_at="NVML's answer", source="https://github.com/NVIDIA/nvidia-container-toolkit/issues/48", date="2026-09-01",
    ),
    Rule(
        id="container-no-uvm", title="/dev/nvidia-uvm is missing in the container", severity=ERROR, check=no_uvm,
        evidence="/dev/nvidia0 is there, /dev/nvidia-uvm is not",
        cause="CUDA needs both; the card was handed in by hand, or before the host had loaded nvidia_uvm.",
        next={"any": "nvidia-modprobe -u -c=0 (on the host), then start the container again with --gpus all"},
        looks_at="device nodes", source="https://github.com/NVIDIA/nvidia-docker/issues/1730", date="2026-09-01",
    ),
    Rule(
        id="container-no-compute", title="The container got a card without compute", severity=ERROR, check=capabilities,
        evidence='NVIDIA_DRIVER_CAPABILITIES="{wish}"', cause="Without `compute` libcuda is not mounted into the container.",
        next={"any": "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."}, looks_at="environment",
        source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html",
        date="2026-09-01",
    ),
    Rule(
        id="forward-compatibility", title="CUDA's compatibility libraries do not run on this card", severity=ERROR,
        check=forward_compatibility, evidence="{error}",
        cause="The image (or LD_LIBRARY_PATH) brings a newer libcuda than the driver; that works on data centre cards only.",
        messages=("forward compatibility was attempted",),
        next={"container": "update the driver on the host, or take an image with CUDA {driver_cuda} or older",
              "any": "unset LD_LIBRARY_PATH"},
        looks_at="deep test", source="https://docs.nvidia.com/deploy/cuda-compatibility/forward-compatibility.html", date="2026-09-01",
    ),
    Rule(
        id="docker-no-toolkit", title="Docker cannot hand the card to containers", severity=WARNING, check=no_toolkit,
        evidence="docker is installed, nvidia-container-toolkit is not",
        cause='`docker run --gpus all` says "could not select device driver with capabilities: [[gpu]]".',
        next={"any": "sudo apt install nvidia-container-toolkit && sudo nvidia-ctk runtime configure && sudo systemctl restart docker"},
        looks_at="programs on PATH", source="https://github.com/NVIDIA/nvidia-docker/issues/1243", date="2026-09-01",
    ),
    Rule(
        id="docker-snap", title="Docker from snap cannot use the card", severity=WARNING, check=snap,
        evidence="docker is the snap package", cause="The snap is confined and does not see the toolkit's runtime.",
        next={"any": "sudo snap remove docker && sudo apt install docker.io"}, looks_at="where docker lies",
        source="https://github.com/NVIDIA/nvidia-docker/issues/1642", date="2026-09-01",
    ),
    Rule(
        id="docker-not-configured", title="Docker does not know the NVIDIA runtime", severity=WARNING, check=not_configured,
        evidence="the toolkit is installed, /etc/docker/daemon.json does not name the nvidia runtime",
        cause="The toolkit must be made known to Docker once.",
        next={"any": "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"},
        looks_at="/etc/docker/daemon.json, /etc/cdi", source=TOOLKIT, date="2026-09-01",
    ),
    Rule(
        id="small-shared-memory", title="Shared memory is too small for data loaders", severity=WARNING, check=small_shm,
        evidence="/dev/shm has {size}", cause='Worker processes hand batches over there ("Bus error", DataLoader worker killed).',
        next={"any": "docker run --shm-size=8g ... (or --ipc=host)"}, looks_at="/dev/shm",
        source="https://github.com/pytorch/pytorch/issues/5040", date="2026-09-01",
    ),
    Rule(
        id="container-small-memory", title="The container has little memory", severity=WARNING, check=memory_limit,
        evidence="the control group allows {size}",
        cause="Loading weights passes through host memory; above the limit the process is killed without a word.",
        next={"any": "docker run --memory 16g ..."}, looks_at="control group", confidence="medium",
        source="https://github.com/pytorch/pytorch/issues/1355", date="2026-09-01",
    ),
)  # fmt: skip
