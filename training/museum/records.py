"""The museum's JSON, validated once, and the piece of jewellery that comes out of it.

Two shapes of search answers are in use (with `_imagesMeta` and without); nearly every field may be
empty, null or missing. Field names: developers.vam.ac.uk/guide/v2.
"""

import html
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from training.errors import SourceFault

TAG = re.compile(r"<[^>]{1,80}>")


def plain(value: Any) -> str:
    """A text without markup, doubled spaces or None.

    >>> plain("<i>Tiara</i>,  gold &amp; pearls"), plain(None)
    ('Tiara, gold & pearls', '')
    """
    return " ".join(html.unescape(TAG.sub("", str(value or ""))).split())


Text = Annotated[str, BeforeValidator(plain)]


def many(value: Any) -> Any:
    return [] if value is None else value


def table(value: Any) -> Any:
    return {} if value is None else value


class Unreadable(SourceFault):
    """One record has not the shape it should have; the next may."""


class Shape(BaseModel):
    """Read a part of an answer; fields that are not used are let be."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Named(Shape):
    text: Text = ""


class ImageMeta(Shape):
    asset: Text = Field(default="", alias="assetRef")
    copyright: Text = ""
    sensitive: bool | None = Field(default=None, alias="sensitiveImage")


class Links(Shape):
    base: Text = Field(default="", alias="_iiif_image_base_url")


class Maker(Shape):
    name: Text = ""


Metas = Annotated[tuple[ImageMeta, ...], BeforeValidator(many)]


class Found(Shape):
    system_number: str = Field(alias="systemNumber", pattern=r"^O[0-9]+$")
    accession_number: Text = Field(default="", alias="accessionNumber")
    object_type: Text = Field(default="", alias="objectType")
    title: Text = Field(default="", alias="_primaryTitle")
    summary: Text = Field(default="", alias="_summary")
    maker: Annotated[Maker, BeforeValidator(table)] = Field(default=Maker(), alias="_primaryMaker")
    date: Text = Field(default="", alias="_primaryDate")
    place: Text = Field(default="", alias="_primaryPlace")
    links: Annotated[Links, BeforeValidator(table)] = Field(default=Links(), alias="_images")
    metas: Metas = Field(default=(), alias="_imagesMeta")

    @property
    def number(self) -> int:
        return int(self.system_number[1:])


class Titled(Shape):
    title: Text = ""


class Dated(Shape):
    date: Annotated[Named, BeforeValidator(table)] = Named()


class Placed(Shape):
    place: Annotated[Named, BeforeValidator(table)] = Named()


class Made(Shape):
    name: Annotated[Named, BeforeValidator(table)] = Named()


class Full(Shape):
    titles: Annotated[tuple[Titled, ...], BeforeValidator(many)] = ()
    summary: Text = Field(default="", alias="summaryDescription")
    brief: Text = Field(default="", alias="briefDescription")
    physical: Text = Field(default="", alias="physicalDescription")
    materials: Annotated[tuple[Named, ...], BeforeValidator(many)] = ()
    techniques: Annotated[tuple[Named, ...], BeforeValidator(many)] = ()
    styles: Annotated[tuple[Named, ...], BeforeValidator(many)] = ()
    materials_and_techniques: Text = Field(default="", alias="materialsAndTechniques")
    makers: Annotated[tuple[Made, ...], BeforeValidator(many)] = Field(
        default=(), alias="artistMakerPerson"
    )
    dates: Annotated[tuple[Dated, ...], BeforeValidator(many)] = Field(
        default=(), alias="productionDates"
    )
    places: Annotated[tuple[Placed, ...], BeforeValidator(many)] = Field(
        default=(), alias="placesOfOrigin"
    )
    credit: Text = Field(default="", alias="creditLine")
    modified: Text = Field(default="", alias="recordModificationDate")


class FullImages(Shape):
    """Read the pictures in a full record's `meta`."""

    primary: Text = Field(default="", alias="_iiif_image")
    others: Annotated[tuple[Text, ...], BeforeValidator(many)] = Field(
        default=(), alias="_alt_iiif_image"
    )
    metas: Metas = Field(default=(), alias="_images_meta")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Know one picture: its id, IIIF base address (ends with "/") and copyright line."""

    image_id: str
    base: str
    copyright: str
    sensitive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Know one museum object, with the terms that found it."""

    system_number: str
    accession_number: str
    title: str
    object_type: str
    text: str
    text_field: str
    maker: str
    date: str
    place: str
    materials: tuple[str, ...]
    techniques: tuple[str, ...]
    styles: tuple[str, ...]
    credit: str
    modified: str
    views: tuple[View, ...]
    terms: tuple[str, ...] = field(default=())


