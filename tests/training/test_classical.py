"""Classical models: they learn, what is saved is what was fitted, seeds settle everything, and bad input is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from mien.datasets.base import NO_ANSWER
from mien.errors import DataError, ImageDecodeError, MienError, ModelError, WeightsError
from mien.models.base import RuntimeOptions
from mien.models.classifier import CropClassifier
from mien.models.runtime import Session
from mien.training import classical
from mien.training.classical import CLASSIFIERS, FEATURES_KEY, ClassicalOptions, train_classical
from mien.training.classical_graph import build
from mien.training.features import FeatureSpec, describe
from tests.training.portraits import as_set, mirrored_people, variants

HOG = FeatureSpec("hog")
QUICK = ClassicalOptions(trees=20, leaf=1, components=20, neighbours=5)


@pytest.fixture(scope="session")
def portraits():
    """Four classes of 12."""
    return as_set(mirrored_people(12))


@pytest.fixture(scope="session")
def others():
    """The same four classes, 6 each, of other variants."""
    return as_set(mirrored_people(6, seed=1), "other portraits")


def crops_of(images):
    return np.stack([images.read(i) for i in range(len(images))])


@pytest.fixture(scope="module")
def models(portraits, others):
    """One of each kind, calibrated on other pictures."""
    return {
        name: train_classical(portraits, others, features=HOG, classifier=name, options=QUICK) for name in CLASSIFIERS
    }


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_learns_and_is_what_is_saved(models, others, name, tmp_path):
    model = models[name]
    crops = crops_of(others)
    answers = model(crops)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert (answers.argmax(axis=1) == others.truth).mean() > 0.9
    (tmp_path / "model.onnx").write_bytes(model.data)
    again = CropClassifier(tmp_path / "model.onnx", RuntimeOptions(threads=1))
    np.testing.assert_allclose(again(crops), answers, atol=1e-6)
    assert (again.labels, again.size, again.threshold) == (others.labels, 48, model.threshold)
    assert again.card.architecture == f"hog + {name}"
    assert again.card.training_data == "portraits: 48 pictures"


def test_the_card_tells_the_features_and_the_options(models):
    properties = {entry.key: entry.value for entry in onnx.load_from_string(models["knn"].data).metadata_props}
    recipe = json.loads(properties[FEATURES_KEY])
    assert recipe["kind"] == "classical"
    assert recipe["features"] == HOG.to_dict()
    assert recipe["options"]["neighbours"] == 5
    card = json.loads(properties["mien"])
    assert card["labels"] == ["Collins", "Hopper", "Collins reversed", "Hopper reversed"]


def logits(head, crops):
    return Session(build(HOG, head, {}), RuntimeOptions(threads=1))(crops)[0]


@pytest.fixture(scope="module")
def noisy():
    """(crops, features, classes) that cannot be learnt perfectly."""
    rng = np.random.default_rng(0)
    faces = np.concatenate([np.stack(crops) for crops in mirrored_people(10, seed=3).values()])
    return faces, describe(faces, HOG), rng.permutation(np.repeat(np.arange(4), 10)).astype(np.int64)


def test_linear_parity(noisy):
    from sklearn.svm import LinearSVC

    crops, x, y = noisy
    head = classical._linear(x, y, 4, ClassicalOptions(c=0.01), 0)
    scaled = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6) * (x.std(axis=0) > 1e-6)
    svm = LinearSVC(C=0.01, tol=1e-3, max_iter=500, random_state=0).fit(scaled, y)
    np.testing.assert_allclose(logits(head, crops), svm.decision_function(scaled), atol=2e-2)


@pytest.mark.parametrize("most", [40, 1])
@pytest.mark.parametrize("count", [2, 4])
def test_rbf_parity(noisy, count, most, monkeypatch):
    """A class's logit is the mean of libsvm's own margins of its pairs, as soft votes where classes are few."""
    from sklearn.svm import SVC

    monkeypatch.setattr(classical, "_MOST_VOTING", most)
    crops, x, y = noisy
    y = y % count
    options = ClassicalOptions(components=16)
    head = classical._rbf(x, y, count, options, 0)
    z = classical._components(x, options, 0)[2].astype(np.float64)
    svm = SVC(C=4, gamma=head.gamma, decision_function_shape="ovo").fit(z, y)
    margins = svm.decision_function(z)
    if count == 2:
        margins = -margins[:, None]
    if most >= count:
        margins = np.tanh(2 * margins)
    wanted = np.zeros((len(z), count))
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    for k, (i, j) in enumerate(pairs):
        wanted[:, i] += margins[:, k] / (count - 1)
        wanted[:, j] -= margins[:, k] / (count - 1)
    np.testing.assert_allclose(logits(head, crops), wanted, atol=2e-2)  # faces are not rounded to float16
    assert (wanted.argmax(axis=1) == svm.predict(z)).mean() > 0.9


def test_knn_parity(noisy):
    from sklearn.neighbors import KNeighborsClassifier

    crops, x, y = noisy
    options = ClassicalOptions(components=16, neighbours=7)
    head = classical._neighbours(x, y, 4, options, 0)
    z = head.vectors.astype(np.float64)
    reference = KNeighborsClassifier(7, weights=lambda d: 1 / np.sqrt(d**2 + 1e-4)).fit(z, y)
    unseen = np.stack(variants("Hopper", 6, seed=9))
    for faces in (unseen, crops):
        projected = describe(faces, HOG) @ head.projection + head.shift
        found = np.exp(logits(head, faces)) - 1 / 28  # without the doubt
        if faces is unseen:
            np.testing.assert_allclose(found, reference.predict_proba(projected), atol=2e-3)
        else:  # it finds itself
            assert (found.argmax(axis=1) == y).all()


def test_forest_parity(noisy):
    from sklearn.ensemble import RandomForestClassifier

    crops, x, y = noisy
    options = ClassicalOptions(trees=15, leaf=2)
    found = np.exp(logits(classical._forest(x, y, 4, options, 5), crops)) - 1 / 60
    forest = RandomForestClassifier(15, min_samples_leaf=2, random_state=5).fit(x, y)
    wanted = forest.predict_proba(x)
    assert (
        np.isclose(found, wanted, atol=1e-5).all(axis=1).mean() > 0.9
    )  # HOG differs by 1e-7: a split may fall otherwise
    np.testing.assert_allclose(found, wanted, atol=0.15)


def test_a_seed_settles_everything(portraits, models):
    def forest(seed):
        return train_classical(portraits, features=HOG, classifier="forest", options=QUICK, seed=seed)

    assert forest(3).data == forest(3).data
    assert forest(3).data != forest(4).data


def test_without_validation_a_part_of_each_class_is_set_aside(portraits):
    model = train_classical(portraits, features=HOG, options=replace(QUICK, held=0.25))
    assert np.bincount(model.validation.truth).tolist() == [3, 3, 3, 3]
    assert model.learnt == 36
    assert "set aside" in model.card.calibration


def test_equal_pictures_stay_together_and_single_ones_are_learnt_from():
    first, *rest = variants("Collins", 6)
    images = as_set({"Collins": [first] * 5 + rest, "Hopper": variants("Hopper", 1)})
    model = train_classical(images, features=HOG, options=replace(QUICK, held=0.3))
    assert model.single == ("Hopper",)
    aside = [model.validation.read(i).tobytes() for i in range(len(model.validation))]
    assert aside.count(first.tobytes()) in (0, 5)
    assert 1 not in model.validation.truth


def test_limit_keeps_every_class():
    images = as_set({"Collins": variants("Collins", 40), "Hopper": variants("Hopper", 4)})
    few = classical._limited(images, 11, np.random.default_rng(0))
    assert np.bincount(few.truth).tolist() == [10, 1]
    assert classical._limited(images, 0, np.random.default_rng(0)) is images


def test_confidences_are_held_back_after_few_pictures(portraits, others):
    """All answers on four pictures are right: no reason to be certain."""
    few = others.subset([0, 6, 12, 18])
    model = train_classical(portraits, few, features=HOG, options=QUICK)
    confidences = model(crops_of(few)).max(axis=1)
    assert confidences.max() < 0.95
    assert model.threshold <= confidences.max()


def test_mirrored_faces_are_learnt_from_too(portraits, others):
    options = replace(QUICK, mirrored=True)
    model = train_classical(portraits, others, features=HOG, classifier="knn", options=options)
    vectors = max(
        onnx.load_from_string(model.data).graph.initializer, key=lambda w: w.dims[-1] if w.data_type == 10 else 0
    )
    assert vectors.dims[-1] == 2 * len(portraits)


def test_pictures_without_an_answer_are_not_used(portraits):
    truth = portraits.truth.copy()
    truth[::4] = NO_ANSWER
    model = train_classical(replace(portraits, truth=truth), features=HOG, options=QUICK)
    assert model.learnt + len(model.validation) == 36


def test_faces_that_are_not_found_are_told(portraits, others):
    def cut(picture):
        return (
            None if np.array_equal(picture, portraits.read(2)) or np.array_equal(picture, others.read(1)) else picture
        )

    model = train_classical(portraits, others, features=HOG, options=QUICK, cut=cut)
    assert model.faceless == ("portraits/2", "other portraits/1")
    assert model.learnt == 47
    assert len(model.validation) == 24  # the report counts the missed one as an error
    with pytest.raises(DataError, match="no face found in 48"):
        train_classical(portraits, features=HOG, options=QUICK, cut=lambda picture: None)


def test_progress_reaches_the_end(portraits, others):
    told = []
    train_classical(portraits, others, features=HOG, options=QUICK, progress=lambda *what: told.append(what))
    assert (48, 48, "describing portraits") in told
    assert (0, 1, "fitting linear-svm to 48 faces") in told


def broken_at(images, index):
    def read(i):
        if i == index:
            raise ImageDecodeError(f"{images.items[i]}: damaged")
        return images.read(i)

    return replace(images, read=read)


def test_a_picture_that_cannot_be_read(portraits, others):
    with pytest.raises(DataError, match=r"portraits/5: damaged; .*--skip-unreadable"):
        train_classical(broken_at(portraits, 5), features=HOG, options=QUICK)
    model = train_classical(broken_at(portraits, 5), others, features=HOG, options=QUICK, skip_unreadable=True)
    assert model.unreadable == ("portraits/5: damaged",)
    assert model.learnt == 47


def test_what_cannot_be_trained_on_is_said(portraits, others):
    empty = replace(portraits, labels=(*portraits.labels, "Ghost"), targets=np.pad(portraits.targets, ((0, 0), (0, 1))))
    one = as_set({"Collins": variants("Collins", 3)})
    alone = as_set({"Collins": variants("Collins", 1), "Hopper": variants("Hopper", 1)})
    cases = {
        "of class Ghost": (empty, None, {}),
        "other classes": (portraits, empty, {}),
        "set aside": (alone, None, {}),
        "choose one of linear-svm": (portraits, None, {"classifier": "svm"}),
    }
    for says, (images, validation, more) in cases.items():
        with pytest.raises(DataError, match=says):
            train_classical(images, validation, features=HOG, **{"options": QUICK, **more})
    with pytest.raises(ModelError, match="2 to"):
        train_classical(one, features=HOG)
    for wrong in ({"c": -1.0}, {"trees": 0}, {"held": 1.0}, {"limit": -1}):
        with pytest.raises(DataError):
            ClassicalOptions(**wrong)


def test_missing_libraries_are_one_line(monkeypatch, portraits):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr(classical, "import_module", absent)
    with pytest.raises(MienError, match=r"^skimage is not installed: pip install 'mien\[train\]'$"):
        train_classical(portraits, features=HOG)


def test_errors_and_memory_of_the_solver_reach_the_caller():
    def fails(error):
        def work():
            raise error

        return work

    with pytest.raises(ValueError, match="odd"):
        classical._interruptible(fails(ValueError("odd")))
    with pytest.raises(DataError, match="--limit"):
        classical._interruptible(fails(MemoryError()))


def test_hostile_files_are_refused_in_one_line(models, tmp_path):
    """By the one loader of trained models; nothing of a pickle is ever run."""
    good = onnx.load_from_string(models["linear-svm"].data)
    nan = onnx.ModelProto.FromString(good.SerializeToString())
    bias = next(w for w in nan.graph.initializer if list(w.dims) == [4] and w.data_type == 1)
    bias.raw_data = np.full(4, np.nan, np.float32).tobytes()
    wrong = onnx.ModelProto.FromString(good.SerializeToString())
    next(w for w in wrong.graph.initializer if list(w.dims) == [900, 4]).dims[:] = [4, 900]
    huge = onnx.ModelProto.FromString(good.SerializeToString())
    next(w for w in huge.graph.initializer if list(w.dims) == [900, 4]).dims[:] = [1 << 40, 1 << 20]
    pickled = b"\x80\x04cos\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR."
    for data in (nan.SerializeToString(), wrong.SerializeToString(), huge.SerializeToString(), pickled, b"", b"PK\3\4"):
        with pytest.raises((ModelError, WeightsError)) as caught:
            CropClassifier(data)(np.zeros((1, 48, 48, 3), np.uint8))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.data
def test_beats_chance_on_real_expressions(shared):
    """300 pictures of FER+: chance is the most frequent class, about 36 %."""
    from mien.datasets import open_image_set

    training = open_image_set(shared / "ferplus_train.zip", split="train").for_measuring()
    held = open_image_set(shared / "ferplus_valid.zip", split="validation").for_measuring()
    some = held.subset(np.arange(0, len(held), 16))
    model = train_classical(training, some, features=HOG, options=ClassicalOptions(limit=300))
    assert model.learnt == 300
    assert (model(crops_of(some)).argmax(axis=1) == some.truth).mean() > 0.48
