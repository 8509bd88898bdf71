"""`Client`: the library's questions, asked of a server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mien.analyzer import Task
from mien.client.gallery import RemoteGallery
from mien.client.jobs import Job
from mien.client.transport import URL, Transport, encoded, error_of, parts
from mien.client.unlocking import Attempt
from mien.errors import ServerError
from mien.gallery.decision import Candidate
from mien.many import FileResult
from mien.ops.image import ImageSource
from mien.types import Faces, Verification

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True, eq=False)
class Identified:
    """Who is on a picture.

    Attributes:
        faces: of it.
        people: for each face who it is, or None: unknown.
        candidates: for each face the people most like it, if they were asked for.
    """

    faces: Faces
    people: tuple[Candidate | None, ...]
    candidates: tuple[tuple[Candidate, ...], ...]


class Client:
    """Asks a server; a context manager, which closes its connections. May be shared by threads.

    Args:
        url: of the server; by default the environment's `MIEN_URL`, or else where `mien serve` is on this machine.
        key: that it asks for; by default the environment's `MIEN_KEY`.
        timeout: seconds without a byte after which a request is given up.
        patience: seconds for which a busy server is asked again, as it says.
        http: an `httpx2.Client` of your own, which knows the server's address.

    Raises:
        ServerError: the extra `client` is not installed. Likewise every method, where the server cannot be reached or
            refuses; what is wrong with a picture or a person is raised as the library raises it.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        patience: float = 30.0,
        http: httpx2.Client | None = None,
    ) -> None:
        self._transport = Transport(
            url or os.environ.get("MIEN_URL") or URL, key, timeout=timeout, patience=patience, http=http
        )

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def info(self) -> dict[str, Any]:
        """What the server offers, and what the key may do."""
        return self._transport.json("GET", "/v1/info")

    def models(self) -> list[dict[str, Any]]:
        """The models, as `mien models list --json` prints them, with their limits."""
        return list(self._transport.json("GET", "/v1/models")["models"])

    def analyze(self, image: ImageSource, *, only: Sequence[Task] | None = None, embeddings: bool = False) -> Faces:
        """Find the faces of a picture and describe each.

        Args:
            image: path, bytes, file object or array.
            only: what to say of them; the server's default otherwise.
            embeddings: whether they come with their embeddings.

        Raises:
            ImageError: it cannot be read.
        """
        name, data = encoded(image)
        params = _asked(only, embeddings)
        return _faces(self._transport.json("POST", "/v1/analyze", params=params, files=[("image", (name, data))]))

    def analyze_many(
        self, images: Sequence[ImageSource], *, only: Sequence[Task] | None = None, embeddings: bool = False
    ) -> list[FileResult]:
        """The same for several pictures, at most as many as `info` says, in one request; a bad one spoils nothing.

        Returns:
            One result for each, in order.
        """
        if len(images) < 2:
            return [self._one(image, only, embeddings) for image in images]
        params = _asked(only, embeddings)
        answer = self._transport.json("POST", "/v1/analyze", params=params, files=parts("image", images))
        return [_result(result) for result in answer["results"]]

    def _one(self, image: ImageSource, only: Sequence[Task] | None, embeddings: bool) -> FileResult:
        from mien.errors import MienError

        try:
            return FileResult(encoded(image)[0], self.analyze(image, only=only, embeddings=embeddings))
        except ServerError:
            raise
        except MienError as error:
            return FileResult("image", error=error)

    def verify(self, a: ImageSource, b: ImageSource, *, fmr: float = 1e-3) -> Verification:
        """Decide whether the largest faces of two pictures show one person.

        Args:
            a: path, bytes, file object or array.
            b: the other.
            fmr: the false match rate at which to decide: 1e-2, 1e-3 or 1e-4.

        Raises:
            ImageError: a picture cannot be read.
            NoFaceError: a picture shows no face.
        """
        files = [("a", encoded(a)), ("b", encoded(b))]
        answer = self._transport.json("POST", "/v1/verify", params={"fmr": fmr}, files=files)
        return Verification(**{name: answer[name] for name in Verification.__dataclass_fields__})

    def identify(
        self,
        image: ImageSource,
        *,
        fpir: float | None = None,
        threshold: float | None = None,
        candidates: int = 0,
        only: Sequence[Task] | None = None,
    ) -> Identified:
        """Say who is on a picture: people of the server's gallery, or unknown.

        Args:
            image: path, bytes, file object or array.
            fpir: the share of strangers who may be given a name; 0.01 by default.
            threshold: similarity to reach, instead.
            candidates: how many of the people most like each face to list.
            only: what to say of faces beside who they are, as `analyze` takes it; nothing by default.

        Raises:
            ImageError: it cannot be read.
            GalleryError: the server has no gallery.
        """
        params = {"fpir": fpir, "threshold": threshold, "candidates": candidates or None, **_asked(only)}
        answer = self._transport.json("POST", "/v1/identify", params=params, files=[("image", encoded(image))])
        return Identified(
            _faces(answer),
            tuple(_candidate(face["identity"]) for face in answer["faces"]),
            tuple(
                tuple(one for said in face.get("candidates", ()) if (one := _candidate(said)) is not None)
                for face in answer["faces"]
            ),
        )

    @cached_property
    def gallery(self) -> RemoteGallery:
        """The people that the server knows."""
        return RemoteGallery(self._transport)

    def cluster(
        self, images: Sequence[ImageSource], *, min_size: int | None = None, threshold: float | None = None
    ) -> Job:
        """Group the faces of pictures by whom they show.

        Args:
            images: paths, bytes, file objects or arrays.
            min_size: faces that a group has at least.
            threshold: similarity from which on groups are merged.
        """
        params = {"min_size": min_size, "threshold": threshold}
        answer = self._transport.json("POST", "/v1/clusters", params=params, files=parts("image", images))
        return Job(self._transport, answer["job"])

    def video(self, path: str | os.PathLike[str], *, identify: bool = False) -> Job:
        """Say who is in a video when, and what they show.

        Args:
            path: of the video.
            identify: whether people are named from the server's gallery.

        Raises:
            ServerError: it cannot be read, or is too large.
        """
        from pathlib import Path

        try:
            with Path(path).open("rb") as file:
                params = {"name": Path(path).name[:200], "identify": identify}
                headers = {"Content-Type": "application/octet-stream"}
                answer = self._transport.json("POST", "/v1/videos", params=params, content=file, headers=headers)
        except OSError as error:
            raise ServerError(f"{path}: cannot be read: {error.strerror}") from error
        return Job(self._transport, answer["job"])

    def job(self, id: str) -> Job:  # noqa: A002 - what it is
        """A job that was begun before."""
        return Job(self._transport, {"id": id})

    def unlock(self, person: str, *, without: Sequence[str] = (), mirrored: bool = False) -> Attempt:
        """Begin an attempt to be let in as somebody, who then has to do what the server asks.

        Args:
            person: name or id.
            without: actions that the person cannot do.
            mirrored: whether the camera gives mirrored pictures.

        Raises:
            LivenessError: the person cannot be let in.
        """
        asked = {"person": person, "without": list(without), "mirrored": mirrored}
        return Attempt(self._transport, self._transport.json("POST", "/v1/liveness", json=asked)["session"])


def _asked(only: Sequence[Task] | None, embeddings: bool = False) -> dict[str, Any]:
    return {"only": None if only is None else ",".join(only), "embeddings": embeddings or None}


def _faces(answer: Mapping[str, Any]) -> Faces:
    try:
        return Faces.from_dicts(answer["faces"], (answer["image"]["width"], answer["image"]["height"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ServerError("the server's answer has no faces; is it a mien server?") from error


def _result(result: Mapping[str, Any]) -> FileResult:
    name = str(result["image"]["path"])
    if problem := result.get("error"):
        return FileResult(name, error=error_of(problem["code"], problem["detail"], problem["status"]))
    return FileResult(name, _faces(result))


def _candidate(said: Mapping[str, Any]) -> Candidate | None:
    """None for "unknown"."""
    if "id" not in said:
        return None
    return Candidate(said["id"], said["person"], said["similarity"], said.get("probability"))
