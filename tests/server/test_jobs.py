"""Jobs over HTTP: groups of unknown people, and videos; whose they are, how they stop, and what stays behind."""

import io
import json
import os
import struct
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mien import Gallery, load_image
from mien.server.jobs import Jobs
from mien.server.metrics import Metrics
from mien.server.problems import Problem
from mien.server.settings import Limits, Settings
from tests.server.conftest import PATIENCE, running
from tests.server.serving import ASTRONAUT, HOPPER, enrol, finished, image, key, refused, serving
from tests.video.clips import clip

NAMES = ("kit_1.jpg", "obama_1.jpg", "obama_2.jpg", "rose_1.jpg", "rose_2.jpg")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def client(server_analyzer, place):
    Gallery.open(place / "people.db", keep_crops=True).close()
    temporary = place / "tmp"
    temporary.mkdir()
    limits = {"video_bytes": 5_000_000, "picture_bytes": 2_000_000, "jobs": 8}
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        with serving(server_analyzer, place, gallery=str(place / "people.db"), limits=limits) as client:
            yield client
    finally:
        tempfile.tempdir = before


@pytest.fixture(autouse=True)
def _no_jobs(request):
    """Each test begins without jobs."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        for job in client.get("/v1/jobs").json()["jobs"]:
            client.delete(f"/v1/jobs/{job['id']}")


@pytest.fixture(scope="module")
def film(tmp_path_factory, shared_photos):
    return clip(tmp_path_factory.mktemp("film") / "film.mp4", [HOPPER, None, ASTRONAUT], seconds=0.8, fps=5)


def kept(place: Path) -> list[Path]:
    """What lies in the folders of jobs."""
    return [path for path in (place / "tmp").rglob("*") if path.is_file() and path.name != "lock"]


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def cluster(client, files, **how):
    return client.post("/v1/clusters", files=files, **how)


def started(answer) -> str:
    assert answer.status_code == 202, answer.text
    return answer.json()["job"]["id"]


# Groups


@pytest.mark.slow
def test_pictures_are_grouped_as_the_command_line_groups_them_and_a_group_is_named(
    client, place, shared_photos, mien, tmp_path
):
    folder = tmp_path / "album"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes((shared_photos / name).read_bytes())
    mien("cluster", folder, "--out", tmp_path / "groups.json")
    printed = json.loads((tmp_path / "groups.json").read_text())

    files = [image(shared_photos / name) for name in NAMES]
    job = finished(client, started(cluster(client, [*files, ("image", ("notes.txt", b"no"))])))
    assert job["state"] == "done"
    assert job["progress"] == {"done": 6, "total": 6, "unit": "pictures"}
    result = job["result"]
    people = [sorted(Path(face["path"]).name for face in group["faces"]) for group in result["groups"]]
    assert people == [sorted(Path(face["path"]).name for face in group["faces"]) for group in printed["groups"]]
    assert people
    assert result["made_by"] == printed["made_by"]
    assert [(one["path"], one["code"]) for one in result["failed"]] == [("notes.txt", "not-a-picture")]
    crops = [face["crop"] for group in result["groups"] for face in group["faces"]]
    assert crops == job["files"]
    got = client.get(f"/v1/jobs/{job['id']}/files/{crops[0]}")
    assert got.headers["content-type"] == "image/jpeg"
    assert load_image(got.content).size
    assert {path.name for path in kept(place)} == set(crops)  # the pictures themselves are gone

    named = client.post(f"/v1/jobs/{job['id']}/groups/1/name", json={"name": "爱达", "consent": "said yes"})
    assert named.status_code == 201
    assert named.json()["person"]["name"] == "爱达"
    assert len(named.json()["enrolled"]) == len(people[0])
    face = named.json()["enrolled"][0]["face"]
    assert load_image(client.get(f"/v1/gallery/faces/{face}/crop").content).size
    refused(client.post(f"/v1/jobs/{job['id']}/groups/99/name", json={"name": "Ada"}), 404, "not-found")
    refused(client.post(f"/v1/jobs/{job['id']}/groups/1/name", json={"name": "Ada"}), 409, "gallery")
    refused(client.post(f"/v1/jobs/{job['id']}/groups/1/name", json={"name": ""}), 422, "invalid")

    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    refused(client.get(f"/v1/jobs/{job['id']}"), 404, "not-found")
    refused(client.get(f"/v1/jobs/{job['id']}/files/{crops[0]}"), 404, "not-found")
    assert kept(place) == []


def test_an_archive_is_grouped_whatever_its_names_say_and_nothing_is_unpacked(client, place, shared_photos):
    data = (shared_photos / "rose_1.jpg").read_bytes()
    names = ["../../../etc/cron.d/x.jpg", "/root/.ssh/a.jpg", "C:\\Windows\\b.jpg", "__MACOSX/c.jpg", ".DS_Store", "d/"]
    files = {name: b"" if name.endswith("/") else data for name in names}
    files |= {"inner.zip": zipped({"deep.jpg": data}), "e/rose.jpg": (shared_photos / "rose_2.jpg").read_bytes()}
    job = finished(client, started(cluster(client, [("archive", ("album.zip", zipped(files)))])))
    assert job["state"] == "done"
    assert [one["path"] for one in job["result"]["failed"]] == ["inner.zip"]
    assert job["progress"]["total"] == 5
    inside = {path.parent.parent for path in kept(place)}
    assert all(folder.parent == place / "tmp" for folder in inside)
    assert len(job["result"]["groups"]) == 1
    client.delete(f"/v1/jobs/{job['id']}")


def bomb() -> bytes:
    return zipped({"picture.jpg": bytes(30_000_000)})


def lying() -> bytes:
    """An archive whose directory says that a file of 30 MB has a thousand bytes."""
    data = bytearray(bomb())
    size = struct.pack("<I", 30_000_000)
    while (at := data.find(size)) >= 0:
        data[at : at + 4] = struct.pack("<I", 1000)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"PK\x03\x04 no archive", 422, "not-an-archive"),
        (zipped({"a.jpg": b"x" * 1000})[:-30], 422, "not-an-archive"),
        (zipped({}), 422, "empty"),
        (zipped({"a/": b"", ".hidden": b"x"}), 422, "empty"),
        (zipped({f"{i}.jpg": b"x" for i in range(201)}), 413, "too-many"),
        (zipped({f"f{i}/": b"" for i in range(1001)}), 413, "too-many"),
        (bomb(), 413, "too-large"),
        (zipped({"a.jpg": os.urandom(6_000_000)}), 413, "too-large"),
    ],
    ids=["no-zip", "cut", "empty", "clutter", "entries", "folders", "bomb", "upload"],
)
def test_archives_that_are_attacks_are_refused_at_once_and_leave_nothing(client, place, data, status, code):
    refused(cluster(client, [("archive", ("a.zip", data))]), status, code)
    assert kept(place) == []
    assert client.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("make", [lying, lambda: zipped({"a.jpg": b"x" * 900_000}, zipfile.ZIP_LZMA)])
def test_a_file_of_an_archive_that_cannot_be_trusted_fails_alone(client, make):
    job = finished(client, started(cluster(client, [("archive", ("a.zip", make()))])))
    assert job["state"] == "done"
    assert len(job["result"]["failed"]) == 1
    assert job["result"]["failed"][0]["code"] in {"too-large", "data-unusable"}
    assert "/" not in job["result"]["failed"][0]["error"].split(": ")[0]
    client.delete(f"/v1/jobs/{job['id']}")


def test_uploads_that_make_no_sense(client, place):
    big = os.urandom(2_100_000)
    archive = ("archive", ("a.zip", zipped({"a.jpg": b"x"})))
    refused(cluster(client, [image(HOPPER), archive]), 422, "invalid")
    refused(cluster(client, [archive, archive]), 422, "invalid")
    refused(cluster(client, [("picture", ("a.jpg", b"x"))]), 422, "invalid")
    refused(cluster(client, [("image", ("a.jpg", big))]), 413, "too-large")
    refused(cluster(client, [("image", (f"{i}.jpg", b"x")) for i in range(201)]), 413, "too-many")
    refused(client.post("/v1/clusters", content=HOPPER.read_bytes()), 415, "form")
    refused(cluster(client, [image(HOPPER)], params={"min_size": 0}), 422, "invalid")
    refused(client.post("/v1/clusters", files=[image(HOPPER)], data={"min_size": "2"}), 422, "invalid")
    assert kept(place) == []
    assert client.get("/v1/jobs").json()["jobs"] == []


# Videos


@pytest.mark.slow
def test_a_video_is_told_as_the_command_line_tells_it(client, place, film, mien):
    enrol(client, "Grace", HOPPER)
    answer = client.post("/v1/videos", params={"name": "party.mp4", "identify": True}, content=film.read_bytes())
    job = finished(client, started(answer))
    assert job["state"] == "done", job
    printed = json.loads(mien("video", film, "--gallery", place / "people.db", "--threads", "1", "--json").stdout)
    assert job["result"]["video"].pop("source") == "party.mp4"
    printed["video"].pop("source")
    assert job["result"] == printed
    assert [person.get("person") for person in job["result"]["people"]] == ["Grace", None]
    assert {"timeline.csv", "timeline.jsonl", "timeline.vtt", "timeline.png", "report.html"} <= set(job["files"])
    kinds = {"timeline.csv": "text/csv", "timeline.png": "image/png", "report.html": "text/html"}
    for name in job["files"]:
        got = client.get(f"/v1/jobs/{job['id']}/files/{name}")
        assert got.status_code == 200
        assert got.headers["content-type"].startswith(kinds.get(name, ""))
        assert str(place).encode() not in got.content
        assert "attachment" in got.headers["content-disposition"]
    assert "Grace" in client.get(f"/v1/jobs/{job['id']}/files/timeline.csv").text
    assert {path.name for path in kept(place)} == set(job["files"])  # the video is gone
    events = client.get("/v1/gallery/audit", params={"limit": 1000}).json()["events"]
    assert ("identify", "server: local") in [(event["action"], event["actor"]) for event in events]
    client.delete(f"/v1/jobs/{job['id']}")
    client.delete("/v1/gallery/people/Grace")


def test_without_identify_nobody_is_named(client, film):
    enrol(client, "Grace", HOPPER)
    answer = client.post("/v1/videos", files={"video": ("../x/party.mp4", film.read_bytes())}, params={"every": 5})
    job = finished(client, started(answer))
    assert job["result"]["video"]["source"] == "party.mp4"
    assert not any("person" in person for person in job["result"]["people"])
    client.delete(f"/v1/jobs/{job['id']}")
    client.delete("/v1/gallery/people/Grace")


def test_damaged_videos_fail_and_tell_no_path(client, place, film):
    whole = film.read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    concat = b"ffconcat version 1.0\nfile /etc/passwd\n"
    for data in (b"no video", whole[: len(whole) // 3], os.urandom(5000), playlist, concat, HOPPER.read_bytes()[:700]):
        job = finished(client, started(client.post("/v1/videos", params={"name": "party.mp4"}, content=data)))
        assert job["state"] == "failed", job
        assert job["error"]["code"] == "video-unusable"
        assert str(place) not in job["error"]["detail"]
        assert "result" not in job
        assert job["files"] == []
        client.delete(f"/v1/jobs/{job['id']}")
    assert kept(place) == []


def test_videos_that_are_too_large_empty_or_asked_wrongly(client, place):
    refused(client.post("/v1/videos", content=bytes(5_300_000)), 413, "too-large")
    refused(client.post("/v1/videos", content=b""), 422, "empty")
    for kind in ("application/json", "text/plain; charset=utf-8", "application/problem+json"):
        refused(client.post("/v1/videos", content=b"[]", headers={"content-type": kind}), 415, "not-a-video")
    for every in ("0", "real-time", "1.5", "99999"):
        refused(client.post("/v1/videos", params={"every": every}, content=b"x"), 422, "invalid")
    assert kept(place) == []
    assert client.get("/v1/jobs").json()["jobs"] == []


# Whose they are, and when they end


def test_what_cannot_be_kept_is_refused_and_takes_no_place(server_analyzer, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with serving(server_analyzer, tmp_path) as client:
        [root] = (tmp_path / "tmp").iterdir()
        root.rename(tmp_path / "away")  # as a disk that went
        for _ in range(10):
            refused(client.post("/v1/videos", content=b"video"), 503, "storage")
            refused(cluster(client, [image(HOPPER)]), 503, "storage")
        (tmp_path / "away").rename(root)
        assert client.get("/v1/jobs").json()["jobs"] == []
        assert client.post("/v1/videos", content=b"video").status_code == 202


def test_a_job_that_is_removed_ends_its_upload(server_analyzer, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    settings = Settings(port=0, workers=1, folder=tmp_path / "state", limits=Limits(per_minute=0))
    sent = 0
    with running(settings, server_analyzer) as server:
        jobs = server.app.state.context.jobs

        def endless():
            nonlocal sent
            while sent < 200:
                yield bytes(2_000_000)
                sent += 1
                if sent == 3:
                    until(lambda: jobs.all_of("local"))
                    jobs.remove(jobs.all_of("local")[0])

        with server.client() as client:
            assert "removed" in refused(client.post("/v1/videos", content=endless()), 409, "cancelled")
        assert sent < 200
        assert kept(tmp_path) == []


def test_a_job_belongs_to_the_key_that_made_it(server_analyzer, tmp_path):
    Gallery.open(tmp_path / "people.db").close()
    mine, other = key(tmp_path, "mine", "analyze"), key(tmp_path, "other", "analyze", "gallery:write")
    settings = {"gallery": str(tmp_path / "people.db"), "keys": True}
    with serving(server_analyzer, tmp_path, **settings) as client:
        job = finished(
            client, started(cluster(client, [image(HOPPER)], headers=mine, params={"min_size": 1})), headers=mine
        )
        path = f"/v1/jobs/{job['id']}"
        assert [one["id"] for one in client.get("/v1/jobs", headers=mine).json()["jobs"]] == [job["id"]]
        assert client.get("/v1/jobs", headers=other).json()["jobs"] == []
        for method, tail, body in (
            ("GET", "", None),
            ("DELETE", "", None),
            ("GET", f"/files/{job['files'][0]}", None),
            ("POST", "/groups/1/name", {"name": "Ada"}),
        ):
            refused(client.request(method, path + tail, headers=other, json=body), 404, "not-found")
        refused(client.get(path), 401, "no-key")
        refused(client.post(f"{path}/groups/1/name", headers=mine, json={"name": "Ada"}), 403, "scope")
        refused(client.post("/v1/videos", params={"identify": True}, content=b"x", headers=mine), 403, "scope")
        assert client.get(path, headers=mine).status_code == 200
        for name in ("../lock", "..%2Flock", "%2Fetc%2Fpasswd", "rows", ""):
            assert client.get(f"{path}/files/{name}", headers=mine).status_code == 404


def test_no_more_jobs_than_may_and_of_one_owner_a_quarter(tmp_path):
    jobs = Jobs(Limits(jobs=8), tmp_path)
    jobs.start()
    mine = [jobs.admit("me", "cluster", "pictures") for _ in range(2)]
    with pytest.raises(Problem) as refusal:
        jobs.admit("me", "cluster", "pictures")
    assert (refusal.value.status, refusal.value.headers["Retry-After"]) == (429, "10")
    others = [jobs.admit(f"other {i}", "video", "seconds") for i in range(6)]
    with pytest.raises(Problem, match="too many jobs wait"):
        jobs.admit("one more", "video", "seconds")
    jobs.remove(mine[0])
    jobs.admit("me", "cluster", "pictures")
    assert len({job.id for job in others}) == 6
    assert all(len(job.id) == 22 for job in others)
    jobs.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Problem, match="stopping"):
        jobs.admit("me", "cluster", "pictures")


class Endless:
    """Work that ends when it is stopped, and not before."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()

    def __call__(self, job):
        (job.folder / "half").write_bytes(b"x")
        self.began.set()
        try:
            while True:
                job.check()
                time.sleep(0.005)
        finally:
            self.ended.set()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_running_job_stops_at_once_and_one_that_waits_never_begins(tmp_path):
    jobs = Jobs(Limits(jobs=8), tmp_path)
    jobs.start()
    running, waiting = Endless(), Endless()
    one, two = (jobs.admit("me", "video", "seconds") for _ in range(2))
    jobs.queue(one, running)
    jobs.queue(two, waiting)
    assert running.began.wait(PATIENCE)
    woken = threading.Event()
    one.on_stop(woken.set)
    jobs.remove(two)
    jobs.remove(one)
    assert running.ended.wait(PATIENCE)
    assert woken.is_set()
    until(lambda: not one.folder.exists())
    assert not two.folder.exists()
    assert not waiting.began.is_set()
    with pytest.raises(Problem, match="no such job"):
        jobs.of("me", one.id)
    with pytest.raises(Problem, match="removed"):
        jobs.queue(two, waiting)
    jobs.close()


