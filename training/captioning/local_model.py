"""A captioner that looks with a vision model on this machine, through transformers."""

from typing import Any

from PIL import Image

from engine.backends.model_loading import placement
from training.captioning.description import Answer, Outcome, read_text
from training.captioning.questions import Question, sendable
from training.captioning.tables import CaptionTable
from training.errors import BadCorpus, BadRecipe

AGAIN = "That was not the JSON object that was asked for. Answer with it and nothing else."
TRIES = 2
SUITABLE = "one that chats about pictures, such as Qwen3-VL, Qwen2.5-VL or SmolVLM, as safetensors"

Message = dict[str, Any]


class LocalCaptioner:
    """Look with one resident model; ask once more when the answer is no JSON."""

    name = "local"
    kept = True

    def __init__(self, table: CaptionTable) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.table = table
        self.model = table.model
        try:
            self.processor: Any = AutoProcessor.from_pretrained(table.model)
            found: Any = AutoModelForImageTextToText.from_pretrained(
                table.model, use_safetensors=True, dtype="auto"
            )
        except (OSError, ValueError) as error:
            raise BadRecipe(
                f"No vision model can be loaded from {table.model!r}: {str(error)[:300]}. Set "
                f"[caption] model to a folder or hub id of {SUITABLE}."
            ) from error
        if not getattr(self.processor, "chat_template", None):
            raise BadRecipe(f"{table.model!r} has no chat template. Choose {SUITABLE}.")
        self.device, dtype = placement(())  # a processor reckons in 32 bits
        self.network = found.to(self.device, dtype=dtype).eval()

    def describe(self, question: Question) -> Answer:
        try:
            picture = sendable(question.path, self.table.longest_side)
        except BadCorpus as error:
            return Answer(outcome="failed", raw=str(error))
        messages = [message("user", question.text, picture)]
        tokens_in = tokens_out = 0
        for _ in range(TRIES):
            text, into, out = self.generate(messages)
            tokens_in, tokens_out = tokens_in + into, tokens_out + out
            description = read_text(text)
            if description:
                break
            messages += [message("assistant", text), message("user", AGAIN)]
        failed: Outcome = "cut off" if out >= self.table.most_tokens else "not JSON"
        return Answer(
            outcome="ok" if description else failed,
            description=description,
            raw=text,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
        )

    def generate(self, messages: list[Message]) -> tuple[str, int, int]:
        import torch

        inputs = self.processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.device, dtype=self.network.dtype)
        begin = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            tokens = self.network.generate(
                **inputs, max_new_tokens=self.table.most_tokens, do_sample=False
            )[0][begin:]
        return self.processor.decode(tokens, skip_special_tokens=True), begin, len(tokens)


def message(role: str, text: str, picture: Image.Image | None = None) -> Message:
    parts: list[Message] = [{"type": "image", "image": picture}] if picture else []
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}
