"""Stories from a server that speaks OpenAI's completions: vLLM, llama.cpp's server, LoRAX.

vLLM (--enable-lora) and LoRAX serve an expert's adapter under the expert's name; llama.cpp's server
takes the adapter's number with every request. The text ends by our own rules, so the stream is closed
as soon as they say so; closing it is also how a job is cancelled, and frees the server at once.
"""

import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.backends.job_channel import stopped, until
from engine.backends.row_sampler import BREAKERS, wanted
from engine.backends.stop_rules import NO_END, latest
from engine.backends.text_server.retry import Answer, Patience, TryAgain, shorten, trouble
from engine.backends.text_server.served_adapters import ServedAdapters, number
from engine.errors import ModelError
from engine.events import Event
from engine.plan.cards import Expert, Registry
from engine.plan.job import Job
from engine.settings import Settings
from engine.weights.bases import unpinned

if TYPE_CHECKING:
    import openai

LLAMA_CPP = (  # what it calls as our cards do; of these vLLM knows min_p
    "min_p", "top_n_sigma", "xtc_probability", "xtc_threshold",
    "dry_multiplier", "dry_base", "dry_allowed_length",
)  # fmt: skip
PAGE_SECONDS = 10.0
SLOTS = 32  # unless the settings say otherwise; the server's own batch is what counts

log = logging.getLogger(__name__)


