"""What answers look like, for the OpenAPI document and for those who check answers against it.

Answers are made by the library's own `to_dict`s, which the command line prints, too; these models only describe them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mien.server.problems import MEDIA_TYPE

Unit = Annotated[float, Field(ge=0, le=1)]
Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels")]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="x, y in pixels")]


class _Described(BaseModel):
    model_config = ConfigDict(extra="allow")


class ProblemAnswer(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str = Field(description="A word that programs go by; it never changes.")
    detail: str = Field(description="One line: what is wrong, and what to do.")


class ImageSize(_Described):
    """Of a picture, as displayed."""

    path: str | None = Field(default=None, description="As the caller calls it.")
    width: int
    height: int


class Label(_Described):
    """One of several, and how likely each is."""

    label: str
    confidence: Unit
    scores: dict[str, Unit] | None = None


class Age(_Described):
    """How old somebody looks."""

    years: float
    sd: float = Field(description="Standard deviation, in years.")


class Identity(_Described):
    """Who it is; without `id`: unknown."""

    person: str | None = None
    id: str | None = None
    similarity: float | None = None
    probability: Unit | None = None


class FaceAnswer(_Described):
    """One face; what was not asked for is absent."""

    box: Box
    score: Unit
    landmarks: Annotated[list[Point], Field(min_length=5, max_length=5)]
    embedding: list[float] | None = None
    quality: dict[str, Any] | None = None
    pose: dict[str, float] | None = None
    expression: Label | None = None
    age: Age | None = None
    gender: Label | None = None
    eyes: dict[str, Any] | None = None
    mouth: dict[str, Any] | None = None
    identity: Identity | None = None
    candidates: list[Identity] | None = None


class PictureAnswer(_Described):
    """One picture."""

    schema_: int = Field(alias="schema")
    image: ImageSize
    faces: list[FaceAnswer]


class FailedPicture(BaseModel):
    """A picture of several that cannot be used."""

    image: dict[str, str]
    error: ProblemAnswer


class PicturesAnswer(BaseModel):
    """Several pictures, in the order in which they came."""

    schema_: int = Field(alias="schema")
    results: list[PictureAnswer | FailedPicture]


class ComparedFace(BaseModel):
    """A face that was compared: the largest of its picture."""

    path: str
    box: Box


class VerificationAnswer(BaseModel):
    """Whether two pictures show one person."""

    schema_: int = Field(alias="schema")
    same: bool
    similarity: float
    probability: Unit
    threshold: float
    fmr: float
    model: str
    mode: str
    a: ComparedFace
    b: ComparedFace


class StatusAnswer(BaseModel):
    """How the server is."""

    status: str


class InfoAnswer(BaseModel):
    """What a server offers."""

    schema_: int = Field(alias="schema")
    version: str
    tasks: list[str]
    default_tasks: list[str]
    gallery: bool
    keys: bool = Field(description="Whether requests need a key.")
    scopes: list[str] = Field(description="What the caller may do.")
    models: dict[str, str] = Field(description="By what they do.")
    limits: dict[str, int]


class ModelAnswer(_Described):
    """A model."""

    name: str
    task: str
    bytes: int
    licence_weights: str
    commercial_use: bool
    default: bool
    cached: bool
    summary: str
    origin: str
    training_data: str
    limits: str
    metrics: dict[str, str]


class ModelsAnswer(BaseModel):
    """All models."""

    schema_: int = Field(alias="schema")
    models: list[ModelAnswer]


_REFUSALS = {
    400: "No request that can be read in one way alone.",
    401: "No key, or one that is not valid.",
    403: "The key may not do this.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It contradicts what is there.",
    413: "Too large.",
    415: "Not sent as pictures are.",
    421: "The server does not go by the name in Host.",
    422: "It cannot be used; `detail` says why.",
    429: "Too much at once; try again after `Retry-After` seconds.",
    431: "Headers, or an address, that are too long.",
    500: "The server failed; its log says why.",
    503: "Too busy to answer in time, or stopping.",
}
_ALWAYS = frozenset({400, 401, 403, 408, 413, 415, 421, 422, 429, 431, 500, 503})


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: those that all have, whose gates are before every route, and these."""
    content = {MEDIA_TYPE: {"schema": ProblemAnswer.model_json_schema()}}
    return {
        status: {"description": _REFUSALS[status], "content": content} for status in sorted(_ALWAYS | set(statuses))
    }


def body_of(media: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body by itself."""
    return {"requestBody": {"required": True, "content": media}}


BINARY = {"type": "string", "format": "binary"}
_RAW = {"schema": BINARY}


def pictures_body(*, several: bool = True) -> dict[str, Any]:
    """The body of a route that takes pictures: raw, or as parts called `image`."""
    part: dict[str, Any] = {"type": "array", "items": BINARY, "minItems": 1} if several else BINARY
    form = {"type": "object", "properties": {"image": part}, "required": ["image"]}
    kinds = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
    return body_of({**dict.fromkeys(kinds, _RAW), "multipart/form-data": {"schema": form}})
