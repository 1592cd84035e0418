"""PyTorch's own build: does it have CUDA, does the driver run it, does it hold kernels for the card."""

import re

from onecard.core.finding import ERROR, NOTE, WARNING
from onecard.machine.builds import (
    PYTHONS,
    WHEELS,
    best_build,
    build_of,
    card_runs,
    decode_cuda,
    installed_driver_runs,
    minimum_driver,
    parts,
)
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

INDEX = "https://pytorch.org/get-started/locally/"


def cpu_build(f: Facts) -> Values | None:
    t = f.torch
    if not t or not f.has_nvidia or t.cuda or t.hip or t.xpu or _beyond(f):
        return None
    # A version without a tag says nothing: only where the build itself was asked for its CUDA.
    return {} if t.cuda == "" or t.version.endswith("+cpu") else None


def _beyond(f: Facts) -> bool:
    """No published build has kernels for the card: it can show a desktop, and the CPU build is right."""
    return f.listed_capability is not None and best_build(f.listed_capability, None) is None


def beyond_pytorch(f: Facts) -> Values | None:
    return {} if _beyond(f) else None


def no_torch(f: Facts) -> Values | None:
    known = f.torch is None and bool(f.packages) and "torch" not in f.packages
    return {} if known and f.has_nvidia and not _beyond(f) else None


def driver_too_old(f: Facts) -> Values | None:
    if not f.torch or not f.torch.cuda or card_too_old(f):  # a newer driver would not bring the kernels back
        return None
    windows = f.system == "windows" or f.wsl
    if installed_driver_runs(f.driver, f.driver_cuda, f.torch.cuda, "windows" if windows else "linux") is not False:
        return None
    told = (
        f" supports CUDA up to {decode_cuda(f.driver_cuda)} (torch calls that {f.driver_cuda})" if f.driver_cuda else ""
    )
    return {"told": told, "lowest": minimum_driver(f.torch.cuda, "windows" if windows else "linux") or "a newer one"}


def _architectures(f: Facts) -> tuple[str, ...]:
    """What the installed build holds: as torch itself said in a deep test, else from the published table."""
    if f.deep and f.deep.architectures:
        return f.deep.architectures
    # A build of one's own (an "a0", a "git") or one for Arm follows no published table.
    published = (
        f.torch is not None
        and f.listed_capability is not None
        and not re.search(r"\d(a|b|rc)\d|dev|git", f.torch.version)
    )
    build = build_of(f.torch.version, f.torch.cuda) if f.torch and published else None
    return build.architectures if build else ()


def _missing(f: Facts) -> tuple[str, str] | None:
    """(card, architectures) where the first card finds no kernel."""
    known = _architectures(f)
    if not known or not f.capability or not f.torch or not f.torch.cuda or card_runs(f.capability, known):
        return None
    return f.capability, ", ".join(known)


def card_too_new(f: Facts) -> Values | None:
    found = _missing(f)
    if not found or float(found[0]) < 9.0:
        return None
    return {"architectures": found[1]}


def card_too_old(f: Facts) -> Values | None:
    found = _missing(f)
    if not found or float(found[0]) >= 9.0 or _beyond(f):
        return None
    return {"architectures": found[1]}


def two_torches(f: Facts) -> Values | None:
    if not f.torch or len(f.torch.places) < 2:
        return None
    return {"places": ", ".join(f.torch.places), "first": f.torch.places[0]}


def python_too_new(f: Facts) -> Values | None:
    version = parts(f.python.version)[:2]
    return {"highest": "3.14"} if version > PYTHONS[1] and f.torch is None else None


def python_too_old(f: Facts) -> Values | None:
    version = parts(f.python.version)[:2]
    return {"lowest": "3.11"} if version and version < PYTHONS[0] else None


def python_32(f: Facts) -> Values | None:
    return {"bits": f.python.bits} if f.python.bits != 64 else None


def externally_managed(f: Facts) -> Values | None:
    return {} if f.python.managed and not f.python.virtual and f.packages and "torch" not in f.packages else None


