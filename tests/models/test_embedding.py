"""Views of a face: moved and mirrored crops, and what is averaged."""

from __future__ import annotations

import numpy as np
import pytest

from mien.errors import ModelError
from mien.models import centerface, dlib_resnet
from mien.models.base import CropView, EmbeddingRecipe
from mien.models.embedding import FaceEmbedder
from mien.ops import similarity
from mien.types import Faces

RECORD = dlib_resnet.RECORD


def pattern(size=400) -> np.ndarray:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[:size, :size] / size
    channels = [x, y, (x * x + y) / 2]
    return (255 * np.stack(channels, axis=-1)).astype(np.uint8)


def face_at(x: float, y: float, scale: float = 1.0) -> Faces:
    landmarks = RECORD.crop.template_array() * scale + np.float32([x, y])
    box = [x, y, x + 150 * scale, y + 150 * scale]
    return Faces(np.float32([box]), np.float32([1]), landmarks[None], (400, 400))


class Means:
    """An embedder network whose embedding is the mean colour of the left and right halves."""

    def __init__(self):
        self.calls = []

    def __call__(self, crops):
        self.calls.append(crops)
        halves = [crops[:, :, :75], crops[:, :, 75:]]
        means = [h.reshape(len(crops), -1, 3).mean(axis=1) for h in halves]
        return np.pad(np.concatenate(means, axis=1), ((0, 0), (0, 122))).astype(np.float32)


def centre_of(view: CropView, size=100):
    return view.transform(size)[:2] @ [(size - 1) / 2, (size - 1) / 2, 1]


def test_the_plain_view_is_the_crop_itself():
    np.testing.assert_allclose(CropView().transform(150), np.eye(3), atol=1e-12)


def test_views_turn_and_grow_about_the_middle_and_shift():
    np.testing.assert_allclose(centre_of(CropView(scale=1.3, rotation=20)), [49.5, 49.5])
    np.testing.assert_allclose(centre_of(CropView(shift=(0.1, -0.05))), [59.5, 44.5])
    turned = CropView(rotation=90).transform(100) @ [99, 49.5, 1]
    np.testing.assert_allclose(turned[:2], [49.5, 99], atol=1e-9)  # right goes down: clockwise as seen
    grown = CropView(scale=1.1).transform(101)[:2] @ [60, 50, 1]
    np.testing.assert_allclose(grown, [61, 50])


def test_views_of_a_face_are_cut_where_they_should_and_averaged():
    network = Means()
    embedder = FaceEmbedder(RECORD, network)
    (faces,) = embedder([pattern()], [face_at(100, 120)])
    (crops,) = network.calls
    np.testing.assert_array_equal(crops[0], pattern()[120:270, 100:250])
    np.testing.assert_array_equal(crops[1], crops[0][:, ::-1])
    left, right = np.split(faces.embeddings[0][:6], 2)
    np.testing.assert_allclose(left, right, rtol=1e-5)  # the mean of a crop and its mirror is symmetric


def test_faces_of_many_pictures_share_network_calls_and_come_back_in_order():
    network = Means()
    embedder = FaceEmbedder(RECORD, network, recipe=EmbeddingRecipe(fast=(CropView(),)))
    none = Faces.empty((400, 400))
    pictures = [pattern()] * 4
    many = face_at(10, 20)[np.zeros(70, dtype=int)]
    first, empty, crowd, last = embedder(pictures, [face_at(0, 0), none, many, face_at(200, 100)])
    assert [len(c) for c in network.calls] == [32, 32, 8]
    assert empty.embeddings.shape == (0, 128)
    assert (len(first), len(crowd), len(last)) == (1, 70, 1)
    assert first.embeddings[0, 0] < crowd.embeddings[-1, 0] < last.embeddings[0, 0]


def test_no_faces_no_call():
    network = Means()
    assert FaceEmbedder(RECORD, network)([], []) == []
    assert not network.calls


def test_a_detector_is_no_embedder():
    with pytest.raises(ModelError, match="no embedder"):
        FaceEmbedder(centerface.RECORD, Means())


def test_similarity_by_distance_is_monotone_and_bounded():
    distances = np.linspace(0, 50, 1000)
    values = similarity.from_distance(distances)
    assert values[0] == 1
    assert (np.diff(values) < 0).all()
    assert values.min() > -1
    np.testing.assert_allclose(similarity.from_distance(np.array([1.0])), [0], atol=1e-12)


def test_similarity_broadcasts():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 8)), rng.normal(size=(7, 8))
    for measure in (similarity.l2, similarity.cosine):
        table = measure(a[:, None], b[None])
        assert table.shape == (5, 7)
        np.testing.assert_allclose(table[2, 3], measure(a[2], b[3]))
        np.testing.assert_allclose(measure(a, a), 1)
    assert similarity.cosine(np.zeros(8), b[0]) == 0
