"""Choose the backend that a worker of a medium runs."""

from engine.backends import Backend
from engine.backends.text_server.vllm_plan import on_cuda, vllm_program
from engine.plan.cards import Registry
from engine.settings import Settings


def build_backend(settings: Settings, registry: Registry, medium: str) -> Backend:
    """Build it, nothing loaded yet: each one's libraries are imported by itself alone."""
    if settings.backend == "echo":
        from engine.backends.echo import EchoBackend

        return EchoBackend()
    if medium == "image":
        from engine.backends.images import ImageBackend

        return ImageBackend(settings, registry)
    if settings.text_engine == "vllm" or _vllm_by_itself(settings):
        from engine.backends.text_server.vllm_backend import VllmBackend

        return VllmBackend(settings, registry)
    if settings.text_server:
        from engine.backends.text_server.backend import OpenAIBackend

        return OpenAIBackend(settings, registry)
    from engine.backends.text import TextBackend

    return TextBackend(settings, registry)


def _vllm_by_itself(settings: Settings) -> bool:
    """Tell whether `text_engine = auto` means vLLM: on CUDA, where it is installed."""
    if settings.text_engine != "auto" or settings.text_server or not vllm_program():
        return False
    return on_cuda()
