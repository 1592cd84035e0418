"""Disks and limits: where models go, whether they fit, and what makes downloads and loaders fail."""

from onecard.core.finding import ERROR, NOTE, WARNING
from onecard.core.units import GiB, show_size
from onecard.machine.facts import Facts
from onecard.machine.rule import Rule, Values


def disk_nearly_full(f: Facts) -> Values | None:
    hub = f.disks.get("hub")
    if hub is None or hub.free is None or hub.free >= 15 * GiB:
        return None
    return {"path": hub.path, "free": show_size(hub.free)}


def hub_not_writable(f: Facts) -> Values | None:
    hub = f.disks.get("hub")
    return {"path": hub.path, "by": hub.set_by or "default"} if hub is not None and hub.writable is False else None


def home_not_writable(f: Facts) -> Values | None:
    home = f.disks.get("home")
    return {"path": home.path} if home is not None and home.writable is False else None


def small_temporary(f: Facts) -> Values | None:
    temporary = f.disks.get("temporary")
    if temporary is None or temporary.free is None or temporary.free >= 4 * GiB:
        return None
    return {"path": temporary.path, "free": show_size(temporary.free), "kind": temporary.filesystem or "disk"}


def network_disk(f: Facts) -> Values | None:
    hub = f.disks.get("hub")
    if hub is None or hub.filesystem not in ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "smbfs"):
        return None
    return {"path": hub.path, "filesystem": hub.filesystem}


def cache_in_container(f: Facts) -> Values | None:
    hub = f.disks.get("hub")
    return (
        {"path": hub.path}
        if f.container and hub is not None and hub.filesystem in ("overlay", "overlay2", "fuse-overlayfs")
        else None
    )


def half_downloads(f: Facts) -> Values | None:
    held = f.incomplete_downloads or 0
    return {"held": show_size(held)} if held > GiB else None


def old_cache_variable(f: Facts) -> Values | None:
    e = f.environment
    name = next(
        (n for n in ("TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "HUGGINGFACE_HUB_CACHE") if n in e), None
    )
    if name is None or e[name] == e.get("HF_HUB_CACHE"):
        return None
    return {"name": name, "value": e[name]}


def offline(f: Facts) -> Values | None:
    return {} if f.environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON") else None


def few_files(f: Facts) -> Values | None:
    if f.open_files is None or f.open_files >= 1024 or f.system != "linux":
        return None
    return {"limit": f.open_files}


RULES = (
    Rule(
        id="disk-nearly-full", title="Little room for models", severity=WARNING, check=disk_nearly_full,
        evidence="{free} free at {path}", cause="A 7B model in 16 bits takes 14 GB, and a download needs room for its parts.",
        next={"any": "export HF_HOME=/another/disk/huggingface", "windows": "setx HF_HOME D:\\huggingface"},
        looks_at="disk of the model cache", source="https://github.com/huggingface/huggingface_hub/issues/2051", date="2026-09-01",
    ),
    Rule(
        id="hub-not-writable", title="The model cache cannot be written", severity=ERROR, check=hub_not_writable,
        evidence="{path} (from {by})", cause="Every download fails there.",
        messages=("Permission denied",),
        next={"any": "export HF_HOME=~/.cache/huggingface", "windows": "setx HF_HOME %USERPROFILE%\\.cache\\huggingface"},
        looks_at="HF_HOME, HF_HUB_CACHE", source="https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables",
        date="2026-09-01",
    ),
    Rule(
        id="home-not-writable", title="onecard cannot write its records", severity=ERROR, check=home_not_writable,
        evidence="{path}", cause="What is measured could not be kept.",
        next={"any": "export ONECARD_HOME=/a/folder/you/own", "windows": "setx ONECARD_HOME D:\\onecard"}, looks_at="data folder",
        source="https://specifications.freedesktop.org/basedir-spec/latest/", date="2026-09-01",
    ),
    Rule(
        id="temporary-small", title="Little room for temporary files", severity=WARNING, check=small_temporary,
        evidence="{free} free at {path} ({kind})",
        cause='Installing PyTorch unpacks several GB there ("No space left on device").',
        next={"any": "TMPDIR=~/tmp python -m pip install ...", "windows": "setx TMP D:\\tmp"}, looks_at="disk of the temporary folder",
        source="https://github.com/pypa/pip/issues/7745", date="2026-09-01",
    ),
    Rule(
        id="cache-on-network", title="Models lie on a network disk", severity=NOTE, check=network_disk,
        evidence="{path} is on {filesystem}", cause="Each load goes over the network, and locks can fail.",
        next={"any": "export HF_HOME=/a/local/disk/huggingface"}, looks_at="file system of the model cache",
        source="https://github.com/huggingface/huggingface_hub/issues/3371", date="2026-09-01",
    ),
    Rule(
        id="cache-ends-with-container", title="Models are lost when the container ends", severity=NOTE, check=cache_in_container,
        evidence="{path} is in the container's own layer",
        cause="What is downloaded there goes with the container, and is downloaded again by the next.",
        next={"any": "docker run -v $HOME/.cache/huggingface:/root/.cache/huggingface ..."}, looks_at="file system of the model cache",
        source="https://docs.docker.com/engine/storage/", date="2026-09-01",
    ),
    Rule(
        id="half-downloads", title="Half-finished downloads hold room", severity=NOTE, check=half_downloads,
        evidence="{held} in .incomplete files of the model cache",
        cause='Broken-off downloads stay; a stale one can make the next fail ("416 Range Not Satisfiable").',
        next={"any": "hf cache prune"}, looks_at="model cache", source="https://github.com/huggingface/huggingface_hub/issues/2197",
        date="2026-09-01",
    ),
    Rule(
        id="old-cache-variable", title="An outdated variable moves the model cache", severity=WARNING, check=old_cache_variable,
        evidence="{name}={value}", cause="Some libraries obey it, others do not: models are downloaded twice.",
        next={"any": "unset {name}; export HF_HOME=...", "windows": "setx {name} \"\""}, looks_at="environment",
        source="https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables", date="2026-09-01",
    ),
    Rule(
        id="hub-offline", title="Downloads are switched off", severity=NOTE, check=offline, evidence="HF_HUB_OFFLINE is set",
        cause="Only models that are in the cache can be used.", messages=("LocalEntryNotFoundError",),
        next={"any": "unset HF_HUB_OFFLINE", "windows": "setx HF_HUB_OFFLINE 0"},
        looks_at="environment", source="https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables",
        date="2026-09-01",
    ),
    Rule(
        id="few-open-files", title="Few files may be open at once", severity=WARNING, check=few_files,
        evidence="limit of {limit} open files", cause='Data loaders hand tensors over as open files ("Too many open files").',
        messages=("Too many open files",),
        next={"any": "ulimit -n 4096"}, looks_at="RLIMIT_NOFILE", source="https://github.com/pytorch/pytorch/issues/11201",
        date="2026-09-01",
    ),
)  # fmt: skip
