"""Whether the patches hold for the PyTorch that is installed: a trial in a process that may crash.

    python -m onecard.tracing.fake_cuda.check

Addresses in C++ are not an interface, so nothing is believed: each patch has a probe that fails without it. The answer
is remembered for the version and file of PyTorch. A version that was not verified by hand may pass too, since the
probes decide; then the trace says so.
"""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onecard.core.errors import MissingExtra, OnecardError
from onecard.core.places import cache

VERIFIED = ("2.13",)
"""versions of PyTorch (Linux, CPU build) whose tables were read"""

SECONDS = 90.0


def require_fake_cuda() -> str | None:
    """Raises OnecardError unless the probes passed with this PyTorch; else a note where the version is not a verified
    one, or None."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "to trace a step", "llm")
    version = importlib.metadata.version("torch")
    known = cache() / "fake_cuda" / f"{version}-{_stamp()}.txt"
    if not known.exists():
        _try(version)
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text("the probes passed\n", encoding="utf-8")
    if not version.startswith(VERIFIED):
        return f"PyTorch {version}: the patches passed their probes here, but were written for {', '.join(VERIFIED)}"
    return None


def _try(version: str) -> None:
    source = str(Path(__file__).parent.parent.parent.parent)
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH", "")) if p)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "onecard.tracing.fake_cuda.check"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise _refusal(version, f"the probes did not end in {SECONDS:.0f} s") from None
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
        reason = said[-1].removeprefix("failed: ") if said else f"the process crashed (exit code {done.returncode})"
        raise _refusal(version, reason)


def _refusal(version: str, reason: str) -> OnecardError:
    return OnecardError(
        f"PyTorch {version} cannot pretend to have a card: {reason}",
        why=f"the patches were verified for {', '.join(VERIFIED)} on Linux; tracing on the CPU instead can be wrong by a "
        "factor of two, so it is not done",
        next="python -m pip install torch==2.13.0, or plan with counted costs: onecard plan",
    )


def _stamp() -> str:
    """Changes with the installed file and with our patches."""
    import hashlib

    spec = importlib.util.find_spec("torch")
    digest = hashlib.sha256()
    if spec is not None and spec.origin:
        stat = Path(spec.origin).stat()
        digest.update(f"{spec.origin} {stat.st_mtime_ns} {sys.version_info}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _guard() -> None:
    import torch

    assert torch.empty(2, device="cuda").device.type == "cuda"


def _backward() -> None:
    import torch

    x = torch.randn(4, 4, device="cuda", requires_grad=True)
    (x.sin() + x.cos()).sum().backward()
    assert x.grad is not None and x.grad.device.type == "cuda"


def _autocast() -> None:
    import torch

    with torch.autocast("cuda", dtype=torch.bfloat16):
        product = torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")
    assert product.dtype == torch.bfloat16


def _parameters() -> None:
    import torch

    layer = torch.nn.Linear(2, 2)
    held = weakref.ref(layer.weight)  # as the fake mode and many libraries hold their parameters
    layer.to("cuda")
    assert layer.weight.device.type == "cuda" and held() is not None


def _optimizer() -> None:
    import torch
    from torch.optim.optimizer import _default_to_fused_or_foreach

    layer = torch.nn.Linear(2, 2).to("cuda")
    _, foreach = _default_to_fused_or_foreach(list(layer.parameters()), False, False)
    assert foreach


def _attention() -> None:
    import torch

    q = torch.empty(1, 2, 16, 64, device="cuda", dtype=torch.float16, requires_grad=True)
    out = torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert "Flash" in type(out.grad_fn).__name__ or "Cudnn" in type(out.grad_fn).__name__, type(out.grad_fn).__name__


def _host() -> None:
    import torch

    generator = torch.Generator("cuda").manual_seed(0)
    torch.randn(2, device="cuda", generator=generator)
    assert torch.empty(2).pin_memory().to("cuda", non_blocking=True).device.type == "cuda"


PROBES: dict[str, Callable[[], None]] = {
    "tensors on cuda (native.install_guard)": _guard,
    "gradients on cuda (native.install_hooks)": _backward,
    "autocast on cuda (card.py)": _autocast,
    "Module.to('cuda') (parameters.movable_parameters)": _parameters,
    "foreach optimizers (parameters.horizontal_optimizers)": _optimizer,
    "attention kernels (attention.py)": _attention,
    "generators and pinned memory (host.py)": _host,
}
"""what is tried, by what it tries"""


def probe() -> str | None:
    """Runs all probes in this process. The first that fails, in words; None if all pass."""
    from onecard.tracing.profiles import DEFAULT
    from onecard.tracing.session import Trace

    name = "fake CUDA as a whole"
    try:
        with Trace(DEFAULT).running():
            for what, tried in PROBES.items():
                name = what
                tried()
    except Exception as error:  # the answer is which probe, and what it met
        return f"{name}: {type(error).__name__}: {str(error).strip()[:200]}"
    return None


def main(arguments: Any = None) -> int:
    failed = probe()
    print(f"failed: {failed}" if failed else "all probes passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
