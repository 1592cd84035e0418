"""Facts -> the steps that set a machine up: environment, driver, the right PyTorch, engines, libraries, a check.

A pure function: what is right already is a step that is done. Commands that change the system (drivers) are shown and
never run; commands that install into this Python environment can be run by `setup --apply`.
"""

from onecard.core.finding import Step
from onecard.machine.builds import (
    BUILDS,
    LLM_PYTHONS,
    Build,
    best_build,
    build_of,
    card_runs,
    decode_cuda,
    driver_runs,
    parts,
)
from onecard.machine.facts import Facts
from onecard.machine.rules import diagnose

WHEELS = "https://download.pytorch.org/whl"
XLLAMACPP = "https://github.com/xorbitsai/xllamacpp#installation"
DRIVER_RULES = ("driver-missing", "driver-mismatch", "secure-boot", "nouveau-loaded", "driver-not-loaded", "wsl-no-libcuda",
                "wsl-linux-driver")  # fmt: skip
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
    if not low <= version <= high or facts.python.bits != 64:
        make = "uv venv --python 3.12 .venv"
        why = f"PyTorch has wheels for Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, 64 bits"
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


def _driver(facts: Facts) -> Step | None:
    if not facts.has_nvidia:
        return None
    wrong = next((f for f in diagnose(facts) if f.rule in DRIVER_RULES), None)
    if wrong is not None:
        return Step(
            name="driver", title=wrong.title, command=wrong.next, why=wrong.cause, source=wrong.source, date=wrong.date
        )
    known = f"NVIDIA driver {facts.driver}" if facts.driver else "NVIDIA driver"
    if facts.driver_cuda and facts.listed_capability and best_build(facts.listed_capability, facts.driver_cuda) is None:
        return Step(
            name="driver", title=f"{known} is too old for every PyTorch that runs on this card",
            command="install the newest driver from https://www.nvidia.com/drivers", why="it supports CUDA up to "
            f"{decode_cuda(facts.driver_cuda)}", source=BUILDS[0].source, date=BUILDS[0].date,
        )  # fmt: skip
    cuda = f", CUDA up to {decode_cuda(facts.driver_cuda)}" if facts.driver_cuda else ""
    newest, now = best_build(facts.listed_capability, None), best_build(facts.listed_capability, facts.driver_cuda)
    if newest is not None and now is not None and newest.torch != now.torch:
        return Step(
            name="driver", title=f"{known}{cuda}: a newer one would run PyTorch {newest.torch} instead of {now.torch}",
            command="install the newest driver from https://www.nvidia.com/drivers (or go on with this one)",
            why="a driver runs what was built with its own CUDA major version and older ones", source=newest.source,
            date=newest.date,
        )  # fmt: skip
    return Step(name="driver", title=known + cuda, done=True)


def _torch(facts: Facts) -> Step:
    have = facts.torch
    if facts.system == "darwin":
        if have is not None:
            return Step(name="torch", title=f"PyTorch {have.version} with Metal", done=True)
        return _step(facts, "torch", "PyTorch with Metal", ("torch",), "the one macOS build has Metal",
                     "https://pytorch.org/get-started/locally/", "2026-09-01")  # fmt: skip
    if facts.has_nvidia:
        return _torch_for_nvidia(facts)
    if facts.has_amd and facts.system == "linux" and any(r.kind == "rocm" for r in facts.readings):
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
    return _step(facts, "torch", "PyTorch for the CPU", ("torch", "--index-url", f"{WHEELS}/cpu"),
                 "without a card the CUDA libraries would only take 3 GB of disk", "https://pytorch.org/get-started/locally/",
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
    build = best_build(facts.listed_capability, facts.driver_cuda)
    if build is None:
        return Step(name="torch", title="no PyTorch runs with this driver", why="update the driver first")
    arguments = (_wanted(build), "--index-url", f"{WHEELS}/{build.tag}", *(("--force-reinstall",) if have else ()))
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
    if facts.has_nvidia and (built_for == () or "xllamacpp" not in facts.packages):
        arguments = ("xllamacpp", "--force-reinstall", "--index-url", "https://xorbitsai.github.io/xllamacpp/whl/cu128")
        found.append(
            _step(facts, "engines", "llama.cpp with CUDA", arguments, "the wheel on the public index runs on the CPU only",
                  XLLAMACPP, "2026-10-01")
        )  # fmt: skip
    return found
