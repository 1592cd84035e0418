"""AMD and Intel cards: a build of PyTorch for them, their device file, and who may open it."""

from onecard.core.finding import ERROR, NOTE
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

INSTALL = "python -m pip install uv && uv pip install torch --torch-backend=auto --reinstall"
PERMISSIONS = "https://github.com/ROCm/legacy-rocm-build/issues/5613"


def hidden(f: Facts) -> Values | None:
    names = [n for n in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES") if f.environment.get(n) in ("", "-1")]
    return (
        {"name": names[0], "wish": f.environment[names[0]]} if names and f.has_amd and f.torch and f.torch.hip else None
    )


def wrong_build(f: Facts) -> Values | None:
    if not f.has_compute_amd or not f.torch or f.torch.hip or f.has_nvidia or f.system != "linux":
        return None
    device = next((r.device for r in f.readings if r.kind == "rocm"), "an AMD card")
    return {"device": device, "kind": "CUDA" if f.torch.cuda else "CPU"}


def wrong_build_for_arc(f: Facts) -> Values | None:
    if not f.has_arc or not f.torch or f.torch.xpu or f.torch.hip or f.has_nvidia or "+xpu" in f.torch.version:
        return None
    return {"adapter": next(a for a in f.adapters if a.startswith("8086:"))}


def no_kfd(f: Facts) -> Values | None:
    if (
        not f.torch
        or not f.torch.hip
        or f.device_nodes is None
        or "/dev/kfd" in f.device_nodes
        or f.system != "linux"
        or not f.has_amd
    ):
        return None
    return {}


def no_permission(f: Facts) -> Values | None:
    if not f.torch or not f.torch.hip or "/dev/kfd" not in (f.device_nodes or ()):
        return None
    groups: Values = {"groups": ", ".join(f.groups or ()) or "unknown"}
    if f.closed_nodes is not None:
        return groups if "/dev/kfd" in f.closed_nodes else None
    # Where it was not tried: Ubuntu and Debian open the file to group render alone, others to everybody.
    strict = any(name in (f.distribution or "").lower() for name in ("ubuntu", "debian", "mint"))
    return groups if strict and f.groups is not None and not {"root", "render"} & set(f.groups) else None


def pretended(f: Facts) -> Values | None:
    wish = f.environment.get("HSA_OVERRIDE_GFX_VERSION")
    return {"wish": wish} if wish and f.has_amd else None


RULES = (
    Rule(
        id="amd-wrong-build", title="PyTorch is not built for this AMD card", severity=ERROR, check=wrong_build,
        evidence="{device} is there; torch {torch} is a {kind} build",
        cause="The wheel on the public index is for NVIDIA cards; AMD cards need the ROCm build.", next={"any": INSTALL},
        looks_at="display adapters, torch/version.py", source="https://github.com/astral-sh/uv/pull/14176", date="2026-09-01",
    ),
    Rule(
        id="intel-wrong-build", title="PyTorch is not built for this Intel card", severity=ERROR, check=wrong_build_for_arc,
        evidence="{adapter} is there; torch {torch} has no XPU support",
        cause="Intel cards need the XPU build, which has an index of its own.",
        next={"any": "python -m pip install torch --index-url https://download.pytorch.org/whl/xpu --force-reinstall"},
        looks_at="display adapters, torch/version.py", source="https://docs.pytorch.org/docs/stable/notes/get_start_xpu.html",
        date="2026-09-01",
    ),
    Rule(
        id="amd-no-device-file", title="The AMD compute device is missing", severity=ERROR, check=no_kfd,
        evidence="no /dev/kfd", cause="The amdgpu driver did not start its compute part, or a container was started without it.",
        next={"container": "docker run --device=/dev/kfd --device=/dev/dri ...", "any": "sudo modprobe amdgpu && ls -l /dev/kfd"},
        looks_at="device nodes", source=PERMISSIONS, date="2026-09-01",
    ),
    Rule(
        id="amd-no-permission", title="This user may not open the AMD card", severity=ERROR, check=no_permission,
        evidence="/dev/kfd belongs to group render; your groups: {groups}",
        cause='ROCm then finds no device ("no HIP GPUs are available").',
        next={"any": "sudo usermod -a -G render,video $LOGNAME (then log in again)"}, looks_at="groups", source=PERMISSIONS,
        date="2026-09-01",
    ),
    Rule(
        id="amd-hidden", title="A variable hides the AMD card", severity=ERROR, check=hidden, evidence='{name}="{wish}"',
        cause="An empty value or -1 leaves no device.", next={"any": "unset {name}"}, looks_at="environment",
        source="https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html", date="2026-09-01",
    ),
    Rule(
        id="amd-pretended-version", title="The AMD card pretends to be another", severity=NOTE, check=pretended,
        evidence="HSA_OVERRIDE_GFX_VERSION={wish}",
        cause="Needed for cards that ROCm does not list; with a wrong value kernels crash or compute wrongly.",
        next={"any": "unset HSA_OVERRIDE_GFX_VERSION (where the card is supported)"}, looks_at="environment",
        source="https://rocm.docs.amd.com/projects/install-on-linux/en/latest/reference/system-requirements.html", date="2026-09-01",
        confidence="low",
    ),
)  # fmt: skip
