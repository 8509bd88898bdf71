"""The whole way on real photographs: the same answer from every entrance."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mien import FaceAnalyzer, Faces, ImageError, NoFaceError, UnknownModelError, WeightsError, load_image

PIXELS = 0.05  # tolerance of boxes and landmarks between batch sizes and thread counts
EMBEDDING = 1e-3  # of embeddings, L2


def assert_same(a: Faces, b: Faces) -> None:
    assert len(a) == len(b)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=PIXELS)
    np.testing.assert_allclose(a.landmarks, b.landmarks, atol=PIXELS)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    assert np.linalg.norm(a.embeddings - b.embeddings, axis=1).max(initial=0) < EMBEDDING


def test_path_bytes_file_and_array_give_the_same_answer(analyzer, portrait):
    data = portrait.read_bytes()
    expected = analyzer(load_image(portrait))
    assert len(expected) == 1
    for source in (str(portrait), data, io.BytesIO(data), load_image(portrait)):
        assert_same(analyzer(load_image(source)), expected)


def test_the_analyzer_reads_what_load_image_reads(analyzer, portrait):
    expected = analyzer(load_image(portrait))
    for source in (portrait, str(portrait), portrait.read_bytes(), io.BytesIO(portrait.read_bytes())):
        assert_same(analyzer(source), expected)
    (faces,) = analyzer([str(portrait)])
    assert_same(faces, expected)
    assert repr(faces).startswith("Faces(1 in 512 x 600, embeddings of 128")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_folder_batch_and_thread_count_do_not_change_the_answer(analyzer, portrait, astronaut, threads):
    paths = [portrait, astronaut, portrait]
    expected = [analyzer(load_image(p)) for p in paths]
    other = FaceAnalyzer(threads=threads)
    for faces, want in zip(other([load_image(p) for p in paths]), expected, strict=True):
        assert_same(faces, want)
    for result, path, want in zip(other.files(paths), paths, expected, strict=True):
        assert result.path == str(path)
        assert_same(result.faces, want)


def test_one_analyzer_may_be_shared_by_threads(analyzer, portrait, astronaut):
    images = [load_image(p) for p in (portrait, astronaut)] * 4
    expected = [analyzer(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for faces, want in zip(pool.map(analyzer, images), expected, strict=True):
            assert_same(faces, want)


def test_models_are_loaded_once_when_threads_race_for_them(portrait):
    fresh = FaceAnalyzer(threads=1)
    with ThreadPoolExecutor(4) as pool:
        detectors = {id(d) for d in pool.map(lambda _: fresh.detector, range(8))}
    assert len(detectors) == 1


def test_no_pictures_no_faces_and_tiny_pictures(analyzer):
    assert analyzer([]) == []
    assert len(analyzer(np.zeros((1, 1, 3), np.uint8))) == 0
    blank, wide = analyzer([np.full((300, 200, 3), 255, np.uint8), np.zeros((3, 5000, 3), np.uint8)])
    assert (len(blank), blank.image_size) == (0, (200, 300))
    assert (len(wide), wide.image_size) == (0, (5000, 3))
    assert blank.embeddings.shape == (0, 128)


def test_detection_alone_loads_no_embedder(portrait):
    faces = FaceAnalyzer(only=("detect",), threads=1)(load_image(portrait))
    assert len(faces) == 1
    assert faces.embeddings is None
    assert faces.expressions is None


def test_a_large_picture_gives_the_same_face_as_a_small_one(analyzer, astronaut):
    import cv2

    small = load_image(astronaut)
    large = np.asarray(cv2.resize(small, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC))
    a, b = analyzer(small).largest(), analyzer(large).largest()
    np.testing.assert_allclose(b.landmarks / 6, a.landmarks, atol=4)
    assert analyzer.similarity(a.embeddings[0], b.embeddings[0]) > 0.8
    in_tiles = FaceAnalyzer(only=("detect",), size="full", threads=1)(large).largest()
    np.testing.assert_allclose(in_tiles.boxes, b.boxes, atol=40)


def test_a_mirrored_picture_is_the_same_person(analyzer, portrait):
    image = load_image(portrait)
    a, b = analyzer([image, np.ascontiguousarray(image[:, ::-1])])
    assert analyzer.compare(a.embeddings[0], b.embeddings[0]).same


def test_verify_compares_the_largest_faces(analyzer, portrait, astronaut):
    assert analyzer.verify(portrait, portrait).similarity == pytest.approx(1)
    assert not analyzer.verify(portrait, astronaut.read_bytes()).same
    with pytest.raises(NoFaceError, match="the picture: no face found"):
        analyzer.verify(portrait, np.zeros((100, 100, 3), np.uint8))


def test_unknown_models_and_bad_arrays_are_refused():
    with pytest.raises(UnknownModelError, match="dlib-resnet"):
        FaceAnalyzer(embedder="centerface")
    with pytest.raises(ValueError, match="'emotion'"):
        FaceAnalyzer(only=("detect", "emotion"))
    with pytest.raises(ValueError, match="only is 'embed'"):
        FaceAnalyzer(only="embed")
    with pytest.raises(ValueError, match="size"):
        _ = FaceAnalyzer(size=3).detector
    with pytest.raises(ImageError):
        FaceAnalyzer(threads=1)(np.zeros((4, 4, 7), np.uint8))


def test_expressions_come_from_the_same_faces_whatever_the_way(portrait, astronaut, tiny_expressions):
    name = str(tiny_expressions)
    analyzer = FaceAnalyzer(only=("detect", "expression"), expression=name, threads=1)
    one, other = analyzer([str(portrait), str(astronaut)])
    assert one.embeddings is None
    assert one.expressions.scores.shape == (1, 8)
    assert one.expressions.labels[one.expressions.top[0]] == "happiness"
    assert one.expressions.confidence[0] != other.expressions.confidence[0]
    several = FaceAnalyzer(only=("detect", "expression", "embed"), expression=f"expression:{name}", threads=2)
    for result, want in zip(several.files([portrait, astronaut]), (one, other), strict=True):
        np.testing.assert_allclose(result.faces.expressions.scores, want.expressions.scores, atol=1e-3)
        assert result.faces.embeddings.shape == (1, 128)
    assert analyzer(np.zeros((9, 9, 3), np.uint8)).expressions.scores.shape == (0, 8)
    with ThreadPoolExecutor(4) as pool:
        fresh = FaceAnalyzer(only=("expression",), expression=name, threads=1)
        assert len({id(e) for e in pool.map(lambda _: fresh.expression, range(8))}) == 1


def test_an_expression_model_that_is_not_there_is_said_at_once_and_only_where_it_is_needed(tmp_path, portrait):
    with pytest.raises(UnknownModelError, match="no expression model called 'nobody'"):
        FaceAnalyzer(only=("expression",), expression="nobody")
    with pytest.raises(WeightsError, match="cannot read"):
        FaceAnalyzer(only=("expression",), expression=str(tmp_path / "nowhere.onnx"))
    assert len(FaceAnalyzer(only=("detect",), expression="nobody", threads=1)(load_image(portrait))) == 1


@pytest.mark.data
@pytest.mark.parametrize(
    ("photo", "count"),
    [
        ("obama_1.jpg", 1),
        ("obama_2.jpg", 1),
        ("biden_1.jpg", 1),
        ("biden_2.jpg", 1),
        ("alex_1.png", 1),
        ("alex_2.jpg", 1),
        ("kit_1.jpg", 1),
        ("kit_2.jpg", 1),
        ("rose_1.jpg", 1),
        ("rose_2.jpg", 1),
        ("lin_1.png", 1),
        ("obama_partial.jpg", 1),
        ("two_people.jpg", 2),
        ("crowd.jpg", 24),  # and one cut in half, which only `full` finds
    ],
)
def test_the_right_number_of_faces(analyzer, shared_photos, photo, count):
    assert len(analyzer(load_image(shared_photos / photo))) == count


@pytest.mark.data
def test_who_is_who_among_two_people(analyzer, shared_photos):
    left, right = sorted(analyzer(load_image(shared_photos / "two_people.jpg")), key=lambda f: f.boxes[0, 0])
    biden, obama = (analyzer.largest_face(shared_photos / name) for name in ("biden_1.jpg", "obama_1.jpg"))
    assert analyzer.compare(left.embeddings[0], obama.embeddings[0]).same
    assert analyzer.compare(right.embeddings[0], biden.embeddings[0]).same
    assert not analyzer.compare(left.embeddings[0], biden.embeddings[0]).same