def test_jobs_are_counted(tmp_path):
    metrics = Metrics()
    jobs = Jobs(Limits(jobs=40), tmp_path, metrics)
    jobs.start()

    def figures(name: str) -> dict[tuple[str, ...], float]:
        told = text_string_to_metric_families(metrics.text().decode())
        samples = [one for family in told for one in family.samples if one.name == name and one.value]
        return {tuple(one.labels.values()): one.value for one in samples}

    assert 'mien_jobs_total{kind="cluster",state="failed"} 0.0' in metrics.text().decode()
    endless = Endless()
    running, waits = (jobs.admit("me", "video", "seconds") for _ in range(2))
    for job in (running, waits):
        jobs.queue(job, endless)
    uploads = jobs.admit("me", "cluster", "pictures")
    assert endless.began.wait(PATIENCE)
    assert figures("mien_running_jobs") == {("video",): 1}
    assert figures("mien_waiting_jobs") == {("video",): 1, ("cluster",): 1}
    jobs.remove(waits)
    jobs.remove(uploads)  # was refused, say: it never was a job
    jobs.remove(running)
    good, bad = (jobs.admit("me", "cluster", "pictures") for _ in range(2))
    jobs.queue(good, lambda _: {})
    jobs.queue(bad, lambda _: {"wrong": int("wrong")})
    until(lambda: bad.over and not figures("mien_running_jobs"))
    assert figures("mien_waiting_jobs") == {}
    expected = {("video", "cancelled"): 2, ("cluster", "done"): 1, ("cluster", "failed"): 1}
    assert figures("mien_jobs_total") == expected
    assert figures("mien_job_seconds_count") == {("video",): 1, ("cluster",): 2}
    jobs.close()


