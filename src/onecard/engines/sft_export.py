"""What leaves a fine-tuning: the adapter, the merged model, a GGUF file, an Ollama Modelfile; each opened again and compared."""

from pathlib import Path
from typing import Any

from onecard.core.require import has
from onecard.core.session import Session
from onecard.engines.checkpoint import write_whole
from onecard.engines.conversations import Example
from onecard.engines.export_gguf import convert
from onecard.engines.sft import prompt_ids

ANSWER_TOKENS = 48


def answers(model: Any, tokenizer: Any, examples: list[Example], count: int = ANSWER_TOKENS) -> list[str]:
    """What the model says to each prompt, greedily, at most `count` tokens."""
    import torch

    model.eval()
    said = []
    for example in examples:
        ids = torch.tensor([prompt_ids(example, tokenizer) or [tokenizer.eos_token_id]], device=model.device)
        with torch.no_grad():
            made = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        said.append(tokenizer.decode(made[0][ids.shape[1] :], skip_special_tokens=True))
    return said


def merge(source: str, adapter: Path, target: Path, tokenizer: Any) -> Path:
    """Base weights with the adapter added in, as a model folder. On the host: the device may be full of the training.

    A QLoRA adapter is merged into the original weights, not into their 4-bit copies: the result is not quantised twice.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with torch.device("cpu"):
        base = AutoModelForCausalLM.from_pretrained(source, dtype="auto", device_map={"": "cpu"})
        merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def modelfile(folder: Path, gguf: Path, tokenizer: Any, context: int) -> Path:
    """An Ollama Modelfile beside the GGUF file. ChatML and Llama 3 templates are written out; others Ollama reads from the file."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    lines = [f"FROM ./{gguf.name}", f"PARAMETER num_ctx {context}"]
    if tokenizer.eos_token:
        lines.append(f'PARAMETER stop "{tokenizer.eos_token}"')
    if "<|im_start|>" in template:
        lines += [_CHATML, 'PARAMETER stop "<|im_end|>"']
    elif "<|start_header_id|>" in template:
        lines += [_LLAMA3, 'PARAMETER stop "<|eot_id|>"']
    write_whole(folder / "Modelfile", ("\n".join(lines) + "\n").encode())
    return folder / "Modelfile"


_CHATML = '''TEMPLATE """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""'''
_LLAMA3 = '''TEMPLATE """{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

"""'''


def compare(
    model: Any, tokenizer: Any, gguf: Path, examples: list[Example], log: Path, count: int = 16
) -> float | None:
    """Share of equal tokens between the merged model and its GGUF file under llama.cpp; None without llama.cpp.

    Greedy on both sides; behind the first difference the texts go their own ways, so tokens count up to it.
    """
    if not has("xllamacpp"):
        return None
    import torch
    import xllamacpp

    from onecard.engines.llama_cpp import stderr_to

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_gpu_layers, parameters.n_ctx, parameters.cache_ram_mib = 0, 2048, 0
    parameters.fit_params = parameters.warmup = False
    equal = total = 0
    with stderr_to(log):
        server = xllamacpp.Server(parameters)
        for example in examples:
            ids = prompt_ids(example, tokenizer)
            if not ids:
                continue
            with torch.no_grad():
                whole = model.generate(
                    input_ids=torch.tensor([ids], device=model.device),
                    attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=model.device),
                    max_new_tokens=count,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                )[0][len(ids) :].tolist()
            asked = {"prompt": ids, "n_predict": len(whole), "temperature": 0, "return_tokens": True, "verbose": True}
            found = server.handle_completions(asked)["__verbose"]["tokens"]
            same = next(
                (i for i, (a, b) in enumerate(zip(whole, found, strict=False)) if a != b), min(len(whole), len(found))
            )
            equal, total = equal + same, total + len(whole)
        del server
    return equal / total if total else None


def export(
    session: Session,
    *,
    source: str,
    trainer: Any,
    tokenizer: Any,
    method: str,
    sequence: int,
    held_out: list[Example],
    gguf: bool,
) -> dict[str, Any]:
    """Adapter (or the whole model), merged model, GGUF and Modelfile in the run's export folder; what came of comparing."""
    from transformers import AutoModelForCausalLM

    place = session.folder / "export"
    found: dict[str, Any] = {}
    with session.phase("export"):
        if method == "full":
            trainer.save_model(str(place / "merged"))
            tokenizer.save_pretrained(place / "merged")
        else:
            trainer.save_model(str(place / "adapter"))
            found["adapter"] = str(place / "adapter")
            merge(source, place / "adapter", place / "merged", tokenizer)
        found["merged"] = str(place / "merged")
        if not gguf:
            return found
        file = convert(place / "merged", place / "model-f16.gguf", name="onecard-finetuned")
        found["gguf"] = str(file)
        found["modelfile"] = str(modelfile(place, file, tokenizer, sequence))
        merged = AutoModelForCausalLM.from_pretrained(place / "merged", dtype="float32", device_map={"": "cpu"})
        found["gguf_agreement"] = compare(merged, tokenizer, file, held_out, session.folder / "log.txt")
    return found
