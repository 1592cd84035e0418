"""Libraries around PyTorch that carry their own compiled code: each must fit torch, CUDA and the card."""

import re

from onecard.core.finding import ERROR, NOTE, WARNING
from onecard.machine.builds import parts
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values

PYG = ("pyg-lib", "torch-scatter", "torch-sparse", "torch-cluster", "torch-spline-conv")


def bnb_no_binary(f: Facts) -> Values | None:
    binaries = [b for b in f.files.get("bitsandbytes", ()) if b.startswith("cuda")]
    if (
        "bitsandbytes" not in f.files
        or "bitsandbytes" not in f.packages
        or not f.torch
        or not f.torch.cuda
        or "BNB_CUDA_VERSION" in f.environment
    ):
        return None
    # It takes the nearest binary of the same major version; only another major version leaves it without one.
    if any(b[4:6] == str(parts(f.torch.cuda)[0]) for b in binaries):
        return None
    return {"bnb": f.packages["bitsandbytes"], "binaries": ", ".join(binaries) or "CPU only"}


def bnb_override(f: Facts) -> Values | None:
    wish = f.environment.get("BNB_CUDA_VERSION")
    if not wish or "bitsandbytes" not in f.packages or not f.torch or not f.torch.cuda:
        return None
    return {"wish": wish} if wish != f.torch.cuda.replace(".", "") else None


def bnb_old_card(f: Facts) -> Values | None:
    bnb = f.packages.get("bitsandbytes")
    if not bnb or not f.capability or parts(bnb)[:2] < (0, 48):
        return None
    return {"bnb": bnb} if float(f.capability) < 6.0 else None


def flash_abi(f: Facts) -> Values | None:
    version = f.packages.get("flash-attn", "")
    built = re.search(r"torch(\d+\.\d+)", version)
    if not built or not f.torch:
        return None
    own = ".".join(str(n) for n in parts(f.torch.version)[:2])
    if built[1] != own:
        return {"flash": version, "built": f"torch {built[1]}"}
    cuda = re.search(r"\+cu(\d{2})", version)
    other = cuda and f.torch.cuda and cuda[1] != str(parts(f.torch.cuda)[0])
    return {"flash": version, "built": f"CUDA {cuda[1]}"} if cuda and other else None


def flash_card(f: Facts) -> Values | None:
    if "flash-attn" not in f.packages or not f.capability or float(f.capability) >= 8.0:
        return None
    return {"flash": f.packages["flash-attn"]}


def no_triton(f: Facts) -> Values | None:
    if f.system != "windows" or not f.torch or not f.torch.cuda or not f.packages:
        return None
    return None if {"triton", "triton-windows"} & set(f.packages) else {}


def two_cudnn(f: Facts) -> Values | None:
    majors = set(f.cudnn_copies.values())
    if len(majors) < 2:
        return None
    return {"copies": "; ".join(f"cuDNN {m} in {p}" for p, m in f.cudnn_copies.items())}


def stub(f: Facts) -> Values | None:
    folders = [x for x in f.environment.get("LD_LIBRARY_PATH", "").split(":") if x.rstrip("/").endswith("/stubs")]
    return {"folder": folders[0]} if folders and f.has_nvidia else None


def pyg_mismatch(f: Facts) -> Values | None:
    if not f.torch:
        return None
    own = "pt" + "".join(str(n) for n in parts(f.torch.version)[:2])
    wrong = [
        f"{p} {f.packages[p]}" for p in PYG if (m := re.search(r"\+(pt\d+)", f.packages.get(p, ""))) and m[1] != own
    ]
    return {"wrong": ", ".join(wrong)} if wrong else None


def _cpu_llama(f: Facts, package: str) -> Values | None:
    if package not in f.packages or not f.has_nvidia or package not in f.files:
        return None
    if {"cuda", "vulkan"} & set(f.files[package]):
        return None
    return {"version": f.packages[package], "build": "sdist" if f.installers.get(package) == "sdist" else "wheel"}


def llama_cpp_python_cpu(f: Facts) -> Values | None:
    return _cpu_llama(f, "llama-cpp-python")


