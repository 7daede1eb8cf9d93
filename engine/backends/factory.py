"""Choose the backend that a worker of a medium runs."""

from engine.backends import Backend
from engine.backends.echo import EchoBackend
from engine.backends.visible_text import Visible
from engine.errors import ModelError
from engine.plan.cards import Registry
from engine.settings import Settings


def build_backend(settings: Settings, registry: Registry, medium: str) -> Visible:
    """Build the backend, nothing loaded yet. Raises ModelError for a medium that none serves."""
    return Visible(_bare(settings, registry, medium))


def _bare(settings: Settings, registry: Registry, medium: str) -> Backend:
    if settings.backend == "echo":
        return EchoBackend()
    if medium == "text" and settings.text_server:
        from engine.backends.text_server.backend import OpenAIBackend

        return OpenAIBackend(settings, registry)
    if medium == "text":
        from engine.backends.text import TextBackend

        return TextBackend(settings, registry)
    if medium == "image":
        from engine.backends.images import ImageBackend

        return ImageBackend(settings, registry)
    raise ModelError(f"No backend serves the medium {medium!r} yet.")
