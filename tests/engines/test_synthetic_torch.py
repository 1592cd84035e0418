"""transformers networks made directly in their target format have the counted weights, and generate."""

import queue
from pathlib import Path

import pytest

from onecard.engines.transformers_config import config_of
from onecard.parts.quantized import int8_bytes, nf4_bytes
from onecard.parts.transformer import parameters
from tests.engines.tiny_models import MODELS

torch = pytest.importorskip("torch", reason="needs the extra llm")
pytest.importorskip("transformers", reason="needs the extra llm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FAMILIES = sorted(set(MODELS) - {"deepseek2", "qwen3next", "llama-bpe"})


def built(name, quant="bf16"):
    from onecard.engines.synthetic_torch import compute_dtype, empty_model, fill

    dtype = compute_dtype(quant, "cpu")
    net = empty_model(config_of(MODELS[name], name), dtype, "sdpa")
    assert all(p.device.type == "meta" for p in net.parameters()), "nothing is allocated before the format is known"
    list(fill(net, quant, dtype, "cpu"))
    return net


@pytest.mark.parametrize("name", FAMILIES)
def test_families_have_the_counted_parameters_and_generate(name):
    from onecard.engines.chat_transformers import _generate

    net = built(name)
    tied = MODELS[name].tied and net.get_output_embeddings().weight is net.get_input_embeddings().weight
    count = sum(p.numel() for p in net.parameters()) if not tied else sum(p.numel() for p in set(net.parameters()))
    assert count == pytest.approx(parameters(MODELS[name]), rel=0.002)
    clock, cache = _generate(net, torch.randint(3, 900, (1, 9)), 3)
    assert len(clock.times) == 3 and cache.get_seq_length() == 11


@pytest.mark.parametrize(("quant", "counted"), [("nf4", lambda m, k: nf4_bytes(m * k, True)), ("int8", int8_bytes)])
def test_quantised_weights_take_the_counted_bytes(quant, counted):
    from onecard.engines.chat_transformers import held_bytes

    pytest.importorskip("bitsandbytes", reason="needs the extra llm")
    net = built("llama", quant)
    model = MODELS["llama"]
    kv = model.kv_heads * model.head_dim
    matrices = [(256, 256), (256, kv), (256, kv), (256, 256), (256, 512), (256, 512), (512, 256)]
    layers = model.layers * sum(counted(*shape) for shape in matrices)
    rest = 2 * 2 * model.vocab * model.hidden + 2 * (2 * model.layers + 1) * model.hidden
    buffers = sum(b.nbytes for b in net.buffers())
    assert held_bytes(net) == pytest.approx(layers + rest + buffers, rel=0.005)


def test_a_tied_head_is_one_tensor():
    net = built("qwen3")
    assert net.get_output_embeddings().weight.data_ptr() == net.get_input_embeddings().weight.data_ptr()


class Chatting:
    """A session that only listens."""

    def __init__(self, folder, **options):
        self.folder, self.cache, self.budget, self.device = folder, folder, None, "cpu"
        self.synthetic, self.threads, self.options = False, 1, options
        self.events, self.stopping = queue.Queue(), False

    def emit(self, event, **values):
        self.events.put((event, values))

    def baseline(self):
        pass

    def phase(self, name):
        import contextlib

        return contextlib.nullcontext()

    def measured(self, *_):
        pass


def test_an_answer_of_a_model_from_a_folder_streams(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from onecard.engines.talk_transformers import run
    from onecard.workloads.chat import Settings

    net = built("llama")
    net.save_pretrained(tmp_path)
    letters = {c: n for n, c in enumerate(["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    whole = {**letters, **{f"w{n}": n for n in range(len(letters), 1000)}}
    tokenizer = Tokenizer(models.BPE(vocab=whole, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(tmp_path)
    session = Chatting(tmp_path, prompt="Hello", tokens=16)
    figures = run(Settings(model=str(tmp_path), engine="transformers", quant="fp32", context=128), session)
    events = list(session.events.queue)
    told = dict(e for e in events if e[0] == "answered")["answered"]
    assert figures["tokens"] == told["output_tokens"] <= 16 and told["prompt_tokens"] == 5
    assert "".join(v["text"] for e, v in events if e == "text")


def test_a_folder_without_weights_is_refused_in_words(tmp_path):
    from onecard.core.errors import Unavailable
    from onecard.engines.talk_transformers import run
    from onecard.workloads.chat import Settings

    Path(tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(Unavailable, match="cannot be loaded"):
        run(Settings(model=str(tmp_path), engine="transformers", context=64), Chatting(tmp_path, prompt="Hi"))


def test_a_proof_fills_the_whole_context_that_was_planned(tmp_path):
    from onecard.engines.chat_transformers import prove
    from onecard.parts.kv_cache import torch_kv_bytes
    from onecard.workloads.chat import Settings

    session = Chatting(tmp_path)
    told = {}
    session.measured = lambda name, value, unit, note="": told.update({name: value})
    session.progress = lambda *_, **__: None
    settings = Settings(
        model="llama", engine="transformers", quant="bf16", context=100, prompt_tokens=24, output_tokens=6
    )
    prove(MODELS["llama"], settings, session)
    model = MODELS["llama"]
    assert told["memory.kv_cache"] == 100 * model.layers * 2 * model.kv_heads * model.head_dim * 2
    assert told["memory.kv_cache"] == torch_kv_bytes(model, 100)
    assert told["decode_tokens_per_s"] > 0