def xllamacpp_cpu(f: Facts) -> Values | None:
    return _cpu_llama(f, "xllamacpp")


def llama_server_cpu(f: Facts) -> Values | None:
    built = f.files.get("llama-server")
    return {"place": f.programs.get("llama-server", "llama-server")} if built == () and f.has_nvidia else None


def vc_runtime(f: Facts) -> Values | None:
    return {} if f.system == "windows" and f.vc_runtime is False and f.torch else None


def toolkit_mismatch(f: Facts) -> Values | None:
    if not f.toolkit or not f.torch or not f.torch.cuda or "nvcc" not in f.programs:
        return None
    return {"toolkit": f.toolkit} if parts(f.toolkit)[0] != parts(f.torch.cuda)[0] else None


def tensorflow_windows(f: Facts) -> Values | None:
    version = f.packages.get("tensorflow") or f.packages.get("tensorflow-intel")
    if f.system != "windows" or not version or not f.has_nvidia or parts(version)[:2] < (2, 11):
        return None
    return {"version": version}


def old_atari(f: Facts) -> Values | None:
    gym, ale = f.packages.get("gymnasium"), f.packages.get("ale-py")
    if (
        not gym
        or parts(gym)[0] < 1
        or not ({"autorom", "atari-py"} & set(f.packages) or (ale and parts(ale) < (0, 10)))
    ):
        return None
    return {"gym": gym, "ale": ale or "missing"}


def openmp_twice(f: Facts) -> Values | None:
    return {} if f.environment.get("KMP_DUPLICATE_LIB_OK", "").upper() in ("TRUE", "1") else None


def custom_ops(f: Facts) -> Values | None:
    extensions = [p for p in ("deepspeed", "apex", "nvdiffrast", "stylegan3") if p in f.packages]
    compiler = "cl" if f.system == "windows" else "gcc"
    if not extensions or not f.torch or not f.torch.cuda or ("nvcc" in f.programs and compiler in f.programs):
        return None
    missing = ", ".join(p for p in ("nvcc", compiler) if p not in f.programs)
    return {"extensions": ", ".join(extensions), "missing": missing}


