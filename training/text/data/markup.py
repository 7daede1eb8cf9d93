"""Take the running text out of a page: headings and paragraphs, no notes, no furniture. Pure."""

from html.parser import HTMLParser

BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "li", "dd", "dt", "tr"})
SKIPPED = frozenset({"head", "script", "style", "nav", "figure", "table"})


class PlainText(HTMLParser):
    """Collect paragraphs; note marks (links with a `noteref` type) are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self.words: list[str] = []
        self.skipping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        note = tag == "a" and "noteref" in (dict(attrs).get("epub:type") or "")
        if tag == "br":
            self.words.append("" if self.skipping else "\n")
        elif self.skipping or tag in SKIPPED or note:
            self.skipping.append(tag)
        elif tag in BLOCKS:
            self.close_paragraph()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Let only a line break matter, of tags without content."""
        if tag == "br":
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.skipping:
            if tag in self.skipping:
                while self.skipping.pop() != tag:
                    pass
        elif tag in BLOCKS:
            self.close_paragraph()

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.words.append(data)

    def close_paragraph(self) -> None:
        text = "".join(self.words).strip()
        if text:
            self.paragraphs.append(text)
        self.words = []


def text_of(page: str) -> str:
    """Take the text out of an (X)HTML page, paragraphs parted by blank lines; leave plain text."""
    if "<html" not in page[:2000].lower():
        return page
    parser = PlainText()
    parser.feed(page)
    parser.close()
    parser.close_paragraph()
    return "\n\n".join(parser.paragraphs)
