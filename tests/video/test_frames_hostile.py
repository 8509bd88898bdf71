"""A file cannot make mien read other files, or ask the network for anything."""

from __future__ import annotations

from pathlib import Path

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


def test_names_cannot_write_on_the_terminal(tmp_path: Path):
    with pytest.raises(VideoError) as raised:
        open_frames(tmp_path / "a\x1b[31m\n.mp4")
    assert str(raised.value).isprintable()
