"""Stories from a server that speaks OpenAI's completions: vLLM, llama.cpp's server, LoRAX.

vLLM (--enable-lora) and LoRAX serve an expert's adapter under the expert's name; llama.cpp's server
takes the adapter's number with every request. The text ends by our own rules, so the stream is closed
as soon as they say so; closing it is also how a job is cancelled, and frees the server at once.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.backends.stopping import NO_END, finish, latest, settled, should_stop
from engine.errors import ModelError
from engine.events import Cancelled, Event, Finished, Started, Text
from engine.jobs import Job
from engine.registry import Expert, Registry
from engine.settings import Settings

if TYPE_CHECKING:
    import openai

SLOTS = 32  # unless the settings say otherwise; the server's own batch is what counts
STOP_SECONDS = 0.05  # how soon a cancel is noticed while the server is silent
NOT_A_START = " \t\n.,;:!?*"  # an answer that is shown by itself does not begin with these
LONGEST_RETRY = 15.0
SHORTENINGS = 6  # halvings of a beginning that the server's window does not hold

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: to connect, between two words of an answer, before the first retry; and retries."""

    connect: float = 5.0
    silence: float = 60.0
    first_retry: float = 0.5
    longest_retry: float = LONGEST_RETRY
    tries: int = 6


@dataclass(slots=True, eq=False)
class _Answer:
    """What has come of one job so far."""

    began: float = field(default_factory=time.monotonic)
    prompt: str = ""
    raw: str = ""
    tokens: int = 0
    tokens_in: int = 0
    base: int = 0  # tokens of the streams that broke off before
    first: float = 0.0
    ended: bool = False
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As it is shown."""
        return self.raw.lstrip(NOT_A_START)


class OpenAIBackend:
    """See backends.Backend. `settings.text_server` is its address, .../v1 or without."""

    def __init__(
        self, settings: Settings, registry: Registry, patience: Patience | None = None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._patience = patience or Patience()
        self._client: openai.AsyncOpenAI | None = None
        self._models: dict[str, str] = {}  # expert -> the server's name for it
        self._bases: dict[str, str] = {}  # expert -> the server's name for its base
        self._loras: dict[str, int] = {}  # expert -> llama.cpp's number for its adapter

    @property
    def slots(self) -> int:
        """How many jobs it asks for at a time."""
        return self._settings.slots or SLOTS

    @property
    def _where(self) -> str:
        """The address without what may be secret in it."""
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
        self._loras = await self._numbered(experts)
        for expert in experts:
            base = self._registry.weights(expert).base
            if expert.name in served:
                self._models[expert.name] = expert.name
            elif expert.name in self._loras and served:
                self._models[expert.name] = served[0]
            elif not self._registry.weights(expert).adapter:
                self._models |= {expert.name: base} if base in served else {}
            numbered = served[0] if served and expert.name in self._loras else None
            places = (base, numbered, parents.get(expert.name))
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
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    def _missing(self, names: str, served: list[str]) -> str:
        return (
            f"The text server at {self._where} has no model {names}; it has "
            f"{', '.join(served) or 'none'}. Start it with the experts' adapters: docs/vllm.md"
        )

    async def _numbered(self, experts: list[Expert]) -> dict[str, int]:
        """llama.cpp's list of adapters, matched by the expert's name in the file's path."""
        import openai

        assert self._client is not None
        try:
            root = str(self._client.base_url).removesuffix("v1/")
            listed = await self._client.get(f"{root}lora-adapters", cast_to=object)
        except (openai.OpenAIError, ValueError):
            return {}
        found: dict[str, int] = {}
        for entry in listed if isinstance(listed, list) else ():
            for expert in experts:
                if isinstance(entry, dict) and expert.name in str(entry.get("path", "")):
                    found[expert.name] = int(entry["id"])
        return found

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        """See backends.Backend."""
        model = (self._bases if job.plain else self._models).get(job.expert)
        if model is None:
            what = f"for the base of {job.expert}" if job.plain else job.expert
            raise ModelError(self._missing(what, sorted(self._models.values())))
        answer = _Answer(prompt=job.prompt)
        yield Started(job=job.id, attempt=job.attempt)
        tries = 0
        while not answer.ended and not stop.is_set():
            before = answer.tokens
            try:
                async with aclosing(self._stream(job, model, answer, stop)) as events:
                    async for event in events:
                        yield event
            except _TryAgain as trouble:
                tries = 1 if answer.tokens > before else tries + 1
                if tries > self._patience.tries:
                    raise ModelError(
                        f"The text server at {self._where} did not answer to the end ({trouble}). "
                        "See its log."
                    ) from trouble
                answer.base = answer.tokens
                await _pause(trouble.after or self._delay(tries), stop)
        if stop.is_set() and not answer.ended:
            text = answer.text.strip()
            yield Cancelled(job=job.id, attempt=job.attempt, text=text, tokens_out=answer.tokens)
        else:
            yield self._finished(job, model, answer)

    def _delay(self, tries: int) -> float:
        return min(self._patience.longest_retry, self._patience.first_retry * 2.0 ** (tries - 1))

    async def _stream(
        self, job: Job, model: str, answer: _Answer, stop: threading.Event
    ) -> AsyncGenerator[Event]:
        """One request; what was written before is gone on from. Raises _TryAgain, ModelError."""
        import openai

        assert self._client is not None
        try:
            stream = await self._client.completions.create(**self._wish(job, model, answer))
        except openai.NotFoundError as error:
            raise ModelError(self._missing(model, sorted(self._models.values()))) from error
        except openai.BadRequestError as error:
            _shorten(job, answer, error)
            return
        except (openai.APIConnectionError, openai.APIStatusError) as error:
            raise _trouble(error) from error
        heard = False
        try:
            async with aclosing(_until(stream, stop)) as chunks:
                async for chunk in chunks:
                    heard = heard or bool(chunk.choices or chunk.usage)
                    if event := self._hear(job, model, answer, chunk):
                        yield event
                    if answer.ended:
                        return
        except openai.APIError as error:
            raise _TryAgain(type(error).__name__) from error
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise _TryAgain("it sent something that is no completion") from error
        except Exception as error:  # the HTTP library's own, when a connection breaks
            if type(error).__module__.split(".")[0] not in ("httpx", "httpcore"):
                raise
            raise _TryAgain(type(error).__name__) from error
        finally:
            await stream.close()
        if not stop.is_set():
            if not heard:
                raise _TryAgain("it sent nothing")
            raise _TryAgain("it broke off")

    def _wish(self, job: Job, model: str, answer: _Answer) -> dict[str, Any]:
        """What is asked: OpenAI's own options, then those that the three servers know besides."""
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
        if job.expert in self._loras:
            own = -1 if job.plain else self._loras[job.expert]
            more["lora"] = [
                {"id": n, "scale": float(n == own)} for n in sorted(set(self._loras.values()))
            ]
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

    def _hear(self, job: Job, model: str, answer: _Answer, chunk: Any) -> Event | None:
        """Take a piece of the answer in; the event to show for it. Raises ModelError, ValueError."""
        if chunk.model and chunk.model != model and job.expert not in self._loras:
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

    def _finished(self, job: Job, model: str, answer: _Answer) -> Finished:
        return Finished(
            job=job.id,
            attempt=job.attempt,
            text=finish(answer.text, answer.tokens, job.length),
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens,
            first_token_seconds=answer.first,
            seconds=time.monotonic() - answer.began,
            base_digest=f"server:{model}",
            notes=answer.notes,
        )


