"""What is asked of a captioner: a picture, a fixed instruction, what the catalogue says."""

import base64
import io
import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from training.captioning.description import schema
from training.errors import BadCorpus
from training.images.data.folder import open_picture
from training.museum.harvest_recipe import CaptionTable
from training.museum.metadata_rows import METADATA, read_rows

DECISIVE = {"model", "longest_side", "detail", "most_tokens", "seed"}
QUALITY = 90  # of the JPEG that is sent
FACTS = ("object_type", "materials", "techniques", "styles", "date", "place")
INSTRUCTION = """Describe this piece of jewellery for a picture caption. Say what can be seen, \
precisely and factually; no praise, no story, no guessing. Use short phrases of at most 20 words \
without a full stop. Do not name makers, owners, museums, numbers, carats or prices, and do not \
write "image", "photo" or "picture". Put what you cannot make out into "uncertain".
"""
CATALOGUE = (
    "The museum's catalogue says (use it to name what you see, leave out what is not seen): "
)


@dataclass(frozen=True, slots=True)
class Question:
    file_name: str
    path: Path
    row: dict[str, Any]
    text: str
    sha256: str
    key: str


def questions_of(data: Path, table: CaptionTable) -> list[Question]:
    path = data / METADATA
    if not path.exists():
        raise BadCorpus(
            f"There is no {METADATA} in the data folder. Run `python -m training.harvest_vam "
            "RECIPE` first, or name another folder with --data DIR."
        )
    questions = []
    for row in read_rows(path):
        picture = data / row["file_name"]
        if picture.is_file() and picture.resolve().is_relative_to(data.resolve()):
            text, digest = instruction(row), sha256(picture.read_bytes()).hexdigest()
            key = key_of(digest, text, table)
            questions.append(Question(row["file_name"], picture, row, text, digest, key))
    if not questions:
        raise BadCorpus(
            "The data folder has no pictures (they may have expired). Run `python -m "
            "training.harvest_vam RECIPE` to fetch them anew."
        )
    return questions


def instruction(row: dict[str, Any]) -> str:
    facts = {name: row[name] for name in FACTS if row.get(name)}
    lines = [CATALOGUE + json.dumps(facts, ensure_ascii=False, sort_keys=True)] if facts else []
    return "\n".join([INSTRUCTION, *lines])


def key_of(picture: str, text: str, table: CaptionTable) -> str:
    """Hash all that decides an answer; `picture` is the sha256 of its bytes."""
    decides = {
        "text": text,
        "schema": schema(),
        "captioner": "openai",
        **table.model_dump(mode="json", include=DECISIVE),
    }
    words = json.dumps(decides, sort_keys=True, ensure_ascii=False).encode()
    return sha256(picture.encode() + words).hexdigest()


def data_address(path: Path, longest_side: int) -> str:
    """Write a picture as it is sent: upright, RGB, no longer than asked. Raises BadCorpus."""
    picture, body = open_picture(path), io.BytesIO()
    picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    picture.save(body, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(body.getvalue()).decode("ascii")


def completion_body(question: Question, table: CaptionTable) -> dict[str, Any]:
    """Build the body of a chat completion, in OpenAI's dialect or that of look-alikes."""
    url = data_address(question.path, table.longest_side)
    parts = [
        {"type": "text", "text": question.text},
        {"type": "image_url", "image_url": {"url": url, "detail": table.detail}},
    ]
    named = {"name": "description", "strict": True, "schema": schema()}
    return {
        "model": table.model,
        "messages": [{"role": "user", "content": parts}],
        "temperature": 0,
        "seed": table.seed,
        ("max_completion_tokens" if table.own else "max_tokens"): table.most_tokens,
        "response_format": {"type": "json_schema", "json_schema": named},
    }
