"""What our children are given of this process's environment: what they need, by name and by beginning,
for a list of secrets is never whole. HF_TOKEN is among it: a worker is who downloads."""

import os

NAMES = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP",
    "VIRTUAL_ENV", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE", "CC", "CXX", "CPATH", "LIBRARY_PATH", "CONDA_PREFIX",
)  # fmt: skip
FAMILIES = (
    "LC_", "XDG_", "LD_", "DYLD_", "MALLOC_", "SSL_CERT_", "PYTHON", "COVERAGE_", "HF_",
    "HUGGINGFACE_", "HUGGING_FACE_", "ACCELERATE_", "BNB_", "MIOPEN_", "ZE_",
    "TRANSFORMERS_", "DIFFUSERS_", "TOKENIZERS_", "SAFETENSORS_", "TQDM_", "TORCH", "PYTORCH_",
    "TRITON_", "CUDA", "NVIDIA_", "NCCL_", "HIP_", "HSA_", "ROC", "OMP_", "GOMP_", "KMP_", "MKL_",
    "OPENBLAS_", "ONEDNN_", "NUMEXPR_", "VLLM_",
)  # fmt: skip


def inherited() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k.upper() in NAMES or k.startswith(FAMILIES)}
    kept.pop("VLLM_API_KEY", None)
    return kept
