"""The gallery over HTTP: enrolled, corrected, removed; as the command line would."""

import json
import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from mien import Gallery, load_image
from mien.gallery.encryption import new_key
from tests.server.serving import ASTRONAUT, HOPPER, enrol, image, key, refused, serving

PEOPLE = "/v1/gallery/people"


@pytest.fixture(scope="module")
def photos(shared_photos):
    return shared_photos


@pytest.fixture(scope="module")
def client(server_analyzer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    Gallery.open(folder / "people.db", keep_crops=True).close()
    with serving(server_analyzer, folder, gallery=str(folder / "people.db"), limits={"pictures": 4}) as client:
        yield client


@pytest.fixture(autouse=True)
def _empty(request):
    """Each test begins with nobody in the shared gallery."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        for person in client.get(PEOPLE).json()["people"]:
            assert client.delete(f"{PEOPLE}/{person['id']}").status_code == 204
        for face in client.get("/v1/gallery/unassigned").json()["faces"]:
            client.delete(f"/v1/gallery/faces/{face['id']}")


def test_somebody_is_enrolled_found_by_a_picture_and_removed(client):
    told = enrol(client, "Grace Hopper", HOPPER, consent="signed form 12", expires="30d")
    assert told.status_code == 201
    body = told.json()
    assert body["person"]["name"] == "Grace Hopper"
    assert body["person"]["consent"] == "signed form 12"
    days = datetime.fromisoformat(body["person"]["expires"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < days < timedelta(days=30, minutes=1)
    assert [one["path"] for one in body["enrolled"]] == ["grace_hopper.jpg"]
    assert body["failed"] == body["skipped"] == []

    face = client.post("/v1/identify", content=HOPPER.read_bytes()).json()["faces"][0]
    assert face["identity"]["person"] == "Grace Hopper"
    shown = client.get(f"{PEOPLE}/{body['person']['id']}").json()
    assert shown == client.get(f"{PEOPLE}/Grace Hopper").json()
    assert [one["id"] for one in shown["faces"]] == [body["enrolled"][0]["face"]]
    assert shown["faces"][0]["source"] == "grace_hopper.jpg"
    assert client.get("/v1/gallery").json()["people"] == 1

    assert client.delete(f"{PEOPLE}/Grace Hopper").status_code == 204
    refused(client.get(f"{PEOPLE}/Grace Hopper"), 404, "not-found")
    assert client.get("/v1/gallery").json()["faces"] == 0


def test_an_enrolment_is_told_as_the_command_line_tells_it(client, server_analyzer, mien, tmp_path):
    enrol(client, "Grace", HOPPER)
    over_http = enrol(client, "Grace", HOPPER, ASTRONAUT).json()
    db = tmp_path / "cli.db"
    with Gallery.open(db) as gallery:
        gallery.enrol("Grace", server_analyzer.with_tasks(("detect", "embed"))(HOPPER), sources=[HOPPER])
    done = mien("gallery", "enrol", "Grace", HOPPER, ASTRONAUT, "--gallery", db, "--json")
    printed = json.loads(done.stdout)
    del over_http["failed"]
    assert over_http.keys() == printed.keys()
    for ours, theirs in zip(over_http["enrolled"], printed["enrolled"], strict=True):
        assert ours["warnings"] == theirs["warnings"] != []
    assert [one["reason"] for one in over_http["skipped"]] == [one["reason"] for one in printed["skipped"]]


def test_pictures_that_cannot_be_used_are_told_and_the_others_enrolled(client, photos, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    told = enrol(client, "Grace", HOPPER, photos / "two_people.jpg", tmp_path / "notes.txt")
    assert told.status_code == 201
    assert [(one["path"], one["error"]["code"]) for one in told.json()["failed"]] == [
        ("two_people.jpg", "no-face"),
        ("notes.txt", "not-a-picture"),
    ]
    assert "largest=true" in told.json()["failed"][0]["error"]["detail"]
    assert len(enrol(client, "Two", photos / "two_people.jpg", largest=True).json()["enrolled"]) == 1
    refused(enrol(client, "Nobody", tmp_path / "notes.txt"), 422, "not-a-picture")
    assert client.get(f"{PEOPLE}/Nobody").status_code == 404


def test_the_same_picture_is_not_enrolled_twice_nor_for_somebody_else(client):
    enrol(client, "Grace", HOPPER)
    again = enrol(client, "Grace", HOPPER).json()
    assert again["enrolled"] == []
    assert again["skipped"][0]["reason"] == "same picture"
    refused(enrol(client, "Somebody Else", HOPPER), 409, "gallery")
    both = enrol(client, "Somebody Else", HOPPER, ASTRONAUT).json()
    assert [one["error"]["code"] for one in both["failed"]] == ["known"]
    assert len(both["enrolled"]) == 1


def test_a_name_of_a_file_is_never_read(client, tmp_path):
    """What a caller calls a picture can be the path of a file here."""
    told = client.post(PEOPLE, data={"name": "Grace"}, files=[image(HOPPER, str(ASTRONAUT))])
    assert told.json()["enrolled"][0]["path"] == "astronaut.jpg"
    face = client.get(f"{PEOPLE}/Grace").json()["faces"][0]
    assert face["source_sha256"] == sha256(HOPPER.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["爱达·洛夫莱斯", "Ада Лавлейс", "आदा", "Zoë O'Brien-Ñandú", "مي زيادة"])
def test_names_in_other_scripts(client, name):
    assert enrol(client, name, HOPPER).json()["person"]["name"] == name
    assert client.get(f"{PEOPLE}/{name}").json()["person"]["name"] == name
    assert [one["name"] for one in client.get(PEOPLE, params={"name": name[:2].upper()}).json()["people"]] == [name]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a" * 201},
        {"name": "Gra\u200bce"},
        {"name": "ab" * 16},
        {"name": "Grace", "expires": "tomorrow"},
        {"name": "Grace", "consent": " "},
        {"name": "Grace", "consnet": "a misspelt field"},
        {},
    ],
)
def test_fields_that_make_no_sense_change_nothing(client, fields):
    refused(client.post(PEOPLE, data=fields, files=[image(HOPPER)]), 422, "invalid")
    assert client.get("/v1/gallery").json()["people"] == 0


def test_too_many_pictures_or_none(client):
    refused(client.post(PEOPLE, data={"name": "Grace"}, files=[image(HOPPER)] * 5), 413, "too-many")
    refused(client.post(PEOPLE, data={"name": "Grace"}, files=[image(HOPPER, field="picture")]), 422, "empty")


def test_people_are_listed_page_by_page(client, photos):
    names = ["Ada", "Grace", "Eileen"]
    for name, photo in zip(names, (photos / "rose_1.jpg", HOPPER, ASTRONAUT), strict=True):
        enrol(client, name, photo)
    first = client.get(PEOPLE, params={"limit": 2}).json()
    rest = client.get(PEOPLE, params={"limit": 2, "after": first["next"]}).json()
    assert [one["name"] for one in first["people"] + rest["people"]] == names
    assert "next" not in rest
    found = client.get(PEOPLE, params={"name": "E", "limit": 1}).json()
    assert [one["name"] for one in found["people"]] == ["Grace"]
    assert client.get(PEOPLE, params={"name": "E", "after": found["next"]}).json()["people"][0]["name"] == "Eileen"
    refused(client.get(PEOPLE, params={"after": uuid.uuid4().hex}), 404, "not-found")
    refused(client.get(PEOPLE, params={"limit": 0}), 422, "invalid")


def test_a_person_is_changed_and_what_is_not_named_stays(client):
    who = enrol(client, "Grace", HOPPER, consent="yes").json()["person"]["id"]
    changed = client.patch(f"{PEOPLE}/{who}", json={"name": "Grace Hopper", "expires": "2090-01-31"}).json()["person"]
    assert (changed["name"], changed["consent"]) == ("Grace Hopper", "yes")
    assert changed["expires"].startswith("2090-01-31T00:00:00")
    withdrawn = client.patch(f"{PEOPLE}/{who}", json={"consent": None, "expires": None}).json()["person"]
    assert withdrawn["consent"] is withdrawn["expires"] is None
    assert withdrawn["withdrawn_at"] is not None
    assert client.patch(f"{PEOPLE}/{who}", json={}).json()["person"] == withdrawn
    for bad in ({"name": None}, {"name": 7}, {"nmae": "x"}, {"expires": "soon"}, {"consent": ""}, []):
        refused(client.patch(f"{PEOPLE}/{who}", json=bad), 422, "invalid")
    assert client.get(f"{PEOPLE}/{who}").json()["person"] == withdrawn


def test_a_taken_name_is_refused_and_the_person_stays_as_they_were(client):
    enrol(client, "Grace", HOPPER)
    enrol(client, "Eileen", ASTRONAUT)
    refused(client.patch(f"{PEOPLE}/Eileen", json={"name": "Grace", "consent": "yes"}), 409, "gallery")
    assert client.get(f"{PEOPLE}/Eileen").json()["person"]["consent"] is None


def test_corrections_and_undo(client, photos):
    enrol(client, "Rose", photos / "rose_1.jpg", photos / "rose_2.jpg")
    enrol(client, "Grace", HOPPER)
    one, other = [face["id"] for face in client.get(f"{PEOPLE}/Rose").json()["faces"]]

    split = client.post(f"{PEOPLE}/Rose/split", json={"faces": [other], "name": "Twin"}).json()["person"]
    assert (split["name"], split["faces"]) == ("Twin", 1)
    assert client.post("/v1/gallery/undo").json() == {"schema": 1, "undone": "split"}
    assert client.get(f"{PEOPLE}/Rose").json()["person"]["faces"] == 2

    assert client.post(f"{PEOPLE}/Rose/forbid", json={"face": other}).status_code == 204
    assert [face["id"] for face in client.get("/v1/gallery/unassigned").json()["faces"]] == [other]
    assert client.get(f"{PEOPLE}/Rose").json()["not_this_person"] == [other]
    refused(client.post(f"{PEOPLE}/Rose/forbid", json={"face": other}), 409, "gallery")

    assert client.post(f"/v1/gallery/faces/{other}/move", json={"to": "Grace"}).status_code == 204
    assert client.get(f"{PEOPLE}/Grace").json()["person"]["faces"] == 2
    assert client.post(f"/v1/gallery/faces/{other}/move", json={"to": None}).status_code == 204
    refused(client.post(f"/v1/gallery/faces/{other}/move", json={}), 422, "invalid")

    merged = client.post(f"{PEOPLE}/Grace/merge", json={"into": "Rose"}).json()["person"]
    assert (merged["name"], merged["faces"]) == ("Rose", 2)
    refused(client.post(f"{PEOPLE}/Rose/merge", json={"into": "Rose"}), 409, "gallery")
    refused(client.get(f"{PEOPLE}/Grace"), 404, "not-found")
    assert client.post("/v1/gallery/undo").json()["undone"] == "merge"
    assert client.get(f"{PEOPLE}/Grace").json()["person"]["faces"] == 1
    assert one in [face["id"] for face in client.get(f"{PEOPLE}/Rose").json()["faces"]]


def test_the_last_face_removed_leaves_a_person_and_nothing_to_undo(client):
    told = enrol(client, "Grace", HOPPER).json()
    face = told["enrolled"][0]["face"]
    crop = client.get(f"/v1/gallery/faces/{face}/crop")
    assert crop.headers["content-type"] == "image/jpeg"
    assert load_image(crop.content).shape[2] == 3
    assert client.delete(f"/v1/gallery/faces/{face}").status_code == 204
    assert client.get(f"{PEOPLE}/Grace").json()["person"]["faces"] == 0
    refused(client.get(f"/v1/gallery/faces/{face}/crop"), 404, "not-found")
    refused(client.delete(f"/v1/gallery/faces/{face}"), 404, "not-found")
    refused(client.post("/v1/gallery/undo"), 409, "gallery")
    refused(client.post("/v1/liveness", json={"person": "Grace"}), 409, "not-enrolled")
    more = client.post(f"{PEOPLE}/Grace/faces", files=[image(HOPPER)])
    assert more.status_code == 201
    assert more.json()["person"]["faces"] == 1


@pytest.mark.parametrize("who", ["Nemo", 32 * "7", "%00", "a%2Fb", "..%2F..", "9" * 200, "'; DROP TABLE people"])
def test_whoever_is_not_there(client, who):
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("POST", "/merge", {"into": "Nemo"}),
        ("POST", "/split", {"faces": [1]}),
        ("POST", "/forbid", {"face": 1}),
        ("GET", "/export", None),
    ):
        answer = client.request(method, f"{PEOPLE}/{who}{path}", json=body)
        assert answer.status_code in ((404, 405, 422) if "%" in who else (404,)), (method, path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("number", [10**9, 2**63 - 1])
def test_faces_that_are_not_there(client, number):
    enrol(client, "Grace", HOPPER)
    refused(client.get(f"/v1/gallery/faces/{number}/crop"), 404, "not-found")
    refused(client.delete(f"/v1/gallery/faces/{number}"), 404, "not-found")
    refused(client.post(f"/v1/gallery/faces/{number}/move", json={"to": "Grace"}), 404, "not-found")
    refused(client.post(f"{PEOPLE}/Grace/split", json={"faces": [number]}), 404, "not-found")
    refused(client.get(f"/v1/gallery/faces/{2**63}/crop"), 422, "invalid")
    refused(client.get("/v1/gallery/faces/0/crop"), 422, "invalid")


def test_the_audit_trail_says_which_key_did_what(client):
    who = enrol(client, "Grace", HOPPER).json()["person"]["id"]
    events = client.get("/v1/gallery/audit", params={"limit": 1000}).json()["events"]
    assert [(event["action"], event["actor"], event["person"]) for event in events][-1] == (
        "enrol",
        "server: local",
        who,
    )
    page = client.get("/v1/gallery/audit", params={"limit": 1}).json()
    assert len(page["events"]) == 1
    assert page["next"] == page["events"][0]["id"]
    export = client.get(f"{PEOPLE}/Grace/export").json()
    assert export["person"]["id"] == who
    assert (
        client.get("/v1/gallery/audit", params={"after": events[-1]["id"]}).json()["events"][-1]["action"] == "export"
    )


def test_who_has_expired_is_purged(client, photos):
    enrol(client, "Grace", HOPPER, expires="2020-01-01")
    enrol(client, "Eileen", ASTRONAUT, expires="never")
    removed = client.post("/v1/gallery/purge").json()["removed"]
    assert [one["person"] for one in removed] == ["Grace"]
    assert client.post("/v1/gallery/purge").json()["removed"] == []
    assert client.get("/v1/gallery").json()["people"] == 1


def test_keys_do_what_they_were_made_for(server_analyzer, tmp_path):
    Gallery.open(tmp_path / "people.db").close()
    keys = {scope: key(tmp_path, scope, scope) for scope in ("analyze", "gallery:read", "gallery:write", "admin")}
    with serving(server_analyzer, tmp_path, gallery=str(tmp_path / "people.db"), keys=True) as client:

        def status(scope, method, path, **how):
            return client.request(method, path, headers=keys[scope], **how).status_code

        form = {"data": {"name": "Grace"}, "files": [image(HOPPER)]}
        assert status("gallery:write", "POST", PEOPLE, **form) == 201
        assert client.get(PEOPLE).status_code == 401
        asked = [("GET", PEOPLE, "gallery:read"), ("GET", "/v1/gallery/audit", "admin"), ("GET", "/v1/jobs", "analyze")]
        asked += [("PATCH", f"{PEOPLE}/Grace", "gallery:write"), ("POST", "/v1/gallery/purge", "admin")]
        includes = {
            "analyze": {"analyze"},
            "gallery:read": {"gallery:read"},
            "gallery:write": {"gallery:read", "gallery:write"},
            "admin": {"analyze", "gallery:read", "gallery:write", "admin"},
        }
        for scope, may in includes.items():
            for method, path, needed in asked:
                how = {"json": {}} if method == "PATCH" else {}
                assert status(scope, method, path, **how) == (200 if needed in may else 403), (scope, path)


def test_two_galleries_and_the_ids_of_the_other(server_analyzer, tmp_path):
    ids = []
    for name, photo in (("one", HOPPER), ("other", ASTRONAUT)):
        Gallery.open(tmp_path / f"{name}.db").close()
        with serving(server_analyzer, tmp_path / name, gallery=str(tmp_path / f"{name}.db")) as client:
            ids.append(enrol(client, "Somebody", photo).json()["person"]["id"])
            for stranger in ids[:-1]:
                refused(client.get(f"{PEOPLE}/{stranger}"), 404, "not-found")
                refused(client.delete(f"{PEOPLE}/{stranger}"), 404, "not-found")
                refused(client.post(f"{PEOPLE}/Somebody/merge", json={"into": stranger}), 404, "not-found")
                refused(client.post("/v1/liveness", json={"person": stranger}), 404, "not-found")
            assert client.get("/v1/gallery").json()["people"] == 1


def test_an_encrypted_gallery(server_analyzer, tmp_path):
    url, secret = str(tmp_path / "people.db"), f"file:{tmp_path / 'gallery.key'}"
    new_key(secret)
    Gallery.open(url, key=secret, keep_crops=True).close()
    with serving(server_analyzer, tmp_path, gallery=url, gallery_key=secret) as client:
        face = enrol(client, "Grace", HOPPER).json()["enrolled"][0]["face"]
        assert client.get("/v1/gallery").json()["gallery"]["encrypted"] is True
        crop = client.get(f"/v1/gallery/faces/{face}/crop").content
        assert load_image(crop).size
        identified = client.post("/v1/identify", content=HOPPER.read_bytes()).json()["faces"][0]["identity"]
        assert identified["person"] == "Grace"
    assert crop[:64] not in (tmp_path / "people.db").read_bytes()


@pytest.mark.slow
def test_postgresql(server_analyzer, tmp_path, postgres):
    url = f"{postgres}&schema=g{uuid.uuid4().hex}"
    Gallery.open(url).close()
    with serving(server_analyzer, tmp_path, gallery=url) as client:
        told = enrol(client, "爱达", HOPPER).json()
        assert client.get(f"{PEOPLE}/{told['person']['id']}").json()["person"]["name"] == "爱达"
        refused(client.get(f"{PEOPLE}/Nemo"), 404, "not-found")
        refused(client.get(f"/v1/gallery/faces/{2**63 - 1}/crop"), 404, "not-found")
        refused(client.get(f"{PEOPLE}/a%00b"), 422, "invalid")
        assert client.patch(f"{PEOPLE}/爱达", json={"name": "Ada"}).json()["person"]["name"] == "Ada"
        assert client.post("/v1/gallery/undo").json()["undone"] == "rename"
        assert client.delete(f"{PEOPLE}/爱达").status_code == 204


def test_a_gallery_that_breaks_is_our_fault_and_tells_nothing_of_where_it_is(server_analyzer, tmp_path):
    path = tmp_path / "people.db"
    Gallery.open(path).close()
    with serving(server_analyzer, tmp_path, gallery=str(path)) as client:
        enrol(client, "Grace", HOPPER)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE people SET created = 'yesterday'")
        connection.close()
        refused(client.get(PEOPLE), 503, "gallery-unusable")


def test_without_a_gallery(server_analyzer, tmp_path):
    with serving(server_analyzer, tmp_path) as client:
        refused(client.get("/v1/gallery"), 404, "no-gallery")
        refused(enrol(client, "Grace", HOPPER), 404, "no-gallery")
        refused(client.post("/v1/liveness", json={"person": "Grace"}), 404, "no-gallery")


def test_two_servers_share_people_through_postgresql(server_analyzer, tmp_path, postgres):
    url = f"{postgres}&schema=g{uuid.uuid4().hex}"
    with (
        serving(server_analyzer, tmp_path / "one", gallery=url) as one,
        serving(server_analyzer, tmp_path / "two", gallery=url) as two,
    ):
        assert enrol(one, "Grace", HOPPER).status_code == 201
        face = two.post("/v1/identify", files=[image(HOPPER)]).json()["faces"][0]
        assert face["identity"]["person"] == "Grace"
        assert two.delete("/v1/gallery/people/Grace").status_code == 204
        gone = one.post("/v1/identify", files=[image(HOPPER)]).json()["faces"][0]
        assert gone["identity"]["person"] is None


def test_crops_are_kept_where_that_is_asked_for(server_analyzer, tmp_path):
    with serving(server_analyzer, tmp_path, gallery=str(tmp_path / "crops.db"), keep_crops=True) as client:
        face = enrol(client, "Grace", HOPPER).json()["enrolled"][0]["face"]
        crop = client.get(f"/v1/gallery/faces/{face}/crop")
    assert crop.status_code == 200
    assert crop.headers["content-type"].startswith("image/")
