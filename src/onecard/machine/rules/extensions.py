"""Compiled extensions and their versions: each belongs to one PyTorch, one CUDA, and cards from some generation on."""

import re

from onecard.core.finding import ERROR, WARNING
from onecard.machine.builds import card_runs, parts
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

XFORMERS = {26: ((2, 3),), 27: ((2, 3), (2, 4)), 28: ((2, 4), (2, 5)), 29: ((2, 5), (2, 6)), 30: ((2, 7),), 31: ((2, 7),),
            32: ((2, 8),), 33: ((2, 9),)}  # fmt: skip
"""xformers 0.0.N -> releases of torch that its wheels were built for; from 0.0.34 on the stable ABI of torch 2.10 and later"""

TRITON: dict[tuple[int, ...], tuple[int, int]] = {
    (2, 4): (3, 0),
    (2, 5): (3, 1),
    (2, 6): (3, 2),
    (2, 7): (3, 3),
    (2, 8): (3, 4),
    (2, 9): (3, 5),
    (2, 10): (3, 6),
}
"""torch -> the Triton that it was released with; later pairs are not in the table, and nothing is said of them"""

RAPIDS = ("cudf-cu12", "cudf-cu13", "cuml-cu12", "cuml-cu13")


def _torch(f: Facts) -> tuple[int, ...]:
    """(2, 9), or () where it is unknown."""
    return parts(f.torch.version)[:2] if f.torch else ()


def xformers(f: Facts) -> Values | None:
    version, torch = f.packages.get("xformers", ""), _torch(f)
    number = parts(version)
    if len(number) < 3 or number[:2] != (0, 0) or len(torch) < 2:
        return None
    known = XFORMERS.get(number[2])
    if number[2] >= 34:
        return {"version": version, "wanted": "2.10 or later"} if torch < (2, 10) else None
    if known is None or torch in known:
        return None
    return {"version": version, "wanted": " or ".join(f"{a}.{b}" for a, b in known)}


def triton(f: Facts) -> Values | None:
    name = "triton-windows" if f.system == "windows" else "triton"
    version, wanted = f.packages.get(name, ""), TRITON.get(_torch(f))
    if not version or wanted is None or not f.torch or not f.torch.cuda or parts(version)[:2] == wanted:
        return None
    return {"name": name, "version": version, "wanted": f"{wanted[0]}.{wanted[1]}"}


def torchaudio(f: Facts) -> Values | None:
    version, torch = f.packages.get("torchaudio", ""), _torch(f)
    if not version or not (2, 0) <= torch <= (2, 8) or parts(version)[:2] == torch:
        return None
    return {"version": version, "wanted": f"{torch[0]}.{torch[1]}"}


def cudnn_major(f: Facts) -> Values | None:
    """PyTorch has cuDNN 9 since 2.4, 8 before."""
    torch, cuda = _torch(f), parts((f.torch.cuda if f.torch else None) or "")
    name = f"nvidia-cudnn-cu{cuda[0]}" if cuda else ""
    version = f.packages.get(name, "")
    if not version or len(torch) < 2 or torch < (2, 0):
        return None
    wanted = 9 if torch >= (2, 4) else 8
    return {"name": name, "version": version, "wanted": wanted} if parts(version)[:1] != (wanted,) else None


def two_onnxruntimes(f: Facts) -> Values | None:
    if not {"onnxruntime", "onnxruntime-gpu"} <= set(f.packages) or not f.has_nvidia:
        return None
    return {"cpu": f.packages["onnxruntime"], "gpu": f.packages["onnxruntime-gpu"]}


def bnb_new_card(f: Facts) -> Values | None:
    bnb = f.packages.get("bitsandbytes")
    if not bnb or not f.capability or float(f.capability) < 10 or parts(bnb) >= (0, 45, 3):
        return None
    return {"bnb": bnb}


def rapids_old_card(f: Facts) -> Values | None:
    found = [f"{p} {f.packages[p]}" for p in RAPIDS if p in f.packages]
    if not found or not f.capability:
        return None
    wanted = 7.5 if any("-cu13" in p for p in found) else 7.0
    return {"packages": ", ".join(found), "wanted": wanted} if float(f.capability) < wanted else None


