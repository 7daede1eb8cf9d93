"""A captioner behind OpenAI's chat completions, or any server that speaks the same protocol."""

from typing import Any

import openai
from pydantic import SecretStr

from training.captioning.description import Answer, read_completion
from training.captioning.questions import Question, completion_body
from training.errors import BadCorpus, BadRecipe, NotAllowed, SourceFault, TrainingError
from training.museum.harvest_recipe import CaptionTable
from training.run.settings import TrainingSettings

TRIES = 5
SECONDS = 120.0  # for one answer
OF_THE_PICTURE = (400, 413, 415, 422)  # statuses that the next picture need not meet
WITHOUT = (
    "To go on without it, [caption] address may name a server of your own, such as vLLM or llama.cpp "
    "with a model that sees; without captions, a LoRA is trained on the museum's own texts."
)


class Captioner:
    def __init__(self, table: CaptionTable, settings: TrainingSettings) -> None:
        self.table, self.client = table, client_of(table, settings)

    def describe(self, question: Question) -> Answer:
        """Say what is in the picture; an answer that is no use says why. The client tries again.

        Raises SourceFault, BadRecipe or NotAllowed where the next picture would fare no better.
        """
        try:
            body = completion_body(question, self.table)
        except BadCorpus as error:
            return Answer(outcome="failed", raw=str(error))
        try:
            answer = self.client.chat.completions.with_raw_response.create(**body)
            return read_completion(answer.http_response.json(), answer.request_id or "")
        except openai.APIStatusError as error:
            if error.status_code not in OF_THE_PICTURE:
                raise told(error, self.table) from error
            # What the server found wrong, without what was sent.
            said = error.body.get("message") if isinstance(error.body, dict) else None
            reason = f"{error.status_code}: {str(said or 'no reason given')[:500]}"
            return Answer(outcome="failed", raw=reason, request_id=error.request_id or "")
        except openai.OpenAIError as error:
            raise told(error, self.table) from error
        except ValueError:
            return Answer(outcome="not JSON", raw="the server's answer is no JSON")


def client_of(table: CaptionTable, settings: TrainingSettings) -> openai.OpenAI:
    """Build a client with the key that belongs to the address: OpenAI's goes to OpenAI alone."""
    key = settings.openai_api_key if table.own else settings.caption_api_key or SecretStr("none")
    if key is None or not key.get_secret_value().strip():
        raise NotAllowed(f"OpenAI needs a key of your own: set OPENAI_API_KEY. {WITHOUT}")
    client = openai.OpenAI(
        api_key=key.get_secret_value(), base_url=table.address, max_retries=TRIES, timeout=SECONDS
    )
    if not table.own:  # these, too, it takes from the environment
        client.organization = client.project = None
    return client


def told(error: openai.OpenAIError, table: CaptionTable) -> TrainingError:
    body: Any = getattr(error, "body", None)
    code = body.get("code") if isinstance(body, dict) else ""
    match error:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            name = "OPENAI_API_KEY" if table.own else "CAPTION_API_KEY"
            return NotAllowed(f"The server refused the key. Check {name}. {WITHOUT}")
        case openai.NotFoundError():
            return BadRecipe(
                f"The server knows no {table.model!r}, or no such service. Check [caption] model "
                "and address."
            )
        case openai.RateLimitError() if code == "insufficient_quota":
            return NotAllowed(f"The account has no credit left. What came is kept. {WITHOUT}")
        case openai.APIStatusError():
            return SourceFault(
                f"The server answered {error.status_code} {TRIES + 1} times. What came is kept: "
                "run the same command again later and it goes on from there."
            )
        case _:
            return SourceFault(
                f"The server at {table.address} cannot be reached ({type(error).__name__}). Check "
                "[caption] address; what came is kept."
            )
