"""llama.cpp's server knows adapters by number: which is whose, and what a request says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from engine.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAdapters:
    of: dict[str, tuple[int, str]]  # by expert: its number, and the server's name for it
    all: tuple[int, ...]

    def wish(self, expert: str) -> dict[str, Any]:
        """Give the options of a request for this expert's adapter ("" is for none). The server's prompt
        cache does not know which adapter made its keys and values (llama.cpp #26207): it is not used."""
        if not self.all:
            return {}
        own = self.of[expert][0] if expert in self.of else None
        scales = [{"id": n, "scale": float(n == own)} for n in self.all]
        return {"lora": scales, "cache_prompt": False}


def number(experts: Sequence[str], listed: object) -> ServedAdapters | None:
    """Match each adapter of the server's list by its file's stem, or else its folder's name, whole; None
    for a server without such a list. Raises ModelError where two adapters fit one expert."""
    if not isinstance(listed, list):
        return None
    found: dict[str, tuple[int, str]] = {}
    entries = [e for e in listed if isinstance(e, dict) and isinstance(e.get("id"), int)]
    for entry in entries:
        path = PureWindowsPath(str(entry.get("path", "")))  # it parts at / too
        expert = path.stem if path.stem in experts else path.parent.name
        if expert in found:
            raise ModelError(
                f"The text server has two adapters for {expert}: {found[expert][1]} and {path.name}. "
                "Start it with one whose file, or folder, has the expert's name."
            )
        if expert in experts:
            found[expert] = (entry["id"], path.name)
    return ServedAdapters(of=found, all=tuple(sorted(entry["id"] for entry in entries)))
