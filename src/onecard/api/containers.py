"""bench --nim: would an NVIDIA NIM container of a model start on this card? The command is printed, never run.

A NIM for a language model is vLLM or TensorRT-LLM in a container. It takes its profile from the card: 16-bit weights
unless the card is among those that a quantised profile was built for, so the weights decide (NVIDIA NIM for LLMs,
support matrix and quickstart, docs.nvidia.com/nim/large-language-models). GeForce cards in that matrix have 16 GB or
more: on 12 GB only small models fit, and the honest answer for an 8B model is no.

Few models have a container of their own, and its name follows no rule that could be guessed; the model-free container takes
any model of the Hugging Face hub that vLLM can serve (same pages, "Model-Free NIM").
"""

import os
import shlex
from collections.abc import Mapping

from onecard.core.device import Device
from onecard.core.plan import FITS, TIGHT
from onecard.core.preflight import Check, Preflight
from onecard.core.units import GiB, show_size

PORT = 8000

TAG = "2.0.8"
"""of the quickstart that the commands below were taken from; a newer one stands in the support matrix"""

IMAGES = {
    "llama-3.1-8b": f"nvcr.io/nim/meta/llama-3.1-8b-instruct:{TAG}",
}
"""model -> its own container, as the quickstart names it"""

MODEL_FREE = f"nvcr.io/nim/nvidia/model-free-nim:{TAG}"

LEAST_LISTED = 15 * GiB
"""the smallest GeForce card of NVIDIA's support matrix has 16 GB"""

IMAGE = 20 * GiB
"""a container with CUDA, TensorRT-LLM and vLLM, unpacked; a round figure"""


def nim_preflight(
    model: str,
    *,
    on: str | Device | None = None,
    image: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Preflight:
    """Checks for one model; `image`: another container, which holds this model itself."""
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
            name="listed by NVIDIA",
            ok=None if card.kind != "cuda" or card.memory_total < LEAST_LISTED else True,
            evidence="the support matrix lists no card of less than 16 GB; NVIDIA promises nothing for this one"
            if card.memory_total < LEAST_LISTED
            else "large enough; whether this very card is listed, the support matrix tells",
            next="docs.nvidia.com/nim/large-language-models (support matrix)",
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
    own = image or IMAGES.get(shape.name)
    command = _command(own) if own else _command(MODEL_FREE, _hub_id(model, shape.hub_id or shape.name))
    return Preflight(model=shape.name, checks=checks, command=command)


def _memory(card: Device, peak: float, model: str) -> str:
    return f"{model} in bf16 needs {show_size(peak)} at 4,096 tokens, {card.name} offers {show_size(card.usable)}"


def _hub_id(asked: str, known: str) -> str:
    """The repository to serve: the one that was asked for, else the catalogue's; a chat wants the instructed one."""
    if "/" in asked:
        return asked
    return f"{known}-Instruct" if "instruct" in asked.lower() and "instruct" not in known.lower() else known


def _command(image: str, hub_id: str = "") -> str:
    """As in NVIDIA's quickstart, but on this machine's own address alone, and removed when it ends."""
    key = ["-e", "HF_TOKEN"] if hub_id else []
    words = [
        "docker", "run", "--rm", "--gpus", "all", "--shm-size=16GB", "-e", "NGC_API_KEY", *key,
        "-v", "nim-cache:/opt/nim/.cache", "-p", f"127.0.0.1:{PORT}:8000", image, *([f"hf://{hub_id}"] if hub_id else []),
    ]  # fmt: skip
    return shlex.join(words)
