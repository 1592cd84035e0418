"""The config.json of a model on the Hugging Face hub, through huggingface_hub (extra `hub`): the local cache first, then the network.

HF_HOME, HF_HUB_CACHE, HF_TOKEN and HF_HUB_OFFLINE are honoured because huggingface_hub reads them itself.
"""

import contextlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onecard.catalog.config_json import parse_config
from onecard.core.errors import OnecardError, Unavailable
from onecard.core.model import Model
from onecard.core.require import require

_OFFLINE = "check the network, or name a file, a folder or a model of the catalogue"


def hub_model(hub_id: str) -> Model:
    """The Model of `owner/name`. Raises MissingExtra without huggingface_hub, Unavailable when it cannot be had."""
    path = _config(hub_id)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"the cached config.json of {hub_id} cannot be read", why=str(error)) from None
    return parse_config(text, name=hub_id.split("/")[-1].lower(), where=f"{hub_id}/config.json", hub_id=hub_id)


def _config(hub_id: str) -> Path:
    purpose = f"to look up the hub id {hub_id}"
    hub, errors = (require(name, purpose, "hub") for name in ("huggingface_hub", "huggingface_hub.errors"))
    try:
        return Path(hub.hf_hub_download(hub_id, "config.json", local_files_only=True))
    except errors.HFValidationError as error:
        raise Unavailable(
            f'"{hub_id}" cannot be a hub id',
            why=str(error).split("\n")[0],
            next="a hub id is owner/name; or name a file",
        ) from None
    except (errors.EntryNotFoundError, OSError, ValueError):  # not in the cache: ask the network below
        pass
    if hub.constants.HF_HUB_OFFLINE:
        raise Unavailable(f"{hub_id} is not in the local cache", why="HF_HUB_OFFLINE is set", next=_OFFLINE)
    _reach(hub_id, str(hub.constants.ENDPOINT))
    try:
        with _quiet(hub):
            return Path(hub.hf_hub_download(hub_id, "config.json"))
    except Exception as error:  # requests, httpx and hub errors have no common root; each becomes one clear answer
        raise _explained(hub_id, error, errors) from None


def _reach(hub_id: str, endpoint: str) -> None:
    """Ask for the hub's address first: huggingface_hub repeats every request five times, half a minute without a network.

    Behind a proxy only the proxy knows addresses.
    """
    if urllib.request.getproxies():
        return
    address = urllib.parse.urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError as error:
        raise Unavailable(
            f"the config.json of {hub_id} cannot be had",
            why=f"it is not in the local cache and {address.hostname} does not answer ({error})",
            next=_OFFLINE,
        ) from None


@contextlib.contextmanager
def _quiet(hub: Any) -> Iterator[None]:
    """Without the library's progress bars and warnings: the answer is one error or none."""
    logging, before = hub.utils.logging, hub.utils.logging.get_verbosity()
    bars = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")
    logging.set_verbosity_error()
    if bars is None:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars is None:
            hub.utils.enable_progress_bars()


def _explained(hub_id: str, error: Exception, errors: object) -> OnecardError:
    def is_a(*names: str) -> bool:
        return any(isinstance(error, kind) for name in names if isinstance(kind := getattr(errors, name, None), type))

    if is_a("GatedRepoError"):
        return Unavailable(
            f"{hub_id} is gated",
            why="its owner wants a consent first",
            next="accept it on the hub, then: hf auth login",
        )
    if is_a("RepositoryNotFoundError"):
        return Unavailable(
            f"the hub has no model {hub_id}", why="or it is private", next="check the name, or: hf auth login"
        )
    if is_a("EntryNotFoundError") and not is_a("LocalEntryNotFoundError"):
        return Unavailable(
            f"{hub_id} has no config.json", why="it may hold only GGUF files", next="download one and name the file"
        )
    first = str(error).strip().split("\n")[0]
    return Unavailable(
        f"the config.json of {hub_id} cannot be had",
        why=f"it is not in the local cache and the hub does not answer ({type(error).__name__}: {first[:160]})",
        next=_OFFLINE,
    )
