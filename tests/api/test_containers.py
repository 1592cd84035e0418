"""NIM preflight: honest about 12 GB, names what is missing, starts nothing."""

import pytest

from onecard import api

KEY = {"NGC_API_KEY": "secret-value"}


def named(answer):
    return {check.name: check for check in answer.checks}


def test_an_8b_model_in_16_bit_does_not_fit_12_gb_and_that_is_said():
    answer = api.nim_preflight("llama-3.1-8b", on="RTX 4070 Ti", environment=KEY)
    assert named(answer)["memory"].ok is False and not answer.ready
    assert "GiB" in named(answer)["memory"].evidence


def test_a_1b_model_fits_12_gb_and_an_8b_model_24():
    assert named(api.nim_preflight("llama-3.2-1b", on="RTX 4070 Ti", environment=KEY))["memory"].ok
    assert named(api.nim_preflight("llama-3.1-8b", on="RTX 4090", environment=KEY))["memory"].ok


def test_the_key_is_looked_for_and_never_shown():
    without = api.nim_preflight("llama-3.2-1b", on="RTX 4090", environment={})
    assert named(without)["NGC key"].ok is False and named(without)["NGC key"].next
    with_key = api.nim_preflight("llama-3.2-1b", on="RTX 4090", environment=KEY)
    assert named(with_key)["NGC key"].ok
    assert "secret-value" not in with_key.command + "".join(c.evidence for c in with_key.checks)


def test_the_command_listens_on_this_machine_alone():
    command = api.nim_preflight("llama-3.1-8b", on="RTX 4090", environment=KEY).command
    assert "--gpus all" in command and "127.0.0.1:8000:8000" in command
    assert command.endswith("nvcr.io/nim/meta/llama-3.1-8b-instruct:2.0.8"), command


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("llama-3.2-1b", "hf://meta-llama/Llama-3.2-1B"),
        ("llama-3.2-1b-instruct", "hf://meta-llama/Llama-3.2-1B-Instruct"),
        ("Qwen/Qwen2.5-7B-Instruct", "hf://Qwen/Qwen2.5-7B-Instruct"),
    ],
)
def test_a_model_without_a_container_of_its_own_goes_into_the_model_free_one(asked, served):
    command = api.nim_preflight(asked, on="RTX 4090", environment=KEY).command
    assert "nim/nvidia/model-free-nim:" in command and command.endswith(served) and "-e HF_TOKEN" in command


def test_a_card_below_the_smallest_that_nvidia_lists_is_told_so():
    listed = named(api.nim_preflight("llama-3.2-1b", on="RTX 4070 Ti", environment=KEY))["listed by NVIDIA"]
    assert listed.ok is None and "16 GB" in listed.evidence
    assert named(api.nim_preflight("llama-3.2-1b", on="RTX 4090", environment=KEY))["listed by NVIDIA"].ok


def test_another_makers_card_cannot_run_it():
    assert named(api.nim_preflight("llama-3.2-1b", on="RX 7900 XTX", environment=KEY))["NVIDIA card"].ok is False