class _TryAgain(Exception):
    """It may go better in a while: `after` so many seconds, if the server said."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


def _trouble(error: "openai.APIError") -> Exception:
    """Whether to try again: the connection, 408, 409, 429 and the server's own faults."""
    response = getattr(error, "response", None)
    if response is None:
        return _TryAgain(type(error).__name__)
    if response.status_code not in (408, 409, 429) and response.status_code < 500:
        return ModelError(f"The text server refused the request ({response.status_code}).")
    try:
        after = float(response.headers.get("retry-after", 0))
    except ValueError:
        after = 0.0
    return _TryAgain(f"status {response.status_code}", min(after, LONGEST_RETRY))


def _shorten(job: Job, answer: _Answer, error: "openai.BadRequestError") -> None:
    """Drop the front half of a beginning that is too long, or raise ModelError."""
    long = "context" in str(error).lower() or "too long" in str(error).lower()
    beginning = answer.prompt[job.head :]
    if not long or len(beginning) < 2 ** (SHORTENINGS + 1) or answer.raw:
        raise ModelError("The text server refused the request (400).") from error
    kept = beginning[len(beginning) // 2 :]
    answer.prompt = answer.prompt[: job.head] + kept
    lost = len(job.prompt) - len(answer.prompt)
    answer.notes = (
        f"Your text was longer than the model can read: its first {lost} characters were left out.",
    )


async def _until(stream: AsyncIterator[Any], stop: threading.Event) -> AsyncGenerator[Any]:
    """The stream's pieces until `stop` is set, which is seen even while nothing comes."""
    pieces = aiter(stream)
    while not stop.is_set():
        coming = asyncio.ensure_future(anext(pieces))
        try:
            while not coming.done() and not stop.is_set():
                await asyncio.wait({coming}, timeout=STOP_SECONDS)
            if not coming.done():
                return
            yield coming.result()
        except StopAsyncIteration:
            return
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)


async def _pause(seconds: float, stop: threading.Event) -> None:
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, STOP_SECONDS))
