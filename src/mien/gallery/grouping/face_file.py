"""The faces of many pictures in one file (.npz), by the SHA-256 of each picture's bytes; checked when it is read."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mien.errors import DataError
from mien.ops.atomic import write_whole
from mien.ops.files import printable
from mien.types import Faces

if TYPE_CHECKING:
    from mien.analyzer import FaceAnalyzer
    from mien.models.detection import InputSize

_FORMAT = "mien faces 1"
_MEMBERS = ("header", "pictures", "sizes", "counts", "boxes", "scores", "landmarks", "embeddings")
_LARGEST_HEADER = 100_000
_LARGEST_VALUE = 1e6  # of a coordinate or an embedding: far beyond any, and its square is finite


@dataclass(frozen=True)
class MadeBy:
    """What found and embedded faces: two files can only be used together where this is equal.

    Attributes:
        embedder: name of the model.
        embedder_sha256: of its weights file, in hex.
        mode: "fast" or "accurate".
        dimension: of an embedding.
        metric: "l2" or "cosine".
        detector: name of the model.
        size: longest side at which faces were searched, in pixels, or "full".
        min_score: lowest detection score that was asked for, or None for the detector's own.
    """

    embedder: str
    embedder_sha256: str
    mode: str
    dimension: int
    metric: str
    detector: str
    size: str
    min_score: float | None = None

    @classmethod
    def of(cls, analyzer: FaceAnalyzer, size: InputSize | str, min_score: float | None = None) -> MadeBy:
        """That of an analyzer.

        Args:
            analyzer: finds and embeds.
            size: longest side at which it searches for faces.
            min_score: that was asked for, if any.
        """
        embedder = analyzer.embedder
        return cls(
            embedder=embedder.record.name,
            embedder_sha256=embedder.record.weights.sha256,
            mode=embedder.mode,
            dimension=embedder.record.dimensions or 0,
            metric=embedder.record.metric or "l2",
            detector=analyzer.detector.record.name,
            size=str(size),
            min_score=min_score,
        )

    @property
    def embeddings_from(self) -> tuple[str, str, str]:
        """What has to be equal for embeddings to be compared."""
        return self.embedder, self.embedder_sha256, self.mode

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: object) -> MadeBy:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(value, dict) or set(value) != set(cls.__dataclass_fields__):
            raise ValueError("it does not say which models the faces come from")
        texts = ("embedder", "embedder_sha256", "mode", "metric", "detector", "size")
        score, dimension = value["min_score"], value["dimension"]
        sound = all(isinstance(value[name], str) for name in texts) and type(dimension) is int and dimension > 0
        if (
            not sound
            or not (score is None or isinstance(score, (int, float)))
            or value["metric"] not in ("l2", "cosine")
        ):
            raise ValueError("it does not say which models the faces come from")
        return cls(**value)


def write_faces(path: Path, pictures: Mapping[str, Faces], made_by: MadeBy) -> None:
    """Write the faces of pictures, whole or not at all; only the owner of the file may read it.

    Args:
        path: ends in .npz by custom.
        pictures: by the SHA-256 of the picture's bytes in lower-case hex; faces with embeddings, possibly none.
        made_by: what found them.

    Raises:
        MienError: it cannot be written.
    """
    found = list(pictures.values())
    embeddings = [faces.embeddings for faces in found if faces.embeddings is not None and len(faces)]
    digests = b"".join(bytes.fromhex(digest) for digest in pictures)
    header = json.dumps({"format": _FORMAT, "made_by": made_by.to_dict()}).encode()
    none = Faces.empty((0, 0))
    buffer = io.BytesIO()
    np.savez(
        buffer,
        header=np.frombuffer(header, dtype=np.uint8),
        pictures=np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32),
        sizes=np.array([faces.image_size for faces in found], dtype=np.int64).reshape(-1, 2),
        counts=np.array([len(faces) for faces in found], dtype=np.int64),
        boxes=np.concatenate([none.boxes, *(faces.boxes for faces in found)]),
        scores=np.concatenate([none.scores, *(faces.scores for faces in found)]),
        landmarks=np.concatenate([none.landmarks, *(faces.landmarks for faces in found)]),
        embeddings=np.concatenate([np.zeros((0, made_by.dimension), np.float32), *embeddings]),
    )
    write_whole(path, buffer.getvalue(), private=True)


def read_faces(path: Path) -> tuple[dict[str, Faces], MadeBy]:
    """Read what `write_faces` wrote. The file is not trusted: nothing in it is executed, and every value is checked.

    Raises:
        DataError: it cannot be read, is damaged, or is something else.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("it is a pipe, a device or a folder")
        with path.open("rb") as file:
            arrays = _members(file)
        made_by = _header(arrays["header"])
        _check(arrays, made_by.dimension)
        return _pictures(arrays), made_by
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, zipfile.BadZipFile, RuntimeError, NotImplementedError, MemoryError) as error:
        raise DataError(
            f"{printable(path)}: no file of faces that mien wrote, or damaged ({str(error)[:120]})"
        ) from error


