from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import stat
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import ImageDecodeError, ImageError, ImageTooLargeError
from mien.ops.image import load_image, picture_digest, save_image

LOSSLESS = ["PNG", "BMP", "TIFF", "WEBP"]


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(rows: np.ndarray, photometric: int, sample_format: int, bits: int | None = None) -> bytes:
    """A minimal little-endian TIFF of one uncompressed strip of single samples."""
    data = rows.tobytes()
    bits = bits or rows.dtype.itemsize * 8
    tags = [
        (256, rows.shape[1]), (257, rows.shape[0]), (258, bits), (259, 1), (262, photometric), (273, 8),
        (277, 1), (278, rows.shape[0]), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    ifd = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + ifd + struct.pack("<I", 0)


@pytest.fixture
def pattern() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def smooth() -> np.ndarray:
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, 255 - x * 2 - y], axis=2).astype(np.uint8)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert message
    assert message.isprintable()
    return message


# Formats


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_are_exact(pattern, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = load_image(encode(Image.fromarray(pattern), kind, **options))
    np.testing.assert_array_equal(image, pattern)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_is_exact(pattern, compression):
    np.testing.assert_array_equal(
        load_image(encode(Image.fromarray(pattern), "TIFF", compression=compression)), pattern
    )


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB")])
def test_lossy_formats_are_close(smooth, kind, mode):
    image = load_image(encode(Image.fromarray(smooth).convert(mode), kind, quality=95))
    assert np.abs(image.astype(int) - smooth).mean() < 3


def test_mpo_gives_the_first_picture(smooth):
    other = Image.fromarray(255 - smooth)
    data = encode(Image.fromarray(smooth), "MPO", save_all=True, append_images=[other], quality=95)
    assert np.abs(load_image(data).astype(int) - smooth).mean() < 3


def test_animated_gif_gives_the_first_frame():
    red, blue = Image.new("RGB", (9, 6), (255, 0, 0)), Image.new("RGB", (9, 6), (0, 0, 255))
    image = load_image(encode(red, "GIF", save_all=True, append_images=[blue]))
    assert image.shape == (6, 9, 3)
    assert (image == (255, 0, 0)).all()


def test_pictures_taller_than_one_strip(monkeypatch, pattern):
    monkeypatch.setattr("mien.ops.image._STRIP_PIXELS", 14)  # two rows of seven
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(pattern), "PNG")), pattern)
    np.testing.assert_array_equal(load_image(pattern.astype(np.uint16) * 257), pattern)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"%PDF-1.7 and so on", "not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (encode(Image.new("RGB", (4, 4)), "ICO"), "not a JPEG"),
        (encode(Image.new("RGB", (4, 4)), "PPM"), "not a JPEG"),
        (b"x", "not a JPEG"),
        (b"", "empty"),
    ],
)
def test_other_formats_are_refused(data, hint):
    with pytest.raises(ImageDecodeError, match=hint) as error:
        load_image(data)
    one_line(error)


# Orientation


def oriented(stored: np.ndarray, orientation: int) -> np.ndarray:
    """The displayed picture by the EXIF definition: where the stored row 0 and column 0 are shown."""
    rows_of = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    return rows_of[orientation](stored)


@pytest.mark.parametrize("strip", [1 << 20, 14])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation(monkeypatch, pattern, kind, orientation, strip):
    monkeypatch.setattr("mien.ops.image._STRIP_PIXELS", strip)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    image = load_image(encode(Image.fromarray(pattern), kind, exif=exif, **options))
    np.testing.assert_array_equal(image, oriented(pattern, orientation))
    assert image.flags.c_contiguous


def test_exif_orientation_of_jpeg(smooth):
    exif = Image.Exif()
    exif[0x010F] = "a camera before the orientation tag"
    exif[0x0112] = 6
    image = load_image(encode(Image.fromarray(smooth), "JPEG", exif=exif, quality=95))
    assert image.shape == (64, 48, 3)
    assert np.abs(image.astype(int) - np.rot90(smooth, -1)).mean() < 3


@pytest.mark.parametrize(
    "exif",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff",
     b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0" * 50,
     b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0"],
)  # fmt: skip
def test_senseless_exif_is_ignored(smooth, exif):
    options = {"exif": exif} if exif else {}
    assert load_image(encode(Image.fromarray(smooth), "JPEG", **options)).shape == smooth.shape


