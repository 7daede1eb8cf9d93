"""What experts are asked in an evaluation: openings without an author, and topics for news."""

import tomllib
from pathlib import Path

from engine.plan.prompt import assemble

_ASKED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
OPENINGS, TOPICS = tuple(_ASKED["openings"]), tuple(_ASKED["topics"])
REPORT_BEGINNING = OPENINGS[0]
STORY_WISH = "I want a short story.\nHere is the beginning:\n\n"


def prompts_for(command: str, template: str, count: int) -> list[str]:
    """Put `count` prompts for a command together as the bot does; no author is named."""
    texts = TOPICS if command == "news" else tuple(STORY_WISH + opening for opening in OPENINGS)
    return [assemble(template, texts[index % len(texts)])[0] for index in range(count)]


def report_prompt(template: str, title: str) -> str:
    """Make the source report's own request to one author."""
    wish = f"I want a short mystery story in the style of {title.lower()}.\n"
    return assemble(template, f"{wish}Here is the beginning:\n\n{REPORT_BEGINNING}")[0]
