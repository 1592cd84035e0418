"""bench --nim: would an NVIDIA NIM container of a model start on this card? The command is printed, never run.

A NIM for a language model is vLLM or TensorRT-LLM in a container. It takes its profile from the card: 16-bit weights
unless the card is among those that a quantised profile was built for, so the weights decide (NVIDIA NIM for LLMs,
support matrix and "getting started", docs.nvidia.com/nim/large-language-models). GeForce cards in that matrix have 16 GB or
more: on 12 GB only small models fit, and the honest answer for an 8B model is no.
"""

import os
import shlex
from collections.abc import Mapping

from onecard.core.device import Device
from onecard.core.plan import FITS, TIGHT
from onecard.core.preflight import Check, Preflight
from onecard.core.units import GiB, show_size

PORT = 8000

IMAGE = 20 * GiB
"""a container with CUDA, TensorRT-LLM and vLLM, unpacked; a round figure"""


def nim_preflight(
    model: str,
    *,
    on: str | Device | None = None,
    image: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Preflight:
    """Checks for one model; `image` is the container where its name differs from the model's hub id in lower case."""
    from onecard.api.plans import device, plan
    from onecard.catalog import find_model
    from onecard.machine.collect import collect

    card = device(on)
    shape = find_model(model)
    known = os.environ if environment is None else environment
    facts = collect()
    # vLLM fills whatever share of the card it is given with cache; what it cannot do without is what transformers holds.
    answer = plan("chat", on=card, model=model, engine="transformers", quant="bf16", context=4096)
    memory = answer.estimate.memory
    docker = facts.programs.get("docker")
    toolkit = facts.docker.toolkit if facts.docker else None
    key = next((name for name in ("NGC_API_KEY", "NGC_CLI_API_KEY") if known.get(name)), None)
    disks = {where: disk.free for where, disk in facts.disks.items() if disk.free is not None}
    room = max(disks.values(), default=None)
    weights = memory.parts["weights"].likely
    checks = (
        Check(name="NVIDIA card", ok=card.kind == "cuda", evidence=card.name, next="--on NAME asks for another card"),
        Check(
            name="memory",
            ok=answer.verdict in (FITS, TIGHT),
            evidence=_memory(card, memory.peak_bytes.likely, shape.name),
            next="onecard plan chat (a quantised model on llama.cpp)",
        ),
        Check(
            name="docker",
            ok=docker is not None,
            evidence=docker or "not on PATH",
            next="docs.docker.com/engine/install",
        ),
        Check(
            name="container toolkit",
            ok=toolkit,
            evidence="unknown" if toolkit is None else "installed" if toolkit else "not installed",
            next="docs.nvidia.com/datacenter/cloud-native/container-toolkit",
        ),
        Check(
            name="NGC key",
            ok=key is not None,
            evidence=f"{key} is set" if key else "NGC_API_KEY is not set",
            next="org.ngc.nvidia.com/setup/api-key",
        ),
        Check(
            name="disk",
            ok=None if room is None else room > weights + IMAGE,
            evidence="unknown"
            if room is None
            else f"{show_size(room)} free for {show_size(weights + IMAGE)} of weights and image",
            next="docker system prune",
        ),
    )
    return Preflight(model=shape.name, checks=checks, command=_command(image or _image(shape.hub_id or shape.name)))


def _memory(card: Device, peak: float, model: str) -> str:
    return f"{model} in bf16 needs {show_size(peak)} at 4,096 tokens, {card.name} offers {show_size(card.usable)}"


def _image(hub_id: str) -> str:
    """NIM images are named after the hub id in lower case: meta-llama/... stands under nim/meta."""
    owner, _, name = hub_id.lower().rpartition("/")
    return f"nvcr.io/nim/{owner.removesuffix('-llama') or 'meta'}/{name.replace('meta-llama', 'llama')}:latest"


def _command(image: str) -> str:
    words = [
        "docker", "run", "--rm", "--gpus", "all", "--shm-size=16GB", "-e", "NGC_API_KEY",
        "-v", "nim-cache:/opt/nim/.cache", "-p", f"127.0.0.1:{PORT}:8000", image,
    ]  # fmt: skip
    return shlex.join(words)