# Grey, deep, transparent and odd pixels


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_is_repeated(pattern, kind):
    grey = np.ascontiguousarray(pattern[..., 0])
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(grey), kind)), np.dstack([grey] * 3))


def test_one_bit_is_black_and_white():
    bits = np.eye(9, dtype=bool)
    for kind in ("PNG", "TIFF", "BMP"):
        image = load_image(encode(Image.fromarray(bits), kind))
        np.testing.assert_array_equal(image, np.dstack([bits.astype(np.uint8) * 255] * 3))


DEEP = np.array([[0, 128, 129, 256, 257], [32767, 32896, 40000, 65534, 65535]], np.uint16)
DEEP_AS_8 = np.rint(DEEP / 257).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind):
    image = load_image(encode(Image.fromarray(DEEP), kind))
    np.testing.assert_array_equal(image, np.dstack([DEEP_AS_8] * 3))


def test_big_endian_16_bit_tiff():
    image = load_image(encode(Image.fromarray(DEEP.astype(">u2")), "TIFF"))
    np.testing.assert_array_equal(image[..., 1], DEEP_AS_8)


def test_16_bit_rgb_png_keeps_the_high_byte():
    values = np.arange(0, 60000, 1111, dtype=">u2")[:54].reshape(3, 6, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    image = load_image(png(6, 3, 16, 2, rows))
    np.testing.assert_array_equal(image, values >> 8)


def test_16_bit_grey_with_alpha_png():
    rows = b"\0" + struct.pack(">4H", 0x8000, 0xFFFF, 0x8000, 0)
    np.testing.assert_array_equal(load_image(png(2, 1, 16, 4, rows)), [[[128] * 3, [255] * 3]])


def test_16_bit_grey_with_a_transparent_value():
    rows = b"\0" + struct.pack(">2H", 300, 0)
    image = load_image(png(2, 1, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 300))))
    np.testing.assert_array_equal(image[0, :, 0], [255, 0])


def test_white_is_zero_tiff_is_inverted():
    np.testing.assert_array_equal(load_image(tiff(DEEP, 0, 1))[..., 0], np.rint((65535 - DEEP.astype(int)) / 257))


def test_float_tiff_in_unit_range():
    values = np.array([[0, 0.25, 0.5], [0.75, 1, 1.0005]], np.float32)
    np.testing.assert_array_equal(load_image(tiff(values, 1, 3))[..., 0], [[0, 64, 128], [191, 255, 255]])


@pytest.mark.parametrize("value", [255.0, -1.0, np.nan, np.inf])
def test_float_tiff_out_of_range_is_refused(value):
    with pytest.raises(ImageDecodeError, match=r"float pixels must lie in \[0, 1\]") as error:
        load_image(tiff(np.full((2, 2), value, np.float32), 1, 3))
    assert one_line(error).startswith("image: ")


@pytest.mark.parametrize(("dtype", "sample_format"), [(np.int32, 2), (np.uint32, 1), (np.int16, 2)])
def test_integer_tiffs_without_a_white_level_are_refused(dtype, sample_format):
    with pytest.raises(ImageDecodeError, match="white"):
        load_image(tiff(np.ones((2, 2), dtype), 1, sample_format))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_on_white(kind):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[...] = (200, 100, 0, 255)
    rgba[0, :, 3] = 0
    rgba[1, :, 3] = 51
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    image = load_image(encode(Image.fromarray(rgba), kind, **options))
    np.testing.assert_array_equal(image[:3, 0], [(255, 255, 255), (244, 224, 204), (200, 100, 0)])


def test_grey_alpha_is_composited_on_white():
    la = np.array([[[0, 255], [0, 0], [100, 51]]], np.uint8)
    np.testing.assert_array_equal(load_image(encode(Image.fromarray(la, "LA"), "PNG"))[0, :, 0], [0, 255, 224])


def test_palette_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    data = encode(image, "PNG", transparency=bytes([255, 0, 51]))
    np.testing.assert_array_equal(load_image(data)[0], [(255, 0, 0), (255, 255, 255), (204, 204, 255)])
    data = encode(image, "GIF", transparency=1)
    np.testing.assert_array_equal(load_image(data)[0], [(255, 0, 0), (255, 255, 255), (0, 0, 255)])


