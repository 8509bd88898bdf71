"""Pictures in and out: what a user hands over becomes RGB uint8 (H, W, 3), upright, or one clear error.

What is decided here, once:

- Channels are RGB. Grey is repeated, transparency is composited on white, colour profiles are ignored.
- More than 8 bits are scaled over the full range of the format (65535 -> 255), never clipped. Floats are in
  [0, 1].
- EXIF orientation is applied; orientation in XMP is not (viewers ignore it too).
- Animations and multi-page files give their first picture.
- A damaged or truncated file is an error, never a picture with a grey half.

Files are hostile until decoded: the plugin is chosen from an allow-list by the first bytes, the size is
checked from the header before a pixel is decoded, and whatever a decoder throws leaves as an
`ImageDecodeError` of one line.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from mien.errors import ImageDecodeError, ImageError, ImageTooLargeError
from mien.ops import files
from mien.ops.atomic import new_file, written_whole
from mien.types import ImageArray

__all__ = ["ImageSource", "load_image", "picture_digest", "read_image_bytes", "save_image"]

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | npt.NDArray[Any]"

MAX_PIXELS = 100_000_000
MAX_BYTES = 200 * 1024 * 1024

_UNNAMED = "image"
_JPEG_QUALITY = 92
_STRIP_PIXELS = 1 << 20  # converted at a time: keeps temporary arrays to a few megabytes
_FLOAT_TOLERANCE = 1e-3  # resampling overshoots [0, 1] a little
_MAX_JPEG_SCANS = 100  # progressive encoders write about 10; a bomb writes thousands over a huge frame
_ORIENTATION_TAG = 0x0112
# LZMA is left out: its dictionary size, up to 4 GB, is the file's choice.
_TIFF_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 50000, 50001})
_ACCEPTED_ARRAYS = "arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) in RGB order, uint8, uint16 or float in [0, 1]"


# The public calls


def load_image(
    source: ImageSource, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, name: str = ""
) -> ImageArray:
    """Load a picture as it is displayed.

    Args:
        source: a path, the bytes of a file, a binary file object (read from where it stands), or an array in
            RGB order: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, uint16 (65535 is white) or float in
            [0, 1].
        max_pixels: larger pictures are refused from their header, before they are decoded.
        max_bytes: larger files are refused before they are read.
        name: what errors call bytes; paths and files have names of their own.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous, EXIF orientation applied. An array that is this already is returned
        itself, not a copy.

    Raises:
        ImageTooLargeError: over `max_pixels` or `max_bytes`.
        ImageDecodeError: not a JPEG, PNG, WebP, BMP, TIFF or GIF, or damaged.
        ImageError: the file cannot be read, or the source is of a kind that is not accepted.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = _printable(name) if name else _UNNAMED
        _check_bytes(memoryview(source).nbytes, max_bytes, name)
        return _decode(io.BytesIO(bytes(source)), name, max_pixels)
    if isinstance(source, (str, os.PathLike)):
        with _open_regular(source, max_bytes) as file:
            return _decode(file, _printable(os.fspath(source)), max_pixels)
    if callable(getattr(source, "read", None)):
        name = _file_name(source)
        return _decode(io.BytesIO(_read_bounded(source, max_bytes, name)), name, max_pixels)
    raise ImageError(
        f"cannot load a picture from {type(source).__name__}: pass a path, bytes, a binary file object or an array"
    )


def read_image_bytes(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a picture's file, for those who need more of it than its pixels; `load_image` takes them.

    Raises:
        ImageTooLargeError: over `max_bytes`.
        ImageError: it cannot be read, is empty, or is no regular file.
    """
    with _open_regular(path, max_bytes) as file:
        return _read_bounded(file, max_bytes, _printable(os.fspath(path)))


def picture_digest(path: str | os.PathLike[str]) -> str | None:
    """SHA-256 of a file's bytes, in hex; None where it cannot be read, is no regular file, or is too large to load."""
    try:
        with _open_regular(path, MAX_BYTES) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ImageError, OSError):
        return None


