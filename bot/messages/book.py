"""A story as a file: Markdown, and EPUB 3 as its readers need it. Pure."""

import io
import zipfile
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bot.messages.escape import defang


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What stands in the file; `opening` is the person's own, `parts` are the answers."""

    id: str
    title: str
    voices: tuple[str, ...]
    date: str
    language: str
    opening: str
    parts: tuple[str, ...]
    notices: tuple[str, ...]


def markdown(book: Book) -> str:
    """Write plain paragraphs; markup in what people or models wrote counts for nothing.

    >>> book = Book(id="1", title="A *fox*", voices=("A",), date="2026-11-26", language="en",
    ...             opening="It rained.", parts=("So.",), notices=("AI-generated",))
    >>> print(markdown(book).splitlines()[0])
    # A \\*fox\\*
    """
    head = [f"# {_plain(book.title)}", f"*{_plain(', '.join(book.voices))} · {book.date}*"]
    told = [_plain(text) for text in (book.opening, *book.parts) if text]
    return "\n\n".join([*head, *told, "---", *map(_plain, book.notices)]) + "\n"


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in r"\`*_[]<>#|~" else c for c in defang(text))


CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>
"""
PACKAGE = """<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:pastiche:{id}</dc:identifier><dc:title>{title}</dc:title>
<dc:language>{language}</dc:language><dc:date>{date}</dc:date>{creators}
<dc:description>{notice}</dc:description>
<meta property="dcterms:modified">{date}T00:00:00Z</meta></metadata>
<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="story" href="story.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="story"/></spine></package>
"""
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="{language}">
<head><title>{title}</title></head><body>{body}</body></html>
"""


def epub(book: Book) -> bytes:
    title, language = _xml(book.title), book.language
    voices = "".join(f"<dc:creator>AI, {_xml(voice)}</dc:creator>" for voice in book.voices)
    notice = _xml(" ".join(book.notices))
    package = PACKAGE.format(
        id=book.id, title=title, language=language, date=book.date, creators=voices, notice=notice
    )
    byline = f"<p><em>{_xml(', '.join(book.voices))} · {book.date}</em></p>"
    told = "".join(_paragraphs(text) for text in (book.opening, *book.parts) if text)
    last = "<hr/>" + "".join(_paragraphs(text) for text in book.notices)
    story = PAGE.format(
        language=language, title=title, body=f"<h1>{title}</h1>{byline}{told}{last}"
    )
    contents = f'<nav epub:type="toc"><ol><li><a href="story.xhtml">{title}</a></li></ol></nav>'
    nav = PAGE.format(language=language, title=title, body=contents)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)  # first, unpacked
        for name, text in (
            ("META-INF/container.xml", CONTAINER),
            ("book.opf", package),
            ("nav.xhtml", nav),
            ("story.xhtml", story),
        ):
            archive.writestr(name, text)
    return made.getvalue()


def _xml(text: str) -> str:
    """Escape it, without the control characters that no XML may hold."""
    return escape("".join(c for c in text if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff")))


def _paragraphs(text: str) -> str:
    blocks = [block.strip() for block in text.split("\n\n")]
    return "".join(f"<p>{_xml(block)}</p>" for block in blocks if block)
