"""Two thousand damaged pictures: each decodes or is an ImageError of one line, without crash, hang or bloat.

Every format runs in a process of its own (this file, as a script), so that a crash of a decoder is a failed
test and the peak memory is that of the decoders alone.
"""

from __future__ import annotations

import faulthandler
import io
import json
import random
import resource
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FORMATS = [
    "JPEG",
    "JPEG-progressive",
    "PNG",
    "PNG-palette",
    "WEBP",
    "BMP",
    "TIFF",
    "TIFF-tiled",
    "GIF",
    "MPO",
]
FILES_EACH = 210
SECONDS_A_FILE = 5.0
GROWTH_MB = 450  # the pixel limit below is 20 megapixels: 4 bytes in Pillow and 3 here for each, twice at most
MAX_PIXELS = 20_000_000


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files(kind):
    done = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    # libtiff reports errors on the standard error stream from C, out of Pillow's and our hands.
    assert done.stderr == "" or (kind.startswith("TIFF") and "Traceback" not in done.stderr)
    result = json.loads(done.stdout)
    assert result["files"] == FILES_EACH
    assert result["wrong"] == []
    assert result["slowest_s"] < SECONDS_A_FILE
    assert result["growth_mb"] < GROWTH_MB
    # The damage is neither so light nor so heavy that the test says nothing.
    assert 5 <= result["decoded"] <= FILES_EACH - 60


def test_the_formats_make_two_thousand_files():
    assert FILES_EACH * len(FORMATS) >= 2000


# What runs in the child process


def _originals(kind: str) -> list[bytes]:
    """Two small photographs and a grey one with alpha where the format has it, in one format."""
    from PIL import Image

    photos = Path(__file__).parents[1] / "photos"
    hopper = Image.open(photos / "grace_hopper.jpg").resize((61, 72))
    astronaut = Image.open(photos / "astronaut.jpg").resize((96, 80))
    return [_encoded(kind, photo) for photo in (hopper, astronaut, astronaut.convert("L"))]


def _encoded(kind: str, photo: object) -> bytes:
    from PIL import Image

    assert isinstance(photo, Image.Image)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    options: dict[str, object] = {"exif": exif}
    name, _, variant = kind.partition("-")
    if kind == "JPEG-progressive":
        options["progressive"] = True
    elif kind == "PNG-palette":
        photo, options = photo.convert("P"), {"transparency": bytes(range(256)), "exif": exif}
    elif kind == "PNG" and photo.mode == "L":
        photo = photo.convert("LA")
    elif kind == "GIF":
        options = {"save_all": True, "append_images": [photo.rotate(90)]}
    elif kind == "TIFF":
        options = {"compression": "tiff_lzw"}
    elif kind == "MPO":
        options = {"save_all": True, "append_images": [photo]}
    elif kind == "BMP":
        options = {}
    if variant == "tiled":
        options = {"compression": "tiff_adobe_deflate", "tiffinfo": {322: 32, 323: 32}}
    buffer = io.BytesIO()
    photo.save(buffer, name, **options)
    return buffer.getvalue()


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip_bits(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _spoil_header(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        out[rng.randrange(4, min(200, len(out)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(out)


def _edit_number(data: bytes, rng: random.Random) -> bytes:
    """Write an extreme 2- or 4-byte number where lengths, offsets and sizes may be."""
    size = rng.choice((2, 4))
    at = rng.randrange(4, min(len(data), rng.choice((64, 400, len(data)))) - size)
    number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, len(data), 60_000)) % 256**size
    return data[:at] + number.to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def _splice(data: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.randrange(1, 200)
    target = rng.randrange(len(data))
    piece = data[start : start + length]
    kept = rng.choice((target, min(len(data), target + length)))
    return data[:target] + piece + data[kept:]


def _shuffle_blocks(data: bytes, rng: random.Random) -> bytes:
    """Move whole PNG chunks, or blocks of other formats."""
    if data.startswith(b"\x89PNG"):
        head, blocks = data[:8], list(_png_chunks(data))
    else:
        size = rng.choice((64, 256, 1024))
        head, blocks = data[:32], [data[i : i + size] for i in range(32, len(data), size)]
    rng.shuffle(blocks)
    return head + b"".join(blocks)


def _png_chunks(data: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield data[at:end]
        at = end


def _claim_giant(data: bytes, rng: random.Random) -> bytes:
    """Set the size in the header, with a right checksum, to something large, extreme or just different."""
    width, height = (rng.choice((0, 1, 97, 3000, 4000, 16383, 65535)) for _ in range(2))
    out = bytearray(data)
    if data.startswith(b"\x89PNG"):
        out[16:24] = struct.pack(">II", width, height)
        out[29:33] = struct.pack(">I", zlib.crc32(out[12:29]))
    elif data.startswith(b"\xff\xd8"):
        at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        out[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif data.startswith(b"GIF"):
        out[6:10] = struct.pack("<HH", width, height)
        at = data.index(b",", 13 + 768 if data[10] & 0x80 else 13)
        out[at + 5 : at + 9] = struct.pack("<HH", height, width)
    elif data.startswith(b"BM"):
        out[18:26] = struct.pack("<ii", width, height)
    elif data.startswith(b"RIFF"):
        out[24:30] = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    else:
        for tag, value in ((256, width), (257, height), (278, height)):
            at = data.find(struct.pack("<HH", tag, 3))
            at = at if at >= 0 else data.find(struct.pack("<HH", tag, 4))
            if at >= 0:
                out[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(out)


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [
    _truncate, _flip_bits, _spoil_header, _edit_number, _splice, _shuffle_blocks, _claim_giant
]  # fmt: skip


def _judge(data: bytes) -> str:
    """ "decoded", "refused", or what is wrong."""
    import numpy as np

    from mien.errors import ImageError
    from mien.ops.image import load_image

    try:
        image = load_image(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        message = str(error)
        return "refused" if message and message.isprintable() and len(message) < 400 else f"message {message!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    right = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.flags.c_contiguous
    return "decoded" if right else f"{image.dtype} {image.shape}"


def _main(kind: str) -> None:
    warnings.simplefilter("error")
    originals = _originals(kind)
    assert all(_judge(data) == "decoded" for data in originals)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdicts: list[str] = []
    slowest = 0.0
    for i in range(FILES_EACH):
        rng = random.Random(f"{kind} {i}")
        damage = DAMAGES[i % len(DAMAGES)]
        data = damage(originals[i // len(DAMAGES) % len(originals)], rng)
        faulthandler.dump_traceback_later(40 * SECONDS_A_FILE, exit=True)  # a hang ends the process, with its place
        start = time.process_time()
        verdict = _judge(data)
        slowest = max(slowest, time.process_time() - start)
        verdicts.append(verdict if verdict in ("decoded", "refused") else f"{damage.__name__} {i}: {verdict}")
    faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "files": len(verdicts),
        "decoded": verdicts.count("decoded"),
        "wrong": [verdict for verdict in verdicts if verdict not in ("decoded", "refused")],
        "slowest_s": slowest,
        "growth_mb": (peak - before) / (1024 if sys.platform != "darwin" else 1024**2),
    }))  # fmt: skip


if __name__ == "__main__":
    _main(sys.argv[1])
