"""A captioner without a model and without a key: the museum's own record, in the same form."""

from training.captioning.description import Answer, Description
from training.captioning.questions import Question


class CatalogueCaptioner:
    """Compose what the catalogue says; its captions expire with the museum's texts."""

    name = "catalogue"
    model = ""
    kept = False

    def describe(self, question: Question) -> Answer:
        row = question.row
        text = str(row.get("text") or row.get("caption") or "")
        dated = " ".join(str(row[key]) for key in ("place", "date") if row.get(key))
        styles = ", ".join(row.get("styles") or [])
        description = Description(
            object_type=str(row.get("object_type") or row.get("title") or "").lower(),
            materials=list(row.get("materials") or []),
            craftsmanship=", ".join(row.get("techniques") or [])
            or text.partition(". ")[0].rstrip("."),
            gemstones_and_settings="",
            style_and_history=", ".join(filter(None, (styles, dated))),
            condition="",
            uncertain=[],
        )
        return Answer(outcome="ok", description=description, raw=text)