@pytest.mark.parametrize(
    ("bits", "key"), [(8, (10, 20, 30)), (16, (0x0A0A, 0x1414, 0x1E1E))], ids=["8 bits", "16 bits"]
)
def test_rgb_png_with_a_transparent_colour(bits, key):
    pixels = struct.pack(">6B" if bits == 8 else ">6H", *key, *[x // 2 for x in key])
    image = load_image(png(2, 1, bits, 2, b"\0" + pixels, chunk(b"tRNS", struct.pack(">3H", *key))))
    np.testing.assert_array_equal(image[0, 1], (5, 10, 15))
    np.testing.assert_array_equal(image[0, 0], (255, 255, 255))


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "CMYK"])
def test_tiff_colour_spaces(smooth, mode):
    source = Image.fromarray(smooth)
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.applyTransform(source, ImageCms.buildTransform(*profiles, "RGB", "LAB"), inPlace=False)
    else:
        converted = source.convert(mode)
    image = load_image(encode(converted, "TIFF", compression="tiff_lzw"))
    assert np.abs(image.astype(int) - smooth).mean() < 4


# Limits and hostile files


def giant(kind: str) -> bytes:
    """A file of a few dozen bytes that claims 60,000 x 60,000 pixels (WebP: 16,000)."""
    if kind == "PNG":
        return png(60000, 60000, 8, 2, b"")
    if kind == "GIF":  # a tiny screen, a giant frame
        frame = b"!\xf9\x04\x08\0\0\0\0" + b"," + struct.pack("<4H", 0, 0, 60000, 60000) + b"\0\x08\0"
        return b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + bytes(6) + frame + b";"
    if kind == "BMP":
        return b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    if kind == "WEBP":
        size = (15999).to_bytes(3, "little")
        return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + size + size
    if kind == "TIFF":
        data = bytearray(tiff(np.zeros((1, 1), np.uint8), 1, 1))
        at = data.index(struct.pack("<HHII", 256, 4, 1, 1))
        data[at : at + 24] = struct.pack("<HHIIHHII", 256, 4, 1, 60000, 257, 4, 1, 60000)
        return bytes(data)
    data = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"])
