"""Gallery: enrolment, identification, corrections, removal, on real faces in a real file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mien.errors import GalleryError, GalleryModelError, ModelError, NoFaceError
from mien.gallery.gallery import Gallery
from mien.gallery.names import clean_name
from mien.gallery.records import NewFace
from mien.gallery.rules import rule_for
from mien.ops import similarity
from tests.gallery.galleries import fresh_url

pytestmark = pytest.mark.data
LATER = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path) -> str:
    """Where a gallery can be made."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return fresh_url(request.param, tmp_path, server)


@pytest.fixture
def gallery(place):
    with Gallery.open(place, actor="tester") as opened:
        yield opened


def content(place, folder) -> bytes:
    """All that the files of a gallery hold."""
    if "://" in place:
        pytest.skip("tests/gallery/test_postgres.py looks into the server's files")
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.fixture
def known(gallery, faces) -> Gallery:
    """A gallery that knows two people, by one face each."""
    for name in ("obama", "rose"):
        gallery.enrol(name.title(), faces[f"{name}_1"])
    return gallery


def who(gallery, face, **options) -> str | None:
    (answer,) = gallery.identify(face.embeddings, **options)
    return answer.name


def names(gallery) -> list[str | None]:
    return [person.name for person in gallery.people()]


def state(gallery) -> tuple:
    """All that undo has to bring back."""
    faces = [(face.id, face.person) for face in gallery.faces()]
    return sorted(gallery.people(), key=lambda person: person.id), faces, gallery.forbidden()


# Who is it


def test_other_photographs_of_the_enrolled_are_answered_and_strangers_are_unknown(known, faces):
    assert who(known, faces["obama_2"]) == "Obama"
    assert who(known, faces["rose_2"]) == "Rose"
    for stranger in ("biden_1", "biden_2", "kit_1", "kit_2"):
        (answer,) = known.identify(faces[stranger].embeddings)
        assert answer.person is None
        assert answer.to_dict()["person"] is None
        assert [candidate.name for candidate in answer.candidates] != []


def test_an_answer_says_whom_how_alike_and_how_sure(known, faces, analyzer):
    (answer,) = known.identify(faces["obama_2"].embeddings, k=1)
    rule = rule_for(analyzer.embedder.record, "fast")
    one, other = (rule.prepare(faces[name].embeddings) for name in ("obama_1", "obama_2"))
    said = answer.to_dict()
    assert said["person"] == "Obama"
    assert said["similarity"] == pytest.approx(float(similarity.l2(one, other)[0]), abs=1e-3)
    assert 0.9 < said["probability"] <= 1
    assert len(answer.candidates) == 1
    assert answer.person == known.person("Obama").id


def test_an_empty_gallery_knows_nobody(gallery, faces):
    (answer,) = gallery.identify(faces["obama_1"].embeddings)
    assert (answer.person, answer.candidates) == (None, ())
    assert gallery.identify(np.empty((0, 128), np.float32)) == []


def test_what_another_process_enrols_is_found(known, place, faces):
    assert who(known, faces["kit_2"]) is None
    with Gallery.open(place) as other:
        other.enrol("Kit", faces["kit_1"])
    assert who(known, faces["kit_2"]) == "Kit"


def test_a_person_whose_pictures_crowd_the_neighbours_does_not_hide_others(known, faces):
    noise = np.random.default_rng(0).normal(0, 0.03, (300, 128)).astype(np.float32)
    crowd = [NewFace(embedding=faces["biden_1"].embeddings[0] + row) for row in noise]
    with known._store.write() as writer:
        writer.add_faces(crowd)
    (answer,) = known.identify(faces["biden_2"].embeddings, k=2)
    assert {candidate.name for candidate in answer.candidates} == {"Obama", "Rose"}
    assert answer.person is None
    assert len(known.unassigned()) == 300


@pytest.mark.parametrize("bad", [{"fpir": 0.0}, {"fpir": 1.0}, {"k": 0}])
def test_rates_and_counts_out_of_range_are_refused(known, faces, bad):
    with pytest.raises(ValueError, match=r"0|1"):
        known.identify(faces["kit_1"].embeddings, **bad)