def save_image(path: str | os.PathLike[str], image: ImageArray, *, private: bool = False) -> None:
    """Write a picture; the file appears whole or not at all.

    Args:
        path: ends in .jpg or .jpeg (quality 92, full colour resolution) or .png.
        image: (H, W, 3) uint8 RGB.
        private: only its owner may read it, whatever the umask.

    Raises:
        ImageError: another extension, not such an array, or the file cannot be written.
    """
    target = Path(path)
    name = _printable(target)
    options = _encoder_options(target, name)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{name}: only an RGB uint8 array of shape (H, W, 3) can be saved")
    if 0 in image.shape:
        raise ImageError(f"{name}: an empty picture of shape {image.shape} cannot be saved")
    try:
        with written_whole(target) as temporary, new_file(temporary, private=private) as file:
            Image.fromarray(np.ascontiguousarray(image)).save(file, **options)
    except (OSError, ValueError, MemoryError) as error:
        raise ImageError(f"{name}: cannot be written: {_reason(error)}") from error


def _encoder_options(target: Path, name: str) -> dict[str, Any]:
    match target.suffix.lower():
        case ".jpg" | ".jpeg":
            return {"format": "JPEG", "quality": _JPEG_QUALITY, "subsampling": 0}
        case ".png":
            return {"format": "PNG", "compress_level": 4}
    raise ImageError(f"{name}: pictures are saved as .jpg, .jpeg or .png; choose one of these extensions")


# Messages


def _printable(text: object, limit: int = 300) -> str:
    """See `files.printable`; never empty, and not too long."""
    line = files.printable(text) or "''"
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return _printable(error.strerror.lower())
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, (EOFError, LookupError, struct.error)):
        return "damaged, or it ends too early"
    return _printable(error, 160) if str(error) else type(error).__name__


def _too_many_pixels(width: int, height: int, max_pixels: int, name: str) -> ImageTooLargeError:
    return ImageTooLargeError(
        f"{name}: {width} x {height} pixels is over the limit of {max_pixels:,} pixels; make it smaller"
    )


def _check_pixels(size: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageDecodeError(f"{name}: the picture is empty ({width} x {height} pixels)")
    if width * height > max_pixels:
        raise _too_many_pixels(width, height, max_pixels, name)


def _check_bytes(size: int, max_bytes: int, name: str) -> None:
    if size == 0:
        raise ImageDecodeError(f"{name}: the file is empty")
    if size > max_bytes:
        raise ImageTooLargeError(f"{name}: more than {max_bytes:,} bytes, the limit for one file")


# Sources


@contextmanager
def _open_regular(path: str | os.PathLike[str], max_bytes: int) -> Iterator[io.BufferedReader]:
    """Open a regular file; pipes and devices are refused before they are opened, as opening one may block."""
    name = _printable(path)
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: is a folder, not a picture")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name}: is a pipe or a device, not a regular file")
        _check_bytes(status.st_size, max_bytes, name)
        file = Path(path).open("rb")  # noqa: SIM115  (errors while opening differ from those while decoding)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be read: {_reason(error)}") from error
    with file:
        yield file


def _file_name(file: object) -> str:
    name = getattr(file, "name", None)
    return _printable(name) if isinstance(name, (str, bytes)) and name else _UNNAMED


def _read_bounded(file: Any, max_bytes: int, name: str) -> bytes:
    """Read to the end, but never more than `max_bytes` + 1 bytes; raw files may answer in parts."""
    parts: list[bytes] = []
    left = max_bytes + 1
    try:
        while left > 0 and (part := file.read(left)):
            if not isinstance(part, (bytes, bytearray)):
                raise ImageError(f"{name}: the file object is in text mode; open it in binary mode")
            parts.append(bytes(part))
            left -= len(part)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be read: {_reason(error)}") from error
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    _check_bytes(len(data), max_bytes, name)
    return data


# Decoding


class _ByThread(type):
    def __subclasscheck__(cls, subclass: type) -> bool:
        return getattr(_this_thread, "decoding", False)


class _WarnedWhileDecoding(Warning, metaclass=_ByThread):
    """Every category of warning is a kind of this one while, and only while, this thread decodes."""