def vision_mismatch(f: Facts) -> Values | None:
    vision = f.packages.get("torchvision")
    if not vision or not f.torch:
        return None
    # torchvision 0.(n + 15) belongs to torch 2.n, ever since torch 2.0 and torchvision 0.15.
    major, minor = parts(f.torch.version)[:2]
    local, own = vision.partition("+")[2], f.torch.version.partition("+")[2]
    command = f'python -m pip install "torchvision==0.{minor + 15}.*" --no-deps --force-reinstall'
    command += f" --index-url {WHEELS}/{own}" if own else ""
    if major == 2 and parts(vision)[:2] != (0, minor + 15):
        return {"vision": vision, "wanted": f"0.{minor + 15}", "command": command}
    if not local or not own or local == own:
        return None
    return {"vision": vision, "wanted": f"0.{minor + 15}+{own}", "command": command}


def numpy_abi(f: Facts) -> Values | None:
    numpy = f.packages.get("numpy")
    if not numpy or not f.torch or parts(numpy)[0] < 2 or parts(f.torch.version)[:2] >= (2, 3):
        return None
    return {"numpy": numpy}


def rosetta(f: Facts) -> Values | None:
    if f.system != "darwin" or f.architecture != "x86_64" or not any(c.startswith("apple:") for c in f.adapters):
        return None
    return {}


