"""The only door to PyAV: containers opened with limits, and their pictures made upright RGB.

Files are hostile until decoded. FFmpeg, below PyAV, can read lists of other files and open addresses that a file
names; here it opens nothing at all: it is handed a file object, its requests for another one are refused, and only
demuxers and decoders of an allow-list run. Sound is never decoded. The size of a picture is checked before it is
decoded, and by the decoder itself whenever it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

from mien.errors import VideoError
from mien.types import ImageArray
from mien.video.losses import Losses
from mien.video.upright import ToRGB

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

__all__ = ["Limits", "Video", "open_video"]

# None of these reads other files. `mov` could (external data references), and has that switched off.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "nut", "dv", "ivf",
    "gif", "mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo", "obu", "yuv4mpegpipe",
)  # fmt: skip
_SOUNDS = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9", b"fLaC", b"#!AMR", b".snd")
"""How files begin that hold only sound and that none of `DEMUXERS` reads: MP3, AAC, FLAC, AMR, AU."""
_CHUNKED_SOUNDS = (b"WAVE", b"AIFF", b"AIFC")  # what follows eight bytes of RIFF, RF64 or FORM
_HEAD = 12  # bytes that show it
_ONLY_SOUND = "there is only sound in it, and no picture"
DECODERS = frozenset(
    {
        "h264", "hevc", "vvc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "mjpeg", "mpeg1video",
        "mpeg2video", "mpeg4", "h263", "flv", "msmpeg4", "msmpeg4v2", "msmpeg4v1", "wmv1", "wmv2", "wmv3", "vc1",
        "theora", "prores", "dnxhd", "dvvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "gif", "png",
        "jpeg2000", "cinepak", "svq1", "svq3",
    }
)  # fmt: skip

_UNTIMED = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo", "obu"})
_RECORDED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "avi", "gif", "mxf", "dv", "ivf"})
_BUFFER = 1 << 16
_MARGIN = 1 << 20  # pixels: decoders round sizes up before they compare them with their limit
_MOST_FAILURES = 200  # reads in a row that fail: nothing more will come
_FASTEST = 1000.0  # pictures per second; what claims more has no frame rate in its header
_OLDEST_RATE = 25.0


@dataclass(frozen=True)
class Limits:
    """What decoding may cost, and how large its pictures are to be.

    Attributes:
        max_pixels: larger pictures are refused before they are decoded.
        longest: pictures are scaled down to this longest side while they are converted; None leaves them.
        threads: of the decoder.
        delay: whether the decoder may hold back pictures to work on several at once.
    """

    max_pixels: int
    longest: int | None
    threads: int
    delay: bool = True


def open_video(
    source: Any,
    name: str,
    limits: Limits,
    losses: Losses,
    *,
    format: str | None = None,  # noqa: A002  (PyAV's word)
    options: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Video:
    """Open a container and find its video stream.

    Args:
        source: a binary file object, from which alone is read; or an address, with `format` and `options` that say
            which protocols may be used.
        name: for messages.
        limits: see `Limits`.
        losses: told what cannot be decoded.
        format: demuxer to use rather than the one that fits the content.
        options: of the demuxer and protocol, beside those that keep files harmless.
        timeout: seconds that opening and each read may take, for addresses.

    Raises:
        VideoError: not a video that mien reads, damaged from its beginning, without pictures, or over the limits; or
            PyAV is not installed.
    """
    av = _av()
    is_address = isinstance(source, str)
    given = None if is_address else _Input(source)
    try:
        container = av.open(
            given or source,
            "r",
            format=format,
            options=_options(limits, options or {}),
            buffer_size=_BUFFER,
            timeout=timeout,
            metadata_errors="replace",
            io_open=None if is_address else _refuse,
        )
    except Exception as error:  # hostile bytes meet nearly every exception there is
        why = reason(error)
        if given is not None and given.error is not None:
            why = reason(given.error)
        elif given is not None and _is_sound(given.head):
            why = _ONLY_SOUND
        elif given is not None and isinstance(error, OSError):  # not of the system, but of what the file says
            why = "damaged from its beginning"
        # The error of an address shows the address, with its password.
        raise VideoError(f"{name}: {why}") from None if is_address else error
    try:
        return Video(container, name, limits, losses, given)
    except BaseException:
        container.close()
        raise


def reason(error: BaseException) -> str:
    """What an error of PyAV, or of the system below, means to a user; one line."""
    import av

    meanings: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        (av.error.EOFError, "it ends before the first picture"),
        ((av.error.InvalidDataError, UnicodeError), "not a video that mien reads, or damaged from its beginning"),
        (
            (av.error.ArgumentError, _RefusedError),
            "a kind of file that is not read as video (lists that name other files are refused)",
        ),
        (av.error.PatchWelcomeError, "of a kind that FFmpeg does not read"),
        (MemoryError, "not enough memory"),
        ((av.error.ExitError, TimeoutError), "no answer in time"),
    )
    for kind, meaning in meanings:
        if isinstance(error, kind):
            return meaning
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).lower().split())[:160]


def _is_sound(head: bytes) -> bool:
    chunked = head[:4] in (b"RIFF", b"RF64", b"FORM") and head[8:12] in _CHUNKED_SOUNDS
    return chunked or head.startswith(_SOUNDS)


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise VideoError("reading video needs PyAV: pip install 'mien[video]'") from error
    return av


class _Input:
    """A file object that keeps its errors to itself: one that crosses FFmpeg can get lost, or be printed on the way.

    Attributes:
        error: what broke reading off; for FFmpeg, the file ends there.
        head: the first bytes that were read.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.name = str(getattr(file, "name", ""))
        self.error: Exception | None = None
        self.head = b""

    def read(self, size: int) -> bytes:
        if self.error is not None:
            return b""
        try:
            data = bytes(self._file.read(size))
            self.head = self.head or data[:_HEAD]
            return data
        except Exception as error:
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return int(self._file.seek(offset, whence))
        except (OSError, ValueError):  # damaged files ask for positions that there are not
            return -1

    def tell(self) -> int:
        return int(self._file.tell())

    def seekable(self) -> bool:
        return bool(self._file.seekable())


