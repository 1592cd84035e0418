"""Rows as other people write them: each is mapped to what it means, or says why not; no row is a traceback."""

import csv
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROW = {
    "source": "somebody", "year": "2025", "gpu": "RTX 4090", "vram_gb": "24", "n_gpu": "1", "task": "llm_inference",
    "model": "Llama-3-8B", "precision": "q4_K_M", "software": "llama.cpp CUDA build 6500", "batch": "1",
    "context_or_resolution": "tg 128", "metric": "decode_speed", "value": "100", "unit": "tok/s",
}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import published_cells
        import published_frame
        import published_memory
        import published_names
        import published_speed

        yield published_frame, published_cells, published_names, published_speed, published_memory
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def one(published):
    frame = published[0]

    def result(file="speed", **cells):
        return frame.judge([frame.Row(file=file, line=2, cells=ROW | cells)])[0]

    return result


@pytest.mark.parametrize(
    ("gpu", "size", "name"),
    [
        ("NVIDIA GeForce RTX 3060 12GB", "12", "GeForce RTX 3060"),
        ("RTX 4070 Ti SUPER 16GB", "16", "GeForce RTX 4070 Ti SUPER"),
        ("4070Ti", "12", "GeForce RTX 4070 Ti"),
        ("L40S 48GB", "48", "L40S"),
        ("RTX 4090", "24564", "GeForce RTX 4090"),
        ("RTX 4090", "24 GB", "GeForce RTX 4090"),
        ("RTX 4060 Ti", "", "GeForce RTX 4060 Ti 8GB"),
        ("RTX 3080", "12", "GeForce RTX 3080 12GB"),
        ("2x RTX 3090", "24", "GeForce RTX 3090"),
        ("RTX 3090 x2", "48", "GeForce RTX 3090"),
        ("NVIDIA H20", "", "H20 96GB"),
        ("AMD Radeon RX 7900 XTX", "24", "Radeon RX 7900 XTX"),
        ("M3 Max 40-core", "48", "Apple M3 Max 40-core GPU 48 GB"),
    ],
)
def test_spellings_of_cards(published, gpu, size, name):
    assert published[2].device(gpu, size).name == name


@pytest.mark.parametrize("gpu", ["RTX 4090 48GB", "RTX 4070 Ti 16GB", "Nothing 9000", "", "CPU", "Xeon Gold 6338"])
def test_a_card_that_is_not_known_is_a_reason(one, gpu):
    found = one(gpu=gpu, vram_gb="")
    assert found.predicted is None and found.unmapped


def test_a_number_in_a_name_is_no_count_of_cards(published):
    assert published[2].cards_named("RTX 4090") == ("RTX 4090", 1)
    assert published[2].cards_named("2x RTX 4090") == ("RTX 4090", 2)
    assert published[2].cards_named("4 x A100 80GB") == ("A100 80GB", 4)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("Llama-3.3-70B-Instruct", "llama-3.3-70b"),
        ("meta-llama/Llama-2-7b-hf", "llama-2-7b"),
        ("Qwen3-8B-AWQ", "qwen3-8b"),
        ("Qwen3-30B-A3B-FP8", "qwen3-30b-a3b"),
        ("gemma-3-27b-it", "gemma-3-27b"),
        ("Gemma 3 12B", "gemma-3-12b"),
        ("gpt-oss 20B", "gpt-oss-20b"),
        ("DeepSeek-R1-Distill-Llama-8B", "deepseek-r1-distill-llama-8b"),
        ("Hermes-3-Llama-3.1-8B", "llama-3.1-8b"),
        ("Nous-Hermes-13B", "llama-13b"),
        ("OpenHermes-2.5-Mistral-7B", "mistral-7b"),
        ("Qwen2.5-Math-7B", "qwen2.5-7b"),
    ],
)
def test_names_of_models(published, name, shapes):
    assert published[2].model(name).name == shapes


@pytest.mark.parametrize("name", ["Nobody-7B", "", "7B", "Llama", "Kimi-K9"])
def test_a_model_that_is_not_known_is_a_reason(published, name):
    frame, _, names, *_ = published
    with pytest.raises(frame.Unmapped):
        names.model(name)


@pytest.mark.parametrize(
    ("text", "quant"),
    [
        ("Q4_K - Medium", "q4_k_m"), ("q4_K_M", "q4_k_m"), ("UD-Q4_K_XL", "q4_k_m"), ("Q3_K_L", "q3_k_l"), ("int4", "q4_0"),
        ("IQ2_XXS - 2.0625 bpw", "iq2_xxs"), ("IQ3_S mix - 3.66 bpw", "iq3_s"), ("MXFP4 MoE", "mxfp4"), ("FP16", "f16"),
        ("8-bit", "q8_0"), ("Q4_0_4_4", "q4_0"),
    ],
)  # fmt: skip
def test_formats_of_gguf(published, text, quant):
    assert published[1].gguf_quant(text) == quant


