"""What the deep test's child went through: whether torch loads, a kernel runs, work holds, and the test comes to its end."""

from onecard.core.finding import ERROR, WARNING
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values


def kernel_failed(f: Facts) -> Values | None:
    d = f.deep
    if d is None or d.kind == "cpu" or d.launched is not False:
        return None
    return {"stage": d.stage or "launch", "error": d.error or "no words"}


def torch_import(f: Facts) -> Values | None:
    """The deep test's child could not import torch, or died of it."""
    d = f.deep
    if d is None or not d.error or d.late:
        return None
    return {"error": d.error} if d.stage == "import" or d.error.startswith("import torch") else None


def fails_under_work(f: Facts) -> Values | None:
    d = f.deep
    if d is None or not d.error or d.late or d.kind == "cpu" or d.launched is not True or d.stage in (None, "done"):
        return None
    return {"stage": d.stage, "error": d.error}


def deep_failed(f: Facts) -> Values | None:
    d = f.deep
    if d is None or not d.error or d.late or d.kind != "cpu" or d.stage in (None, "done", "import"):
        return None
    return {"stage": d.stage, "error": d.error}


def deep_late(f: Facts) -> Values | None:
    return {"stage": f.deep.stage or "start"} if f.deep is not None and f.deep.late else None


RULES = (
    Rule(
        id="kernel-fails", title="A kernel does not run on the card", severity=ERROR, check=kernel_failed,
        evidence="while testing {stage}: {error}", cause="The build, the driver or the card; the words above say which.",
        next={"any": "{install_torch}"}, looks_at="deep test", source="https://github.com/pytorch/pytorch/issues/153928",
        date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="torch-import-fails", title="PyTorch cannot be imported", severity=ERROR, check=torch_import, evidence="{error}",
        cause="A library that it loads is missing, of another version, or crashes: often leftovers of another install or LD_LIBRARY_PATH.",
        next={"any": "{install_torch}"}, messages=("cannot open shared object file", "DLL load failed"), looks_at="deep test",
        source="https://github.com/pytorch/pytorch/issues/104591", date="2026-09-01",
    ),
    Rule(
        id="card-fails-under-work", title="The card fails under work", severity=ERROR, check=fails_under_work,
        evidence="while testing {stage}: {error}",
        cause="A first kernel ran, and more work did not: memory errors, power, an overclock, or the driver.",
        next={"any": "sudo dmesg | grep -i xid", "windows": "eventvwr.msc (System, source nvlddmkm)"}, looks_at="deep test",
        source="https://docs.nvidia.com/deploy/xid-errors/", date="2026-09-01", confidence="medium",
    ),
    Rule(
        id="deep-test-failed", title="The deep test failed", severity=WARNING, check=deep_failed,
        evidence="while testing {stage}: {error}", cause="The words above say why; nothing is known of the device's speed.",
        next={"any": "onecard doctor --deep --record facts.json --redact"}, looks_at="deep test", confidence="low",
        source="https://docs.pytorch.org/docs/stable/notes/faq.html", date="2026-09-01",
    ),
    Rule(
        id="deep-test-late", title="The deep test did not finish", severity=WARNING, check=deep_late,
        evidence="stopped at its deadline while testing {stage}",
        cause="The device hangs, or is far slower than it should be, or the machine is very busy.",
        next={"any": "onecard watch"}, looks_at="deep test", source="https://docs.nvidia.com/deploy/xid-errors/",
        date="2026-09-01", confidence="low",
    ),
)  # fmt: skip
