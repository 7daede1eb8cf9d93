"""/news about somebody who may be alive is made up: neutral topics only, or a kind no.

Names are guessed by their form (two capitalised words, a title and a name) and by a short list of
people whom everybody knows. A guess too many costs a headline; a guess too few would put words into
somebody's mouth.
"""

import re

from engine.moderation import Action, Content, Stage, TextCheck, Verdict

LIVING = "living_person"

_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Dr|Sir|Dame|Lord|Lady|President|Prime Minister|Premier|Chancellor|Minister|"
    r"Senator|Congress(?:man|woman)|King|Queen|Prince|Princess|Pope|Mayor|Governor|Judge|Justice|"
    r"Professor|Captain|Coach|MP|CEO)"
)
_TITLED = re.compile(rf"\b{_TITLE}\.?\s+(?:[A-Z][\w'’-]+)")
_FAMOUS = re.compile(
    r"\b(?:Trump|Biden|Harris|Obama|Clinton|Putin|Zelensk\w+|Starmer|Sunak|Farage|Macron|Meloni|"
    r"Merz|Scholz|Merkel|Orb[aá]n|Erdo[gğ]an|Netanyahu|Modi|Xi Jinping|Kim Jong|Musk|Bezos|"
    r"Zuckerberg|Altman|Swift|Beyonc[eé]|Rihanna|Kardashian|Messi|Ronaldo|Mbapp[eé]|Thunberg|"
    r"Rowling|Mattarella|Salvini|"
    r"King Charles|Prince William|Prince Harry|Kate Middleton|Meghan Markle|Pope Leo)\b",
    re.IGNORECASE,
)
_PAIR = re.compile(r"\b([A-Z][a-z'’]+)\s+(?:[A-Z]\.\s+)?([A-Z][a-z'’]+(?:-[A-Z][a-z]+)?)\b")
_NOT_NAMES = frozenset(
    """the a an and but or in on at of to by for with from north south east west new old great upper
    lower saint st mount lake river sea bay cape port fort bridge street road avenue square park
    hill town city county state states united kingdom republic union nations council house court
    bank school college university hospital church cathedral museum library theatre station airport
    hotel hall palace castle club football cricket rugby world cup league premier champions olympic
    games prime minister president government parliament congress senate department ministry police
    fire royal national international european american british english scottish welsh irish
    italian french german spanish african asian christmas easter year day monday tuesday wednesday
    thursday friday saturday sunday january february march april may june july august september
    october november december storm storms cornwall london england scotland wales ireland york
    zealand america africa asia europe climate change artificial intelligence write news headline
    story breaking high low supreme central coast guard met office civil
    """.split()  # noqa: SIM905 - readable
)
_TOUCHY = re.compile(
    r"\b(?:arrest\w*|accus\w+|alleg\w+|crime|criminal\w*|convict\w+|guilty|jail\w*|prison|trial|"
    r"sued|suing|lawsuit|fraud\w*|corrupt\w*|brib\w+|scandal\w*|affair|divorc\w+|pregnan\w+|sex\w*|"
    r"nude|naked|rap(?:e|es|ed|"
    r"ist)|assault\w*|abus\w+|murder\w*|kill\w*|dead|death|dies|died|dying|assassinat\w+|"
    r"shot|attack\w*|overdos\w+|drugs?|cocaine|drunk|addict\w*|rehab|ill|illness|cancer|dementia|"
    r"disease|hiv|hospitali\w+|resign\w*|impeach\w*|election|vot(?:e|es|ed|ing)|poll(?:s|ing)?|"
    r"cheat\w*|dop(?:ed|ing)|racis\w+|nazi\w*|terroris\w+|gay|lesbian|transgender|religio\w+|"
    r"confess\w*|admits?|admitted|steal\w*|stole\w*|theft|lie[ds]?|lying|war crimes?|traitor|"
    r"treason|spy|spies|leak\w*|hates?|insult\w*|"
    r"secret\w*)\b",
    re.IGNORECASE,
)


def named(text: str) -> bool:
    """Tell whether the text seems to name a person.

    >>> named("Storms batter the coast of Cornwall"), named("Jane Smith opens a library")
    (False, True)
    """
    if _TITLED.search(text) or _FAMOUS.search(text):
        return True
    pairs = ((m[1].lower(), m[2].lower()) for m in _PAIR.finditer(text))
    return any(not _NOT_NAMES.intersection(pair) for pair in pairs)


class LivingPeople(TextCheck):
    """For /news alone: a named person with a touchy matter, asked for or made up, goes no further."""

    def judge(self, stage: Stage, content: Content) -> Verdict:
        asked = content.text if stage is Stage.INPUT else content.asked
        if content.command != "news" or not named(asked) or not _TOUCHY.search(content.text):
            return Verdict(provider="people")
        actions = {Stage.INPUT: Action.BLOCK, Stage.OUTPUT_TEXT: Action.HOLD}
        return Verdict(
            action=actions.get(stage, Action.ALLOW), reasons={LIVING: 0.8}, provider="people"
        )
