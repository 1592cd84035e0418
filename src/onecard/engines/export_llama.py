"""Writes what nets/gpt.py trained as a Llama folder: config.json, model.safetensors, tokenizer.json.

The net has the Llama layout and the weights bear Llama's names, so nothing is converted; the norms, which have no
weights here, are written as ones. Every tool that opens a Llama model folder opens this one.
"""

from pathlib import Path
from typing import Any

import msgspec

from onecard.engines.checkpoint import write_whole
from onecard.engines.corpus import END


def write_llama(net: Any, tokenizer: Any, folder: Path) -> Path:
    """net: a nets.gpt.GPT; tokenizer: a tokenizers.Tokenizer whose end mark is corpus.END. Returns the folder."""
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    shape = net.shape
    ones = torch.ones(shape.width, device="cpu")
    tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    for layer in range(shape.depth):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = ones.clone()
    tensors["model.norm.weight"] = ones.clone()
    end = tokenizer.token_to_id(END)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.width,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_base},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
    }
    words = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "model_max_length": shape.context,
        "add_bos_token": False,
        # The net continues text and knows no roles: what is said is the text to go on from.
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    write_whole(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    write_whole(folder / "tokenizer.json", tokenizer.to_str().encode())
    write_whole(folder / "tokenizer_config.json", msgspec.json.format(msgspec.json.encode(words)))
    # Last: a folder with a config.json is a whole model.
    write_whole(folder / "config.json", msgspec.json.format(msgspec.json.encode(config)))
    return folder
