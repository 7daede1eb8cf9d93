"""Read the museum's JSON, validated once; nearly every field may be empty, null or missing.

Field names: developers.vam.ac.uk/guide/v2. Two shapes of search answers are in use.
"""

import html
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from training.errors import SourceFault

TAG = re.compile(r"<[^>]{1,80}>")


def plain(value: Any) -> str:
    """Take markup, doubled spaces and None out of a text.

    >>> plain("<i>Tiara</i>,  gold &amp; pearls"), plain(None)
    ('Tiara, gold & pearls', '')
    """
    return " ".join(html.unescape(TAG.sub("", str(value or ""))).split())


def at(*path: str) -> BeforeValidator:
    """Read the plain text at a path of objects, any of which may be null or missing."""

    def read(value: Any) -> str:
        for key in path:
            if value is not None and not isinstance(value, dict):
                raise ValueError("not an object")
            value = (value or {}).get(key)
        return plain(value)

    return BeforeValidator(read)


def each(*path: str) -> BeforeValidator:
    """Read the texts at a path of each object of a list, without empty and doubled ones."""
    read: Any = at(*path).func

    def read_all(value: Any) -> tuple[str, ...]:
        if value is not None and not isinstance(value, list):
            raise ValueError("not a list")
        return tuple(filter(None, dict.fromkeys(read(entry) for entry in value or ())))

    return BeforeValidator(read_all)


Text = Annotated[str, at()]
Texts = tuple[str, ...]


class Unreadable(SourceFault):
    """One record has not the shape it should have; the next may."""


class Shape(BaseModel):
    """Read a part of an answer; fields that are not used are let be."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class ImageMeta(Shape):
    asset: Text = Field(default="", alias="assetRef")
    copyright: Text = ""
    sensitive: bool | None = Field(default=None, alias="sensitiveImage")


Metas = Annotated[tuple[ImageMeta, ...], BeforeValidator(lambda value: value or ())]


class Found(Shape):
    system_number: str = Field(alias="systemNumber", pattern=r"^O[0-9]+$")
    accession_number: Text = Field(default="", alias="accessionNumber")
    object_type: Text = Field(default="", alias="objectType")
    title: Text = Field(default="", alias="_primaryTitle")
    summary: Text = Field(default="", alias="_summary")
    maker: Annotated[str, at("name")] = Field(default="", alias="_primaryMaker")
    date: Text = Field(default="", alias="_primaryDate")
    place: Text = Field(default="", alias="_primaryPlace")
    base: Annotated[str, at("_iiif_image_base_url")] = Field(default="", alias="_images")
    metas: Metas = Field(default=(), alias="_imagesMeta")

    @property
    def number(self) -> int:
        return int(self.system_number[1:])

    @property
    def image_id(self) -> str:
        return self.base.rstrip("/").rpartition("/")[2]


class Full(Shape):
    titles: Annotated[Texts, each("title")] = ()
    summary: Text = Field(default="", alias="summaryDescription")
    brief: Text = Field(default="", alias="briefDescription")
    physical: Text = Field(default="", alias="physicalDescription")
    materials: Annotated[Texts, each("text")] = ()
    techniques: Annotated[Texts, each("text")] = ()
    styles: Annotated[Texts, each("text")] = ()
    makers: Annotated[Texts, each("name", "text")] = Field(default=(), alias="artistMakerPerson")
    dates: Annotated[Texts, each("date", "text")] = Field(default=(), alias="productionDates")
    places: Annotated[Texts, each("place", "text")] = Field(default=(), alias="placesOfOrigin")
    credit: Text = Field(default="", alias="creditLine")
    modified: Text = Field(default="", alias="recordModificationDate")
    metas: Metas = Field(default=(), alias="_images_meta")


def read_found(row: Any) -> Found:
    """Check one search record; raises Unreadable naming the field at fault."""
    try:
        return Found.model_validate(row)
    except ValidationError as error:
        places = ", ".join(str(fault["loc"][0]) for fault in error.errors() if fault["loc"])
        raise Unreadable(f"a record cannot be read ({places or 'not an object'})") from error


def read_full(answer: Any) -> Full:
    """Check a full record and its pictures; raises Unreadable for another shape."""
    try:
        images = (answer.get("meta") or {}).get("images") or {}
        return Full.model_validate(answer["record"] | {"_images_meta": images.get("_images_meta")})
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable("a full record cannot be read") from error


def facts_of(found: Found, full: Full, terms: Texts) -> dict[str, Any]:
    """Join the two records; the first text that is not empty wins, and is named."""
    title = first(found.title, *full.titles)
    texts = {
        "_summary": found.summary,
        "summaryDescription": full.summary,
        "briefDescription": full.brief,
        "physicalDescription": full.physical,
        "_primaryTitle": title,
        "objectType": found.object_type,
    }
    text_field = next((name for name, text in texts.items() if text), "")
    return {
        "text": texts.get(text_field, ""),
        "text_field": text_field,
        "system_number": found.system_number,
        "accession_number": found.accession_number,
        "title": title or found.object_type,
        "object_type": found.object_type,
        "maker": first(found.maker, *full.makers),
        "date": first(found.date, *full.dates),
        "place": first(found.place, *full.places),
        "materials": list(full.materials),
        "techniques": list(full.techniques),
        "styles": list(full.styles),
        "credit": full.credit,
        "matched_terms": list(terms),
        "record_modified": full.modified,
    }


def meta_of(found: Found, full: Full) -> ImageMeta:
    metas = {meta.asset: meta for meta in (*full.metas, *found.metas)}
    return metas.get(found.image_id, ImageMeta())


def first(*texts: str) -> str:
    return next(filter(None, texts), "")
