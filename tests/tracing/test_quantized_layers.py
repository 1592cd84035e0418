"""Layers and optimizers of bitsandbytes: bytes of their layouts by hand."""

import pytest

pytest.importorskip("bitsandbytes")
pytest.importorskip("transformers")


def weights(trace, operator="bitsandbytes::"):
    storages = trace.storages
    alive = [n for n in range(len(storages.sizes)) if storages.order.count(n) == 1]
    return sorted(storages.sizes[n] for n in alive if storages.operators[n].startswith(operator))


@pytest.mark.parametrize(
    ("double", "expected"),
    [
        # 64 weights share an absmax (fp32); packed two a byte; a code of 16 fp32 values
        (False, {512 * 256 // 2, 512 * 256 // 64 * 4}),
        # absmax as 8 bits, whose own absmax (fp32) covers 256 of them
        (True, {512 * 256 // 2, 512 * 256 // 64, 512 * 256 // 64 // 256 * 4}),
    ],
)
def test_four_bit_layers_hold_packed_weights_and_their_scales(trace_of, double, expected):
    import bitsandbytes as bnb
    import torch

    def build():
        layer = bnb.nn.Linear4bit(
            256, 512, bias=False, compute_dtype=torch.bfloat16, compress_statistics=double, quant_type="nf4"
        ).to("cuda")
        return lambda: layer(torch.ones(4, 256, device="cuda", dtype=torch.bfloat16))

    trace = trace_of(build)
    sizes = {trace.storages.sizes[n] for n in range(len(trace.storages.sizes))}
    assert expected <= sizes
    assert trace.storages.live < 512 * 256 + 20 * 2**20  # the wide weight is gone, workspaces stay


@pytest.mark.slow
def test_an_unmodified_qlora_script_needs_no_weights(trace_of):
    import torch
    import transformers
    from small_models import llama_config

    def build():
        wanted = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
        model = transformers.LlamaForCausalLM.from_pretrained(
            None, config=llama_config(), quantization_config=wanted, device_map="auto", dtype=torch.bfloat16
        )
        assert type(model.lm_head) is torch.nn.Linear
        ids = torch.zeros(1, 8, dtype=torch.long, device="cuda")
        return lambda: model(input_ids=ids)

    trace = trace_of(build)
    assert any(key[1] == "bitsandbytes::gemm_4bit" for key in trace.operations.rows)
    assert any("no weights were read" in note for note in trace.cost().notes)


def test_paged_states_lie_outside_the_allocator(trace_of):
    import bitsandbytes as bnb
    import torch

    def build():
        layer = torch.nn.Linear(512, 512, bias=False, device="cuda")
        made = bnb.optim.PagedAdamW8bit(layer.parameters())

        def step():
            layer(torch.ones(4, 512, device="cuda")).sum().backward()
            made.step()
            made.zero_grad()

        return step

    cost = trace_of(build).cost()
    update = next(p for p in cost.phases if p.name == "optimizer")
    (host,) = [p for p in update.parts if p.place == "host"]
    assert host.bytes.likely == 2 * 512 * 512  # two states of 8 bits (below 100,000 elements nothing is paged)
    assert sum(p.bytes.likely for p in update.parts if p.name == "optimizer" and p.place == "device") < 512 * 512


@pytest.mark.slow
def test_a_trainer_may_ask_a_quantised_model_whether_it_trains(trace_of):
    import torch

    transformers = pytest.importorskip("transformers")
    from small_models import llama_config

    answers = []

    def build():
        wanted = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        model = transformers.LlamaForCausalLM.from_pretrained("none", config=llama_config(), quantization_config=wanted)
        answers.append(model.hf_quantizer.is_trainable)
        return lambda: model(torch.zeros(1, 8, dtype=torch.long, device="cuda"))

    trace_of(build)
    assert answers == [True]


def test_a_matrix_that_comes_to_the_card_by_itself_is_free_when_it_is_packed(trace_of):
    import bitsandbytes as bnb
    import torch

    def build():
        for _ in range(4):
            layer = bnb.nn.Linear4bit(512, 1024, bias=False, quant_type="nf4", device="meta")
            whole = torch.empty(1024, 512, dtype=torch.bfloat16, device="cuda")
            layer.weight = bnb.nn.Params4bit(whole, requires_grad=False, quant_type="nf4", module=layer).to("cuda")
            del whole
            layers.append(layer)
        return lambda: layers[0](torch.ones(1, 512, dtype=torch.bfloat16, device="cuda"))

    layers: list = []
    storages = trace_of(build).storages
    assert all(layer.weight.dtype == torch.uint8 and layer.quant_state is not None for layer in layers)
    whole = [n for n, size in enumerate(storages.sizes) if size == 1024 * 512 * 2]
    assert len(whole) == 4
    assert all(storages.order.count(n) == 2 for n in whole)
    # one whole matrix at a time, beside what is packed
    assert storages.order.index(whole[1]) > len(storages.order) - 1 - storages.order[::-1].index(whole[0])
