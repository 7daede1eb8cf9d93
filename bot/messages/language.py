"""Whether a request reads as English, guessed from its small words. Pure."""

import re
import unicodedata

FEWEST = 5  # words; less says nothing
_ENGLISH = frozenset(
    """the a an and or but of to in on at for with from by is are was were be been he she it they we you
    i his her their my your that this which who not no as if then when while there so what how do does
    did had has have will would could can about into after before over under one two me him them
    """.split()  # noqa: SIM905 - readable
)
_OTHERS = (
    frozenset(
        """il lo la gli le un una di che e è per con non del della dei delle nel nella sono era come più
        ma anche el los las una y que en por para con no es era como más pero su sus del al se
        le les des une et est dans pour avec pas sur qui que ne ce cette il elle nous vous au aux du
        der die das ein eine und ist nicht mit von zu den dem im für auf sich war wie aber auch
        o os as um uma e do da dos das em não com para é foi
        de het een en van is niet met op voor zijn dat
        """.split()  # noqa: SIM905
    )
    - _ENGLISH
)


def looks_english(text: str) -> bool:
    """True also where too little was written to tell.

    >>> looks_english("una storia di un faro nella nebbia che non torna")
    False
    >>> looks_english("a lighthouse in the fog, and nobody in it"), looks_english("Sherlock!")
    (True, True)
    """
    letters = [c for c in text if c.isalpha()]
    foreign = sum("LATIN" not in unicodedata.name(c, "") for c in letters)
    if letters and foreign / len(letters) > 0.5:
        return False
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) < FEWEST:
        return True
    english = sum(word in _ENGLISH for word in words)
    others = sum(word in _OTHERS for word in words)
    return others <= english or others < 2
