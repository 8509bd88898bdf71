"""A file cannot make mien read other files, or ask the network for anything."""

from __future__ import annotations

import re
import resource
from fractions import Fraction
from pathlib import Path

import av
import pytest

from mien.errors import VideoError
from mien.video import container
from mien.video.frames import open_frames
from tests.video.making import outcome, write_numbered
from tests.video.serving import Server


def lists(target: str) -> dict[str, str]:
    """Files of kinds that name others, by their extension."""
    return {
        ".m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        ".ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        ".sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        ".mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT10S" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static"><Period><AdaptationSet mimeType='
        f'"video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        ".imf": f'<?xml version="1.0"?><CompositionPlaylist xmlns="x"><Id>{target}</Id></CompositionPlaylist>',
        ".ism": f'<?xml version="1.0"?><smil><body><switch><video src="{target}"/></switch></body></smil>',
    }


@pytest.mark.parametrize("suffix", [".mp4", None])
@pytest.mark.parametrize("kind", sorted(lists("")))
def test_lists_of_files_are_refused_and_nothing_is_fetched(clip, tmp_path, kind, suffix):
    """Under their own name, and under that of a video."""
    with Server({"clip.mp4": clip.read_bytes()}) as server:
        for target in (server.url("clip.mp4"), str(clip), clip.as_uri(), clip.name):
            path = tmp_path / f"list{suffix or kind}"
            path.write_text(lists(target)[kind])
            (tmp_path / clip.name).write_bytes(clip.read_bytes())
            with pytest.raises(VideoError, match=r"not a video that mien reads|refused"):
                open_frames(path)
        assert server.requests == []


def test_a_list_over_http_is_refused_too(clip):
    with Server({"clip.mp4": clip.read_bytes()}) as server:
        for kind, text in lists(server.url("clip.mp4")).items():
            server.files[f"list{kind}"] = text.encode()
            with pytest.raises(VideoError):
                open_frames(server.url(f"list{kind}"))
        assert "/clip.mp4" not in server.requests


def test_no_demuxer_that_reads_other_files_is_allowed():
    """Names as FFmpeg has them; those that open addresses or files that their content names."""
    allowed = set(",".join(container.DEMUXERS).split(","))
    readers = {"hls", "concat", "dash", "sdp", "rtsp", "image2", "imf", "sap", "lavfi", "webm_dash_manifest", "tty"}
    assert not allowed & readers


def test_external_media_of_quicktime_is_not_read(tmp_path):
    """A track whose data lie in another file: the `url ` that says "in this file" is made to name one."""
    whole = write_numbered(tmp_path / "whole.mov", 10).read_bytes()
    secret = tmp_path / "secret.mov"
    secret.write_bytes(whole)
    at = whole.index(b"url \x00\x00\x00\x01")
    path = tmp_path / "a.mov"
    path.write_bytes(whole[: at + 7] + b"\x00" + whole[at + 8 :])  # not in this file; no name
    got, said = outcome(path)
    assert "\n" not in said
    assert bool(said) != bool(got)


class Bits:
    """Writes bits as the headers of H.264 have them."""

    def __init__(self) -> None:
        self._bits = ""

    def plain(self, value: int, count: int) -> Bits:
        self._bits += format(value, f"0{count}b")
        return self

    def golomb(self, *values: int) -> Bits:
        for value in values:
            self._bits += "0" * ((value + 1).bit_length() - 1) + format(value + 1, "b")
        return self

    def done(self) -> bytes:
        bits = self._bits + "1" + "0" * (-(len(self._bits) + 1) % 8)
        data = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
        return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", data)


def claim(side: int) -> bytes:
    """A few hundred bytes of H.264 that claim to be a picture of `side` x `side` pixels."""
    blocks = side // 16 - 1
    sequence = Bits().golomb(0, 0, 2, 1).plain(0, 1).golomb(blocks, blocks).plain(0b1100, 4).done()
    picture = Bits().golomb(0, 0).plain(0, 2).golomb(0, 0, 0).plain(0, 3).golomb(0, 0, 0).plain(0, 3).done()
    slices = Bits().golomb(0, 7, 0).plain(0, 4).golomb(0).plain(0, 2).golomb(0).done() + b"\x55\xaa" * 200
    units = b"\x67\x42\x00\x33" + sequence, b"\x68" + picture, b"\x65" + slices
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.mark.parametrize("suffix", [".h264", ".ts"])
def test_a_small_file_cannot_claim_memory(tmp_path, suffix):
    path = tmp_path / f"bomb{suffix}"
    if suffix == ".h264":
        path.write_bytes(claim(16384) * 20)
    else:
        with av.open(path, "w") as out:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for i in range(20):
                packet = av.Packet(claim(16384))
                packet.pts = packet.dts = i * 3600
                packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 90_000), stream, True
                out.mux(packet)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VideoError, match="perhaps they are over the limit of 100,000,000 pixels"):
        open_frames(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # kilobytes
    path.write_bytes(claim(640) * 20)  # the same with a size that may be: it gets as far as the pictures themselves
    with pytest.raises(VideoError, match="20 pictures are damaged"):
        open_frames(path)


@pytest.mark.parametrize(
    "path",
    ["concat:/etc/passwd", "file:/etc/passwd", "pipe:0", "data:video/mp4;base64,AAAA", "subfile,,start,0,end,0,,:/x"],
)
def test_protocols_of_ffmpeg_are_names_of_files(path):
    with pytest.raises(VideoError, match="no such file"):
        open_frames(path)


@pytest.mark.parametrize("address", ["ftp://h/a.mp4", "rtmp://h/a", "udp://@:1234", "file:///etc/passwd", "tcp://h:1"])
def test_other_addresses_are_refused(address):
    with pytest.raises(VideoError, match="such addresses are not read; http, https, rtsp and rtsps are"):
        open_frames(address)


@pytest.mark.parametrize(
    "address", ["http://", "rtsp:///a", "http://user:secret@/", "http://[::1/a", "http://[secret]/"]
)
def test_addresses_without_a_host(address):
    with pytest.raises(VideoError, match="without a host") as raised:
        open_frames(address)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:port/", "http://127.0.0.1:99999/", "http://a b/", "http://x\r\ny/"]
)
def test_impossible_addresses(address):
    with pytest.raises(VideoError) as raised:
        open_frames(address)
    assert "\n" not in str(raised.value)


def test_names_cannot_write_on_the_terminal(tmp_path: Path):
    with pytest.raises(VideoError) as raised:
        open_frames(tmp_path / "a\x1b[31m\n.mp4")
    assert str(raised.value).isprintable()
