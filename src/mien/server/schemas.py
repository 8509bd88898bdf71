"""What answers look like, for the OpenAPI document and for those who check answers against it.

Answers are made by the library's own `to_dict`s, which the command line prints, too; these models only describe them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mien.server.problems import MEDIA_TYPE

Unit = Annotated[float, Field(ge=0, le=1)]
Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels")]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="x, y in pixels")]


class Strict(BaseModel):
    """Nothing is in it that is not described."""

    model_config = ConfigDict(extra="forbid")


class Answer(Strict):
    """What every answer begins with."""

    schema_: Literal[1] = Field(alias="schema")


class ProblemAnswer(Strict):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str = Field(description="A word that programs go by; it never changes.")
    detail: str = Field(description="One line: what is wrong, and what to do.")


class Picture(Strict):
    """A picture, as the caller calls it."""

    path: str


class SizedPicture(Picture):
    """A picture that was looked at; its size is as displayed."""

    width: int
    height: int


class Label(Strict):
    """One of several, and how likely each is."""

    label: str
    confidence: Unit
    scores: dict[str, Unit]


class Age(Strict):
    """How old somebody looks."""

    years: float
    sd: float = Field(description="Standard deviation, in years.")


class Pose(Strict):
    """How a head is turned, in degrees: to the right of the picture, up, and clockwise."""

    yaw: float
    pitch: float
    roll: float


class Opening(Strict):
    """Whether an eye, or the mouth, is open."""

    open: bool
    confidence: Annotated[float, Field(ge=0.5, le=1)]


class Eyes(Strict):
    """Of the face as seen in the picture."""

    left: Opening
    right: Opening


class Quality(Strict):
    """How well a face serves to recognise somebody by; see `mien.answers.Qualities`."""

    score: Unit
    sharpness: float
    detail: float
    brightness: float
    contrast: float
    dark: Unit
    bright: Unit
    side_light: float
    eyes: float = Field(description="Between them, in pixels.")
    inside: Unit
    occlusion: Unit
    usable: bool
    advice: list[str] = Field(description="Codes of what to do about it.")


class Identity(Strict):
    """Who it is; without `id`: unknown."""

    person: str | None
    id: str | None = None
    similarity: float | None = None
    probability: Unit | None = None


class FaceAnswer(Strict):
    """One face; what was not asked for is absent."""

    box: Box
    score: Unit
    landmarks: Annotated[list[Point], Field(min_length=5, max_length=5)]
    embedding: list[float] | None = None
    quality: Quality | None = None
    pose: Pose | None = None
    expression: Label | None = None
    age: Age | None = None
    gender: Label | None = None
    eyes: Eyes | None = None
    mouth: Opening | None = None
    identity: Identity | None = None
    candidates: list[Identity] | None = None


class PictureAnswer(Answer):
    """One picture."""

    image: SizedPicture
    faces: list[FaceAnswer]


class FailedPicture(Strict):
    """A picture of several that cannot be used."""

    image: Picture
    error: ProblemAnswer


class PicturesAnswer(Answer):
    """Several pictures, in the order in which they came."""

    results: list[PictureAnswer | FailedPicture]


class ComparedFace(Strict):
    """A face that was compared: the largest of its picture."""

    path: str
    box: Box


class VerificationAnswer(Answer):
    """Whether two pictures show one person."""

    same: bool
    similarity: float
    probability: Unit
    threshold: float
    fmr: float
    model: str
    mode: str
    a: ComparedFace
    b: ComparedFace


class StatusAnswer(Strict):
    """How the server is."""

    status: str


class InfoAnswer(Answer):
    """What a server offers."""

    version: str
    tasks: list[str]
    default_tasks: list[str]
    gallery: bool
    keys: bool = Field(description="Whether requests need a key.")
    scopes: list[str] = Field(description="What the caller may do.")
    models: dict[str, str] = Field(description="By what they do.")
    limits: dict[str, int]


class ModelAnswer(Strict):
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


class ModelsAnswer(Answer):
    """All models."""

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