@pytest.mark.parametrize(
    ("text", "model", "quant"),
    [
        ("AWQ", "", "awq-int4"), ("GPTQ-Int4", "", "gptq-int4"), ("GPTQ-Int8", "", "gptq-int8"), ("FP8", "", "fp8"),
        ("", "Qwen3-8B-AWQ", "awq-int4"), ("", "Qwen3-8B", "bf16"), ("8-bit (bnb)", "", "int8"), ("W4A16", "", "gptq-int4"),
        ("exl2 4.25bpw", "", "exl2-4.25bpw"), ("bf16-true", "", "bf16"), ("nf4-dq", "", "nf4-dq"), ("gptq-int4 g128", "", "gptq-int4"),
    ],
)  # fmt: skip
def test_formats_elsewhere(published, text, model, quant):
    assert published[1].torch_quant(text, model) == quant


@pytest.mark.parametrize("text", ["FP8", "", "AWQ", "Q9_Z"])
def test_a_format_that_llama_cpp_does_not_have_is_a_reason(one, text):
    found = one(precision=text)
    assert found.predicted is None and "no format of llama.cpp" in found.unmapped


@pytest.mark.parametrize(
    ("context", "metric", "expected"),
    [
        ("pp512", "prompt_speed", {"prompt": 512, "rate": "prefill", "past": 0}),
        ("tg128@d4096", "decode_speed", {"prompt": 0, "output": 128, "past": 4096}),
        ("pp512 @ d8192", "prompt_speed", {"prompt": 512, "past": 8192}),
        ("pp512 / tg128", "decode_speed", {"prompt": 0, "output": 128}),
        ("pp512+tg128", "decode_speed", {"prompt": 512, "output": 128, "rate": "total"}),
        ("n_ctx=8192", "decode_speed", {"prompt": 384, "rate": "decode"}),
        ("in=2048,out=512", "decode_speed", {"prompt": 2048, "output": 512}),
        ("pp 2048, -fa 1", "prompt_speed", {"prompt": 2048, "flash": True}),
        ("tg128 ngl=20", "decode_speed", {"gpu_layers": 20}),
        ("pp8k ub 1024", "prompt_speed", {"prompt": 8192, "micro_batch": 1024}),
    ],
)
def test_what_a_test_of_llama_cpp_did(published, context, metric, expected):
    frame, _, _, speed, _ = published
    found = speed.case(
        frame.Row(file="speed", line=2, cells=ROW | {"context_or_resolution": context, "metric": metric})
    )
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_depth_makes_a_test_slower(one):
    fresh, deep = (one(context_or_resolution=c).predicted[1] for c in ("tg128", "tg128 @ d16384"))
    assert 0.4 * fresh < deep < 0.9 * fresh


def test_speed_that_counts_the_prompt(published):
    frame, _, _, speed, _ = published
    cells = {"software": "sglang 0.4.6", "precision": "bf16", "context_or_resolution": "in=6144 out=2048"}
    said = frame.Row(file="speed", line=2, cells=ROW | cells | {"notes": "tokens per second including prompt"})
    plain = frame.Row(file="speed", line=2, cells=ROW | cells)
    assert speed.case(said).rate == "total" and speed.case(plain).rate == "whole"
    both, answers = (speed.speed(row).predicted.likely for row in (said, plain))
    assert both == pytest.approx(answers * (6144 + 2048) / 2048)


@pytest.mark.parametrize("unit", ["t/s", "tokens/s", "tps", "tokens/second"])
def test_spellings_of_a_unit(one, unit):
    assert one(unit=unit).predicted == one().predicted


def test_times_are_in_seconds(one):
    token = one(unit="ms/token", value="7", metric="latency_per_token")
    assert token.measured == pytest.approx(0.007)
    assert token.predicted[1] == pytest.approx(1 / one().predicted[1])
    first = one(unit="s", value="0.1", metric="ttft", context_or_resolution="pp 2048")
    assert 0.05 < first.predicted[1] < 1