def arch_list(f: Facts) -> Values | None:
    """TORCH_CUDA_ARCH_LIST: "8.0;8.6+PTX"; names of generations and "All" are not decoded."""
    wish = f.environment.get("TORCH_CUDA_ARCH_LIST", "")
    entries = [e for e in re.split(r"[;,\s]+", wish) if e]
    if not entries or not f.capability or not all(re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", e) for e in entries):
        return None
    built = [e.removesuffix("+PTX") for e in entries]
    built += [f"compute_{e.removesuffix('+PTX')}" for e in entries if e.endswith("+PTX")]
    exact = f.capability in {b.rstrip("af") for b in built}
    return None if exact or card_runs(f.capability, tuple(built)) else {"wish": wish}


def import_fails(f: Facts) -> Values | None:
    broken = f.deep.imports if f.deep is not None else {}
    if not broken:
        return None
    name, words = next(iter(broken.items()))
    more = f" (and {', '.join(list(broken)[1:])})" if len(broken) > 1 else ""
    return {"name": name, "words": words, "more": more}


RULES = (
    Rule(
        id="xformers-mismatch", title="xformers was built for another PyTorch", severity=WARNING, check=xformers,
        evidence="xformers {version} is for torch {wanted}; torch {torch} is installed",
        cause='It "can\'t load C++/CUDA extensions" and falls back; PyTorch\'s own attention is as fast on current cards.',
        messages=("xFormers can't load C++/CUDA extensions",),
        next={"any": "python -m pip uninstall -y xformers"}, looks_at="package versions",
        source="https://github.com/facebookresearch/xformers/issues/1374", date="2026-06-15",
    ),
    Rule(
        id="triton-mismatch", title="Triton is not the one that this PyTorch was made with", severity=WARNING, check=triton,
        evidence="{name} {version} with torch {torch}, which came with {wanted}",
        cause="torch.compile and kernels of libraries fail, or are compiled wrongly.",
        next={"any": 'python -m pip install "{name}=={wanted}.*"'}, looks_at="package versions", confidence="medium",
        source="https://github.com/woct0rdho/triton-windows/releases/tag/v3.6.0-windows.post24", date="2026-01-21",
    ),
    Rule(
        id="torchaudio-mismatch", title="torchaudio belongs to another PyTorch", severity=ERROR, check=torchaudio,
        evidence="torchaudio {version} with torch {torch}; {wanted} belongs to it",
        cause='Importing it fails ("undefined symbol", WinError 127): its compiled code needs exactly that release.',
        next={"any": 'python -m pip install "torchaudio=={wanted}.*" --no-deps'}, looks_at="package versions",
        source="https://docs.pytorch.org/audio/stable/installation.html", date="2026-09-01",
    ),
    Rule(
        id="cudnn-wrong-major", title="The cuDNN package is of another major version", severity=ERROR, check=cudnn_major,
        evidence="{name} {version}, and torch {torch} needs cuDNN {wanted}",
        cause='Another package pulled it in; convolutions then fail ("libcudnn_ops.so.9: cannot open shared object file").',
        next={"any": 'python -m pip install "{name}=={wanted}.*"'}, looks_at="package versions",
        source="https://github.com/SYSTRAN/faster-whisper/issues/516", date="2026-09-01",
    ),
    Rule(
        id="onnxruntime-twice", title="Two ONNX Runtimes: the CPU one hides the GPU one", severity=WARNING, check=two_onnxruntimes,
        evidence="onnxruntime {cpu} and onnxruntime-gpu {gpu}",
        cause="Both write into one folder, and CUDAExecutionProvider is missing afterwards.",
        messages=("CUDAExecutionProvider",),
        next={"any": "python -m pip uninstall -y onnxruntime onnxruntime-gpu && python -m pip install onnxruntime-gpu"},
        looks_at="packages", source="https://github.com/microsoft/onnxruntime/issues/26996", date="2026-01-13",
    ),
    Rule(
        id="bitsandbytes-new-card", title="This bitsandbytes has no kernels for so new a card", severity=ERROR, check=bnb_new_card,
        evidence="{card} has compute capability {capability}; bitsandbytes {bnb} knows cards up to 9.0",
        cause='"no kernel image is available": Blackwell came with bitsandbytes 0.45.3.',
        next={"any": "python -m pip install -U bitsandbytes"}, looks_at="compute capability, package version",
        source="https://github.com/bitsandbytes-foundation/bitsandbytes/releases/tag/0.45.3", date="2026-09-01",
    ),
    Rule(
        id="rapids-old-card", title="RAPIDS does not run on this card", severity=ERROR, check=rapids_old_card,
        evidence="{packages}: compute capability {wanted} or later; {card} has {capability}",
        cause="RAPIDS dropped Pascal; builds with CUDA 13 dropped Volta too.",
        next={"any": "python -m pip install polars (onecard's tables run on the CPU with it)"},
        looks_at="packages, compute capability", source="https://github.com/rapidsai/cudf/issues/11382", date="2026-09-01",
    ),
    Rule(
        id="arch-list-without-card", title="Extensions that are built here leave this card out", severity=WARNING, check=arch_list,
        evidence='TORCH_CUDA_ARCH_LIST="{wish}"; {card} has compute capability {capability}',
        cause='What is compiled then has no code for the card ("no kernel image is available").',
        next={"any": "unset TORCH_CUDA_ARCH_LIST", "windows": "setx TORCH_CUDA_ARCH_LIST \"\""},
        looks_at="environment, compute capability",
        source="https://docs.pytorch.org/docs/stable/cpp_extension.html", date="2026-09-01",
    ),
    Rule(
        id="import-fails", title="An installed library cannot be imported", severity=ERROR, check=import_fails,
        evidence="import {name}: {words}{more}",
        cause="Its compiled part does not fit PyTorch, CUDA or the system; what imports it (often transformers or peft) fails too.",
        messages=("undefined symbol",),
        next={"any": "python -m pip install -U --force-reinstall --no-deps {name}"}, looks_at="deep test",
        source="https://github.com/pyg-team/pytorch_geometric/issues/4355", date="2026-09-01", confidence="medium",
    ),
)  # fmt: skip
