"""Presidio's patterns, as the extra `presidio`: no model, no network.

Only recognisers that check what they find are taken, since the looser ones take ordinary numbers for
licences. Those for mail and web addresses are left out: ours find them, and theirs would fetch a list.
"""

from collections.abc import Iterable
from importlib.metadata import version

from engine.study.export.scrub import Find, Finder
from engine.study.extras import needed

SURE = 0.5  # of 1; a pattern whose check digits are right has 1
RECOGNISERS = {
    "CreditCardRecognizer": "card",
    "CryptoRecognizer": "wallet",
    "EsNifRecognizer": "tax-id",
    "IbanRecognizer": "iban",
    "ItFiscalCodeRecognizer": "tax-id",
    "MacAddressRecognizer": "mac",
    "NhsRecognizer": "health-id",
    "UkNinoRecognizer": "tax-id",
    "UsSsnRecognizer": "tax-id",
}


def presidio_finder() -> tuple[Finder, str]:
    """Return a finder for the scrub, and its name with version. Raises SetupError without Presidio."""
    needed("presidio_analyzer", "presidio")
    from presidio_analyzer import predefined_recognizers

    made = [
        (getattr(predefined_recognizers, name)(), kind)
        for name, kind in sorted(RECOGNISERS.items())
    ]

    def finder(text: str) -> Iterable[Find]:
        for recogniser, kind in made:
            found = recogniser.analyze(text, recogniser.supported_entities)
            for one in found:
                if one.score >= SURE:
                    yield Find(kind=kind, start=one.start, end=one.end)

    return finder, f"presidio-analyzer {version('presidio-analyzer')}"