_this_thread = threading.local()


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence the decoders' warnings in this thread alone.

    `warnings.catch_warnings` swaps the filters of the whole process, so two threads that decode can leave
    them wrong for good. The one filter installed here stays, and matches nothing outside this context.
    """
    if not any(entry[2] is _WarnedWhileDecoding for entry in warnings.filters[:1]):
        warnings.filterwarnings("ignore", category=_WarnedWhileDecoding)
    _this_thread.decoding = True
    try:
        yield
    finally:
        _this_thread.decoding = False


def _decode(file: BinaryIO, name: str, max_pixels: int) -> ImageArray:
    # Opening a plugin's class itself, not Image.open, keeps Pillow's process-wide pixel limit out of it.
    try:
        with _no_warnings():
            image = _opened(file, name, max_pixels)
            image.load()
            return _displayed(image)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{name}: {_reason(error)}") from error
    except Exception as error:  # plugins meet hostile bytes with nearly every exception there is
        raise ImageDecodeError(f"{name}: cannot be decoded: {_reason(error)}") from error


def _opened(file: BinaryIO, name: str, max_pixels: int) -> ImageFile:
    """Header read and checked, no pixel decoded."""
    head = file.read(32)
    plugin = _plugin(head, name)
    # These two allocate pixels on opening, the GIF plugin for a frame that may be larger than the screen.
    if plugin is WebPImagePlugin.WebPImageFile:
        _check_pixels(_webp_size(head), max_pixels, name)
    if plugin is GifImagePlugin.GifImageFile:
        _check_pixels(_gif_size(file), max_pixels, name)
    file.seek(0)
    image = plugin(file)
    _check_pixels(image.size, max_pixels, name)
    if image.info.get("progressive"):
        _check_scans(file, name)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        compression = image.tag_v2.get(259, 1)
        if compression not in _TIFF_COMPRESSIONS:
            raise ImageDecodeError(f"{name}: TIFF compression {compression} is not read; save it with LZW or Deflate")
    return image


def _plugin(head: bytes, name: str) -> Callable[[BinaryIO], ImageFile]:
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile  # of an MPO, this reads the first picture
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GifImagePlugin.GifImageFile
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TiffImagePlugin.TiffImageFile
    if head.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis"):
            raise ImageDecodeError(f"{name}: HEIC and AVIF pictures are not read; convert it to JPEG or PNG")
        raise ImageDecodeError(f"{name}: a video, not a picture; save one of its frames as JPEG or PNG")
    raise ImageDecodeError(f"{name}: not a JPEG, PNG, WebP, BMP, TIFF or GIF picture")


def _webp_size(head: bytes) -> tuple[int, int]:
    """Canvas (width, height) from the first 32 bytes; (0, 0) where they make no sense."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if kind == b"VP8L" and head[20:21] == b"\x2f":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0


def _gif_size(file: BinaryIO) -> tuple[int, int]:
    """(width, height) that the logical screen and the first frame cover together."""
    file.seek(0)
    header = file.read(13)
    width, height = int.from_bytes(header[6:8], "little"), int.from_bytes(header[8:10], "little")
    if header[10] & 0x80:
        file.seek(3 << (header[10] & 7) + 1, io.SEEK_CUR)
    while (block := file.read(1)) == b"!":
        file.seek(1, io.SEEK_CUR)
        while length := file.read(1)[0]:
            file.seek(length, io.SEEK_CUR)
    if block != b",":
        raise EOFError("the GIF holds no picture")
    x, y, frame_width, frame_height = np.frombuffer(file.read(8), "<u2").tolist()
    return max(width, x + frame_width), max(height, y + frame_height)


def _check_scans(file: BinaryIO, name: str) -> None:
    """Refuse a progressive JPEG with so many passes over the picture that decoding it takes minutes."""
    before = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(before)
    at, scans = 2, 0
    while marker := _NEXT_MARKER.search(data, at):
        code = data[marker.end() - 1]
        if code == 0xD9:  # end of image; what follows is another picture
            break
        scans += code == 0xDA
        if scans > _MAX_JPEG_SCANS:
            raise ImageDecodeError(f"{name}: progressive JPEG with more than {_MAX_JPEG_SCANS} scans; save it anew")
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)  # not stuffing, restart or fill bytes


# Decoded pixels -> RGB uint8