@pytest.mark.parametrize(
    "cells",
    [
        {"value": ""}, {"value": "n/a"}, {"value": "0"}, {"value": "-5"}, {"value": "nan"}, {"value": "inf"}, {"n_gpu": "two"},
        {"batch": "1,8"}, {"batch": "-1"}, {"software": ""}, {"metric": ""}, {"unit": "furlongs"}, {"task": "knitting"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("file", ["speed", "memory"])
def test_weird_cells_are_reasons(one, file, cells):
    found = one(file, **({"unit": "GiB", "metric": "total_gpu_buffers"} if file == "memory" else {}) | cells)
    assert found.predicted is None and found.unmapped and "Traceback" not in found.unmapped


@pytest.mark.parametrize(
    "cells", [{"vram_gb": "?"}, {"vram_gb": "12-16"}, {"n_gpu": ""}, {"batch": ""}, {"batch": "1.0"}, {"year": ""}]
)
def test_empty_and_odd_cells_that_do_not_matter(one, cells):
    assert one(**cells).predicted is not None


MEMORY = {"unit": "GiB", "value": "5", "context_or_resolution": "n_ctx=8192", "unit_status": "exact"}


def test_memory_is_judged_against_what_was_measured(one):
    def gib(**cells):
        return one("memory", **MEMORY | cells).predicted[1] / 2**30

    buffers, process = gib(metric="total_gpu_buffers"), gib(metric="peak_gpu_memory")
    assert 0.1 < process - buffers < 1  # the CUDA context
    assert gib(metric="kv_cache") == pytest.approx(1.0, rel=1e-3)
    assert gib(metric="kv_cache", context_or_resolution="n_ctx=8192 ctk q8_0") == pytest.approx(34 / 64, rel=1e-2)
    assert gib(metric="compute_buffer", software="llama.cpp build 6500 -fa 0") > 1.5 * gib(metric="compute_buffer")
    torch = {"software": "transformers4.51.3", "precision": "bf16", "context_or_resolution": "in=6144 out=2048"}
    allocated = gib(metric="peak_gpu_memory", **torch)
    assert (
        gib(metric="peak_gpu_memory", notes="nvidia-smi", **torch)
        > gib(metric="peak_gpu_memory", notes="reserved", **torch)
        > allocated
    )
    server = gib(metric="peak_gpu_memory", **torch | {"software": "vllm 0.8"})
    assert 0.85 * 24 < server < 24  # it fills its share of the card


def test_formats_of_exllama_weigh_their_bits(one):
    sizes = [
        one("memory", **MEMORY | {"software": "exllamav2", "precision": f"exl2 {bits}bpw", "metric": "peak_gpu_memory",
            "context_or_resolution": "seq=2048"}).predicted[1] for bits in (3.0, 4.0, 6.0)
    ]  # fmt: skip
    assert (sizes[2] - sizes[1]) == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.01)


@pytest.mark.parametrize(("said", "value"), [("1", 1), ("yes", 1), ("OOM", 0), ("0", 0)])
def test_verdicts_in_words(one, said, value):
    found = one("memory", metric="fit", value=said, context_or_resolution="n_ctx=8192")
    assert found.quantity == "fit" and found.measured == value


def test_a_file_without_known_columns_and_one_in_another_encoding(published, tmp_path, capsys):
    sys.path.insert(0, str(BENCHMARKS))
    import published as script

    (tmp_path / "speed.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert script.main(["--data", str(tmp_path)]) == 2
    assert "columns" in capsys.readouterr().err
    assert script.main(["--data", str(tmp_path / "missing")]) == 2
    assert "missing" in capsys.readouterr().err
    with (tmp_path / "speed.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [*ROW, "extra"])
        writer.writeheader()
        writer.writerow(ROW | {"extra": "é"})
        file.write("short,row\n")
    script.main(["--data", str(tmp_path), "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [r["line"] for r in rows] == [2, 3]
    assert rows[0]["predicted"] and rows[1]["unmapped"]


def test_newer_engines_on_rows_of_pull_requests(published):
    frame = published[0]
    found = frame.judge(frame.read(BENCHMARKS / "measurements" / "newer"))
    errors = sorted(abs(r.error) for r in found)
    assert all(r.predicted for r in found) and len(found) > 30
    assert errors[len(errors) // 2] < 0.1 and sum(r.inside for r in found) >= 0.9 * len(found)


def test_a_row_that_shaped_nothing_is_held_out(one, published):
    frame = published[0]
    assert one().split == one(gpu="RTX 3060", vram_gb="12").split == "held-out"
    own = next(
        r
        for r in frame.read(BENCHMARKS / "measurements")
        if r["gpu"] == "RTX 3090" and r["task"] == "llm_inference" and r.file == "speed"
    )
    assert frame.judge([own])[0].split == "fit"