def read_found(row: Any) -> Found:
    """Check one search record; raises Unreadable naming the field at fault."""
    try:
        return Found.model_validate(row)
    except ValidationError as error:
        places = ", ".join(str(fault["loc"][0]) for fault in error.errors() if fault["loc"])
        raise Unreadable(f"a record cannot be read ({places or 'not an object'})") from error


def read_full(answer: Any) -> tuple[Full, FullImages]:
    """Check a full record and its pictures; raises Unreadable for another shape."""
    try:
        meta = table(answer.get("meta"))
        return (
            Full.model_validate(answer["record"]),
            FullImages.model_validate(table(meta.get("images"))),
        )
    except (ValidationError, KeyError, AttributeError) as error:
        raise Unreadable("a full record cannot be read") from error


def piece_of(
    found: Found,
    full: Full | None,
    images: FullImages | None,
    terms: tuple[str, ...],
    all_views: bool = False,
) -> Piece:
    """Join the two records; the first text that is not empty wins, and is named."""
    full, images = full or Full(), images or FullImages()
    title = first(found.title, *(entry.title for entry in full.titles))
    texts = {
        "_summary": found.summary,
        "summaryDescription": full.summary,
        "briefDescription": full.brief,
        "physicalDescription": full.physical,
        "_primaryTitle": title,
        "objectType": found.object_type,
    }
    text_field = next((name for name, text in texts.items() if text), "")
    return Piece(
        system_number=found.system_number,
        accession_number=found.accession_number,
        title=title or found.object_type,
        object_type=found.object_type,
        text=texts.get(text_field, ""),
        text_field=text_field,
        maker=first(found.maker.name, *(entry.name.text for entry in full.makers)),
        date=first(found.date, *(entry.date.text for entry in full.dates)),
        place=first(found.place, *(entry.place.text for entry in full.places)),
        materials=texts_of(full.materials),
        techniques=texts_of(full.techniques),
        styles=texts_of(full.styles),
        credit=full.credit,
        modified=full.modified,
        views=views_of(found, images, all_views),
        terms=terms,
    )


def views_of(found: Found, images: FullImages, all_views: bool) -> tuple[View, ...]:
    """List the first picture, or all; none where the museum gives no address."""
    bases = [first(found.links.base, images.primary)]
    bases += images.others if all_views else ()
    metas = {meta.asset: meta for meta in (*images.metas, *found.metas)}
    views = {}
    for base in filter(None, bases):
        name = base.rstrip("/").rpartition("/")[2]
        meta = metas.get(name, ImageMeta())
        views[name] = View(
            image_id=name,
            base=base.rstrip("/") + "/",
            copyright=meta.copyright,
            sensitive=bool(meta.sensitive),
        )
    return tuple(views.values())


def first(*texts: str) -> str:
    """The first text that is not empty.

    >>> first("", "Tiara", "Crown")
    'Tiara'
    """
    return next(filter(None, texts), "")


def texts_of(entries: tuple[Named, ...]) -> tuple[str, ...]:
    """List the words of thesaurus entries, without empty and doubled ones."""
    return tuple(dict.fromkeys(entry.text for entry in entries if entry.text))
