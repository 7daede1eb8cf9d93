"""The scrub: take handles, ids, addresses, numbers and tokens out of a text.

Each find is replaced by a placeholder that says what stood there (`[email]`). The patterns are our own
because the general tools know no chat platforms. Every pattern has bounded repeats and begins where a
word begins, so that the time grows with the length of the text and no faster. **Names of people and
places are not found**: that takes a reader, for whom `suspects` lists what looks like a name.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    kind: str
    start: int
    end: int


def _luhn(digits: str) -> bool:
    """Check a payment card's digit (ISO/IEC 7812).

    >>> _luhn("4539 1488 0343 6467"), _luhn("4539 1488 0343 6468")
    (True, False)
    """
    numbers = [int(digit) for digit in digits if digit.isdigit()][::-1]
    doubled = (sum(divmod(2 * number, 10)) for number in numbers[1::2])
    return 13 <= len(numbers) <= 19 and (sum(numbers[::2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    """Check an IBAN's digits (ISO 7064, mod 97).

    >>> _iban("DE89 3704 0044 0532 0130 00"), _iban("DE88 3704 0044 0532 0130 00")
    (True, False)
    """
    plain = text.replace(" ", "").upper()
    turned = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def _address(text: str) -> bool:
    """Tell whether it is an IP address, a zone apart.

    >>> _address("192.168.0.300"), _address("2001:db8::1"), _address("12:30:45")
    (False, True, False)
    """
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _telephone(text: str) -> bool:
    """Tell whether it has a telephone number's digits, 7 to 15 (ITU-T E.164), and is nothing else that
    we know: a date, years, a fraction, an ISBN.

    >>> _telephone("+39 06 1234 5678"), _telephone("1890-1937"), _telephone("3.14159265")
    (True, False, False)
    """
    least = 7 if text.startswith(("+", "00", "(")) else 9
    return least <= sum(map(str.isdigit, text)) <= 15 and not _NO_TELEPHONE.fullmatch(text)


_YEAR = r"(?:1\d|20)\d\d"
_NO_TELEPHONE = re.compile(
    rf"{_YEAR}(?:[-–/. ]{_YEAR})*"
    r"|\d{4}[-–/. ]\d{1,2}[-–/. ]\d{1,2}|\d{1,3}\.\d+|97[89][- ]?\d[\d -]+"
)

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,62})"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{1,8}}"
_PIECE = r"[a-z0-9]{1,4}"

# Earlier ones win where two overlap at one place: the more telling comes first.
_PATTERNS = (
    (
        "webhook",
        rf"(?<![\w.])(?:https?://)?(?:{_LABEL}\.){{0,3}}discord(?:app)?\.com/api/(?:v\d{{1,2}}/)?"
        r"webhooks/\d{5,20}/[\w-]{20,100}",
    ),
    ("token", r"(?<![\w.-])[\w-]{23,30}\.[\w-]{6,8}\.[\w-]{27,50}(?![\w-])"),  # Discord
    ("token", r"(?<![\w-])(?:bot)?\d{8,10}:[\w-]{33,37}(?![\w-])"),  # Telegram
    ("token", r"(?<![\w-])(?:sk|pk|ghp|gho|hf|xox[abp])[-_][\w-]{20,200}"),
    ("token", r"(?<![\w-])eyj[\w-]{10,2000}\.eyj[\w-]{10,2000}\.[\w-]{10,2000}"),  # JWT
    ("mention", r"<(?:@[!&]?|#|a?:\w{1,32}:|t:)\d{1,20}(?::[a-z])?>"),
    ("mention", r"<id:[a-z]{1,20}>|(?<!\w)@(?:everyone|here)\b"),
    (
        "invite",
        r"(?<![\w.])(?:https?://)?(?:www\.)?(?:discord\.gg|discord(?:app)?\.com/invite|dsc\.gg)"
        r"/[\w-]{2,64}",
    ),
    (
        "link",
        r"(?<![\w.])(?:https?://)?(?:t\.me|telegram\.(?:me|dog))/(?:joinchat/|\+|c/|s/)?[\w+/-]{1,120}",
    ),
    ("link", r"(?<!\w)tg://[^\s<>\"]{1,300}"),
    (
        "link",
        r"(?<![\w.])(?:https?://)?(?:ptb\.|canary\.)?discord(?:app)?\.com/(?:channels|users)"
        r"/[\d/@me]{1,80}",
    ),
    ("link", r"(?<!\w)[a-z][a-z0-9+.-]{1,15}://[^\s/@<>\"]{1,200}@[^\s<>\"]{1,300}"),
    ("email", rf"(?<![\w.%+-])[\w.%+-]{{1,64}}@{_HOST}"),
    ("iban", r"(?<!\w)[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,4})?(?!\w)"),
    ("card", r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])"),
    ("ip", r"(?<![\w.:])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)"),
    ("ip", rf"(?<![\w:])(?:{_PIECE})?(?::{{1,2}}{_PIECE}){{1,7}}(?:::)?(?![\w:])"),
    ("handle", r"(?<![\w.])[^\s@#:<>`]{2,32}#\d{4}(?!\d)"),  # the older Discord names
    (
        "handle",
        r"(?<![\w@/.])@[a-z0-9_](?:[\w.]{0,62}\w)?(?:@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8})?",
    ),
    ("id", r"(?<![\w.])-100\d{8,13}(?!\d)"),  # Telegram's groups
    ("id", r"(?<![\w.+-])\d{17,20}(?![\w.])"),  # Discord's snowflakes
    ("id", r"(?<!\w)(?:user|chat|telegram|discord|tg)[ _-]?id ?[:=#]? ?-?\d{5,20}(?!\d)"),
    (
        "phone",
        # A run of digits is taken whole: cut in all ways it would take minutes.
        r"(?<![\w.+-])\+?\(?\d{1,39}+(?:(?:\)[ ./–-]?\(?|[ ./–-]\(?|\()\d{1,39}+){0,7}\)?(?!\w)",
    ),
)
# What else must hold of a match of that kind.
_CHECKS = {"iban": _iban, "card": _luhn, "ip": _address, "phone": _telephone}
KINDS = tuple(dict.fromkeys(kind for kind, _ in _PATTERNS))
_COMPILED = [(kind, re.compile(pattern, re.I)) for kind, pattern in _PATTERNS]

TRIALS = 9  # lengths of one match that are checked: a telephone number has up to eight groups
_GAP = re.compile(r"[ ./–-]+")

# Two or three words in capitals inside a sentence: perhaps a name.
_NAME = re.compile(r"(?<=[a-zà-ÿ,;:] )[A-ZÀ-Þ][a-zà-ÿ'’-]{1,30}(?: [A-ZÀ-Þ][a-zà-ÿ'’-]{1,30}){1,2}")
_CALLED = re.compile(
    r"\b(?i:my name is|i am called|call me|mi chiamo|my (?:wife|husband|son|daughter|boss)) "
    r"([A-ZÀ-Þ][^\W\d_]{1,30}(?: [A-ZÀ-Þ][^\W\d_]{1,30})?)"
)


def find(text: str) -> list[Find]:
    """Find what is to be taken out, in order, none overlapping another."""
    found: list[Find] = []
    for kind, pattern in _COMPILED:
        spans: Iterable[tuple[int, int]] = (one.span() for one in pattern.finditer(text))
        if kind in _CHECKS:
            spans = _checked(text, pattern, _CHECKS[kind])
        found += [Find(kind=kind, start=start, end=end) for start, end in spans]
    return _apart(found)


def _checked(
    text: str, pattern: re.Pattern[str], check: Callable[[str], bool]
) -> Iterable[tuple[int, int]]:
    """Find matches that pass the check, whole or cut at a gap; one that fails hides none within it."""
    place = 0
    while (match := pattern.search(text, place)) is not None:
        start, place = match.start(), match.start() + 1
        ends = [match.end(), *(start + gap.start() for gap in _GAP.finditer(match.group()))]
        for end in sorted(ends, reverse=True)[:TRIALS]:
            if check(text[start:end]):
                yield start, end
                place = end
                break


def _apart(found: list[Find]) -> list[Find]:
    """Merge those that overlap, into the kind that came first in `found`."""
    ranked = sorted(enumerate(found), key=lambda pair: (pair[1].start, pair[0]))
    taken: list[tuple[int, Find]] = []
    for rank, one in ranked:
        if not taken or one.start >= taken[-1][1].end:
            taken.append((rank, one))
            continue
        before, last = taken[-1]
        kind = last.kind if before < rank else one.kind
        whole = Find(kind=kind, start=last.start, end=max(last.end, one.end))
        taken[-1] = (min(before, rank), whole)
    return [one for _, one in taken]


def suspects(text: str) -> list[Find]:
    """Find what may be a name, for a reader to decide: nothing here is taken out by itself."""
    found = [Find(kind="name?", start=m.start(), end=m.end()) for m in _NAME.finditer(text)]
    found += [Find(kind="name?", start=m.start(1), end=m.end(1)) for m in _CALLED.finditer(text)]
    return _apart(found)


def replaced(text: str, found: Iterable[Find]) -> str:
    """Put placeholders in the place of the finds (in order, apart)."""
    parts: list[str] = []
    end = 0
    for one in found:
        parts += (text[end : one.start], f"[{one.kind.rstrip('?')}]")
        end = one.end
    return "".join((*parts, text[end:]))
