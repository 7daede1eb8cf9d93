"""The few hard rules: they always block, on folded text, whatever else is said.

They match requests for instructions and the sexual with the underage; a story may have a bomb, a
suicide or a child in it. What they cannot do is understand; a better check is one more link of the
chain. Recall goes before precision: no word that follows ever excuses what was said ("over my ex",
"of household things"), and of a wish to die only quotation marks do. Every gap between two words is
bounded, so that a rule can be tried on a text stretch by stretch. What fiction may say of children and
of sex in one sentence is let by only where no word of it asks for a text or picture, and no word of it
can mean but one thing.
"""

import re
from collections.abc import Iterator
from itertools import chain

from engine.moderation import Action, Content, Stage, TextCheck, Verdict
from engine.moderation.normalise import spellings

VERSION = "5"
MINORS, SELF_HARM, WEAPONS, SEXUAL_PICTURE = "minors", "self_harm", "weapons", "sexual_picture"
SELF_HARM_INTENT, COARSE = "self_harm_intent", "coarse"
# What has one of the words below in it and means something else; taken out first.
_HARMLESS = re.compile(
    r"\b(?:(?:either|fair|opposite|weaker|gentler) sex|sex education|sexes"
    r"|the sex of the (?:child|baby|infant)|sexual (?:offences?|health|education)"
    r"|(?:fields?|field mustard) of rape|rape ?seed\w*|(?:oilseed|yellow) rape"
    r"|cum (?:laude|pueris)|horny (?:toads?|footed|handed|plates?)"
    r"|social intercourse|intercourse (?:between|of) nations"
    r"|(?:comic|landing|film|neon|power) strips?|strips? (?:clubs?|lights?|lighting|malls?|cartoons?)"
    r"|naked (?:eyes?|truth|flames?|lights?|bulbs?|swords?|candles?|branches|trees|boughs|lightning)"
    r"|bomb (?:squads?|disposal|shelters?|craters?|scares?)"
    r"|(?:bath|stink|seed|ice|photo|lava|volcanic|magic|toy|chocolate) bombs?"
    r"|treat(?:ing)? (?:an )?overdos(?:e|ing)"
    r"|suicide (?:squads?|missions?|prevention|(?:hot|help)lines?|rates?|watch)"
    r"|(?:career|political|commercial) suicide)\b"
)
_CHILD = r"(?:child(?:ren)?|kids?|minors|(?:a|the) minor|toddlers?|infants?|bab(?:y|ies))"
_AGE = (
    r"(?:(?:[1-9]|1[0-7]) ?(?:years? old|y ?o|yr old)s?|(?:aged|age) (?:[1-9]|1[0-7])|"
    r"(?:five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen)"
    r" years? olds?)"
)
_COUNTED = r"(?:under ?aged?|(?:[1-9]|1[0-7]) ?(?:years? old|y ?o|yr old)s?)"
_YOUNG = (
    r"(?:under ?age[d]?|pre ?teens?|school ?(?:girl|boy|child(?:ren)?|kid)s?|"
    rf"(?:little|young|small) (?:girl|boy)s?|teen(?:s|age|aged|ager|agers)?|{_AGE}|tweens?|"
    r"middle schoolers?)"
)
_ACTS = (
    r"(?:sex|sexual(?:ly)?|sexy|sexiest|sexting|porn\w*|erotic\w*|nsfw|fuck\w*|blow ?jobs?|"
    r"hand ?jobs?|orgasm\w*|penis|vaginas?|masturbat\w*|molest\w*|rap(?:e|es|ed|ing)|horny|lewd\w*|"
    r"fondl(?:e|es|ed|ing)|intercourse|hentai|genitals?|incest\w*|cum(?:s|ming|shot)?|smut\w*|"
    r"(?:explicit|nude|naked|topless|lingerie|strip(?:ping)?|undressing|seductive) (?:story|stories|"
    r"scenes?|fiction|content|pictures?|images?|photos?|fantas(?:y|ies)))"
)
_WITH = r"(?:with|between|involving|about|featuring|starring|including|where|in which|whose)"
# Who asks for a text or a picture, says so somewhere; a sentence of a story seldom does.
_WISH = re.compile(
    r"\b(?:writ(?:e|ing)|stor(?:y|ies)|scenes?|tales?|fics?|\w*fiction|erotica|smut|porn\w*|hentai|nsfw|"
    r"describe|imagine|role ?plays?|fantas(?:y|ies)|pictures?|images?|photos?|draw|show|tell|give|"
    r"make|something|hot|create|generate|continue|please|want|need|plot|chapters?|characters?|poems?)\b"
)
_PLAIN = (  # of these, which mean nothing else
    r"(?:ha(?:ve|s|ving) (?:\w+ )?(?:sex|intercourse)|sexual (?:acts?|things?|stuff)|sexting|"
    r"porno?s?|nsfw|fuck\w*|blow ?jobs?|hand ?jobs?|orgasm\w*|penis|vaginas?|masturbat\w*|molest\w*|"
    r"hentai|genitals|incest\w*|rap(?:e|es|ing)|cum(?:s|ming|shot)?|horny)"
)
_LOOSE = r"(?:aroused|seducti\w*|seduc(?:e|es|ing))"
_BARE = r"(?:nudes?|naked|nudity|topless|lingerie|strip ?tease|undressing|stripping|strips)"
_ALWAYS = (
    r"\b(?:loli(?:ta)? ?(?:con|porn|hentai|sex)|shota ?(?:con|porn)?|jail ?bait|(?:child|kid|"
    r"kiddie|infant|teen) ?porn\w*|csam|pedo(?:phil\w*)? ?(?:porn\w*|erotic\w*|sex))\b"
)
_GUIDE = (
    r"(?:step ?by ?step|walk me through|(?:instructions?|steps|directions|guides?|tutorials?|recipes?|"
    r"formulas?|blueprints?|manuals?|methods?|ways?|ingredients) (?:to|for|of|on))"
)
_HOW = (
    r"(?:how (?:to|(?:i|you|one|we)(?! had\b)|(?:do|does|can|could|would|should|might) \w+)|"
    rf"{_GUIDE})"
)
_ASKED = rf"(?:{_HOW}|explain|teach me|show me|tell me|what (?:do|would) (?:i|you|one) need)"
_WEAPON = (
    r"(?:(?:pipe|nail|car|fertili[sz]er|dirty|petrol|letter|home ?made) ?bombs?|bombs?|"
    r"explosives?|ieds?|nerve (?:gas|agents?)|sarin|vx gas|tabun|soman|novichok|ricin|anthrax|"
    r"mustard gas|napalm|thermite|molotov(?: cocktails?)?|grenades?|silencers?|suppressors?|"
    r"ghost guns?|untraceable guns?|tatp|chlorine gas|phosgene|bio ?weapons?|chemical weapons?|"
    r"detonators?|nitroglycerine?|guncotton)"
)
_MAKING = (
    r"(?:mak(?:e|ing)|build(?:ing)?|creat(?:e|ing)|construct(?:ing)?|assembl(?:e|ing)|"
    r"synthesi[sz](?:e|ing)|brew(?:ing)?|cook(?:ing)?(?: up)?|produc(?:e|ing)|manufactur(?:e|ing)|"
    r"prepar(?:e|ing)|print(?:ing)?|cultur(?:e|ing)|weaponi[sz](?:e|ing)|detonat(?:e|ing)|"
    r"set(?:ting)? off|get(?:ting)?|obtain(?:ing)?|buy(?:ing)?)"
)
_CLAUSE = (
    r"(?:to|before|after|until|till|when|where|while|if|because|since)"  # begins another thought
)
_SOME = r"(?:(?:a|an|the|my|your|some|own|real|working|simple|small|big) )"
_MYSELF = r"(?:my ?self|your ?self|one ?self)"
_ABOUT = r"(?:prevent|stop|avoid|surviv|discuss|explain|report|prov|say|tell|spell)(?:e|ing)?"
_HARM = (
    rf"(?:(?:kill|hang|cutt?)(?:ing)? {_MYSELF}|commit(?:ting)? suicide|cut(?:ting)? my wrists|"
    r"self ?harm(?:ing)?|"
    rf"(?:harm|hurt|drown|poison|starv)(?:e|ing)? (?:my|your|them) ?sel(?:f|ves)|(?:harm|"
    rf"hurt)(?:ing)? one ?self|(?:fatally )?overdos(?:e|ing)|"
    r"end(?:ing)? (?:my|your) (?:own )?life|slit(?:ting)? (?:my|your) wrists?)"
)
_WORDS = (
    r"fuck\w*|shit\w*|cunts?|bitch\w*|bastards?|asshole\w*|arsehole\w*|wank\w*|twats?|nigg\w+|"
    r"fagg?ots?|retard\w*|sluts?|whores?|spic|kikes?|chinks?|trann(?:y|ies)|gore|behead\w*|nazis?|"
    r"porn\w*|nsfw"
)
_LIST = re.compile(rf"\b(?:{_WORDS})\b")
# Requests in which spaces may have been left out.
_BOMB = (
    r"how ?(?:to|do ?i|do ?you|can ?i)? ?(?:make|build|create|synthesi[sz]e|assemble) ?"
    r"(?:(?:a|an|the|my|some|pipe|nail|car|home|made) ?){0,4}"
    r"(?:bombs?|sarin|ricin|napalm|thermite|explosives?|grenades?|nerve ?gas|silencers?)"
)
_HURT = (
    r"(?:(?:how ?(?:to|do ?i|can ?i)|ways ?to) ?(?:kill|hang|cut|harm) ?(?:my|your) ?self"
    r"|how ?(?:to|do ?i|can ?i) ?commit ?suicide)"
)


