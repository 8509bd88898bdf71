"""The audit log: a line each, in files that do not grow for ever; and what happens when it cannot be written."""

import json
import stat
import threading

import pytest

from mien.errors import ServerError
from mien.server.audit import Audit, Line
from tests.server.attacking import check
from tests.server.conftest import with_grace


def line(**how) -> Line:
    return Line(request="0" * 16, method="GET", route="/v1/info", address="127.0.0.1", **how)


def read(path) -> list[dict]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_lines_say_what_is_known_and_nothing_else(tmp_path):
    audit = Audit(tmp_path / "server")
    audit.add(line(key="door", status=200, seconds=0.1))
    audit.add(line(key="door", subject="f" * 32))
    audit.add(line(status=401, code="no-key"))
    done, begun = read(tmp_path / "server" / "audit.jsonl")
    assert done["event"] == "done"
    assert begun["event"] == "begin"
    assert set(begun) == {"time", "event", "request", "method", "route", "address", "key", "subject"}
    [refused] = read(tmp_path / "server" / "refused.jsonl")
    assert (refused["event"], refused["code"]) == ("refused", "no-key")
    assert stat.S_IMODE((tmp_path / "server" / "audit.jsonl").stat().st_mode) == 0o600


def test_files_are_kept_in_so_many_pieces(tmp_path):
    audit = Audit(tmp_path, most=2000, pieces=3)
    for i in range(200):
        audit.add(line(key="door", status=200, subject=str(i)))
    files = sorted(path.name for path in tmp_path.glob("audit*.jsonl"))
    assert files == ["audit.1.jsonl", "audit.2.jsonl", "audit.jsonl"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.glob("audit*.jsonl"))
    kept = [entry["subject"] for name in ("audit.2", "audit.1", "audit") for entry in read(tmp_path / f"{name}.jsonl")]
    assert kept == [str(i) for i in range(200)][-len(kept) :]


def test_no_line_is_lost_or_mixed_when_several_write(tmp_path):
    def write(writer):
        audit = Audit(tmp_path, most=10_000, pieces=100)
        for i in range(50):
            audit.add(line(key=f"w{writer}", status=200, subject=str(i)))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(one["key"], one["subject"]) for path in tmp_path.glob("audit*.jsonl") for one in read(path)]
    assert sorted(found) == sorted((f"w{writer}", str(i)) for writer in range(4) for i in range(50))


def test_a_flood_of_strangers_does_not_push_out_what_was_done(tmp_path):
    audit = Audit(tmp_path, most=2000, pieces=2)
    audit.add(line(key="door", status=200))
    for _ in range(200):
        audit.add(line(status=401, code="bad-key"))
    assert [one["key"] for one in read(tmp_path / "audit.jsonl")] == ["door"]


def test_a_log_that_cannot_be_written_is_told_loudly(tmp_path, caplog):
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(ServerError, match=r"audit\.jsonl: cannot be written"):
        Audit(tmp_path).add(line(key="door", status=200))
    assert caplog.records[0].levelname == "CRITICAL"


def test_it_follows_no_link(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServerError):
        Audit(tmp_path).add(line(key="door", status=200))
    assert (tmp_path / "elsewhere").read_text() == ""


def test_without_a_log_nothing_is_changed_and_reading_goes_on(tmp_path, known_people, server_analyzer):
    from typing import Annotated

    from fastapi import Depends

    from mien.server.access import Caller, require

    with with_grace(tmp_path, known_people, server_analyzer, keys=True) as server:
        done = []

        @server.app.post("/v1/change/{id}")
        async def change(id: str, caller: Annotated[Caller, Depends(require("gallery:write"))]) -> None:  # noqa: A002
            done.append(caller.name)

        with server.client("writer") as client:
            assert client.post(f"/v1/change/{'a' * 32}").status_code == 200
            assert client.post("/v1/change/Grace%20Hopper").status_code == 200
            events = [
                (entry["event"], entry.get("subject"))
                for entry in server.lines("audit")
                if entry["route"] == "/v1/change/{id}"
            ]
            assert events == [("begin", "a" * 32), ("done", "a" * 32), ("begin", None), ("done", None)]
            log = server.settings.folder / "server" / "audit.jsonl"
            log.unlink()
            log.mkdir()
            check(client.post(f"/v1/change/{'a' * 32}"), 503, code="audit")
            assert client.get("/v1/info").status_code == 200
            log.rmdir()
            assert client.post(f"/v1/change/{'a' * 32}").status_code == 200
    assert done == ["writer"] * 3
