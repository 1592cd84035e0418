"""Models as shapes: rows of models.jsonl, one JSON object a line with the fields of core.model.Model.

A row's `layer_kinds` is one period, repeated over the layers. `source` is the config.json that the widths were read
from, `parameters` the published count of the whole model; a test counts the shapes and holds both together.
Only the row that is asked for is decoded; the index of names is built once.
"""

from functools import cache
from pathlib import Path

import msgspec

from onecard.catalog.names import key
from onecard.core.errors import UnknownName
from onecard.core.model import Model


class _Names(msgspec.Struct):
    name: str
    layers: int
    hub_id: str | None = None
    aliases: tuple[str, ...] = ()
    layer_kinds: tuple[str, ...] = ()


@cache
def _lines() -> tuple[bytes, ...]:
    return tuple((Path(__file__).parent / "models.jsonl").read_bytes().splitlines())


@cache
def _index() -> dict[str, int]:
    """key of every name -> number of its line."""
    decoder = msgspec.json.Decoder(_Names)
    table: dict[str, int] = {}
    for number, line in enumerate(_lines()):
        names = decoder.decode(line)
        for name in (names.name, names.hub_id, *names.aliases):
            if name:
                table.setdefault(key(name), number)
    return table


@cache
def _model(number: int) -> Model:
    row = msgspec.json.decode(_lines()[number])
    period = row.pop("layer_kinds", None)
    if period:
        row["layer_kinds"] = [period[i % len(period)] for i in range(row["layers"])]
    return msgspec.convert(row, Model)


def model(name: str) -> Model:
    """The catalogue's model of exactly this name, alias or hub id. Raises UnknownName with the nearest names."""
    number = _index().get(key(name))
    if number is None:
        raise UnknownName(
            "model", name, model_names(), next="a name, a .gguf file, a config.json or a hub id: owner/name"
        )
    return _model(number)


def has_model(name: str) -> bool:
    """Whether the catalogue knows this name."""
    return key(name) in _index()


def models() -> tuple[Model, ...]:
    """Every model of the catalogue, in the order of the file."""
    return tuple(_model(number) for number in range(len(_lines())))


@cache
def model_names() -> tuple[str, ...]:
    """The first name of every model, without decoding the rows."""
    decoder = msgspec.json.Decoder(_Names)
    return tuple(decoder.decode(line).name for line in _lines())
