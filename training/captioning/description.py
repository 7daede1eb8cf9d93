"""Define what a captioner says of a piece of jewellery, and read its answer."""

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

REFUSED = re.compile(r"\b(sorry|can(no|')t assist|unable to)\b", re.IGNORECASE)
Outcome = Literal["ok", "refused", "cut off", "filtered", "not JSON", "failed"]


class Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    object_type: str = Field(description="kind of object in one or two words, such as tiara")
    materials: list[str] = Field(description="materials that can be seen, most visible first")
    craftsmanship: str = Field(description="how it is made and built: form, technique, surface")
    gemstones_and_settings: str = Field(description="stones, colours, cuts and settings, or none")
    style_and_history: str = Field(description="visible signs of style and period")
    condition: str = Field(description="overall state: wear, losses, repairs")
    uncertain: list[str] = Field(description="what could not be made out")


class Answer(BaseModel):
    """Hold a description, or why there is none; tokens as the service counted them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    outcome: Outcome
    description: Description | None = None
    raw: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    request_id: str = ""


def schema() -> dict[str, Any]:
    """Give the JSON schema, strict: every key required, no others."""
    made = Description.model_json_schema()
    made.pop("description", None)
    return made


def read_text(text: str) -> Description | None:
    """Read the description in a model's words; None when there is no whole one."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        return Description.model_validate_json(text[begin : end + 1])
    except ValidationError:
        return None


def read_completion(body: Any, request_id: str = "") -> Answer:
    """Read a `chat.completion` object as OpenAI or a look-alike writes it."""
    try:
        choice, usage = body["choices"][0], body.get("usage") or {}
        message, reason = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content") or "", message.get("refusal") or ""
        if not isinstance(content, str):  # a list of parts
            content = "".join(str(part.get("text") or "") for part in content)
        counted = [int(usage.get(f"{side}_tokens") or 0) for side in ("prompt", "completion")]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return Answer(outcome="failed", raw=json.dumps(body)[:2000], request_id=request_id)
    ended: dict[str, Outcome] = {"content_filter": "filtered", "length": "cut off"}
    description = read_text(content)
    outcome = ended.get(reason, "ok" if description else "not JSON")
    if refusal or (description and REFUSED.search(description.object_type)):
        outcome = "refused"
    return Answer(
        outcome=outcome,
        description=description if outcome == "ok" else None,
        raw=refusal or content,
        tokens_in=counted[0],
        tokens_out=counted[1],
        request_id=request_id,
    )