def _members(file: Any) -> dict[str, npt.NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        # stored, not compressed: so no member can be larger than the file is
        if sorted(entry.filename for entry in archive.infolist()) != sorted(f"{name}.npy" for name in _MEMBERS):
            raise ValueError("it holds other arrays")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it was packed again")
        return {name: _array(archive.read(f"{name}.npy")) for name in _MEMBERS}


def _array(data: bytes) -> npt.NDArray[Any]:
    """An array from the bytes of an .npy file, which cannot ask for more memory than it fills."""
    buffer = io.BytesIO(data)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ValueError("an array is in a form that mien does not write")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(buffer)
    except (SyntaxError, TokenError, MemoryError, RecursionError, TypeError) as error:  # what Python's parser raises
        raise ValueError("an array does not say what it is") from error
    if any(not 0 <= side <= len(data) for side in shape):
        raise ValueError("an array has a shape that none has")
    if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize != len(data) - buffer.tell():
        raise ValueError("an array is cut off")
    return cast("npt.NDArray[Any]", np.load(io.BytesIO(data), allow_pickle=False))


def _header(value: npt.NDArray[Any]) -> MadeBy:
    if value.dtype != np.uint8 or value.size > _LARGEST_HEADER:
        raise ValueError("its header is something else")
    header = json.loads(value.tobytes())  # a JSONDecodeError is a ValueError
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError("another version of mien wrote it")
    return MadeBy.from_dict(header.get("made_by"))


def _check(arrays: Mapping[str, npt.NDArray[Any]], dimension: int) -> None:
    """Refuse arrays that do not fit together, and values that no face has."""
    p, n = len(np.atleast_1d(arrays["pictures"])), len(np.atleast_1d(arrays["scores"]))
    wanted = {
        "pictures": ((p, 32), np.uint8),
        "sizes": ((p, 2), np.int64),
        "counts": ((p,), np.int64),
        "boxes": ((n, 4), np.float32),
        "scores": ((n,), np.float32),
        "landmarks": ((n, 5, 2), np.float32),
        "embeddings": ((n, dimension), np.float32),
    }
    for name, (shape, dtype) in wanted.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name} has shape {array.shape}")
        if not (np.abs(array) <= _LARGEST_VALUE).all():  # false for NaN
            raise ValueError(f"{name} holds values that are none")
    if (arrays["counts"] < 0).any() or arrays["counts"].sum() != n or (arrays["sizes"] < 0).any():
        raise ValueError("its counts do not add up")


def _pictures(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Faces]:
    ends = np.cumsum(arrays["counts"])
    out: dict[str, Faces] = {}
    for digest, size, end, count in zip(arrays["pictures"], arrays["sizes"], ends, arrays["counts"], strict=True):
        part = slice(int(end - count), int(end))
        boxes, scores, landmarks, embeddings = (
            arrays[name][part] for name in ("boxes", "scores", "landmarks", "embeddings")
        )
        out[digest.tobytes().hex()] = Faces(boxes, scores, landmarks, (int(size[0]), int(size[1])), embeddings)
    return out


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 in lower-case hex."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
