"""A device or a model by whatever a person gives: a name or numbers; a name, a file, a folder or a hub id, in this order."""

from pathlib import Path

from onecard.catalog.cards import card
from onecard.catalog.models import has_model, model, model_names
from onecard.catalog.numbers import device_from_numbers, looks_like_numbers
from onecard.core.device import Device
from onecard.core.errors import BadFile, UnknownName
from onecard.core.model import Model


def find_device(text: str) -> Device:
    """The Device of a name ("rtx 4070 ti") or of numbers ("memory=12GiB,bandwidth=504GB/s"). Raises UnknownName, BadSetting."""
    return device_from_numbers(text) if looks_like_numbers(text) else card(text)


def find_model(text: str) -> Model:
    """The Model of a catalogue name, alias or hub id, of a .gguf file, config.json or folder, or of a hub id elsewhere.

    Raises UnknownName with the nearest names, BadFile for a file that is not a model, Unavailable or MissingExtra for the hub.
    """
    text = text.strip()
    if text and has_model(text):
        return model(text)
    try:
        path = Path(text).expanduser()
        exists = bool(text) and path.exists()
    except (OSError, ValueError, RuntimeError):  # a name too long or with a NUL is no path
        path, exists = Path(), False
    if exists:
        return _read(path)
    if text.lower().endswith((".gguf", ".json", ".safetensors")):
        raise BadFile(f"there is no file {text}", next="check the path, or name a model of the catalogue")
    if text.count("/") == 1 and all(text.split("/")) and not text.startswith((".", "~")):
        from onecard.catalog.hub import hub_model

        return hub_model(text)
    raise UnknownName("model", text, model_names(), next="a name, a .gguf file, a config.json or a hub id: owner/name")


def _read(path: Path) -> Model:
    if path.is_dir():
        headers = sorted(path.glob("*.gguf"))
        if (path / "config.json").exists() or not headers:
            from onecard.catalog.config_json import read_config

            return read_config(path)
        if len(headers) > 1 and not headers[0].stem.endswith(f"-of-{len(headers):05d}"):
            named = ", ".join(file.name for file in headers[:6])
            raise BadFile(f"{path} holds {len(headers)} GGUF files", next=f"name one of them: {named}")
        path = headers[0]
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF" or path.suffix == ".gguf":
        from onecard.catalog.gguf_model import read_gguf

        return read_gguf(path)
    from onecard.catalog.config_json import read_config

    return read_config(path)