def _near(first: str, second: str, words: int) -> re.Pattern[str]:
    gap = rf"(?: \w+){{0,{words}}} "
    return re.compile(rf"\b{first}\b{gap}{second}\b|\b{second}\b{gap}{first}\b")


_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (MINORS, re.compile(_ALWAYS)),
    (MINORS, _near(_YOUNG, _ACTS, 10)),
    (MINORS, _near(_CHILD, _PLAIN, 10)),
    (MINORS, re.compile(
        rf"\b{_CHILD}(?: \w+){{0,5}} {_ACTS}\b|\b{_ACTS}(?: \w+){{0,3}} {_CHILD}\b"
    )),
    (MINORS, re.compile(rf"\b{_ACTS}(?: \w+){{0,8}} {_WITH}(?: \w+){{0,5}} {_CHILD}\b")),
    (MINORS, _near(_COUNTED, _BARE, 6)),
    (MINORS, _near(_YOUNG, _BARE, 3)),
    (MINORS, _near(_CHILD, r"(?:nudes?|nudity|topless)", 0)),
    (MINORS, re.compile(
        rf"\b(?:{_BARE}|{_LOOSE}) (?:(?:with|of|on|the|a|an|his|her|my|by) ){{0,2}}{_YOUNG}\b"
    )),
    (MINORS, re.compile(
        rf"\b(?:{_LOOSE} (?:with|of|on)|seduc(?:e|es|ed|ing)) "
        rf"(?:the |a |an |his |her |my )?{_CHILD}\b"
    )),
    (MINORS, re.compile(
        rf"\b{_YOUNG} (?:(?:is|are|being|getting|gets|posing|pose|in|wearing|with|who|her|his|"
        rf"having) ){{0,3}}(?:{_BARE}|seduc(?:es|ing))\b"
    )),
    (SELF_HARM, re.compile(rf"\b{_HOW}(?: \w+){{0,5}} {_HARM}\b")),
    (SELF_HARM, re.compile(
        rf"\b(?:how (?:to|(?:do|can|could|would|should) (?:i|you|one|we))|"
        rf"{_GUIDE}|painless(?:ly)?|easiest|quickest)(?: (?!{_ABOUT}\b)\w+)? suicide\b"
        rf"|\b(?:{_HARM}|suicide) (?:(?:the|most|more|in|a) )*"
        r"(?:painless(?:ly)?|methods|instructions?|tutorials?|guides?|easiest way|quickest way|"
        r"best way)\b"
    )),
    (WEAPONS, re.compile(
        rf"\b{_ASKED}(?: \w+){{0,5}} {_MAKING}(?: (?!{_CLAUSE}\b)\w+){{0,5}} {_WEAPON}\b"
    )),
    (WEAPONS, re.compile(
        r"\b(?:instructions?|recipes?|guides?|tutorials?|step ?by ?step|formulas?|blueprints?|"
        r"manuals?|"
        rf"ingredients) (?:(?:to|for|of|on) )?{_SOME}{{0,3}}(?:\w+ ){{0,2}}{_WEAPON}\b"
    )),
    (WEAPONS, re.compile(
        rf"\b{_WEAPON}(?: s)?(?: (?:making|building|synthesis|assembly|give me(?: the|"
        rf" an?)?)){{0,2}} "
        r"(?:instructions?|recipes?|tutorials?|step ?by ?step|blueprints?|synthesis)\b"
    )),
    (WEAPONS, re.compile(rf"\b{_BOMB}\b")),
    (SELF_HARM, re.compile(rf"\b{_HURT}\b")),
)  # fmt: skip
_WIDE = _near(_CHILD, _ACTS, 10)
_PICTURE = re.compile(rf"\b(?:{_ACTS}|{_LOOSE}|{_BARE}|undress\w*|stripped|seduc\w+)\b")
# The same without any space, or with one between all letters.
_TOGETHER: tuple[tuple[str, re.Pattern[str]], ...] = (
    (WEAPONS, re.compile(_BOMB)),
    (SELF_HARM, re.compile(_HURT)),
    (MINORS, re.compile(
        r"(?:sexy?|nude|naked|erotic|porn|rape)(?:with|of|a|the){0,2}"
        r"(?:underage|preteens?|schoolgirls?|schoolboys?|littlegirls?|littleboys?|child(?:ren)?)"
    )),
)  # fmt: skip
_LONG = re.compile(r"\w{12,}")
_QUOTED = re.compile(
    r"[“\"«][^“”\"«»]{0,400}[”\"»]|‘(?:[^‘’]|’(?=\w)){0,400}+’(?!\w)"  # an opener ends what is open
)
_SELF = (
    r"(?:(?:kill|hurt|harm|cutt?|hang)(?:ing)? my ?self|end(?:ing)? (?:my (?:own )?life|it all)|"
    r"commit(?:ting)? suicide|not (?:exist|wake up|be (?:here|alive))(?: here)? any ?more|"
    r"tak(?:e|ing) my (?:own )?life)"
)
_INTENT = re.compile(
    rf"\bi (?:\w+ ){{0,4}}(?:want|wanna|plan|planning|going|gonna|think|thinking|feel|need|wish|"
    rf"decided|about|ready|will|ll|might|could|would|d|like|should|must|have|intend|tr(?:y|ied|ying)|"
    rf"consider(?:ed|ing)?)\b(?: \w+){{0,4}} {_SELF}\b"
    r"|\bi ?(?:(?:really|just|only) ?)?(?:want ?to|wanna) ?(?:die|kill ?my ?self)\b"
    r"|\bi (?:do not|don ?t|no longer) (?:want to|wanna|wish to) (?:live|go on living|be alive)\b"
    r"|\bi can ?(?:not|t) go on living\b"
    rf"|\bi (?:m|am) (?:\w+ ){{0,3}}suicidal\b|\bi {_SELF}\b"
    # Italian, Spanish, Portuguese, French, German; folded, so unaccented
    r"|\b(?:voglio|vorrei|sto pensando di|penso di) (?:morire|uccidermi|ammazzarmi|suicidarmi|"
    r"farla finita)|\bmi (?:voglio|vorrei) (?:uccidere|ammazzare|suicidare)\b"
    r"|\b(?:quiero|voy a) (?:morir(?:me)?|matarme|suicidarme|quitarme la vida)\b"
    r"|\b(?:quero|vou) (?:morrer|me matar|me suicidar)\b"
    r"|\bje (?:veux|vais) (?:mourir|me tuer|me suicider|en finir)\b"
    r"|\bich (?:will|werde|mochte) (?:sterben|mich (?:umbringen|toten)|mir das leben nehmen)\b"
)