def test_embeddings_of_another_model_are_refused(known):
    for call in (known.identify, lambda x: known.enrol("Ann", x)):
        with pytest.raises(GalleryModelError, match=r"512 numbers .* has 128.*reembed"):
            call(np.zeros((1, 512), np.float32))
        with pytest.raises(ValueError, match="not finite"):
            call(np.full((1, 128), np.nan, np.float32))
    with pytest.raises(ValueError, match="shape"):
        known.identify(np.zeros(128, np.float32))


def test_several_faces_of_a_person_count_together(known, faces):
    """Their mean is one more face of theirs: a probe between two of them is nearer to it than to either."""
    told = known.enrol("Obama", faces["obama_2"])
    between = (faces["obama_1"].embeddings + faces["obama_2"].embeddings) / 2
    (together,) = known.identify(between)
    known.move(told.faces, None)
    (alone,) = known.identify(between)
    assert together.name == alone.name == "Obama"
    assert together.similarity > alone.similarity + 0.05


def test_a_gallery_that_was_embedded_anew_meanwhile_is_opened_again(known, place, faces):
    from dataclasses import replace

    with Gallery.open(place) as other, other.store.write() as writer:
        writer.set_info(replace(other.info, mode="accurate"))
    for call in (lambda: who(known, faces["rose_2"]), lambda: known.enrol("Kit", faces["kit_1"])):
        with pytest.raises(GalleryModelError, match="open it again"):
            call()


# Opening


def test_another_embedder_or_mode_is_refused_and_says_how_to_reembed(known, place):
    with pytest.raises(GalleryModelError, match="mien gallery reembed --embedder sface"):
        Gallery.open(place, embedder="sface")
    with pytest.raises(GalleryModelError, match=r"\(fast\), not of dlib-resnet \(accurate\).*--accurate"):
        Gallery.open(place, mode="accurate")
    with Gallery.open(place, embedder=None, mode=None) as opened:  # as it was made
        assert opened.info.mode == "fast"


def test_a_gallery_of_an_uncalibrated_model_says_so(tmp_path):
    with Gallery.open(tmp_path / "other.db", embedder="sface") as opened:
        opened.enrol("Ann", np.ones((1, 128), np.float32))
        with pytest.raises(ModelError, match="nobody has measured"):
            opened.identify(np.ones((1, 128), np.float32))


def test_with_a_threshold_an_uncalibrated_model_answers_without_a_probability(tmp_path):
    rows = np.eye(3, 128, dtype=np.float32)
    near = rows[:1] + 0.5 * rows[2:]
    with Gallery.open(tmp_path / "other.db", embedder="sface") as opened:
        opened.enrol("Ann", rows[:1])
        opened.enrol("Bea", rows[1:2])
        (yes,) = opened.identify(near, threshold=0.89)
        (no,) = opened.identify(near, threshold=0.9)
        with pytest.raises(ValueError, match="no similarity"):
            opened.identify(near, threshold=1.5)
    assert yes.to_dict() == {"person": "Ann", "id": yes.person, "similarity": pytest.approx(0.8944, abs=1e-4)}
    assert no.to_dict() == {"person": None, "similarity": pytest.approx(0.8944, abs=1e-4)}
    assert [candidate.name for candidate in no.candidates] == ["Ann", "Bea"]
    assert (no.probability, no.candidates[0].probability, no.fpir) == (None, None, None)


