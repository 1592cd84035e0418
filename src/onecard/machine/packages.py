"""What is installed in this environment, read from package metadata and files: nothing is imported.

torch/version.py is text with the CUDA version in it; bitsandbytes and llama.cpp show by their library files which
devices they were built for.
"""

import mmap
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from onecard.machine.facts import Torch

NAMES = (
    "torch", "torchvision", "torchaudio", "triton", "triton-windows", "numpy", "bitsandbytes", "flash-attn", "xformers",
    "transformers", "accelerate", "peft", "trl", "diffusers", "datasets", "llama-cpp-python", "xllamacpp", "gguf",
    "pyg-lib", "torch-scatter", "torch-sparse", "torch-cluster", "torch-spline-conv", "torch-geometric", "tensorflow",
    "tensorflow-intel", "gymnasium", "ale-py", "autorom", "atari-py", "stable-baselines3", "deepspeed", "apex", "nvdiffrast",
    "nvidia-ml-py", "nvidia-cudnn-cu11", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "huggingface-hub", "vllm", "unsloth",
    "onecard", "pip", "onnxruntime", "onnxruntime-gpu", "cudf-cu12", "cudf-cu13", "cuml-cu12", "cuml-cu13", "jax", "sageattention",
)  # fmt: skip
"""Packages that a rule looks at or that a report of trouble should name."""


SYSTEM_LIBRARIES = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
)


def versions() -> dict[str, str]:
    """name -> version of those NAMES that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in NAMES:
        with suppress(PackageNotFoundError, OSError, ValueError):
            told = version(name)
            if told:
                found[name] = told
    return found


def built_here(names: Iterable[str]) -> dict[str, str]:
    """ "sdist" for a package whose wheel was built on this machine: its WHEEL file has a local platform tag."""
    from importlib.metadata import PackageNotFoundError, distribution

    found = {}
    for name in names:
        with suppress(PackageNotFoundError, OSError):
            tags = re.findall(r"^Tag: (.+)$", distribution(name).read_text("WHEEL") or "", re.M)
            # Published Linux wheels carry a manylinux or musllinux tag; one that pip built here says plain linux.
            if tags and all(
                t.endswith(("linux_x86_64", "linux_aarch64")) and "many" not in t and "musl" not in t for t in tags
            ):
                found[name] = "sdist"
    return found


def torch_here(path: list[str] | None = None) -> Torch | None:
    """The first torch of the search path by its version file, and where other copies lie."""
    places: list[str] = []
    text = ""
    for entry in path if path is not None else sys.path:
        file = Path(entry or ".") / "torch" / "version.py"
        with suppress(OSError):
            said = file.read_text(errors="replace")
            folder = str(file.parent.resolve())
            if folder not in places:
                places.append(folder)
                text = text or said
    values = dict(re.findall(r"^(__version__|cuda|hip|xpu)\b[^=\n]*=\s*['\"]([^'\"]*)['\"]", text, re.M))
    version = values.get("__version__")
    if not version:
        return None
    return Torch(
        version=version, cuda=values.get("cuda", ""), hip=values.get("hip"), xpu=values.get("xpu"), places=tuple(places)
    )


def compiled_parts(look_inside: bool) -> dict[str, tuple[str, ...]]:
    """Which devices compiled packages were built for. `look_inside`: also search large libraries for CUDA code."""
    found: dict[str, tuple[str, ...]] = {}
    bnb = _folder("bitsandbytes")
    if bnb is not None:
        names = {
            re.sub(r"^(lib)?bitsandbytes_|_nocublaslt", "", p.stem) for p in bnb.glob("*bitsandbytes_*") if _library(p)
        }
        found["bitsandbytes"] = tuple(sorted(names))
    llama = _folder("llama_cpp")
    if llama is not None:
        libraries = [p for p in (llama / "lib").glob("*") if _library(p)]
        kinds = {k for k in ("cuda", "vulkan", "hip", "metal") if any(f"ggml-{k}" in p.name for p in libraries)}
        if not kinds and look_inside and any(_contains(p, b"ggml_cuda_init") for p in libraries):
            kinds.add("cuda")
        found["llama-cpp-python"] = tuple(sorted(kinds))
    xllama = _folder("xllamacpp")
    if xllama is not None and look_inside:
        files = [p for p in xllama.iterdir() if _library(p)]
        words = {"cuda": b"ggml_cuda_init", "vulkan": b"ggml_vulkan:", "hip": b"ggml_hip"}
        found["xllamacpp"] = tuple(k for k, w in words.items() if any(_contains(p, w) for p in files))
    return found


def llama_server(program: str | None, roots: tuple[str, ...] = SYSTEM_LIBRARIES) -> tuple[str, ...] | None:
    """Which devices a llama-server on PATH was built for, by its code and the libraries beside it; None without one."""
    if program is None:
        return None
    file = Path(program).resolve()
    folders = [file.parent, file.parent.parent / "lib", *(Path(r) for r in roots)]
    beside = [
        p.name
        for folder in folders
        for pattern in ("*ggml-*", "ggml*/*ggml-*", "llama*/*ggml-*")
        for p in folder.glob(pattern)
    ]
    words = {"cuda": b"ggml_cuda_init", "vulkan": b"ggml_vulkan:", "hip": b"ggml_hip", "metal": b"ggml_metal_init"}
    return tuple(k for k, w in words.items() if any(f"ggml-{k}" in name for name in beside) or _contains(file, w))


def _library(path: Path) -> bool:
    return path.suffix in (".so", ".dll", ".pyd", ".dylib") or ".so." in path.name


def _folder(module: str) -> Path | None:
    for entry in sys.path:
        folder = Path(entry or ".") / module
        if folder.is_dir():
            return folder
    return None


def _contains(path: Path, word: bytes) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            return pages.find(word) >= 0
    except (OSError, ValueError):
        return False