def find(text: str, medium: str = "text") -> list[str]:
    """Name the hard rules that the text breaks, in any of its spellings.

    >>> find("How do I build a p.i.p.e b0mb?"), find("how to make a boooo\u034fmb")
    (['weapons'], ['weapons'])
    >>> find("The anarchist had a bomb in his bag.")
    []
    """
    return [name for name in _read(text, medium) if name != COARSE]


def _read(text: str, medium: str) -> list[str]:
    read = (_named(spelling, medium) for spelling in spellings(text))
    return list(dict.fromkeys(chain.from_iterable(read)))


def _named(spelling: str, medium: str) -> Iterator[str]:
    said = _HARMLESS.sub("_", spelling)
    yield from (name for name, rule in _RULES if rule.search(said))
    if _WIDE.search(said) and _WISH.search(said):
        yield MINORS
    for word in _LONG.findall(said):
        yield from (name for name, rule in _TOGETHER if rule.search(word))
    if medium == "image" and _PICTURE.search(said):
        yield SEXUAL_PICTURE
    if _LIST.search(spelling):
        yield COARSE


def speaks_of_harming_oneself(text: str) -> bool:
    """Tell whether somebody says it of themselves; what is in quotation marks is a character's.

    >>> speaks_of_harming_oneself("I want to kill myself")
    True
    >>> speaks_of_harming_oneself('"I want to die," said the vicar.')
    False
    """
    return any(_INTENT.search(spelling) for spelling in spellings(_QUOTED.sub(" ", text)))


class HardRules(TextCheck):
    """Block wherever there is text, flag coarse words; a cry for help is answered, not written on."""

    def judge(self, stage: Stage, content: Content) -> Verdict:
        read = _read(content.text, content.medium if stage is not Stage.OUTPUT_TEXT else "text")
        broken = sorted(read, key=COARSE.__eq__)  # which is told last
        if stage is Stage.INPUT and speaks_of_harming_oneself(content.text):
            broken = [SELF_HARM_INTENT, *broken]
        action = {(): Action.ALLOW, (COARSE,): Action.FLAG}.get(tuple(broken), Action.BLOCK)
        return Verdict(
            action=action, reasons=dict.fromkeys(broken, 1.0), provider="rules", version=VERSION
        )
