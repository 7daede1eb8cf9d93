"""Presidio's patterns, as the extra `presidio`: no model, no network.

Only recognisers that check what they find are taken, since the looser ones take ordinary numbers for
licences. Those for mail and web addresses are left out: ours find them, and theirs would fetch a list.
"""

from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version

from engine.errors import SetupError
from engine.study.disclosure.scrub import Find, Finder

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
    """Make a finder for the scrub, and its name with version. Raises SetupError without Presidio."""
    needed("presidio_analyzer", "presidio")
    from presidio_analyzer import predefined_recognizers

    names = sorted(RECOGNISERS.items())
    made = [(getattr(predefined_recognizers, name)(), kind) for name, kind in names]

    def finder(text: str) -> Iterable[Find]:
        for recogniser, kind in made:
            for one in recogniser.analyze(text, recogniser.supported_entities):
                if one.score >= SURE:
                    yield Find(kind=kind, start=one.start, end=one.end)

    return finder, f"presidio-analyzer {version('presidio-analyzer')}"


def needed(package: str, extra: str) -> None:
    """Raise SetupError, which says how to install it, where an optional package is not there."""
    try:
        import_module(package)
    except ImportError:
        raise SetupError(
            f"This needs {package}, which is not installed. In the folder of the program: "
            f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
        ) from None
