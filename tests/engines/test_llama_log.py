"""llama.cpp's own lines become parts of memory; these are lines of real logs (2026-10, CPU; CUDA from public issues)."""

from onecard.engines import llama_log

CPU = """
0.00.007.094 I load_tensors:   CPU_Mapped model buffer size =   762.81 MiB
0.00.007.107 I load_tensors:   CPU_REPACK model buffer size =   445.50 MiB
0.00.008.252 I llama_context: n_ctx                 = 2048
0.00.008.253 I llama_context: n_ubatch              = 512
0.00.008.267 I llama_context:        CPU  output buffer size =     0.49 MiB
0.00.008.305 I llama_kv_cache:        CPU KV buffer size =    64.00 MiB
0.00.009.129 I resolve_fused_ops: Flash Attention enabled
0.00.009.608 I sched_reserve:        CPU compute buffer size =    70.02 MiB
"""

CUDA = """
load_tensors: offloaded 20/33 layers to GPU
load_tensors:   CPU_Mapped model buffer size =  1825.40 MiB
load_tensors:        CUDA0 model buffer size =  2860.12 MiB
llama_kv_cache:        CPU KV buffer size =   192.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =   320.00 MiB
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
sched_reserve:      CUDA0 compute buffer size =   669.48 MiB
sched_reserve:  CUDA_Host compute buffer size =    24.01 MiB
sched_reserve:      CUDA0 compute buffer size =   560.00 MiB
"""

MiB = 1024**2


def test_on_the_cpu_repacked_weights_are_a_part_of_their_own():
    parts = llama_log.by_part(llama_log.buffers(CPU), gpu=False)
    assert parts == {
        "memory.weights": round(762.81 * MiB),
        "memory.other": round(445.5 * MiB) + round(0.49 * MiB),
        "memory.workspace": round(70.02 * MiB),
        "memory.kv_cache": 64 * MiB,
    }


def test_partial_offload_is_split_between_device_and_host():
    parts = llama_log.by_part(llama_log.buffers(CUDA), gpu=True)
    assert parts["memory.weights"] == round(2860.12 * MiB) and parts["host.weights"] == round(1825.4 * MiB)
    assert parts["memory.kv_cache"] == 320 * MiB and parts["host.kv_cache"] == 192 * MiB
    assert parts["host.workspace"] == round(24.01 * MiB) and parts["host.other"] == round(0.49 * MiB)


def test_a_buffer_that_is_reserved_again_counts_once():
    found = {(b.where, b.kind): b.bytes for b in llama_log.buffers(CUDA)}
    assert found["CUDA0", "compute"] == 560 * MiB


def test_two_caches_of_one_device_add_up():
    text = "llama_kv_cache: CUDA0 KV buffer size = 10.00 MiB\nllama_kv_cache: CUDA0 KV buffer size = 30.00 MiB"
    assert llama_log.buffers(text)[0].bytes == 40 * MiB


def test_effective_settings_are_what_llama_cpp_says():
    assert llama_log.effective(CPU) == {"n_ctx": 2048, "n_ubatch": 512, "flash_attention": "enabled"}
    assert llama_log.effective(CUDA) == {"layers_on_device": 20, "layers": 33}


def test_reasons_for_a_failed_load():
    oom = "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 99999999999"
    assert llama_log.no_memory(f"load_tensors: x\n{oom}\n") == oom
    assert llama_log.no_memory(CPU) is None
    text = "llama_model_load: error loading model: tensor 'blk.3.ffn_up.weight' data is not within the file bounds"
    assert llama_log.load_error(text).startswith("tensor 'blk.3.ffn_up.weight' data")
