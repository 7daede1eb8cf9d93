"""Drop paragraphs that hold a racial slur of the authors' day, and count them.

The words are kept in rot13, so that nobody reads them in passing. They match whole words, with
a plural; `Capitalised` ones only so, since the plain word means something harmless.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

from training.text.data.works import Drop, Work

REASON = "racial slur"
ANY_CASE = """
avttre avttneq_yl avttreyvat avt arteb artebr artebvq arterff qnexl qnexrl qnexvr fnzob cvpxnavaal
cvppnavaal wvtnobb oynpxnzbbe zhynggb zhynggbr dhnqebba bpgbebba unys-pnfgr unyspnfgr unys-oerrq
xvxr furral lvq qntb jbc jbt tbbx tbyyljbt tbyyvjbt cnxv fcvp puvanzna puvanzra puvaxl
fynag-rlrq zbatbybvq erqfxva fdhnj xnssve tlccb
"""
CAPITALISED = "Puvax Wnc Pbba"


def pattern(words: str) -> str:
    plain = codecs.decode(words, "rot13").split()
    return r"\b(?:" + "|".join(re.escape(word) for word in plain) + r")s?\b"


SLURS = re.compile(f"(?i:{pattern(ANY_CASE)})|{pattern(CAPITALISED)}")


def without_slurs(works: Iterable[Work], drops: list[Drop]) -> Iterator[Work]:
    for work in works:
        if work.prompt:  # an answer with a hole in it answers nothing
            if found := SLURS.search(f"{work.prompt}\n{work.text}"):
                drops.append(Drop(work=work.id, reason=REASON, text=found[0]))
            else:
                yield work
            continue
        kept = []
        for paragraph in work.paragraphs:
            if SLURS.search(paragraph):
                drops.append(Drop(work=work.id, reason=REASON, text=paragraph))
            else:
                kept.append(paragraph)
        yield work.with_paragraphs(kept)
