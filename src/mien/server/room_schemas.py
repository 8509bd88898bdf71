"""What answers about galleries, jobs and attempts look like; see `schemas`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from mien.server.schemas import Answer, Box, Point, ProblemAnswer, Strict, Unit

PersonId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Token = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{22}$")]
Count = Annotated[int, Field(ge=0)]


class PersonAnswer(Strict):
    """Somebody the gallery knows."""

    id: PersonId
    name: str | None = Field(description="null: a group of faces that nobody has named yet")
    created: datetime
    consent: str | None
    consent_at: datetime | None
    withdrawn_at: datetime | None
    expires: datetime | None
    faces: Count


class EnrolledFace(Strict):
    """A face of the gallery."""

    id: int
    person: PersonId | None
    created: datetime
    source: str | None
    source_sha256: str | None
    box: Box | None
    landmarks: list[Point] | None
    score: Unit | None
    has_crop: bool


class GalleryFacts(Strict):
    """What the gallery is."""

    id: PersonId
    embedder: str
    embedder_sha256: str
    mode: str
    dimension: int
    metric: str
    created: datetime
    keeps_crops: bool
    encrypted: bool


class GalleryAnswer(Answer):
    """The gallery, and how much is in it."""

    gallery: GalleryFacts
    measured: bool = Field(description="Whether people can be identified without naming a threshold.")
    people: Count
    faces: Count
    unassigned: Count


class PeopleAnswer(Answer):
    """People, in order of creation; `next` is absent at the end."""

    people: list[PersonAnswer]
    next: PersonId | None = None


class OnePersonAnswer(Answer):
    """A person, as they are now."""

    person: PersonAnswer


class PersonFacesAnswer(OnePersonAnswer):
    """A person with their faces."""

    faces: list[EnrolledFace]
    not_this_person: list[int] = Field(description="Numbers of faces that were said not to show them.")


class Added(Strict):
    """A face that was enrolled."""

    path: str | None
    face: int
    warnings: list[str] | None = Field(default=None, description="What makes one doubt that the name is right.")


class Known(Strict):
    """A face that the gallery has already."""

    path: str | None
    face: int
    person: PersonId | None
    reason: Literal["same picture", "near-duplicate"]


class Failed(Strict):
    """A picture that cannot be used."""

    path: str
    error: ProblemAnswer


class EnrolmentAnswer(OnePersonAnswer):
    """What became of an enrolment."""

    enrolled: list[Added]
    skipped: list[Known]
    failed: list[Failed]


class GroupNamedAnswer(OnePersonAnswer):
    """What became of naming a group."""

    group: int
    enrolled: list[Added]
    skipped: list[Known]


class FacesAnswer(Answer):
    """Faces, in order of their numbers; `next` is absent at the end."""

    faces: list[EnrolledFace]
    next: int | None = None


class UndoneAnswer(Answer):
    """What was taken back."""

    undone: str


class Removed(Strict):
    """Somebody who was removed."""

    person: str | None
    id: PersonId
    faces: Count


class PurgedAnswer(Answer):
    """Who had expired."""

    removed: list[Removed]


class EventAnswer(Strict):
    """A line of the gallery's audit trail; it names people by id only."""

    id: int
    at: datetime
    action: str
    actor: str
    person: str | None
    details: dict[str, Any]


class EventsAnswer(Answer):
    """The audit trail, oldest first; `next` is absent at the end."""

    events: list[EventAnswer]
    next: int | None = None


class ExportAnswer(Answer):
    """All that is known about a person."""

    person: PersonAnswer
    faces: list[EnrolledFace]
    not_this_person: list[int]
    not_others: list[list[int | str]]
    embedder: str
    events: list[EventAnswer]


class Progress(Strict):
    """How far a job is."""

    done: float
    total: float | None = Field(default=None, description="Absent where nobody knows yet.")
    unit: Literal["pictures", "seconds"]


class JobAnswer(Strict):
    """A job."""

    id: Token
    kind: Literal["cluster", "video"]
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    created: datetime
    expires: datetime | None = Field(default=None, description="When it is removed, once it is over.")
    progress: Progress
    files: list[str] = Field(description="Names; fetch them at files/NAME.")
    error: ProblemAnswer | None = None
    result: dict[str, Any] | None = Field(
        default=None, description="Groups as `mien cluster --json` prints them, or a summary as `mien video --json`."
    )


class OneJobAnswer(Answer):
    """A job."""

    job: JobAnswer


class JobsAnswer(Answer):
    """Jobs, oldest first, without their results."""

    jobs: list[JobAnswer]


Texts = Annotated[dict[str, str], Field(description="By language: en, zh.")]


class AttemptState(Strict):
    """Where an attempt stands."""

    id: Token
    state: Literal["baseline", "action", "done"]
    step: Count
    steps: Count
    action: str | None = Field(default=None, description="What is asked now; absent between actions.")
    hint: Texts | None = Field(default=None, description="What to tell the person.")
    accepted: bool | None = Field(default=None, description="Once it is done. Only true opens anything.")
    reason: str | None = Field(default=None, description="Why it ended.")


class AttemptDescribed(AttemptState):
    """An attempt, and what it asks. The order is told action by action, when each is asked."""

    nonce: str
    actions: list[str] = Field(description="What may be asked, in no order.")
    texts: dict[str, Texts]
    seconds: float = Field(description="It lasts at most.")
    report: dict[str, Any] | None = None


class AttemptStateAnswer(Answer):
    """Where an attempt stands after a frame."""

    session: AttemptState


class AttemptAnswer(Answer):
    """An attempt."""

    session: AttemptDescribed