def test_a_job_that_runs_too_long_fails_and_the_next_has_its_turn(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mien.server.jobs.time", SimpleNamespace(monotonic=lambda: now[0]))
    jobs = Jobs(Limits(), tmp_path)
    jobs.start()
    one, two = (jobs.admit("me", "video", "seconds") for _ in range(2))
    endless = Endless()
    jobs.queue(one, endless)
    jobs.queue(two, lambda job: {"well": "done"})
    assert endless.began.wait(PATIENCE)
    now[0] += Limits().job_seconds + 1
    until(lambda: two.over)
    assert (one.state, one.error.code) == ("failed", "too-long")
    assert two.to_dict()["result"] == {"well": "done"}
    jobs.close()


def test_results_expire_also_while_another_job_runs(tmp_path):
    jobs = Jobs(Limits(keep_seconds=0.2), tmp_path)
    jobs.start()
    one, two = (jobs.admit("me", "video", "seconds") for _ in range(2))
    jobs.queue(one, lambda job: {"folder": bool((job.folder / "x").write_bytes(b"x"))})
    endless = Endless()
    jobs.queue(two, endless)
    until(lambda: one.over)
    until(lambda: not one.folder.exists())
    with pytest.raises(Problem, match="no such job"):
        jobs.of("me", one.id)
    assert [job.id for job in jobs.all_of("me")] == [two.id]
    jobs.close()
    assert endless.ended.is_set()
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_stops_ends_what_it_does_and_keeps_nothing(server_analyzer, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    endless = Endless()
    with serving(server_analyzer, tmp_path) as client:
        own = client.app.state.context.jobs
        done = finished(client, started(cluster(client, [image(HOPPER)], params={"min_size": 1})))
        assert done["files"]
        job = own.admit("local", "video", "seconds")
        own.queue(job, endless)
        assert endless.began.wait(PATIENCE)
        assert client.get(f"/v1/jobs/{job.id}").json()["job"]["state"] == "running"
    assert endless.ended.is_set()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_a_killed_server_left_is_removed_and_what_a_living_one_keeps_is_not(tmp_path):
    living = Jobs(Limits(), tmp_path)
    living.start()
    mine = living.admit("me", "video", "seconds")
    left = tmp_path / "mien-jobs-killed"
    (left / "job").mkdir(parents=True)
    (left / "lock").touch()
    (left / "job" / "upload").write_bytes(b"a video")
    (tmp_path / "mien-jobs-link").symlink_to(tmp_path)
    other = Jobs(Limits(), tmp_path)
    other.start()
    assert not left.exists()
    assert mine.folder.is_dir()
    assert mine.folder.parent.stat().st_mode & 0o077 == 0
    for jobs in (living, other):
        jobs.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mien-jobs-link"]


def test_what_fails_unexpectedly_says_nothing_of_itself(tmp_path):
    jobs = Jobs(Limits(), tmp_path)
    jobs.start()
    job = jobs.admit("me", "video", "seconds")
    jobs.queue(job, lambda job: {"secret": (job.folder / "a" / "b").write_bytes(b"x")})
    until(lambda: job.over)
    assert job.error.code == "storage"
    other = jobs.admit("me", "video", "seconds")
    jobs.queue(other, lambda _: {"secret": int("secret")})
    until(lambda: other.over)
    assert other.error.code == "internal"
    assert "secret" not in other.error.detail
    jobs.close()


def test_a_job_gives_way_to_requests(tmp_path):
    jobs = Jobs(Limits(), tmp_path)
    jobs.start()
    job = jobs.admit("me", "video", "seconds")
    jobs.queue(job, lambda _: {"nice": os.getpriority(os.PRIO_PROCESS, threading.get_native_id())})
    until(lambda: job.over)
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    jobs.close()
    if os.uname().sysname == "Linux":
        assert job.result["nice"] > own or own >= 10
