"""A GGUF file from the Hugging Face hub: of a repository, the file that has the planned quantisation."""

import re
from pathlib import Path
from typing import Any

from onecard.core.errors import BadFile, OnecardError, Unavailable
from onecard.core.require import require


def is_hub_id(text: str) -> bool:
    """owner/name, and no file or folder of this machine."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", text) is not None and not Path(text).expanduser().exists()


def gguf_from_hub(hub_id: str, quant: str) -> Path:
    """Downloaded (or already cached) file; of a model in several files the first, which knows the others.

    Raises MissingExtra without huggingface_hub, Unavailable without a network, BadFile if no file has that format.
    """
    hub: Any = require("huggingface_hub", f"to fetch {hub_id}", "hub")
    try:
        names = chosen(list(hub.list_repo_files(hub_id)), quant, hub_id)
        paths = [Path(hub.hf_hub_download(hub_id, name)) for name in names]
    except OnecardError:
        raise
    except Exception as error:  # network, permission and hub errors have no common root; each becomes one clear answer
        raise Unavailable(
            f"{hub_id} cannot be fetched",
            why=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            next="check the name and the network, or give the path of a .gguf file",
        ) from None
    return paths[0]


def chosen(files: list[str], quant: str, hub_id: str) -> list[str]:
    """The files of one quantisation, in order. Raises BadFile, with what there is, for none."""
    models = [f for f in files if f.lower().endswith(".gguf") and "mmproj" not in f.lower()]
    # whole words: "q4_k_m" must not find "q4_k_m_l", and "f16" not "bf16"
    word = re.compile(rf"(?<![a-z0-9]){re.escape(quant.lower())}(?![a-z0-9_])")
    found = sorted(f for f in models if word.search(f.lower()))
    if not found:
        there = ", ".join(sorted(models)[:8]) or "no GGUF file at all"
        raise BadFile(f"{hub_id} has no {quant} file", why=f"it has {there}", next="give another --quant")
    first = found[0]
    parts = re.match(r"(.*)-\d{5}-of-(\d{5})\.gguf$", first)
    return [f for f in found if f.startswith(f"{parts[1]}-")] if parts else [first]