def _displayed(image: ImageFile) -> ImageArray:
    """Turn and convert strip by strip, straight into the upright array, without a second full copy."""
    width, height = image.size
    # Pillow turns TIFFs itself on loading.
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    orientation = 1 if is_tiff else _orientation(image.info.get("exif", b""))
    turn = _TURNS.get(orientation)
    out = np.empty((width, height, 3) if orientation >= 5 else (height, width, 3), np.uint8)
    to_rgb = _converter(image)
    for top, bottom in _strips(height, width):
        strip = image.crop((0, top, width, bottom))
        upright = strip if turn is None else strip.transpose(turn)
        # Stored rows are displayed as rows or as columns, in this order or from the other end.
        place = slice(height - bottom, height - top) if orientation in (3, 4, 6, 7) else slice(top, bottom)
        out[(slice(None), place) if orientation >= 5 else place] = to_rgb(upright)
    return out


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _orientation(exif: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it makes no sense.

    Only the first directory is walked: Pillow reads every tag, and tags that overlap make a small file huge.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order: Any = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return 1
    start = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == _ORIENTATION_TAG:
            value = int.from_bytes(exif[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _converter(image: ImageFile) -> Callable[[Image.Image], ImageArray]:
    """How to turn a strip of `image` into (h, w, 3) uint8 RGB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _numeric_converter(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _transparent_to_rgb
    if image.mode == "RGB":
        return np.asarray
    return lambda strip: np.asarray(strip.convert("RGB"))


def _transparent_to_rgb(strip: Image.Image) -> ImageArray:
    straight = strip.convert("LA") if strip.mode == "La" else strip
    return _on_white(np.asarray(straight.convert("RGBA")))


def _numeric_converter(image: ImageFile) -> Callable[[Image.Image], ImageArray]:
    """Pillow clips these modes to 0..255 when it converts them, so it is not asked to."""
    black, white = _levels(image)
    transparent = image.info.get("transparency")

    def to_rgb(strip: Image.Image) -> ImageArray:
        values = np.asarray(strip)
        if values.dtype.kind == "f":
            _check_floats(values)
        grey = _scaled(values, black, white)
        if transparent is not None:
            grey[values == transparent] = 255
        return np.broadcast_to(grey[..., None], (*grey.shape, 3))

    return to_rgb


def _levels(image: ImageFile) -> tuple[float, float]:
    """The samples' values of black and white."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode == "I" and tags:  # older versions of Pillow also read 16-bit PNG as "I"
        raise ValueError("signed and 32-bit integer TIFFs do not say which value is white; use 8 or 16 bits")
    bits = tags.get(258, (16,))[0]
    white = 1.0 if image.mode == "F" else float(2**bits - 1)
    # Photometric interpretation 0: white is zero. Pillow inverts 8 bits, but neither 16 nor floats.
    return (white, 0.0) if tags.get(262) == 0 else (0.0, white)


# Arrays


def _from_array(array: npt.NDArray[Any], max_pixels: int) -> ImageArray:
    _check_array(array)
    height, width = array.shape[:2]
    if height * width > max_pixels:
        raise _too_many_pixels(width, height, max_pixels, "array")
    plain = np.asarray(array)
    if plain.dtype.type is np.uint8 and plain.shape[2:] == (3,):
        return np.ascontiguousarray(plain)
    out = np.empty((height, width, 3), np.uint8)
    try:
        for top, bottom in _strips(height, width):
            out[top:bottom] = _array_to_rgb(plain[top:bottom])
    except ValueError as error:
        raise ImageError(f"array: {error}") from error
    return out


def _check_array(array: npt.NDArray[Any]) -> None:
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(f"an array of shape {array.shape} is not a picture: {_ACCEPTED_ARRAYS}")
    if 0 in array.shape:
        raise ImageError(f"an array of shape {array.shape} is an empty picture")
    if array.dtype.type not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise ImageError(f"an array of {array.dtype} is not a picture: {_ACCEPTED_ARRAYS}")


def _array_to_rgb(values: npt.NDArray[Any]) -> ImageArray:
    """(h, w[, 1 | 3 | 4]) uint8, uint16 or float -> (h, w, 3) or (h, w, 1) uint8."""
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype.kind == "f":
        _check_floats(values)
        values = _scaled(values, 0.0, 1.0)
    elif values.dtype.type is np.uint16:
        values = _scaled(values, 0.0, 65535.0)
    return _on_white(values) if values.shape[2] == 4 else values


def _check_floats(values: npt.NDArray[Any]) -> None:
    if not (values.min() >= -_FLOAT_TOLERANCE and values.max() <= 1 + _FLOAT_TOLERANCE):  # false for NaN
        raise ValueError(f"float pixels must lie in [0, 1], these span {values.min():g} to {values.max():g}")


def _scaled(values: npt.NDArray[Any], black: float, white: float) -> ImageArray:
    """Map `black`..`white` to 0..255, rounded; values outside are clipped."""
    scaled = (values.astype(np.float32) - np.float32(black)) * np.float32(255 / (white - black))
    return np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled).astype(np.uint8)


def _on_white(rgba: ImageArray) -> ImageArray:
    """Composite (h, w, 4) uint8 with straight alpha on white -> (h, w, 3) uint8."""
    alpha = rgba[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return rgba[..., :3]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