RULES = (
    Rule(
        id="bitsandbytes-no-binary", title="bitsandbytes has no binary for this CUDA", severity=ERROR, check=bnb_no_binary,
        evidence="bitsandbytes {bnb} brings {binaries}; torch uses CUDA {torch_cuda}",
        cause='It loads the binary of torch\'s CUDA major version ("CUDA Setup failed despite GPU being available").',
        next={"any": "python -m pip install -U bitsandbytes"}, looks_at="bitsandbytes' library files, torch/version.py",
        source="https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1559", date="2026-10-01",
    ),
    Rule(
        id="bitsandbytes-override", title="BNB_CUDA_VERSION overrides bitsandbytes' choice", severity=WARNING, check=bnb_override,
        evidence="BNB_CUDA_VERSION={wish}, torch uses CUDA {torch_cuda}",
        cause="With the variable set, exactly that binary is loaded, and there is no fallback.",
        next={"any": "unset BNB_CUDA_VERSION", "windows": "setx BNB_CUDA_VERSION \"\""}, looks_at="environment",
        source="https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1614", date="2026-10-01",
    ),
    Rule(
        id="bitsandbytes-old-card", title="bitsandbytes no longer supports this card", severity=ERROR, check=bnb_old_card,
        evidence="{card} has compute capability {capability}; bitsandbytes {bnb} needs 6.0",
        cause="Maxwell left the published wheels with 0.48.", next={"any": 'python -m pip install "bitsandbytes<0.48"'},
        looks_at="compute capability, package version",
        source="https://huggingface.co/docs/bitsandbytes/v0.48.1/installation", date="2026-10-01",
    ),
    Rule(
        id="flash-attn-abi", title="flash-attn was built for another PyTorch", severity=ERROR, check=flash_abi,
        evidence="flash-attn {flash} was built for {built}; torch {torch} with CUDA {torch_cuda} is installed",
        cause='Its compiled code needs exactly that release ("undefined symbol").',
        messages=("flash_attn_2_cuda",),
        next={"any": "python -m pip uninstall -y flash-attn"}, looks_at="the build tag in the package version",
        source="https://github.com/Dao-AILab/flash-attention/issues/950", date="2026-09-01",
    ),
    Rule(
        id="flash-attn-card", title="flash-attn does not run on this card", severity=WARNING, check=flash_card,
        evidence="{card} has compute capability {capability}; flash-attn {flash} needs 8.0",
        cause="FlashAttention 2 needs Ampere or later; PyTorch's own attention works on every card.",
        next={"any": "python -m pip uninstall -y flash-attn"}, looks_at="compute capability, packages",
        source="https://github.com/Dao-AILab/flash-attention#nvidia-cuda-support", date="2026-09-01",
    ),
    Rule(
        id="triton-missing", title="No Triton: torch.compile will fail", severity=NOTE, check=no_triton,
        evidence="torch {torch} on Windows without triton-windows",
        cause="PyTorch brings Triton on Linux only.", messages=("working triton installation", "No module named 'triton'",),
        next={"any": "python -m pip install triton-windows"},
        looks_at="packages", source="https://github.com/karpathy/build-nanogpt/issues/45", date="2026-09-01",
    ),
    Rule(
        id="cudnn-two-majors", title="Two major versions of cuDNN", severity=WARNING, check=two_cudnn, evidence="{copies}",
        cause='The loader may mix them ("libcudnn_ops.so cannot load"): a folder in LD_LIBRARY_PATH comes before torch\'s own.',
        messages=("libcudnn", "CUDNN_STATUS_",),
        next={"any": "unset LD_LIBRARY_PATH", "windows": "take the other cuDNN folder out of PATH"},
        looks_at="LD_LIBRARY_PATH, nvidia-cudnn packages", confidence="medium",
        source="https://github.com/SYSTRAN/faster-whisper/issues/516", date="2026-09-01",
    ),
    Rule(
        id="libcuda-stub", title="The linker's stub hides the driver's library", severity=ERROR, check=stub,
        evidence="LD_LIBRARY_PATH holds {folder}",
        cause='The libcuda.so there is for linking only ("CUDA driver is a stub library").',
        messages=("CUDA driver is a stub library",),
        next={"any": "unset LD_LIBRARY_PATH"}, looks_at="environment", confidence="medium",
        source="https://docs.nvidia.com/cuda/cuda-installation-guide-linux/", date="2026-09-01",
    ),
    Rule(
        id="pyg-extension-mismatch", title="A PyTorch Geometric extension belongs to another PyTorch", severity=ERROR,
        check=pyg_mismatch, evidence="{wrong}, but torch {torch}",
        cause='Its compiled code needs exactly that release ("undefined symbol"); PyTorch Geometric works without it.',
        next={"any": "python -m pip uninstall -y pyg-lib torch-scatter torch-sparse torch-cluster torch-spline-conv"},
        looks_at="the build tag in the package versions",
        source="https://github.com/pyg-team/pytorch_geometric/issues/4355", date="2026-09-01",
    ),
    Rule(
        id="llama-cpp-python-cpu", title="llama-cpp-python was built without the GPU", severity=WARNING,
        check=llama_cpp_python_cpu, evidence="llama-cpp-python {version} ({build}) has no CUDA library, and {card} is there",
        cause="A plain `pip install` builds for the CPU, and pip keeps that wheel in its cache.",
        next={"any": "python -m pip install --force-reinstall --no-cache-dir llama-cpp-python "
                     "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cu124"},
        looks_at="the package's library files", source="https://github.com/abetlen/llama-cpp-python/issues/1315",
        date="2026-09-01",
    ),
    Rule(
        id="xllamacpp-cpu", title="xllamacpp was built without the GPU", severity=WARNING, check=xllamacpp_cpu,
        evidence="xllamacpp {version} has no CUDA code, and {card} is there",
        cause="The wheels on the public index are for the CPU; builds with CUDA or Vulkan are on the project's own index.",
        next={"any": "{install_llama}"},
        looks_at="the package's library file", source="https://github.com/xorbitsai/xllamacpp#installation", date="2026-10-01",
    ),
    Rule(
        id="llama-server-cpu", title="llama-server was built without the GPU", severity=WARNING, check=llama_server_cpu,
        evidence="{place} has no CUDA or Vulkan code, nor such a library beside it; {card} is there",
        cause='It then says "no usable GPU found, --gpu-layers option will be ignored" and works on the CPU.',
        next={"any": "take the CUDA or Vulkan archive of https://github.com/ggml-org/llama.cpp/releases, or build with -DGGML_CUDA=ON",
              "windows": "winget install llama.cpp (it has Vulkan)"},
        looks_at="PATH, the program's code, ggml libraries", confidence="medium",
        source="https://github.com/ggml-org/llama.cpp/blob/master/docs/build.md", date="2026-09-01",
    ),
    Rule(
        id="vc-runtime-missing", title="The Visual C++ runtime is missing", severity=ERROR, check=vc_runtime,
        evidence="torch {torch} without vcruntime140_1.dll and msvcp140.dll",
        cause='Loading torch fails with WinError 126 ("fbgemm.dll"). Never take single DLLs from download sites.',
        messages=("WinError 126",),
        next={"any": "winget install Microsoft.VCRedist.2015+.x64"}, looks_at="the system folder",
        source="https://github.com/pytorch/pytorch/issues/131662", date="2026-09-01",
    ),
    Rule(
        id="toolkit-mismatch", title="The CUDA toolkit is of another major version", severity=NOTE, check=toolkit_mismatch,
        evidence="nvcc is of CUDA {toolkit}, torch of CUDA {torch_cuda}",
        cause="Only building extensions needs a toolkit, and then it must match; running wheels needs none.",
        next={"any": "nothing, unless you build CUDA extensions: then install the toolkit of CUDA {torch_cuda}"},
        looks_at="version.json of the toolkit", source="https://github.com/rusty1s/pytorch_sparse/issues/189", date="2026-09-01",
    ),
    Rule(
        id="tensorflow-windows", title="TensorFlow has no GPU on Windows", severity=WARNING, check=tensorflow_windows,
        evidence="tensorflow {version} on Windows",
        cause="2.10 was the last release with CUDA on native Windows.", messages=("Could not find cuda drivers",),
        next={"any": "wsl --install"},
        looks_at="packages", source="https://github.com/tensorflow/tensorflow/issues/60241", date="2026-09-01",
    ),
    Rule(
        id="atari-old-package", title="An Atari package of an older Gym", severity=WARNING, check=old_atari,
        evidence="gymnasium {gym} with ale-py {ale} and old ROM packages",
        cause='Since Gymnasium 1.0 the games come with ale-py itself ("Namespace ALE not found").',
        next={"any": "python -m pip install -U ale-py && python -m pip uninstall -y autorom atari-py"},
        looks_at="packages", source="https://github.com/Farama-Foundation/Gymnasium/issues/1201", date="2026-09-01",
    ),
    Rule(
        id="openmp-duplicates", title="A warning about two OpenMP libraries is switched off", severity=WARNING,
        check=openmp_twice, evidence="KMP_DUPLICATE_LIB_OK is set",
        cause="Two OpenMP runtimes in one process can crash or compute wrongly; the variable only hides it.",
        next={"any": "unset KMP_DUPLICATE_LIB_OK", "windows": "setx KMP_DUPLICATE_LIB_OK \"\""}, looks_at="environment",
        source="https://github.com/pytorch/pytorch/issues/13806", date="2026-09-01",
    ),
    Rule(
        id="custom-ops-no-compiler", title="An extension that compiles itself finds no compiler", severity=WARNING,
        check=custom_ops, evidence="{extensions} installed, but not on PATH: {missing}",
        cause="Such libraries fall back silently to slow code when their CUDA code cannot be compiled.",
        next={"linux": "sudo apt install build-essential nvidia-cuda-toolkit",
              "any": "winget install Microsoft.VisualStudio.2022.BuildTools Nvidia.CUDA"},
        looks_at="packages, PATH", confidence="medium",
        source="https://github.com/NVlabs/stylegan2-ada-pytorch/issues/155", date="2026-09-01",
    ),
)  # fmt: skip
