"""Facts -> the steps that set a machine up: environment, driver, the right PyTorch, engines, libraries, a check.

A pure function: what is right already is a step that is done. Commands that change the system (drivers) are shown and
never run; commands that install into this Python environment can be run by `setup --apply`.
"""

import re

from onecard.core.finding import Step
from onecard.machine.builds import (
    BUILDS,
    LLAMA,
    LLM_PYTHONS,
    WHEELS,
    Build,
    LlamaWheel,
    best_build,
    build_of,
    card_runs,
    decode_cuda,
    driver_runs,
    last_driver,
    llama_wheel,
    parts,
)
from onecard.machine.facts import Facts
from onecard.machine.installing import PAGE, install_driver
from onecard.machine.rules import diagnose

XLLAMACPP = "https://github.com/xorbitsai/xllamacpp#installation"
DRIVER_RULES = ("driver-missing", "driver-mismatch", "secure-boot", "nouveau-loaded", "driver-not-loaded", "wsl-version-1",
                "wsl-no-libcuda", "wsl-linux-driver", "wsl-gpu-blocked", "needs-open-modules", "driver-dropped-card",
                "card-does-not-start", "driver-sees-no-card", "driver-late", "gpu-lost", "container-gpu-hidden",
                "container-no-gpu", "container-lost-gpu", "container-no-uvm", "container-no-compute")  # fmt: skip
EXTRAS = {
    "llm": ("transformers", "accelerate", "bitsandbytes"),
    "gguf": ("gguf", "xllamacpp"),
}
"""extra -> packages that show that it is there"""


def steps(facts: Facts) -> tuple[Step, ...]:
    """Everything in the order in which it is done."""
    found = [_environment(facts)]
    driver = _driver(facts)
    if driver is not None:
        found.append(driver)
    found.append(_torch(facts))
    found += _extras(facts)
    found.append(
        Step(
            name="check",
            title="try the device and compare it with what it should reach",
            command="onecard doctor --deep",
            why="versions that look right can still fail: only a kernel that ran proves it",
        )
    )
    return tuple(found)


def installer(facts: Facts) -> tuple[str, ...]:
    """How this environment installs: pip where it is, else uv. "python" stands for the interpreter that runs us."""
    return (
        ("python", "-m", "pip", "install")
        if facts.packages.get("pip") or "uv" not in facts.programs
        else ("uv", "pip", "install")
    )


def _step(facts: Facts, name: str, title: str, arguments: tuple[str, ...], why: str, source: str, date: str) -> Step:
    whole = (*installer(facts), *arguments)
    shown = " ".join(f'"{a}"' if any(c in a for c in "[]<>=*") and not a.startswith("--") else a for a in whole)
    return Step(name=name, title=title, command=shown, arguments=whole, why=why, source=source, date=date)


def _environment(facts: Facts) -> Step:
    version = parts(facts.python.version)[:2]
    low, high = LLM_PYTHONS
    if not version:
        return Step(name="environment", title="Python unknown", done=True)
    if (
        facts.system == "darwin"
        and facts.architecture == "x86_64"
        and any(a.startswith("apple:") for a in facts.adapters)
    ):
        make = "uv venv --python cpython-3.12-macos-aarch64 .venv"
        why = "this Python is of Intel's kind and runs under Rosetta, where there is no Metal"
    elif not low <= version <= high or facts.python.bits != 64:
        make = "uv venv --python 3.12 .venv"
        why = f"PyTorch has wheels for Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, 64 bits"
    elif (build := _needs_older_python(facts)) is not None:
        make = "uv venv --python 3.12 .venv"
        why = (
            f"PyTorch {build.torch}, the newest that this driver runs, has no wheels for Python {facts.python.version}"
        )
    elif facts.python.virtual or facts.container:
        return Step(name="environment", title=f"Python {facts.python.version} in an environment of its own", done=True)
    else:
        make = "python -m venv .venv"
        why = "an environment of its own keeps other programs' libraries apart"
    enter = ".venv\\Scripts\\activate" if facts.system == "windows" else ". .venv/bin/activate"
    return Step(
        name="environment", title=f"Python {facts.python.version} shared with others or not supported",
        command=f"{make} && {enter}", why=why, source="https://docs.python.org/3/library/venv.html", date="2026-09-01",
    )  # fmt: skip


