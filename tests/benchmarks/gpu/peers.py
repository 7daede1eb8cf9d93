"""The same stories by others: transformers with PEFT, one at a time and as a static batch; vLLM."""

import time
from typing import Any

from tests.benchmarks.gpu.day import Day
from tests.benchmarks.gpu.shapes import (
    EXPERTS,
    RANK,
    build_gemma,
    gemma_config,
    linear_shapes,
    updates_of,
    with_adapters,
)
from tests.benchmarks.gpu.text import asks, loads
from tests.benchmarks.mixed_ways import Ask

SAMPLE = 3  # of the sixteen requests; one at a time they all take the same


def peft_model(day: Day) -> Any:
    """Built once for both parts."""
    if "peft" not in day.held:
        day.held["peft"] = with_adapters(day, build_gemma(day))
    return day.held["peft"]


def generate(day: Day, queue: list[Ask], **options: Any) -> list[list[int]]:
    """Greedily, to the exact length, the prompts being of one length."""
    import torch

    model = peft_model(day)
    ids = torch.tensor([ask.ids for ask in queue], device=day.device)
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=queue[0].new,
            min_new_tokens=queue[0].new,
            do_sample=False,
            pad_token_id=0,
            **options,
        )
    return made[:, ids.shape[1] :].tolist()  # type: ignore[no-any-return]


def one_by_one(day: Day) -> None:
    """As the report serves: an adapter set, one request written, and the next."""
    model = peft_model(day)

    def serve(queue: list[Ask]) -> list[list[int]]:
        made = []
        for ask in queue:
            model.set_adapter(ask.expert)
            made += generate(day, [ask])
        return made

    queue = asks(day, SAMPLE)
    new = queue[0].new
    serve(queue[:1])
    alone = day.timed(lambda: serve(queue[:1]), 1, 0)
    day.note("1 request", new / alone, "tokens/s", f"{alone:.2f} s")
    several = day.timed(lambda: serve(queue), 1, 0)
    day.note(
        f"{loads(day)[1]} requests", SAMPLE * new / several, "tokens/s", f"a sample of {SAMPLE}"
    )
    first = day.timed(lambda: generate(day, [Ask(queue[0].expert, queue[0].ids, 1)]), 3, 1)
    day.note("1 request: first token", 1000 * first, "ms")
    swap = day.timed(lambda: [model.set_adapter(name) for name in EXPERTS], 3, 1) / len(EXPERTS)
    day.note("set_adapter", 1000 * swap, "ms")
    many = asks(day, loads(day)[1])
    names = [ask.expert for ask in many]
    seconds = day.timed(lambda: generate(day, many, adapter_names=names), 1, 1)
    rate = len(many) * new / seconds
    day.note(
        f"{len(many)} requests as one static mixed batch", rate, "tokens/s", f"{seconds:.2f} s"
    )
    day.peak("PEFT")


def static_cache(day: Day) -> None:
    """As the product serves on a GPU what it cannot mix: a static cache, the step compiled."""
    peft_model(day).set_adapter(EXPERTS[0])
    queue = asks(day, 1)
    began = time.perf_counter()
    generate(day, queue, cache_implementation="static")
    day.sync()
    day.note("first request, compiling", time.perf_counter() - began, "s")
    seconds = day.timed(lambda: generate(day, queue, cache_implementation="static"), 2, 1)
    day.note("1 request", queue[0].new / seconds, "tokens/s", f"{seconds:.2f} s")


def vllm(day: Day) -> None:
    """The same base and adapters in vLLM, its weights made up by itself."""
    import json

    from safetensors.torch import save_file
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    base = day.folder / "vllm-base"
    config = gemma_config(day)
    config.architectures = ["Gemma2ForCausalLM"]
    config.save_pretrained(base)
    model = build_gemma(day)
    shapes = linear_shapes(model)
    del model
    requests = {}
    for seed, name in enumerate(EXPERTS):
        folder = day.folder / f"vllm-{name}"
        folder.mkdir()
        weights = {}
        for linear, (a, b) in updates_of(shapes, seed, day.device).items():
            stem = f"base_model.model.model.{linear}"
            weights[f"{stem}.lora_A.weight"] = a.bfloat16().cpu()
            weights[f"{stem}.lora_B.weight"] = b.bfloat16().cpu()
        save_file(weights, folder / "adapter_model.safetensors")
        kinds = sorted({linear.rpartition(".")[2] for linear in shapes})
        told = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": kinds}
        (folder / "adapter_config.json").write_text(json.dumps(told))
        requests[name] = LoRARequest(name, seed + 1, str(folder))
    day.clean()
    engine = LLM(
        str(base),
        load_format="dummy",
        skip_tokenizer_init=True,
        dtype="bfloat16",
        enable_lora=True,
        max_loras=len(EXPERTS),
        max_lora_rank=RANK,
        max_model_len=1024,
        gpu_memory_utilization=0.6,
        enable_prefix_caching=False,
    )
    for number in loads(day):
        queue = asks(day, number)
        how = SamplingParams(
            temperature=0.0, max_tokens=queue[0].new, ignore_eos=True, detokenize=False
        )
        prompts = [{"prompt_token_ids": ask.ids} for ask in queue]
        adapters = [requests[ask.expert] for ask in queue]
        seconds = day.timed(
            lambda p=prompts, a=adapters, s=how: engine.generate(  # type: ignore[misc]
                p, s, lora_request=a, use_tqdm=False
            ),
            2,
            1,
        )
        day.note(f"{number} mixed", number * queue[0].new / seconds, "tokens/s", f"{seconds:.2f} s")
