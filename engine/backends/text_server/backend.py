"""Stories from a server that speaks OpenAI's completions: vLLM, llama.cpp's server, LoRAX.

vLLM (--enable-lora) and LoRAX serve an expert's adapter under the expert's name; llama.cpp's server
takes the adapter's number with every request. The text ends by our own rules, so the stream is closed
as soon as they say so; closing it is also how a job is cancelled, and frees the server at once.
"""

import logging
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.backends.stop_rules import NO_END, finish, latest, settled, should_stop
from engine.backends.text_server.retry import Answer, Patience, TryAgain, shorten, trouble
from engine.backends.text_server.served_adapters import ServedAdapters, number
from engine.backends.text_server.stream import pause, until
from engine.errors import ModelError
from engine.events import Cancelled, Event, Finished, Started, Text
from engine.plan.cards import Registry
from engine.plan.job import Job
from engine.settings import Settings

if TYPE_CHECKING:
    import openai

SLOTS = 32  # unless the settings say otherwise; the server's own batch is what counts

log = logging.getLogger(__name__)


class OpenAIBackend:
    """Ask a text server; `settings.text_server` is its address, .../v1 or without."""

    def __init__(
        self, settings: Settings, registry: Registry, patience: Patience | None = None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._patience = patience or Patience()
        self._client: openai.AsyncOpenAI | None = None
        self._models: dict[str, str] = {}  # expert -> the server's name for it
        self._bases: dict[str, str] = {}  # expert -> the server's name for its base
        self._numbered: ServedAdapters | None = None  # llama.cpp's adapters

    @property
    def slots(self) -> int:
        return self._settings.slots or SLOTS

    @property
    def _where(self) -> str:
        """Give the address without what may be secret in it."""
        parts = urlsplit(self._settings.text_server)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    async def load(self) -> None:
        """Ask the server which models it has. Raises ModelError if none of the experts is there."""
        import openai

        address = self._settings.text_server.rstrip("/")
        key = self._settings.text_server_key
        self._client = openai.AsyncOpenAI(
            base_url=address if address.endswith("/v1") else f"{address}/v1",
            api_key=key.get_secret_value() if key else "none",
            timeout=openai.Timeout(self._patience.silence, connect=self._patience.connect),
            max_retries=0,
        )
        try:
            cards = [model async for model in self._client.models.list()]
            served = [card.id for card in cards]
            parents = {card.id: getattr(card, "parent", None) for card in cards}  # vLLM says
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise ModelError(
                f"The text server at {self._where} does not answer ({type(error).__name__}). Start it, "
                "or correct PASTICHE_TEXT_SERVER."
            ) from error
        experts = [e for e in self._registry.experts if e.medium == "text"]
        self._numbered = number([e.name for e in experts], await self._listed())
        numbers = self._numbered.of if self._numbered else {}
        for expert in experts:
            base = self._registry.weights(expert).base
            if expert.name in served:
                self._models[expert.name] = expert.name
            elif expert.name in numbers and served:
                self._models[expert.name] = served[0]
            elif not self._registry.weights(expert).adapter:
                self._models |= {expert.name: base} if base in served else {}
            first = served[0] if served and expert.name in numbers else None
            places = (base, first, parents.get(expert.name))
            if alone := next((name for name in places if name in served), None):
                self._bases[expert.name] = alone
            elif not self._registry.weights(expert).adapter and expert.name in self._models:
                self._bases[expert.name] = self._models[expert.name]
        missing = [e.name for e in experts if e.name not in self._models]
        if missing:
            told = self._missing(", ".join(missing), served)
            if not self._models:
                raise ModelError(told)
            log.warning(told)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _missing(self, names: str, served: list[str]) -> str:
        return (
            f"The text server at {self._where} has no model {names}; it has "
            f"{', '.join(served) or 'none'}. Start it with the experts' adapters: docs/vllm.md"
        )

    async def _listed(self) -> object:
        """List llama.cpp's adapters; nothing from another server."""
        import openai

        assert self._client is not None
        try:
            root = str(self._client.base_url).removesuffix("v1/")
            return await self._client.get(f"{root}lora-adapters", cast_to=object)
        except (openai.OpenAIError, ValueError):
            return None

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        model = (self._bases if job.plain else self._models).get(job.expert)
        if model is None:
            what = f"for the base of {job.expert}" if job.plain else job.expert
            raise ModelError(self._missing(what, sorted(self._models.values())))
        answer = Answer(prompt=job.prompt)
        yield Started(job=job.id, attempt=job.attempt)
        tries = 0
        while not answer.ended and not stop.is_set():
            before = answer.tokens
            try:
                async with aclosing(self._stream(job, model, answer, stop)) as events:
                    async for event in events:
                        yield event
            except TryAgain as trouble:
                tries = 1 if answer.tokens > before else tries + 1
                if tries > self._patience.tries:
                    raise ModelError(
                        f"The text server at {self._where} did not answer to the end ({trouble}). "
                        "See its log."
                    ) from trouble
                answer.base = answer.tokens
                await pause(trouble.after or self._delay(tries), stop)
        if stop.is_set() and not answer.ended:
            text = answer.text.strip()
            yield Cancelled(job=job.id, attempt=job.attempt, text=text, tokens_out=answer.tokens)
        else:
            yield self._finished(job, model, answer)

    def _delay(self, tries: int) -> float:
        return min(self._patience.longest_retry, self._patience.first_retry * 2.0 ** (tries - 1))

    async def _stream(
        self, job: Job, model: str, answer: Answer, stop: threading.Event
    ) -> AsyncGenerator[Event]:
        """Ask once, going on from what was written before. Raises TryAgain, ModelError."""
        import openai

        assert self._client is not None
        try:
            stream = await self._client.completions.create(**self._wish(job, model, answer))
        except openai.NotFoundError as error:
            raise ModelError(self._missing(model, sorted(self._models.values()))) from error
        except openai.BadRequestError as error:
            shorten(job, answer, error)
            return
        except (openai.APIConnectionError, openai.APIStatusError) as error:
            raise trouble(error) from error
        heard = False
        try:
            async with aclosing(until(stream, stop)) as chunks:
                async for chunk in chunks:
                    heard = heard or bool(chunk.choices or chunk.usage)
                    if event := self._hear(job, model, answer, chunk):
                        yield event
                    if answer.ended:
                        return
        except openai.APIError as error:
            raise TryAgain(type(error).__name__) from error
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise TryAgain("it sent something that is no completion") from error
        except Exception as error:  # the HTTP library's own, when a connection breaks
            if type(error).__module__.split(".")[0] not in ("httpx", "httpcore"):
                raise
            raise TryAgain(type(error).__name__) from error
        finally:
            await stream.close()
        if not stop.is_set():
            if not heard:
                raise TryAgain("it sent nothing")
            raise TryAgain("it broke off")

    def _wish(self, job: Job, model: str, answer: Answer) -> dict[str, Any]:
        """Make the request: OpenAI's own options, then those that the three servers know besides."""
        sampling = job.sampling
        early = max(0, int(job.length * NO_END) - answer.tokens)
        more: dict[str, Any] = {
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,  # vLLM, LoRAX
            "repeat_penalty": sampling.repetition_penalty,  # llama.cpp
            "min_tokens": early,
        }
        if sampling.top_k:
            more["top_k"] = sampling.top_k
        if self._numbered is not None:
            more |= self._numbered.wish("" if job.plain else job.expert)
        return {
            "model": model,
            "prompt": answer.prompt + answer.raw,
            "max_tokens": max(1, latest(job.length) - answer.tokens),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": job.seed,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "extra_body": more,
        }

    def _hear(self, job: Job, model: str, answer: Answer, chunk: Any) -> Event | None:
        """Add a piece of the answer; give the event to show for it. Raises ModelError, ValueError."""
        if chunk.model and chunk.model != model and self._numbered is None:
            raise ModelError(
                f"The text server at {self._where} answered as {chunk.model} when {model} was asked."
            )
        if chunk.usage:
            answer.tokens_in = chunk.usage.prompt_tokens
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        if choice.text is not None and not isinstance(choice.text, str):
            raise ValueError("the text is no text")
        if choice.text:
            answer.raw += choice.text
            answer.tokens += 1
            answer.first = answer.first or time.monotonic() - answer.began
        if chunk.usage:
            answer.tokens = answer.base + chunk.usage.completion_tokens
        answer.ended = bool(choice.finish_reason) or should_stop(
            answer.text, answer.tokens, job.length
        )
        shown = settled(answer.text)
        return Text(job=job.id, attempt=job.attempt, text=shown, tokens=answer.tokens)

    def _finished(self, job: Job, model: str, answer: Answer) -> Finished:
        return Finished(
            job=job.id,
            attempt=job.attempt,
            text=finish(answer.text, answer.tokens, job.length),
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens,
            first_token_seconds=answer.first,
            seconds=time.monotonic() - answer.began,
            base_digest=f"server:{self._bases.get(job.expert, model)}",
            adapter_digest=self._adapter(job, model),
            notes=answer.notes,
        )

    def _adapter(self, job: Job, model: str) -> str:
        """Give the server's name of the adapter that wrote; "" for the base alone."""
        expert = self._registry.named(job.expert)
        if job.plain or expert is None or not self._registry.weights(expert).adapter:
            return ""
        return f"server:{self._numbered.names.get(job.expert, model) if self._numbered else model}"