def _needs_older_python(facts: Facts) -> Build | None:
    """The build that this card and driver need, where it is older than the Python: wheels for 3.14 began with 2.9."""
    if not facts.has_nvidia or right_already(facts):
        return None
    build = best_build(facts.likely_capability, facts.driver_cuda)
    old = build is not None and parts(build.torch) < (2, 9) and parts(facts.python.version)[:2] >= (3, 14)
    return build if old else None


def _driver(facts: Facts) -> Step | None:
    if not facts.has_nvidia and not facts.container:
        return None
    wrong = next((f for f in diagnose(facts) if f.rule in DRIVER_RULES), None)
    if wrong is not None:
        return Step(
            name="driver", title=wrong.title, command=wrong.next, why=wrong.cause, source=wrong.source, date=wrong.date
        )
    if not facts.has_nvidia:
        return None
    known = f"NVIDIA driver {facts.driver}" if facts.driver else "NVIDIA driver"
    newest, now = best_build(facts.listed_capability, None), best_build(facts.listed_capability, facts.driver_cuda)
    if newest is not None and now is None:
        return Step(
            name="driver", title=f"{known} is too old for every PyTorch that runs on this card",
            command=_newer_driver(facts), why=f"it supports CUDA up to {decode_cuda(facts.driver_cuda or 0)}",
            source=BUILDS[0].source, date=BUILDS[0].date,
        )  # fmt: skip
    cuda = f", CUDA up to {decode_cuda(facts.driver_cuda)}" if facts.driver_cuda else ""
    if newest is not None and now is not None and newest.torch != now.torch:
        return Step(
            name="driver", title=f"{known}{cuda}: a newer one would run PyTorch {newest.torch} instead of {now.torch}",
            command=f"{_newer_driver(facts)} (or go on with this one)",
            why="a driver runs what was built with its own CUDA major version and older ones", source=newest.source,
            date=newest.date,
        )  # fmt: skip
    return Step(name="driver", title=known + cuda, done=True)


def _newer_driver(facts: Facts) -> str:
    """One thing to do; a card that newer drivers have dropped gets its own last branch."""
    if facts.container and not facts.wsl:
        return f"update the driver on the host: {PAGE}"
    return install_driver(facts.system, facts.distribution, facts.wsl, last_driver(facts.capability))


def _torch(facts: Facts) -> Step:
    have = facts.torch
    if (
        facts.system == "darwin"
        and facts.architecture == "x86_64"
        and not any(a.startswith("apple:") for a in facts.adapters)
    ):
        if have is not None:
            return Step(name="torch", title=f"PyTorch {have.version}: on this Mac it runs on the CPU", done=True)
        return _step(facts, "torch", "PyTorch 2.2 for the CPU", ("torch==2.2.*", "numpy<2"),
                     "the last release for Macs with Intel processors; it needs Python 3.12 or older",
                     "https://github.com/pytorch/pytorch/issues/114602", "2026-09-01")  # fmt: skip
    if facts.system == "darwin":
        if have is not None:
            return Step(name="torch", title=f"PyTorch {have.version} with Metal", done=True)
        return _step(facts, "torch", "PyTorch with Metal", ("torch",), "the one macOS build has Metal",
                     "https://pytorch.org/get-started/locally/", "2026-09-01")  # fmt: skip
    if facts.has_nvidia:
        return _torch_for_nvidia(facts)
    if facts.has_compute_amd and facts.system == "linux":
        if have is not None and have.hip:
            return Step(name="torch", title=f"PyTorch {have.version} for ROCm {have.hip}", done=True)
        return Step(
            name="torch", title="PyTorch for ROCm",
            command=("" if "uv" in facts.programs else "python -m pip install uv && ") + "uv pip install torch --torch-backend=auto",
            arguments=("uv", "pip", "install", "torch", "--torch-backend=auto") if "uv" in facts.programs else (),
            why="uv picks the ROCm build for this card", source="https://github.com/astral-sh/uv/pull/14176", date="2026-09-01",
        )  # fmt: skip
    if facts.has_arc:
        if have is not None and (have.xpu or "+xpu" in have.version):
            return Step(name="torch", title=f"PyTorch {have.version} for Intel cards", done=True)
        return _step(facts, "torch", "PyTorch for Intel cards", ("torch", "--index-url", f"{WHEELS}/xpu"),
                     "Intel cards need the XPU build", "https://docs.pytorch.org/docs/stable/notes/get_start_xpu.html",
                     "2026-09-01")  # fmt: skip
    if have is not None:
        return Step(
            name="torch", title=f"PyTorch {have.version}: no card of its own, the CPU build is right", done=True
        )
    why = "without a card the CUDA libraries would only take 3 GB of disk"
    if facts.system == "windows" and facts.has_amd:
        why = "PyTorch's own builds for Windows have no ROCm (AMD's: rocm.docs.amd.com); llama.cpp with Vulkan uses the card"
    return _step(facts, "torch", "PyTorch for the CPU", ("torch", "--index-url", f"{WHEELS}/cpu"), why, "https://pytorch.org/get-started/locally/",
                 "2026-09-01")  # fmt: skip