def test_giant_pictures_are_refused_from_their_header(kind):
    data = giant(kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageTooLargeError, match="over the limit of 100,000,000 pixels") as error:
        load_image(data)
    one_line(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KB


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"])
def test_max_pixels_is_inclusive(kind):
    data = encode(Image.new("RGB", (10, 10)), kind)
    assert load_image(data, max_pixels=100).shape == (10, 10, 3)
    with pytest.raises(ImageTooLargeError, match="10 x 10 pixels"):
        load_image(data, max_pixels=99)


def test_pillows_own_pixel_limit_plays_no_part(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # 10 x 10 would warn, 20 x 20 would raise
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        assert load_image(encode(Image.new("RGB", (10, 10)), kind)).shape == (10, 10, 3)
    assert Image.MAX_IMAGE_PIXELS == 60


def test_compressed_metadata_bomb():
    bomb = zlib.compress(bytes(50_000_000))
    rows = b"\0" + bytes(3)
    for kind, head in ((b"zTXt", b"key\0\0"), (b"iCCP", b"key\0\0"), (b"iTXt", b"key\0\x01\0\0\0")):
        data = png(1, 1, 8, 2, rows, chunk(kind, head + bomb))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(ImageDecodeError):  # Pillow refuses some kinds and skips others
            assert load_image(data).shape == (1, 1, 3)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_jpeg_with_thousands_of_scans(smooth):
    data = encode(Image.fromarray(smooth), "JPEG", progressive=True)
    assert load_image(data).shape == smooth.shape
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 200 + data[-2:]
    with pytest.raises(ImageDecodeError, match="100 scans"):
        load_image(bomb)


def test_lzma_tiff_is_refused():
    data = bytearray(tiff(np.zeros((4, 4), np.uint8), 1, 1))
    at = data.index(struct.pack("<HHII", 259, 4, 1, 1))
    data[at : at + 12] = struct.pack("<HHII", 259, 4, 1, 34925)
    with pytest.raises(ImageDecodeError, match="compression 34925") as error:
        load_image(bytes(data))
    one_line(error)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"])
def test_truncated_files_are_errors(kind):
    photo = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    data = encode(Image.fromarray(photo), kind)
    for share in (0.02, 0.3, 0.6, 0.9, 0.97):
        with pytest.raises(ImageDecodeError) as error:
            load_image(data[: int(len(data) * share)])
        one_line(error)


def noisy_png() -> bytes:
    """Pillow warns about this one: an animation of no frames."""
    return png(1, 1, 8, 2, b"\0" + bytes(3), chunk(b"acTL", bytes(8)))


def test_decoder_warnings_stay_inside():
    data = noisy_png()
    with pytest.warns(UserWarning, match="Invalid APNG"):
        Image.open(io.BytesIO(data)).load()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_image(data)
        assert not caught
        warnings.warn("mine", stacklevel=1)  # our filter leaves the user's warnings alone
        assert [str(w.message) for w in caught] == ["mine"]


def test_threads_keep_their_warnings():
    data = noisy_png()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=lambda: [load_image(data) for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for i in range(500):
            warnings.warn(f"mine {i}", stacklevel=1)
        for thread in threads:
            thread.join()
    assert [str(w.message) for w in caught] == [f"mine {i}" for i in range(500)]


# Paths and file objects


@pytest.fixture
def picture(tmp_path, pattern) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(Image.fromarray(pattern), "PNG"))
    return path


def test_every_kind_of_source_gives_the_same(picture, pattern):
    data = picture.read_bytes()
    with picture.open("rb") as file:
        for source in (
            picture, str(picture), data, bytearray(data), memoryview(data), memoryview(data[::-1])[::-1],
            io.BytesIO(data), file, pattern,
        ):  # fmt: skip
            np.testing.assert_array_equal(load_image(source), pattern)


class Trickle(io.RawIOBase):
    """Gives one byte at a time, without end, and counts them."""

    def __init__(self, data: bytes = b"") -> None:
        self.data, self.given, self.endless = data, 0, not data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        self.given += 1
        return b"\0" if self.endless else self.data[self.given - 1 : self.given]


def test_short_reads_are_continued(picture, pattern):
    np.testing.assert_array_equal(load_image(Trickle(picture.read_bytes())), pattern)


def test_file_objects_are_read_to_the_limit_only():
    endless = Trickle()
    with pytest.raises(ImageTooLargeError, match="1,000 bytes"):
        load_image(endless, max_bytes=1000)
    assert endless.given == 1001


def test_byte_limit_is_inclusive(picture):
    data = picture.read_bytes()
    for source in (data, picture, io.BytesIO(data)):
        if isinstance(source, io.BytesIO):
            source.seek(0)
        assert load_image(source, max_bytes=len(data)).size
    for source in (data, picture, io.BytesIO(data)):
        with pytest.raises(ImageTooLargeError):
            load_image(source, max_bytes=len(data) - 1)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "empty", "null", "no name", "text mode"])
def test_unreadable_paths_are_one_line(tmp_path, kind):
    path: object = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "empty":
        path.touch()
    elif kind == "null":
        path = "a\0b.jpg"
    elif kind == "no name":
        path = ""
    elif kind == "text mode":
        path = io.StringIO("text")
    expected = {
        "missing": "no such file", "folder": "is a folder", "pipe": "pipe or a device",
        "device": "pipe or a device", "empty": "is empty", "null": "null", "no name": "''", "text mode": "binary mode",
    }  # fmt: skip
    with pytest.raises(ImageError, match=expected[kind]) as error:
        load_image(path)
    one_line(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_permission_denied(picture):
    picture.chmod(0)
    with pytest.raises(ImageError, match=r"picture\.png: cannot be read: permission denied"):
        load_image(picture)


def test_a_file_without_permission_says_so(picture, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"picture\.png: cannot be read: permission denied"):
        load_image(picture)


def test_odd_names_are_escaped(tmp_path):
    path = tmp_path / os.fsdecode(b"a\nb\x1b[31m\xff.jpg")
    path.write_bytes(b"nonsense")
    with pytest.raises(ImageDecodeError) as error:
        load_image(path)
    assert r"a\nb\x1b[31m\udcff.jpg: not a JPEG" in one_line(error)


def test_file_objects_name_themselves(tmp_path):
    path = tmp_path / "named.jpg"
    path.write_bytes(b"nonsense")
    with path.open("rb") as file, pytest.raises(ImageDecodeError, match=r"named\.jpg: not a JPEG"):
        load_image(file)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"], Image.new("RGB", (2, 2))])
def test_other_sources_are_refused(source):
    with pytest.raises(ImageError, match="pass a path, bytes"):
        load_image(source)


# Arrays


def test_a_right_array_is_not_copied(pattern):
    assert load_image(pattern) is pattern
    turned = load_image(pattern.transpose(1, 0, 2))
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, pattern.transpose(1, 0, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [0, 1, 3, 4])
def test_arrays_of_every_accepted_kind(pattern, dtype, channels):
    eight = pattern if channels in (3, 4) else pattern[..., 0] if channels == 0 else pattern[..., :1]
    if channels == 4:
        eight = np.dstack([pattern, np.full((5, 7), 255, np.uint8)])
    white = {"u": 255 if np.dtype(dtype).itemsize == 1 else 65535, "f": 1}[np.dtype(dtype).kind]
    image = load_image((eight.astype(np.float64) / 255 * white).round(0 if white > 1 else 9).astype(dtype))
    wanted = np.broadcast_to(pattern if channels >= 3 else pattern[..., :1], pattern.shape)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - wanted).max() <= (dtype == np.float16)


