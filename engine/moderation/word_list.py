"""A word list that only flags: novels use every one of these words."""

import re

from engine.moderation import Action, Content, Stage, TextCheck, Verdict
from engine.moderation.normalise import spellings

_WORDS = (
    r"fuck\w*|shit\w*|cunts?|bitch\w*|bastards?|asshole\w*|arsehole\w*|wank\w*|twats?|nigg\w+|"
    r"fagg?ots?|retard\w*|sluts?|whores?|spic|kikes?|chinks?|trann(?:y|ies)|gore|behead\w*|nazis?|"
    r"porn\w*|nsfw"
)
_LIST = re.compile(rf"\b(?:{_WORDS})\b")


class WordList(TextCheck):
    """Flags coarse words and slurs; never holds back."""

    def judge(self, _stage: Stage, content: Content) -> Verdict:
        if not any(_LIST.search(spelling) for spelling in spellings(content.text)):
            return Verdict(provider="words")
        return Verdict(action=Action.FLAG, reasons={"coarse": 1.0}, provider="words")
