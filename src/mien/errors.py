"""Every exception that mien raises on purpose.

    MienError
    ├── ImageError              a picture cannot be used
    │   ├── ImageDecodeError    not an image, truncated, empty, or in a format mien does not read
    │   └── ImageTooLargeError  over the pixel or byte limit; refused before it is decoded
    ├── VideoError              a video, camera or stream cannot be used
    ├── NoFaceError             a picture that had to show a face shows none
    ├── ModelError              a model cannot be used
    │   ├── UnknownModelError   no model of that name in the registry
    │   ├── WeightsError        weights are missing, corrupt, or cannot be fetched
    │   └── DeviceError         the execution device asked for is not available
    ├── GateError               a smaller network loses more than it may
    ├── DataError               a file of pairs, labels or results does not say what it should
    ├── LivenessError           an attempt to unlock cannot begin or go on
    │   └── LockedError         too many attempts failed; there is a time to wait
    ├── ServerError             a server cannot be started or reached, or refuses what a client asks
    └── GalleryError            a gallery cannot be used, or does not hold what was asked for
        ├── NotInGalleryError   nobody of that name or id, or no such face
        ├── GalleryBusyError    others are writing to it, for longer than mien waits
        ├── GalleryKeyError     the key to an encrypted gallery is missing or wrong, or a value was tampered with
        └── GalleryModelError   its embeddings come from another model

The message of each is one line: what is wrong, and what to do about it. The command line prints it and exits with 2.
"""


class MienError(Exception):
    """Base of every error that mien raises on purpose."""


class ImageError(MienError):
    """A picture cannot be used."""


class ImageDecodeError(ImageError):
    """The bytes are not an image that mien reads."""


class ImageTooLargeError(ImageError):
    """The picture is over the pixel or byte limit; it was not decoded."""


class VideoError(MienError):
    """A video, camera or stream cannot be used."""


class NoFaceError(MienError):
    """A picture that had to show a face shows none."""


class ModelError(MienError):
    """A model cannot be used."""


class UnknownModelError(ModelError):
    """No model of that name is registered."""


class WeightsError(ModelError):
    """Weights are missing, corrupt, or cannot be fetched."""


class DeviceError(ModelError):
    """The execution device that was asked for is not available."""


class GateError(MienError):
    """A smaller form of a network loses more accuracy than it may; it was not written."""


class DataError(MienError):
    """A file of pairs, labels or results does not say what it should."""


class LivenessError(MienError):
    """An attempt to unlock cannot begin or go on."""


class ServerError(MienError):
    """A server cannot be started or reached, its keys or audit log fail, or it refuses what a client asks.

    Args:
        detail: one line.
        status: of HTTP; 0 where no answer came.
        code: the word for programs that the server gives, see docs/server.md.
    """

    def __init__(self, detail: str, status: int = 0, code: str = "") -> None:
        super().__init__(detail)
        self.status, self.code = status, code


class GalleryError(MienError):
    """A gallery cannot be used, or does not hold what was asked for."""


class NotInGalleryError(GalleryError):
    """The gallery has nobody of that name or id, or no such face."""


class GalleryBusyError(GalleryError):
    """Others are writing to the gallery, for longer than mien waits."""


class GalleryKeyError(GalleryError):
    """The key to an encrypted gallery is missing or wrong, or what is encrypted was tampered with."""


class GalleryModelError(GalleryError):
    """The embeddings of the gallery come from another model."""
