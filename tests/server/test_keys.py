"""Keys: made once, kept as hashes, revoked at once, and never half-written."""

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest

from mien.errors import ServerError
from mien.server.keys import SCOPES, Keys, including


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "server")


def test_a_key_is_found_by_its_text_and_no_other(keys):
    text, key = keys.add("door", ("analyze",))
    assert text.startswith("mien_")
    assert len(text) == 48
    assert keys.find(text) == key
    for other in (text[:-1], text + "a", text.swapcase(), "mien_" + "A" * 43, "", key.hash, "é" * 48):
        assert keys.find(other) is None


def test_only_a_hash_is_kept_in_a_file_of_ones_own(keys, tmp_path):
    text, _ = keys.add("door", ("analyze",))
    file = tmp_path / "server" / "keys.json"
    assert text not in file.read_text()
    assert text[5:20] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_another_process_changes_is_seen_at_once(keys, tmp_path):
    text, key = keys.add("door", ("analyze",))
    other = Keys(tmp_path / "server")
    assert keys.find(text) == key
    other.revoke("door")
    assert keys.find(text) is None
    again, new = other.add("door", ("admin",))
    assert new.id != key.id  # what belonged to the old one does not belong to it
    assert keys.find(text) is None
    assert keys.find(again) == new


def test_two_who_make_keys_at_once_both_get_theirs(tmp_path):
    def make(number):
        Keys(tmp_path / "server").add(f"k{number}", ("analyze",))

    threads = [threading.Thread(target=make, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in Keys(tmp_path / "server").all()} == {f"k{i}" for i in range(8)}


def test_scopes_include_others():
    assert including(("admin",)) == set(SCOPES)
    assert including(("gallery:write",)) == {"gallery:read", "gallery:write"}
    assert including(("analyze",)) == {"analyze"}


def test_a_key_expires(keys):
    soon = datetime.now(UTC) + timedelta(hours=1)
    _, key = keys.add("guest", ("analyze",), soon)
    assert key.valid(datetime.now(UTC))
    assert not key.valid(soon)


@pytest.mark.parametrize(
    ("name", "scopes", "expires", "told"),
    [
        ("", ("analyze",), None, "letters"),
        ("../x", ("analyze",), None, "letters"),
        ("a" * 65, ("analyze",), None, "letters"),
        ("a\nb", ("analyze",), None, "letters"),
        ("door", (), None, "scope"),
        ("door", ("root",), None, "no scope"),
        ("door", ("analyze",), datetime(2020, 1, 1, tzinfo=UTC), "expire"),
    ],
)
def test_what_cannot_be_a_key(keys, name, scopes, expires, told):
    with pytest.raises(ServerError, match=told):
        keys.add(name, scopes, expires)
    assert keys.all() == ()


def test_a_name_is_used_once(keys):
    keys.add("door", ("analyze",))
    with pytest.raises(ServerError, match="already"):
        keys.add("door", ("admin",))
    with pytest.raises(ServerError, match="no key called gate"):
        keys.revoke("gate")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "mien keys 2", "keys": []}', '{"format": "mien keys 1"}']
)
def test_a_damaged_file_lets_nobody_in(keys, tmp_path, content):
    text, _ = keys.add("door", ("analyze",))
    (tmp_path / "server" / "keys.json").write_text(content)
    for _ in range(2):
        with pytest.raises(ServerError, match="damaged"):
            keys.find(text)


@pytest.mark.parametrize("wrong", [{"scopes": ["root"]}, {"hash": "x"}, {"created": "2026-01-01"}, {"name": "a/b"}])
def test_values_that_cannot_be_let_nobody_in(keys, tmp_path, wrong):
    text, _ = keys.add("door", ("analyze",))
    file = tmp_path / "server" / "keys.json"
    kept = json.loads(file.read_text())
    kept["keys"][0] |= wrong
    file.write_text(json.dumps(kept))
    with pytest.raises(ServerError, match="damaged"):
        keys.find(text)


@pytest.mark.skipif(os.name != "posix", reason="no such permissions")
def test_a_file_that_others_may_write_lets_nobody_in(keys, tmp_path):
    text, _ = keys.add("door", ("analyze",))
    (tmp_path / "server" / "keys.json").chmod(0o666)
    with pytest.raises(ServerError, match="others may write"):
        keys.find(text)


def test_use_is_kept_by_the_day_and_apart_from_what_lets_in(keys, tmp_path):
    _, key = keys.add("door", ("analyze",))
    before = (tmp_path / "server" / "keys.json").read_bytes()
    assert keys.unnoted(key)
    keys.note_use(key)
    assert not keys.unnoted(key)
    assert keys.used() == {key.id: datetime.now(UTC).date().isoformat()}
    assert (tmp_path / "server" / "keys.json").read_bytes() == before
    keys.revoke("door")
    _, other = keys.add("gate", ("analyze",))
    keys.note_use(other)
    assert set(keys.used()) == {other.id}