def right_already(facts: Facts) -> bool:
    """The installed PyTorch has CUDA, the driver runs it and it has kernels for the card."""
    have = facts.torch
    if have is None or not have.cuda:
        return False
    if facts.driver_cuda and not driver_runs(facts.driver_cuda, have.cuda):
        return False
    build = build_of(have.version, have.cuda)
    return build is None or facts.listed_capability is None or card_runs(facts.listed_capability, build.architectures)


def _torch_for_nvidia(facts: Facts) -> Step:
    have = facts.torch
    if have is not None and right_already(facts):
        return Step(name="torch", title=f"PyTorch {have.version} runs on this driver and card", done=True)
    build = best_build(facts.likely_capability, facts.driver_cuda)
    if build is None and best_build(facts.likely_capability, None) is None:
        if have is not None:
            return Step(
                name="torch",
                title=f"PyTorch {have.version}: no build has kernels for this card, work runs on the CPU",
                done=True,
            )
        return _step(facts, "torch", "PyTorch for the CPU", ("torch", "--index-url", f"{WHEELS}/cpu"),
                     "no published build has kernels for so old a card", BUILDS[0].source, BUILDS[0].date)  # fmt: skip
    if build is None:
        return Step(name="torch", title="no PyTorch runs with this driver", why="update the driver first")
    arguments = (
        _wanted(build),
        *facts.companions,
        "--index-url",
        f"{WHEELS}/{build.tag}",
        *(("--force-reinstall",) if have else ()),
    )
    card = next((c.name for c in facts.cards), "this card")
    why = f"CUDA {build.cuda} is what {card} (compute capability {facts.capability or 'unknown'})"
    why += f" and a driver of CUDA {decode_cuda(facts.driver_cuda)} run" if facts.driver_cuda else " runs"
    return _step(
        facts, "torch", f"PyTorch {build.torch} with CUDA {build.cuda}", arguments, why, build.source, build.date
    )


def _wanted(build: Build) -> str:
    return "torch" if build.torch == BUILDS[0].torch else f"torch=={build.torch}.*"


def _extras(facts: Facts) -> list[Step]:
    missing = [extra for extra, names in EXTRAS.items() if not all(n in facts.packages for n in names)]
    found: list[Step] = []
    if missing:
        wanted = f"onecard[{','.join(missing)}]"
        found.append(
            _step(facts, "libraries", f"libraries of the extras {', '.join(missing)}", (wanted,),
                  "transformers and llama.cpp with what they need", "", "")
        )  # fmt: skip
    else:
        found.append(Step(name="libraries", title="libraries for chat and fine-tuning are there", done=True))
    # The wheel on the public index has no CUDA; the project's own index has.
    built_for = facts.files.get("xllamacpp")
    wheel = _llama(facts)
    if wheel is not None and (built_for == () or "xllamacpp" not in facts.packages):
        arguments = ("xllamacpp", "--force-reinstall", "--index-url", wheel.address)
        found.append(_step(facts, "engines", wheel.title, arguments, wheel.why, XLLAMACPP, "2026-10-01"))
    return found


def _llama(facts: Facts) -> LlamaWheel | None:
    """The wheel of llama.cpp for this machine's card; None where the one on the public index is right."""
    if facts.has_nvidia:
        return llama_wheel(facts.capability, facts.driver_cuda)
    if facts.system not in ("linux", "windows") or not (facts.has_compute_amd or facts.has_arc or _radeon(facts)):
        return None
    public = "the wheel on the public index runs on the CPU only"
    if facts.has_compute_amd and (facts.rocm or "").startswith("7."):
        return LlamaWheel(f"{LLAMA}/rocm-7.2.4", "llama.cpp with ROCm 7", public)
    return LlamaWheel(f"{LLAMA}/vulkan", "llama.cpp with Vulkan", public)


def _radeon(facts: Facts) -> bool:
    """A discrete Radeon on Windows, by its name ("AMD Radeon(TM) Graphics" is integrated)."""
    return any(a.startswith("1002:") and re.search(r"\bRX\b|\bPRO\b", a) for a in facts.adapters)