def test_no_gallery_is_made_unasked(tmp_path):
    with pytest.raises(GalleryError, match="no gallery"):
        Gallery.open(tmp_path / "people.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_read_only_answers_and_writes_nothing(known, place, faces):
    events = len(known.audit())
    with Gallery.open(place, readonly=True) as opened:
        assert who(opened, faces["rose_2"]) == "Rose"
        assert opened.export("Rose")["person"]["name"] == "Rose"
        with pytest.raises(GalleryError, match="read only"):
            opened.rename("Rose", "Rosa")
    assert len(known.audit()) == events


def test_an_encrypted_gallery_needs_its_key(tmp_path, faces, monkeypatch):
    from mien.errors import GalleryKeyError
    from mien.gallery.encryption import new_key

    new_key(f"file:{tmp_path}/one.key")
    new_key(f"file:{tmp_path}/other.key")
    path = tmp_path / "secret.db"
    with Gallery.open(path, key=f"file:{tmp_path}/one.key") as opened:
        opened.enrol("Rose", faces["rose_1"])
        assert who(opened, faces["rose_2"]) == "Rose"
        vector = opened.vectors([1])[0].tobytes()
    assert all(vector not in file.read_bytes() for file in tmp_path.glob("secret.db*"))
    for key in (None, f"file:{tmp_path}/other.key"):
        with pytest.raises(GalleryKeyError):
            Gallery.open(path, key=key)


# Enrolment


def test_what_is_kept_of_a_face(gallery, faces, shared_photos):
    told = gallery.enrol("Rose", faces["rose_1"], sources=[shared_photos / "rose_1.jpg"])
    (face,) = gallery.faces("Rose")
    assert told.faces == (face.id,)
    assert told.person == gallery.person("Rose")
    assert face.source == str(shared_photos / "rose_1.jpg")
    assert len(face.source_sha256) == 64
    assert face.box == pytest.approx(faces["rose_1"].boxes[0].tolist())
    assert np.array(face.landmarks).shape == (5, 2)
    assert face.score == pytest.approx(float(faces["rose_1"].scores[0]))
    assert not face.has_crop
    assert np.array_equal(gallery.vectors([face.id]), faces["rose_1"].embeddings)


def test_crops_are_kept_where_the_gallery_keeps_them(tmp_path, known, faces):
    picture = b"\x89PNG and so on"
    known.enrol("Rose", faces["rose_2"], crops=[picture])
    assert known.crop(known.faces("Rose")[-1].id) is None
    with Gallery.open(tmp_path / "crops.db", keep_crops=True) as opened:
        opened.enrol("Rose", faces["rose_1"], crops=[picture])
        assert opened.crop(1) == picture


def test_the_same_picture_is_enrolled_once(gallery, faces, shared_photos):
    source = [shared_photos / "rose_1.jpg"]
    first = gallery.enrol("Rose", faces["rose_1"], sources=source)
    again = gallery.enrol("Rose", faces["rose_1"], sources=source)
    assert (again.faces, gallery.count()) == ((), (1, 1))
    (skipped,) = again.skipped
    assert (skipped.face, skipped.person, skipped.reason) == (first.faces[0], first.person.id, "same picture")
    assert [event.action for event in gallery.audit()] == ["enrol"]  # the second one changed nothing
    with pytest.raises(GalleryError, match=r"already, as face 1 of Rose.*'Rosa'"):
        gallery.enrol("Rosa", faces["rose_1"], sources=source)
    assert names(gallery) == ["Rose"]
    other = gallery.enrol("Rosa", faces["rose_2"], sources=[shared_photos / "rose_2.jpg"])
    assert other.skipped == ()


def test_near_duplicates_are_enrolled_once_also_within_one_call(gallery, faces, analyzer, shared_photos):
    import io

    from PIL import Image

    encoded = io.BytesIO()
    Image.open(shared_photos / "kit_1.jpg").convert("RGB").save(encoded, "JPEG", quality=60)
    copy = analyzer.largest_face(encoded.getvalue())
    both = np.concatenate([faces["kit_1"].embeddings, copy.embeddings, faces["kit_2"].embeddings])
    told = gallery.enrol("Kit", both)
    assert len(told.faces) == 2
    (skipped,) = told.skipped
    assert (skipped.position, skipped.face, skipped.reason) == (1, told.faces[0], "near-duplicate")


def test_two_people_of_one_picture_are_two(gallery, analyzer, shared_photos):
    path = shared_photos / "two_people.jpg"
    one, other = analyzer.all_faces(path)[:2]
    gallery.enrol("One", one, sources=[path])
    told = gallery.enrol("Other", other, sources=[path])
    assert told.skipped == ()
    assert gallery.count() == (2, 2)


def test_bad_enrolments_change_nothing(gallery, faces):
    with pytest.raises(NoFaceError):
        gallery.enrol("Ann", np.empty((0, 128), np.float32))
    with pytest.raises(ValueError, match="2 sources for 1 faces"):
        gallery.enrol("Ann", faces["rose_1"], sources=["a", "b"])
    with pytest.raises(ValueError, match="time zone"):
        gallery.enrol("Ann", faces["rose_1"], expires=datetime(2040, 1, 1))
    with pytest.raises(GalleryError, match="1 to 200"):
        gallery.enrol("  ", faces["rose_1"])
    assert gallery.count() == (0, 0)
    assert gallery.audit() == []


@pytest.mark.parametrize(
    "bad",
    ["", " \t", "x" * 201, "a\nb", "a\x00b", "Ann\u202eevE", "A\u200dnn", "\u200bAnn", "a\u00a0b", "0" * 32, "\ud800"],
)
def test_names_that_cannot_be_seen_are_refused(bad):
    with pytest.raises(GalleryError, match="name"):
        clean_name(bad)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (" Zoe\u0308 ", "Zo\u00eb"),
        ("李明", "李明"),
        ("O'Neil-Şahin", "O'Neil-Şahin"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_names_are_kept_as_nfc(given, kept):
    assert clean_name(given) == kept


def test_people_are_found_by_name_in_any_form_and_by_id(gallery, faces):
    person = gallery.enrol("Zoe\u0308", faces["rose_1"]).person
    assert gallery.person("Zo\u00eb") == gallery.person(" Zoe\u0308") == gallery.person(person.id) == person
    with pytest.raises(GalleryError, match="nobody called 'Zoe'"):
        gallery.person("Zoe")


# Corrections, each with its undo


def both_ways(gallery, change) -> None:
    """A change can be undone, and then everything is as it was."""
    before = state(gallery)
    change()
    assert state(gallery) != before
    gallery.undo()
    assert state(gallery) == before
    change()


def test_rename(known, faces):
    both_ways(known, lambda: known.rename("Rose", "Rosa"))
    assert names(known) == ["Obama", "Rosa"]
    assert who(known, faces["rose_2"]) == "Rosa"
    with pytest.raises(GalleryError, match=r"taken.*merge"):
        known.rename("Rosa", "Obama")
    assert known.rename("Rosa", "Rosa").name == "Rosa"


def test_merge(known, faces):
    known.enrol("Barack", faces["obama_2"], consent="on paper", expires=LATER)
    both_ways(known, lambda: known.merge("Barack", "Obama"))
    person = known.person("Obama")
    assert (person.faces, person.consent, person.expires) == (2, "on paper", LATER)
    assert sorted(names(known)) == ["Obama", "Rose"]
    with pytest.raises(GalleryError, match="one person already"):
        known.merge("Obama", "Obama")


def test_merge_refuses_those_who_were_said_to_be_two(known, faces):
    known.enrol("Barack", faces["obama_2"])
    (face,) = known.faces("Barack")
    known.forbid(face.id, "Obama")
    for one, other in (("Barack", "Obama"), ("Obama", "Barack")):
        with pytest.raises(GalleryError, match=f"face {face.id} of the one was said not to be the other"):
            known.merge(one, other)


def test_merge_carries_what_was_forbidden(known, faces):
    known.enrol("Barack", faces["obama_2"])
    known.enrol("Biden", faces["biden_1"])
    (biden,) = known.faces("Biden")
    known.forbid(biden.id, "Barack")
    both_ways(known, lambda: known.merge("Barack", "Obama"))
    assert known.forbidden() == [(biden.id, known.person("Obama").id)]


def test_split(known, faces):
    wrong = known.enrol("Rose", faces["kit_1"]).faces
    assert who(known, faces["kit_2"]) == "Rose"
    both_ways(known, lambda: known.split("Rose", wrong, "Kit"))
    assert who(known, faces["kit_2"]) == "Kit"
    assert known.person("Rose").faces == 1
    with pytest.raises(GalleryError, match="is not of Rose"):
        known.split("Rose", wrong)
    with pytest.raises(GalleryError, match="taken"):
        known.split("Kit", wrong, "Rose")
    group = known.split("Kit", wrong)
    assert group.name is None
    (answer,) = known.identify(faces["kit_2"].embeddings)
    assert answer.known
    assert (answer.person, answer.name) == (group.id, None)


def test_move(known, faces):
    wrong = known.enrol("Rose", faces["obama_2"]).faces
    both_ways(known, lambda: known.move(wrong, "Obama"))
    assert known.person("Obama").faces == 2
    both_ways(known, lambda: known.move(wrong, None))
    assert [face.id for face in known.unassigned()] == list(wrong)
    with pytest.raises(GalleryError, match="no face 99"):
        known.move([99], "Rose")
    with pytest.raises(GalleryError, match="no face is named"):
        known.move([], "Rose")


def test_forbid_is_respected_by_later_answers(known, faces):
    """Two photographs of one man, one of which is said not to show him: new ones like it are not answered."""
    wrong = known.enrol("Rose", faces["obama_2"]).faces[0]
    known.remove("Obama")
    assert who(known, faces["obama_1"]) == "Rose"
    both_ways(known, lambda: known.forbid(wrong, "Rose"))
    assert who(known, faces["obama_1"]) is None
    assert who(known, faces["rose_2"]) == "Rose"
    assert known.person("Rose").faces == 1
    with pytest.raises(GalleryError, match="already"):
        known.forbid(wrong, "Rose")


def test_forbidden_faces_keep_probes_like_them_from_a_name(known, faces):
    """The link decides even where the person's own face is near enough."""
    alike = faces["rose_2"].embeddings + np.float32(0.001)
    known.enrol("Twin", alike)
    (twin,) = known.faces("Twin")
    known.forbid(twin.id, "Rose")
    known.move([twin.id], None)
    (answer,) = known.identify(faces["rose_2"].embeddings)
    assert "Rose" not in [candidate.name for candidate in answer.candidates]
    assert who(known, faces["rose_1"]) == "Rose"  # her own face is nearer
    both_ways(known, lambda: known.move([twin.id], "Rose"))  # whoever moves it there says otherwise
    assert known.forbidden() == []
    assert who(known, faces["rose_2"]) == "Rose"


def test_enrol_can_be_undone_and_leaves_nothing(known, place, faces, tmp_path):
    before = state(known)
    known.enrol("Kit", faces["kit_1"])
    known.enrol("Rose", faces["rose_2"], consent="by mail")
    known.undo()
    known.undo()
    assert state(known) == before
    assert faces["kit_1"].embeddings.tobytes() not in content(place, tmp_path)


def test_undo_goes_back_step_by_step_and_ends(known):
    known.rename("Rose", "Rosa")
    known.expire("Rosa", LATER)
    assert [known.undo() for _ in range(4)] == ["expire", "rename", "enrol", "enrol"]
    assert known.count() == (0, 0)
    with pytest.raises(GalleryError, match="nothing to undo"):
        known.undo()


def test_removal_cannot_be_undone_and_says_so(known):
    known.remove("Rose")
    with pytest.raises(GalleryError, match=r"last change \(remove, .*gone for good"):
        known.undo()
    known.rename("Obama", "Barack")
    assert known.undo() == "rename"
    with pytest.raises(GalleryError, match="gone for good"):
        known.undo()


# Removal, consent, what is known


def test_removed_people_are_gone_from_the_file_too(known, place, faces, tmp_path):
    known.rename("Rose", "Rosalind Unmistakable")
    known.consent("Rosalind Unmistakable", "in a very particular letter")
    person = known.remove("Rosalind Unmistakable")
    assert person.name == "Rosalind Unmistakable"
    traces = [b"Unmistakable", b"particular letter", faces["rose_1"].embeddings.tobytes()]
    assert who(known, faces["rose_2"]) is None
    assert [event.action for event in known.audit(person.id)] == ["enrol", "rename", "consent", "remove"]
    kept = content(place, tmp_path)
    assert [trace for trace in traces if trace in kept] == []
    assert faces["obama_1"].embeddings.tobytes() in kept


def test_a_removed_face_is_gone(known, place, faces, tmp_path):
    (extra,) = known.enrol("Rose", faces["rose_2"]).faces
    known.remove_face(extra)
    assert known.person("Rose").faces == 1
    with pytest.raises(GalleryError, match=f"no face {extra}"):
        known.remove_face(extra)
    assert faces["rose_2"].embeddings.tobytes() not in content(place, tmp_path)


def test_purge_removes_who_expired_and_nobody_else(known):
    now = datetime.now(UTC)
    known.expire("Rose", now - timedelta(seconds=1))
    known.expire("Obama", now + timedelta(days=1))
    assert [person.name for person in known.purge()] == ["Rose"]
    assert names(known) == ["Obama"]
    assert known.purge() == []
    assert [person.name for person in known.purge(at=now + timedelta(days=2))] == ["Obama"]
    assert known.audit()[-1].action == "purge"


def test_consent_and_expiry_are_kept_and_lifted(known):
    at = datetime(2026, 5, 1, tzinfo=UTC)
    both_ways(known, lambda: known.consent("Rose", " signed form 12 ", at=at))
    person = known.person("Rose")
    assert (person.consent, person.consent_at) == ("signed form 12", at)
    assert person.withdrawn_at is None
    later = at + timedelta(days=1)
    person = known.consent("Rose", None, at=later)
    assert (person.consent, person.withdrawn_at) == (None, later)
    told = known.export("Rose")["person"]
    assert [told[key] for key in ("consent", "consent_at", "withdrawn_at")] == [None, None, later.isoformat()]
    assert known.person("Obama").withdrawn_at is None
    assert known.split("Rose", [known.faces("Rose")[0].id], "Rosa").withdrawn_at == later
    assert known.consent("Rose", "signed again").withdrawn_at is None
    assert known.expire("Rose", LATER).expires == LATER
    assert known.expire("Rose", None).expires is None
    with pytest.raises(GalleryError, match="2,000"):
        known.consent("Rose", "x" * 2001)
    with pytest.raises(ValueError, match="time zone"):
        known.expire("Rose", datetime(2040, 1, 1))


def test_export_gives_all_that_is_known(tmp_path, faces):
    with Gallery.open(tmp_path / "crops.db", keep_crops=True) as opened:
        opened.enrol("Rose", faces["rose_1"], crops=[b"\x89PNG..."], sources=["rose.jpg"], consent="yes")
        opened.enrol("Kit", faces["kit_1"])
        opened.forbid(2, "Rose")
        opened.identify(faces["rose_2"].embeddings)
        record = opened.export("Rose", tmp_path / "out")
        assert opened.audit("Rose")[-1].action == "export"
    folder = tmp_path / "out"
    assert not any(path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir()))
    assert sorted(path.name for path in folder.iterdir()) == ["face-1.png", "person.json", "vectors.npy"]
    assert json.loads((folder / "person.json").read_text()) == json.loads(json.dumps(record))
    assert record["person"]["consent"] == "yes"
    assert [face["source"] for face in record["faces"]] == ["rose.jpg"]
    assert record["not_this_person"] == [2]
    assert [event["action"] for event in record["events"]] == ["enrol", "forbid", "identify"]
    assert np.array_equal(np.load(folder / "vectors.npy"), faces["rose_1"].embeddings)
    assert (folder / "face-1.png").read_bytes() == b"\x89PNG..."


def test_export_never_overwrites(known, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(GalleryError, match="cannot be written"):
        known.export("Rose", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("into", ["Rose", "Obama"])
@pytest.mark.parametrize("withdrawn_last", [True, False])
def test_of_two_people_made_one_what_was_said_last_of_consent_holds(known, into, withdrawn_last):
    at = datetime(2026, 5, 1, tzinfo=UTC)
    known.consent("Rose", "agreed", at=at)
    known.consent("Obama", None, at=at + timedelta(days=1 if withdrawn_last else -1))
    one = known.merge("Obama" if into == "Rose" else "Rose", into)
    assert (one.consent is None) == (one.withdrawn_at is not None) == withdrawn_last


# The audit trail


def test_the_trail_of_somebody_removed_is_found_by_their_id(known):
    gone = known.remove("Rose")
    with pytest.raises(GalleryError, match=r"nobody called 'Rose'.*only the id"):
        known.audit("Rose")
    assert [event.action for event in known.audit(gone.id)] == ["enrol", "remove"]


def test_every_change_and_search_is_one_line_without_anything_personal(known, faces, shared_photos):
    known.enrol("Kit", faces["kit_1"], sources=[shared_photos / "kit_1.jpg"], consent="a letter")
    known.identify(np.concatenate([faces["kit_2"].embeddings, faces["biden_1"].embeddings]))
    known.rename("Kit", "Kitty")
    known.undo()
    events = known.audit()
    assert [event.action for event in events] == ["enrol", "enrol", "enrol", "identify", "rename", "undo"]
    assert {event.actor for event in events} == {"tester"}
    assert events[3].details == {"probes": 2, "people": [known.person("Kit").id]}
    text = json.dumps([[event.person, dict(event.details)] for event in events])
    assert not [word for word in ("Kit", "Rose", "Obama", "letter", "jpg") if word in text]
    assert known.audit(after=events[3].id, limit=1)[0].action == "rename"
    assert [event.action for event in known.audit("Kit")] == ["enrol", "rename"]


def test_searches_need_not_be_audited(known, place, faces):
    with Gallery.open(place, audit_searches=False) as opened:
        opened.identify(faces["kit_2"].embeddings)
        assert "identify" not in [event.action for event in opened.audit()]


def test_copies_within_a_large_enrolment_are_found_however_far_apart(tmp_path):
    rows = np.random.default_rng(0).normal(0, 0.125, (700, 128)).astype(np.float32)
    rows[3] = rows[1] + 1e-3  # in the same block of comparisons
    rows[600] = rows[2] + 1e-3  # in a later one
    rows[650] = rows[600] + 1e-3  # a copy of a copy is one of the first
    with Gallery.open(tmp_path / "people.db") as opened:
        first = opened.enrol("Ada", rows[:10])
        later = opened.enrol("Ada", rows[10:])
        again = opened.enrol("Ada", rows[-5:])
    assert [(one.position, one.face) for one in first.skipped] == [(3, first.faces[1])]
    assert [(one.position, one.face, one.reason) for one in later.skipped] == [
        (590, first.faces[2], "near-duplicate"),
        (640, first.faces[2], "near-duplicate"),
    ]
    assert [one.face for one in again.skipped] == list(later.faces[-5:])
    assert (len(first.faces), len(later.faces), again.faces) == (9, 688, ())


def test_one_picture_is_enrolled_once_within_a_call(tmp_path):
    rows = np.random.default_rng(0).normal(0, 0.125, (4, 128)).astype(np.float32)
    boxes = [(0.0, 0.0, 50.0, 50.0), (100.0, 0.0, 150.0, 50.0), (2.0, 0.0, 50.0, 50.0), (0.0, 0.0, 50.0, 50.0)]
    pictures = ["a" * 64, "a" * 64, "a" * 64, "b" * 64]
    given = [NewFace(row, source_sha256=p, box=box) for row, p, box in zip(rows, pictures, boxes, strict=True)]
    with Gallery.open(tmp_path / "people.db") as opened:
        told = opened.enrol("Ada", given)
    assert told.faces == (1, 2, 3)
    assert [(one.position, one.face, one.reason) for one in told.skipped] == [(2, 1, "same picture")]


def test_many_people_at_once_are_all_enrolled_or_none_and_undone_one_by_one(gallery, faces):
    some = [(name.title(), faces[f"{name}_1"]) for name in ("obama", "rose", "kit")]
    with pytest.raises(GalleryError, match="a name has 1 to"):
        gallery.enrol_many([*some, ("", faces["biden_1"])])
    assert gallery.count() == (0, 0)
    told = gallery.enrol_many([*some, ("Obama", faces["obama_2"])], consent="a letter")
    assert [(one.person.name, one.person.faces) for one in told] == [
        ("Obama", 2),
        ("Rose", 1),
        ("Kit", 1),
        ("Obama", 2),
    ]
    assert {person.consent for person in gallery.people()} == {"a letter"}
    assert gallery.undo() == "enrol"
    assert gallery.undo() == "enrol"
    assert names(gallery) == ["Obama", "Rose"]