class _RefusedError(OSError):
    """A file asked for another one."""


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    raise _RefusedError("a file that refers to others")


def _options(limits: Limits, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "format_whitelist": ",".join(DEMUXERS),
        "codec_whitelist": ",".join(sorted(DECODERS)),
        "protocol_whitelist": "",
        "enable_drefs": "0",
        "max_pixels": str(limits.max_pixels + _MARGIN),
        "threads": "1",  # of the decoder that looks at the first pictures to learn what they are
        **more,
    }


class Video:
    """An open container with one video stream. For one thread at a time.

    Attributes:
        timed: whether its kind of container has timestamps; where not, those there are come from the frame rate.
        recorded: whether its kind of container has an end, so that it is never that of a live stream.
        rate: pictures per second, as the file says; None where it says nothing that can be.
        duration: seconds, as the file says.
        frames: number of pictures, as the file says.
        ends: seconds at which it ends, as the file says.
        since: seconds before which nothing counts as lost: it is not wanted.
    """

    def __init__(
        self, container: InputContainer, name: str, limits: Limits, losses: Losses, given: _Input | None
    ) -> None:
        self._container, self._losses, self._input = container, losses, given
        stream = _video_stream(container, name)
        self._stream: Any = stream
        codec = stream.codec_context
        _check_size(codec.width, codec.height, limits.max_pixels, name)
        codec.options = {"max_pixels": str(limits.max_pixels + _MARGIN)}
        codec.thread_count = limits.threads
        codec.thread_type = "AUTO" if limits.delay else "SLICE"
        self._max_pixels = limits.max_pixels
        self._sized = codec.width > 0
        self._to_rgb = ToRGB(limits.longest, limits.max_pixels, limits.threads)
        self.timed = container.format.name not in _UNTIMED
        self.recorded = container.format.name in _RECORDED
        self.rate = _rate(stream)
        self.frames: int | None = stream.frames if stream.frames > 0 else None
        self.duration = _duration(container, stream)
        self.ends = self.duration or 0.0
        if container.format.name == "avi":  # whose duration was corrected by the size of the file
            self.ends = max(self.ends, (self.frames or 0) * self.step)
        self.since = 0.0
        self._base = stream.time_base or Fraction(1, 1_000_000)
        self._begin = _begin(container, stream)

    @property
    def step(self) -> float:
        """Seconds from one picture to the next where timestamps do not say."""
        return 1 / (self.rate or _OLDEST_RATE)

    def stamp(self, frame: VideoFrame) -> float | None:
        """Seconds since the start of the file at which a picture is shown, as the file says."""
        return None if frame.pts is None else float(frame.pts * (frame.time_base or self._base)) - self._begin

    def seek(self, time: float) -> bool:
        """Go to a picture that is decodable by itself, at `time` seconds or before; False where that is impossible."""
        try:
            self._container.seek(int((time + self._begin) / self._base), stream=self._stream)
        except (OSError, ValueError, OverflowError):
            return False
        return self.timed

    def image(self, frame: VideoFrame) -> ImageArray | None:
        """(H, W, 3) uint8 RGB, upright; None, and a loss, if it cannot be made."""
        if frame.width * frame.height > self._max_pixels:
            limit = f"more than {self._max_pixels:,} pixels, and"
            kind = f"1 picture has {limit} was left out", f"{{n}} pictures have {limit} were left out"
            self._lose(kind, self.stamp(frame))
            return None
        try:
            return self._to_rgb(frame, self._stream.sample_aspect_ratio)
        except Exception:  # as above
            self._lose(_UNREADABLE, self.stamp(frame))
            return None

    def __iter__(self) -> Iterator[VideoFrame]:
        """Whole pictures in order of display; what cannot be decoded is a loss, and so is a picture with a hole.

        Raises:
            OSError: the file or the connection cannot be read any further.
        """
        whole = True  # no damage since the last picture that is decodable by itself
        for frame in self._decoded():
            if frame is None or frame.is_corrupt:
                whole = False
                if frame is not None:
                    self._lose(_DAMAGED, self.stamp(frame))
                continue
            whole = whole or frame.key_frame
            if not whole:
                self._lose(_SMEARED, self.stamp(frame))
            yield frame

    def close(self) -> None:
        """Close it. A file object stays open."""
        self._container.close()

    def _decoded(self) -> Iterator[VideoFrame | None]:
        """Pictures as the decoder gives them; None for a packet of which it can make nothing."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except EOFError:
                continue
            except Exception:  # as above; the decoder goes on with the next packet
                self._count_undecodable(packet)
                yield None
                continue
            yield from frames

    def _packets(self) -> Iterator[Any]:
        """Packets of the stream; a read that fails is tried again behind the damage.

        Raises:
            OSError: the file or the connection cannot be read any further.
        """
        failures = 0
        while failures < _MOST_FAILURES:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
            except Exception as error:  # as above
                if not _is_damage(error):
                    raise OSError(reason(error)) from None
                failures += 1
                continue
            if self._input is not None and self._input.error is not None:
                raise OSError(reason(self._input.error))
            return
        self._losses.tell("reading stopped: too much of it is damaged")

    def _count_undecodable(self, packet: Any) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        time = None if stamp is None else float(stamp * self._base) - self._begin
        limit = "" if self._sized else f"; perhaps they are over the limit of {self._max_pixels:,} pixels"
        self._lose((_UNREADABLE[0] + limit, _UNREADABLE[1] + limit), time)

    def _lose(self, kind: tuple[str, str], time: float | None) -> None:
        if time is None or time >= self.since:
            self._losses.count(*kind, time)


_SMEARED = (
    "1 picture builds on damaged ones, and may be smeared",
    "{n} pictures build on damaged ones, and may be smeared",
)
_UNREADABLE = ("1 picture could not be decoded", "{n} pictures could not be decoded")
_DAMAGED = ("1 picture is damaged, and was left out", "{n} pictures are damaged, and were left out")


def _is_damage(error: Exception) -> bool:
    import av

    # IndexError: a stream that began in mid-file, which PyAV's loop does not know before it is begun again
    kinds = (av.error.InvalidDataError, av.error.ArgumentError, av.error.BlockingIOError, IndexError)
    return isinstance(error, kinds)


def _video_stream(container: InputContainer, name: str) -> Any:
    """The stream to read: the container's best that is no cover of an album."""
    from av.stream import Disposition

    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoError(f"{name}: {_ONLY_SOUND if container.streams.audio else 'there is no video in it'}")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None or stream.codec_context.codec.name not in DECODERS:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        raise VideoError(f"{name}: its coding ({codec}) is not read; convert it to H.264")
    return stream


def _check_size(width: int, height: int, max_pixels: int, name: str) -> None:
    if width * height > max_pixels:
        raise VideoError(f"{name}: pictures of {width} x {height} are over the limit of {max_pixels:,} pixels")


def _rate(stream: Any) -> float | None:
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= _FASTEST:
            return float(rate)
    return None


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds from the start of the file to the end of its last picture, as the file says."""
    if stream.duration and stream.time_base:
        begin = float((stream.start_time or 0) * stream.time_base) - _begin(container, stream)
        duration = begin + float(stream.duration * stream.time_base)
    else:
        duration = (container.duration or 0) / 1_000_000
    return duration if duration > 0 else None


def _begin(container: Any, stream: Any) -> float:
    """Timestamp, in seconds, at which the file begins: of its sound or its pictures, as players count."""
    if container.start_time is not None:
        return float(container.start_time / 1_000_000)
    return float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
