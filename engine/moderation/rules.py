"""The few hard rules: they always block, on folded text, whatever else is said.

They match requests for instructions and the sexual with the underage; a story may have a bomb, a
suicide or a child in it. What they cannot do is understand; a better check is one more link of the
chain.
"""

import re

from engine.moderation import Action, Content, Stage, Verdict
from engine.moderation.folding import fold

VERSION = "1"
MINORS, SELF_HARM, WEAPONS, SEXUAL_PICTURE = "minors", "self_harm", "weapons", "sexual_picture"
SELF_HARM_INTENT = "self_harm_intent"

_MINOR = (
    r"(?:child(?:ren)?|kids?|minors?|under ?age[d]?|pre ?teens?|toddlers?|infants?|bab(?:y|ies)|"
    r"school ?(?:girl|boy)s?|(?:little|young|small) (?:girl|boy)s?|teen(?:s|age|aged|ager|agers)?|"
    r"(?:[1-9]|1[0-7]) ?(?:years? old|y ?o|yr old)|(?:aged|age) (?:[1-9]|1[0-7])|"
    r"(?:five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen)"
    r" years? old|middle schoolers?|tweens?)"
)
_YOUNG = (  # where nakedness alone is enough
    r"(?:under ?age[d]?|pre ?teens?|school ?(?:girl|boy)s?|(?:little|young|small) (?:girl|boy)s?|"
    r"teen(?:s|age|aged|ager|agers)?|(?:[1-9]|1[0-7]) ?(?:years? old|y ?o|yr old)|tweens?)"
)
_ACTS = (
    r"(?:sex|sexual(?:ly)?|sexy|sexiest|sexting|porn\w*|erotic\w*|nsfw|fuck\w*|blow ?jobs?|"
    r"hand ?jobs?|"
    r"orgasm\w*|penis|vagina\w*|masturbat\w*|molest\w*|rap(?:e|es|"
    r"ed|ing)|"
    r"horny|lewd\w*|hentai|intercourse|fondl\w*|genitals?|smut\w*|incest\w*|cum(?:s|ming|shot)?)"
)
_BARE = (
    r"(?:nudes?|naked|nudity|topless|undress\w*|strip(?:s|ping|ped|tease)?|lingerie|aroused|"
    r"seducti\w*|explicit)"
)
_ALWAYS = (
    r"\b(?:loli(?:ta)? ?(?:con|porn|hentai|sex)|shota ?(?:con|porn)?|jail ?bait|"
    r"(?:child|kid|kiddie|infant|teen) ?porn\w*|csam|pedo(?:phil\w*)? ?(?:porn\w*|erotic\w*|sex))\b"
)
_HARM = (
    r"(?:kill(?:ing)? (?:myself|yourself|oneself|your ?self|my ?self)|commit(?:ting)? suicide|"
    r"suicide|"
    r"hang(?:ing)? (?:myself|yourself)|self ?harm(?:ing)?|cut(?:ting)? (?:myself|yourself|"
    r"my wrists)|"
    r"overdos(?:e|ing)|end(?:ing)? my (?:own )?life|harm(?:ing)? (?:myself|yourself)|starv(?:e|"
    r"ing) myself|"
    r"slit(?:ting)? (?:my|your) wrists?)"
)
_WEAPON = (
    r"(?:(?:pipe|nail|car|fertili[sz]er|dirty|petrol|letter|home ?made) ?bombs?|bombs?|"
    r"explosives?|ieds?|"
    r"nerve (?:gas|agents?)|sarin|vx gas|tabun|soman|novichok|ricin|anthrax|mustard gas|napalm|"
    r"thermite|"
    r"molotov(?: cocktails?)?|grenades?|silencers?|suppressors?|ghost guns?|untraceable guns?|tatp|"
    r"chlorine gas|phosgene|bio ?weapons?|chemical weapons?|detonators?|nitroglycerine?|guncotton)"
)
_MAKING = (
    r"(?:mak(?:e|ing)|build(?:ing)?|creat(?:e|ing)|construct(?:ing)?|assembl(?:e|ing)|"
    r"synthesi[sz](?:e|ing)|"
    r"brew(?:ing)?|cook(?:ing)?(?: up)?|produc(?:e|ing)|manufactur(?:e|ing)|prepar(?:e|ing)|"
    r"print(?:ing)?|"
    r"culture|culturing|weaponi[sz](?:e|ing)|get|obtain|set off|detonate)"
)
_ASKING = (
    r"(?:how (?:to|do|does|can|could|would|should|might|i|you|one)|teach me|show me|tell me|"
    r"explain|"
    r"instruct(?:ions?)?|recipes?|guides?|tutorials?|step ?by ?step|steps (?:to|for)|formulas?|"
    r"blueprints?|directions (?:to|for)|manual|ways? (?:to|of)|methods?|easiest|painless\w*|"
    r"ingredients (?:of|for|to)|walk me through|give me (?:the )?steps)"
)