RULES = (
    Rule(
        id="torch-cpu-build", title="PyTorch is a CPU build", severity=ERROR, check=cpu_build,
        evidence="torch {torch} has no CUDA, and {card} is in this machine",
        cause="On Windows `pip install torch` gives the CPU build, and so does any index without CUDA.",
        messages=("Torch not compiled with CUDA enabled",),
        next={"any": "{install_torch}"},
        looks_at="torch/version.py, display adapters", source="https://github.com/THU-MIG/yolov10/issues/218",
        date="2026-09-01",
    ),
    Rule(
        id="card-beyond-pytorch", title="No PyTorch runs on this card any more", severity=NOTE, check=beyond_pytorch,
        evidence="{card} has compute capability {capability}; published builds start at 5.0",
        cause="Kepler and older cards lost their kernels with PyTorch 2.", next={"any": "onecard can (plans for the CPU)"},
        looks_at="compute capability", source="https://github.com/pytorch/pytorch/issues/157517", date="2026-08-21",
    ),
    Rule(
        id="torch-missing", title="PyTorch is not installed", severity=NOTE, check=no_torch,
        evidence="{card} is there, but no torch in this environment",
        cause="llama.cpp works without it; training and images need it.", next={"any": "onecard setup"},
        looks_at="installed packages", source=INDEX, date="2026-09-01",
    ),
    Rule(
        id="driver-too-old", title="The driver is too old for this PyTorch", severity=ERROR, check=driver_too_old,
        evidence="driver {driver}{told}; torch {torch} needs CUDA {torch_cuda}, from driver {lowest} on",
        cause="A driver runs builds of its own CUDA major version and of older ones, never of a newer one.",
        messages=("driver on your system is too old", "CUDA driver version is insufficient",),
        next={
            "any": "update the driver to {lowest} or later, or: {install_torch}",
            "container": "update the driver on the host to {lowest} or later, or: {install_torch}",
            "wsl": "update the driver in Windows to {lowest} or later, never inside WSL2; or: {install_torch}",
        },
        looks_at="NVML's CUDA version, torch/version.py",
        source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html", date="2025-12-04",
    ),
    Rule(
        id="card-too-new", title="This PyTorch has no kernels for so new a card", severity=ERROR, check=card_too_new,
        evidence="{card} has compute capability {capability}; torch {torch} was built for {architectures}",
        cause='"no kernel image is available": Blackwell (10.0, 12.0) needs torch 2.7 or later built with CUDA 12.8 or later.',
        messages=("is not compatible with the current PyTorch installation",),
        next={"any": "{install_torch}"},
        looks_at="compute capability, architectures of the build",
        source="https://github.com/pytorch/pytorch/issues/153928", date="2026-08-21",
    ),
    Rule(
        id="card-too-old", title="This PyTorch no longer has kernels for so old a card", severity=ERROR, check=card_too_old,
        evidence="{card} has compute capability {capability}; torch {torch} was built for {architectures}",
        cause="Builds with CUDA 12.8 dropped Maxwell and Pascal, builds with CUDA 13 Volta too; CUDA 12.6 builds have them.",
        messages=("no kernel image is available",),
        next={"any": "{install_torch}"},
        looks_at="compute capability, architectures of the build",
        source="https://github.com/pytorch/pytorch/issues/157517", date="2026-08-21",
    ),
    Rule(
        id="torch-twice", title="Two copies of PyTorch", severity=WARNING, check=two_torches,
        evidence="torch in {places}",
        cause="The first folder of the search path wins; libraries of one copy and code of the other crash or hide the GPU.",
        next={"any": "python -m pip uninstall -y torch && {install_torch}"},
        looks_at="sys.path", source="https://github.com/pytorch/pytorch/issues/4546", date="2026-09-01",
    ),
    Rule(
        id="python-too-new", title="No PyTorch for so new a Python", severity=ERROR, check=python_too_new,
        evidence="Python {python}; stable wheels go up to {highest}",
        cause='pip then says "No matching distribution found for torch".',
        next={"any": "uv venv --python 3.12", "linux": "uv venv --python 3.12"},
        looks_at="interpreter version", source="https://github.com/astral-sh/uv/issues/10236", date="2026-08-21",
    ),
    Rule(
        id="python-too-old", title="Python is too old", severity=ERROR, check=python_too_old,
        evidence="Python {python}; current PyTorch needs 3.10, onecard {lowest}",
        cause="Wheels for older versions are no longer made.", next={"any": "uv venv --python 3.12"},
        looks_at="interpreter version", source=INDEX, date="2026-08-21",
    ),
    Rule(
        id="python-32-bit", title="A 32-bit Python", severity=ERROR, check=python_32,
        evidence="Python {python} has {bits} bits", cause="There are no 32-bit builds of PyTorch.",
        next={"windows": "winget install Python.Python.3.12", "any": "uv venv --python 3.12"},
        looks_at="interpreter", source="https://github.com/pytorch/pytorch/issues/91543", date="2026-09-01",
    ),
    Rule(
        id="python-managed", title="pip is locked in this Python", severity=NOTE, check=externally_managed,
        evidence="Python {python} is managed by the system (EXTERNALLY-MANAGED) and no virtual environment is active",
        cause='pip refuses with "externally-managed-environment" (PEP 668).',
        next={"any": "python3 -m venv ~/.venvs/onecard && . ~/.venvs/onecard/bin/activate"},
        looks_at="EXTERNALLY-MANAGED beside the standard library", source="https://peps.python.org/pep-0668/",
        date="2026-09-01",
    ),
    Rule(
        id="torchvision-mismatch", title="torchvision belongs to another PyTorch", severity=ERROR, check=vision_mismatch,
        evidence="torchvision {vision} with torch {torch}; {wanted} belongs to it",
        cause='Importing it fails ("operator torchvision::nms does not exist") and takes transformers and peft with it.',
        next={"any": "{command}"},
        looks_at="package versions", source="https://github.com/pytorch/vision#installation", date="2026-09-01",
    ),
    Rule(
        id="numpy-abi", title="NumPy 2 with a PyTorch made for NumPy 1", severity=ERROR, check=numpy_abi,
        evidence="numpy {numpy} with torch {torch}",
        cause='torch before 2.3 was compiled against NumPy 1 ("_ARRAY_API not found").',
        next={"any": 'python -m pip install "numpy<2"'},
        looks_at="package versions", source="https://github.com/pytorch/pytorch/issues/135013", date="2026-09-01",
    ),
    Rule(
        id="python-under-rosetta", title="An Intel Python on an Apple chip", severity=ERROR, check=rosetta,
        evidence="Python is x86_64 and the machine has an Apple GPU",
        cause="Under Rosetta there is no Metal backend, and PyTorch for Intel Macs ended with 2.2.",
        next={"any": "uv venv --python cpython-3.12-macos-aarch64"},
        looks_at="platform.machine(), the chip's name", source="https://github.com/pytorch/pytorch/issues/114602",
        date="2026-09-01",
    ),
)  # fmt: skip
