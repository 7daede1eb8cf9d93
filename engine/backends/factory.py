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
    vllm = settings.text_engine == "vllm"
    if settings.text_engine == "auto" and not settings.text_server and vllm_program():
        vllm = on_cuda()  # auto means vLLM there, where it is installed
    if vllm:
        from engine.backends.text_server.vllm_backend import VllmBackend

        return VllmBackend(settings, registry)
    if settings.text_server:
        from engine.backends.text_server.backend import OpenAIBackend

        return OpenAIBackend(settings, registry)
    from engine.backends.text import TextBackend

    return TextBackend(settings, registry)