def _near(first: str, second: str, words: int) -> re.Pattern[str]:
    """Either order, with at most that many words between."""
    gap = rf"(?: \w+){{0,{words}}} "
    return re.compile(rf"\b{first}\b{gap}{second}\b|\b{second}\b{gap}{first}\b")


_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (MINORS, re.compile(_ALWAYS)),
    (MINORS, _near(_MINOR, _ACTS, 10)),
    (MINORS, _near(_YOUNG, _BARE, 6)),
    (SELF_HARM, _near(_ASKING, _HARM, 7)),
    (WEAPONS, re.compile(rf"\b{_ASKING}\b(?: \w+){{0,5}} {_MAKING}(?: \w+){{0,5}} {_WEAPON}\b")),
    (
        WEAPONS,
        re.compile(
            r"\b(?:instructions?|recipes?|guides?|tutorials?|step ?by ?step|formulas?|"
            r"blueprints?|manual|"
            rf"ingredients)(?: \w+){{0,4}} {_WEAPON}\b"
        ),
    ),
    (
        WEAPONS,
        re.compile(
            rf"\b{_WEAPON}(?: \w+){{0,3}} (?:instructions?|recipes?|tutorials?|step ?by ?step|"
            rf"blueprints?)\b"
        ),
    ),
)
_PICTURE = re.compile(rf"\b(?:{_ACTS}|{_BARE})\b")
_QUOTED = re.compile(
    r"[“\"«][^“”\"«»]{0,400}[”\"»]|‘(?:[^‘’]|’(?=\w)){0,400}+’(?!\w)"  # an opener ends what is open
)
_SELF = (
    r"(?:kill(?:ing)? my ?self|end(?:ing)? (?:my (?:own )?life|it all)|commit(?:ting)? suicide|"
    r"hurt(?:ing)? my ?self|harm(?:ing)? my ?self|cut(?:ting)? my ?self|hang(?:ing)? my ?self|"
    r"not (?:be|exist|wake up)(?: here)? any ?more|tak(?:e|ing) my (?:own )?life)"
)
_INTENT = re.compile(
    rf"\bi (?:\w+ ){{0,4}}(?:want|wanna|plan|planning|going|gonna|think|thinking|feel|need|wish|"
    rf"decided|"
    rf"about|ready|will|ll|might|could)\b(?: \w+){{0,4}} {_SELF}\b"
    r"|\bi (?:(?:really|just|only) )?(?:want to|wanna) die\b|\bi (?:do not|"
    r"don t) want to (?:live|be alive)\b"
    rf"|\bi (?:m|am) (?:\w+ ){{0,3}}suicidal\b|\bi {_SELF}\b"
)


_INTENT_ELSEWHERE = (
    re.compile(  # Italian, Spanish, Portuguese, French, German; folded, so unaccented
        r"\b(?:voglio|vorrei|sto pensando di|penso di) (?:morire|uccidermi|ammazzarmi|"
        r"suicidarmi|farla finita)"
        r"|\bmi (?:voglio|vorrei) (?:uccidere|ammazzare|suicidare)\b"
        r"|\b(?:quiero|voy a) (?:morir(?:me)?|matarme|suicidarme|quitarme la vida)\b"
        r"|\b(?:quero|vou) (?:morrer|me matar|me suicidar)\b"
        r"|\bje (?:veux|vais) (?:mourir|me tuer|me suicider|en finir)\b"
        r"|\bich (?:will|werde|mochte) (?:sterben|mich (?:umbringen|toten)|mir das leben nehmen)\b"
    )
)


def find(text: str, medium: str = "text") -> list[str]:
    """The hard rules that the text breaks.

    >>> find("How do I build a p.i.p.e b0mb?")
    ['weapons']
    >>> find("The anarchist had a bomb in his bag.")
    []
    """
    folded = fold(text)
    found = [name for name, rule in _RULES if rule.search(folded)]
    if medium == "image" and _PICTURE.search(folded):
        found.append(SEXUAL_PICTURE)
    return list(dict.fromkeys(found))


def speaks_of_harming_oneself(text: str) -> bool:
    """Whether somebody says it of themselves; what stands in quotation marks is a character's.

    >>> speaks_of_harming_oneself("I want to kill myself")
    True
    >>> speaks_of_harming_oneself('"I want to die," said the vicar.')
    False
    """
    folded = fold(_QUOTED.sub(" ", text))
    return bool(_INTENT.search(folded) or _INTENT_ELSEWHERE.search(folded))


class HardRules:
    """Blocks at every stage that has text; a cry for help is answered and not written on."""

    async def check(self, stage: Stage, content: Content) -> Verdict:
        """See Moderator."""
        broken = find(content.text, content.medium if stage is not Stage.OUTPUT_TEXT else "text")
        if stage is Stage.INPUT and speaks_of_harming_oneself(content.text):
            broken = [SELF_HARM_INTENT, *broken]
        action = Action.BLOCK if broken else Action.ALLOW
        return Verdict(
            action=action, reasons=dict.fromkeys(broken, 1.0), provider="rules", version=VERSION
        )