class OpenAIBackend:
    """Ask a text server; `settings.text_server` is its address, or unix:/its/socket."""

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
        self._turns = True  # its bases have chat templates, until it says otherwise

    @property
    def slots(self) -> int:
        return self._settings.slots or SLOTS

    @property
    def _where(self) -> str:
        """Give the address without what may be secret in it."""
        parts = urlsplit(self._settings.text_server)
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or parts.path

    def _connect(self) -> None:
        import httpx2
        import openai

        address = self._settings.text_server.rstrip("/")
        key = self._settings.text_server_key
        socket = address.removeprefix("unix:") if address.startswith("unix:") else None
        limits = openai.DEFAULT_CONNECTION_LIMITS
        pipe = httpx2.AsyncHTTPTransport(uds=socket, limits=limits) if socket else None
        address = "http://socket" if socket else address
        self._client = openai.AsyncOpenAI(
            base_url=address if address.endswith("/v1") else f"{address}/v1",
            api_key=key.get_secret_value() if key else "none",
            timeout=openai.Timeout(self._patience.silence, connect=self._patience.connect),
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=pipe) if pipe else None,
        )

    async def load(self) -> None:
        self._connect()
        try:
            served = await self._learn()
        except TryAgain as error:
            raise ModelError(
                f"The text server at {self._where} does not answer: {error}. Start it, "
                "or correct PASTICHE_TEXT_SERVER."
            ) from error
        experts = [e.name for e in self._registry.experts if e.medium == "text"]
        if missing := [name for name in experts if name not in self._models]:
            told = self._missing(", ".join(missing), served)
            if not self._models:
                raise ModelError(told)
            log.warning(told)

    async def _learn(self) -> list[str]:
        """Read what the server has; gives its models. Raises TryAgain, ModelError."""
        told = await self._page("v1/models")
        try:
            parents = {model["id"]: model.get("parent") for model in told["data"]}  # vLLM says
        except (KeyError, TypeError, AttributeError) as error:
            raise TryAgain("it does not list its models") from error
        served = list(parents)
        experts = [e for e in self._registry.learn().experts if e.medium == "text"]
        numbered = number([e.name for e in experts], await self._page("lora-adapters"))
        if numbered is None and self._numbered is not None:
            raise TryAgain("it does not list its adapters")  # asked for none it would take all
        self._numbered, self._models, self._bases = numbered, {}, {}
        for expert in experts:
            self._find(expert, served, parents.get(expert.name))
        return served

    def _find(self, expert: Expert, served: list[str], parent: str | None) -> None:
        name, weights = expert.name, self._registry.weights(expert)
        repository = unpinned(weights.base)[0]  # a server has one revision
        first = served[0] if served and self._numbered and name in self._numbered.of else None
        bare = None if weights.adapter else repository
        own = next((found for found in (name, first, bare) if found in served), None)
        if own:
            self._models[name] = own
        names = (repository, first, parent, None if weights.adapter else own)
        if base := next((found for found in names if found in served), None):
            self._bases[name] = base

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _missing(self, names: str, served: list[str]) -> str:
        return (
            f"The text server at {self._where} has no model {names}; it has "
            f"{', '.join(served) or 'none'}. Start it with the experts' adapters: docs/vllm.md"
        )

    async def _page(self, page: str, **said: str) -> Any:
        """Get a page of the server's own, or post to it; None if there is none, or it refuses."""
        import openai

        assert self._client is not None
        url = str(self._client.base_url).removesuffix("v1/") + page
        try:
            if said:
                return await self._client.post(url, cast_to=object, body=said)
            return await self._client.get(url, cast_to=object, options={"timeout": PAGE_SECONDS})
        except (openai.OpenAIError, ValueError):
            return None

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        answer = Answer(job, prompt=job.prompt, head=len(job.prompt) - len(job.beginning))
        yield answer.start()
        tries, model = 0, ""
        while not answer.ended and not stop.is_set():
            await self._ready(stop)
            before = answer.tokens
            try:
                # started again, it may number its adapters otherwise; or the card is new
                if self._numbered or job.expert not in self._models:
                    await self._learn()
                name = self._name(job)
                model = model or name
                async with aclosing(until(self._stream(model, answer), stop)) as events:
                    async for event in events:
                        yield event
            except TryAgain as fault:
                self._failed(fault)
                tries = 1 if answer.tokens > before else tries + 1
                if tries > self._patience.tries:
                    raise ModelError(
                        f"The text server at {self._where} did not answer to the end ({fault}). "
                        "See its log."
                    ) from fault
                answer.base = answer.tokens
                growing = self._patience.first_retry * 2.0 ** (tries - 1)
                await stopped(stop, fault.after or min(self._patience.longest_retry, growing))
        if stop.is_set() and not answer.ended:
            yield answer.cancelled()
        else:
            path = PureWindowsPath(self._bases.get(job.expert, model))
            base = path.name if path.anchor else path.as_posix()  # where it lies is on no record
            yield answer.finished(answer.tokens_in, f"server:{base}", self._adapter(job, model))

    def _name(self, job: Job) -> str:
        """Give the server's name of the model that is asked. Raises ModelError."""
        if model := (self._bases if job.plain else self._models).get(job.expert):
            return model
        what = f"for the base of {job.expert}" if job.plain else job.expert
        raise ModelError(self._missing(what, sorted(self._models.values())))

    async def _ready(self, stop: threading.Event) -> None:
        """Wait, if it is known that the server will come back."""

    def _failed(self, fault: TryAgain) -> None:
        """Hear of a stream that broke off, or did not begin."""

    async def _stream(self, model: str, answer: Answer) -> AsyncGenerator[Event]:
        """Ask once, going on from what was written before. Raises TryAgain, ModelError."""
        import openai

        assert self._client is not None
        turn = answer.job.plain and self._turns
        asked: Any = self._client.chat.completions if turn else self._client.completions
        try:
            stream = await asked.create(**self._wish(model, answer, turn=turn))
        except openai.NotFoundError as error:
            raise ModelError(self._missing(model, sorted(self._models.values()))) from error
        except openai.BadRequestError as error:
            if turn and "template" in str(error):
                self._turns = False
            else:
                shorten(answer, error)
            return
        except (openai.APIConnectionError, openai.APIStatusError) as error:
            raise trouble(error) from error
        heard = False
        try:
            async for chunk in stream:
                heard = heard or bool(chunk.choices or chunk.usage)
                if event := self._hear(model, answer, chunk):
                    yield event
                if answer.ended:
                    return
        except openai.APIError as error:
            raise TryAgain(type(error).__name__) from error
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise TryAgain("it sent something that is no completion") from error
        finally:
            await stream.close()
            # else a garbage collector ends its generators, in any thread
            with suppress(Exception):
                async for _ in stream:
                    pass
        raise TryAgain("it broke off" if heard else "it sent nothing")

    def _wish(self, model: str, answer: Answer, *, turn: bool) -> dict[str, Any]:
        """Make the request: OpenAI's own options, then those that the three servers know besides."""
        job, sampling = answer.job, answer.job.sampling
        more: dict[str, Any] = {name: getattr(sampling, name) for name in LLAMA_CPP} | {
            # Not vLLM's and LoRAX's own repetition_penalty: that is on the prompt's words too.
            "repeat_penalty": sampling.repetition_penalty,
            "repeat_last_n": sampling.repetition_last_n or latest(job.length),
            "dry_sequence_breakers": BREAKERS,
            "min_tokens": max(0, int(job.length * NO_END) - answer.tokens),
        }
        if bans := wanted(self._registry[job.expert].bans, job.prompt):
            more["bad_words"] = bans  # vLLM
        if sampling.top_k:
            more["top_k"] = sampling.top_k
        if self._numbered is not None:
            more |= self._numbered.wish("" if job.plain else job.expert)
        prompt, of_turn = answer.asked(turn=turn)
        return {
            "model": model,
            **prompt,
            "max_tokens": max(1, latest(job.length) - answer.tokens),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": job.seed,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "extra_body": more | of_turn,
        }

    def _hear(self, model: str, answer: Answer, chunk: Any) -> Event | None:
        if chunk.model and chunk.model != model:
            raise ModelError(
                f"The text server at {self._where} answered as {chunk.model} when {model} was asked."
            )
        if chunk.usage:
            answer.tokens_in = chunk.usage.prompt_tokens
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        text = choice.delta.content if hasattr(choice, "delta") else choice.text
        if text is not None and not isinstance(text, str):
            raise ValueError("the text is no text")
        if text:
            answer.raw += text
            answer.grow(answer.raw, answer.tokens + 1)
        if chunk.usage:
            answer.tokens = answer.base + chunk.usage.completion_tokens
        answer.ended = bool(choice.finish_reason) or answer.complete
        return answer.shown()

    def _adapter(self, job: Job, model: str) -> str:
        """Give the server's name of the adapter that wrote; "" for the base alone."""
        expert = self._registry.named(job.expert)
        if job.plain or expert is None or not self._registry.weights(expert).adapter:
            return ""
        numbered = self._numbered.of.get(job.expert) if self._numbered else None
        return f"server:{numbered[1] if numbered else model}"