def test_array_alpha_is_composited_on_white():
    rgba = np.array([[[0, 0, 0, 0], [200, 100, 0, 51]]], np.uint8)
    np.testing.assert_array_equal(load_image(rgba)[0], [(255, 255, 255), (244, 224, 204)])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5, np.uint8), np.zeros((5, 5, 2), np.uint8), np.zeros((1, 5, 5, 3), np.uint8),
        np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 0), np.uint8), np.zeros((5, 5), np.int64),
        np.zeros((5, 5), bool), np.zeros((5, 5), object), np.full((5, 5, 3), 255.0),
        np.full((5, 5, 3), np.nan), np.full((5, 5), -0.1), np.zeros((5, 5), "U1"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(array):
    with pytest.raises(ImageError, match="array") as error:
        load_image(array)
    one_line(error)


def test_arrays_over_the_pixel_limit():
    with pytest.raises(ImageTooLargeError, match="10 x 20 pixels"):
        load_image(np.zeros((20, 10, 3), np.uint8), max_pixels=199)


# Saving


def test_png_round_trip(tmp_path, pattern):
    save_image(tmp_path / "a.PNG", pattern[::-1])
    np.testing.assert_array_equal(load_image(tmp_path / "a.PNG"), pattern[::-1])


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_round_trip(tmp_path, smooth, name):
    save_image(tmp_path / name, smooth)
    assert np.abs(load_image(tmp_path / name).astype(int) - smooth).mean() < 2
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_saved_files_have_the_usual_permissions(tmp_path, pattern):
    (tmp_path / "plain").touch()
    save_image(str(tmp_path / "a.png"), pattern)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("name", ["a.webp", "a", "a.jpg.txt", ".png"])
def test_unknown_extensions(tmp_path, pattern, name):
    with pytest.raises(ImageError, match=r"\.jpg, \.jpeg or \.png") as error:
        save_image(tmp_path / name, pattern)
    one_line(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), None])
def test_only_pictures_are_saved(tmp_path, image):
    with pytest.raises(ImageError):
        save_image(tmp_path / "a.png", image)


def test_a_missing_folder_or_a_folder_in_the_way(tmp_path, pattern):
    with pytest.raises(ImageError, match="no such file or directory"):
        save_image(tmp_path / "missing" / "a.png", pattern)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(ImageError, match="is a directory"):
        save_image(tmp_path / "b.png", pattern)
    assert [p.name for p in tmp_path.iterdir()] == ["b.png"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        with pytest.raises(ImageError, match=r"a\.png: cannot be written") as error:
            save_image(target, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    one_line(error)
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_picture_too_wide_for_jpeg(tmp_path):
    with pytest.raises(ImageError, match=r"a\.jpg: cannot be written"):
        save_image(tmp_path / "a.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_picture_is_known_by_its_bytes(portrait, tmp_path):
    assert picture_digest(portrait) == hashlib.sha256(portrait.read_bytes()).hexdigest()
    assert picture_digest(tmp_path) is None
    assert picture_digest("https://example.org/a.jpg") is None
    assert picture_digest(tmp_path / "a\0b") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert picture_digest(tmp_path / "pipe") is None
