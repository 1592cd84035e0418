"""Small models with random weights and tokenizers learnt from real text, as folders that transformers opens."""

import json

from onecard.engines import corpus

CHAT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|endoftext|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_tokenizer(folder, text, vocab=400, template=CHAT):
    """A byte-level BPE of at most `vocab` tokens, learnt from a text file."""
    folder.mkdir(parents=True, exist_ok=True)
    words = corpus.learn_tokenizer(str(text), 0, vocab)
    (folder / "tokenizer.json").write_text(words.to_str())
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": corpus.END,
        "bos_token": corpus.END,
        "pad_token": corpus.END,
        "model_max_length": 512,
    }
    if template:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return words


def write_llama(folder, text, **changes):
    """A Llama of about 0.1 M parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = write_tokenizer(folder, text)
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": words.token_to_id(corpus.END),
        "eos_token_id": words.token_to_id(corpus.END),
    }
    LlamaForCausalLM(LlamaConfig(**{**sizes, **changes})).save_pretrained(folder)
    return folder
