"""The conformance suite: every registered model, the day it is registered."""

from __future__ import annotations

import re

import pytest

from mien import DeviceError, UnknownModelError, WeightsError
from mien.models import registry
from mien.models.base import PackageSource, RuntimeOptions, UrlSource
from mien.models.runtime import Session, default_threads, providers
from mien.models.store import WeightsStore

RECORDS = registry.records()


@pytest.fixture(params=RECORDS, ids=str)
def record(request):
    return RECORDS[request.param]


def test_a_record_says_everything_there_is_to_say(record):
    assert re.fullmatch(r"[a-z0-9-]+", record.name)
    for words in (record.summary, record.licence_code, record.licence_weights, record.origin, record.limits):
        assert len(words) > 2
        assert "\n" not in words
    assert record.training_data
    assert re.fullmatch(r"[0-9a-f]{64}", record.weights.sha256)
    assert record.weights.size > 10_000
    assert record.weights.sources


def test_sources_are_pinned_and_safe(record):
    for source in record.weights.sources:
        if isinstance(source, PackageSource):
            assert re.fullmatch(r"[\w.-]+==[\w.]+", source.requirement)
            assert re.fullmatch(r"[0-9a-f]{64}", source.archive_sha256)
        if isinstance(source, UrlSource):
            assert source.url.startswith("https://")


def test_detectors_have_a_threshold_and_embedders_a_crop_and_a_metric(record):
    if record.task == "detection":
        assert 0 < record.threshold < 1
    if record.task == "embedding":
        template = record.crop.template_array()
        assert template.shape == (5, 2)
        assert (template > 0).all()
        assert (template < record.crop.size).all()
        left, right, nose, mouth_left, mouth_right = template
        assert left[0] < nose[0] < right[0]
        assert mouth_left[0] < mouth_right[0]
        assert record.metric in ("cosine", "l2")
        assert record.dimensions > 0


def test_classifiers_say_what_their_answers_mean(record):
    if record.task == "expression":
        assert len(set(record.labels)) == len(record.labels) > 1
        assert 0 <= record.threshold < 1
        assert record.temperature > 0
        assert record.crop.template_array().shape == (5, 2)
        assert record.calibrated_on
        assert record.metrics


def test_calibrations_rise_with_what_they_ask_for(record):
    for calibration in record.calibrations.values():
        thresholds = [calibration.thresholds[rate] for rate in ("1e-2", "1e-3", "1e-4")]
        assert -1 < thresholds[0] < thresholds[1] < thresholds[2] < 1
        assert calibration.logistic[0] > 0
        assert calibration.source


def test_defaults_are_calibrated_and_free_for_commerce():
    """But for the expression network, whose first load says that its training pictures are for research."""
    for name in registry.DEFAULTS:
        record = registry.record(name)
        assert record.commercial_use == (record.task != "expression")
        if record.task == "embedding":
            assert set(record.calibrations) == {"fast", "accurate"}


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownModelError, match="'facenet'; choose one of: centerface, "):
        registry.entry("facenet")
    with pytest.raises(UnknownModelError, match="no detection model called 'dlib-resnet'"):
        registry.entry("dlib-resnet", "detection")


def test_weights_that_forbid_commerce_say_so_when_first_loaded(tmp_path, caplog):
    from tests.models.test_arcface import published

    path = tmp_path / "own.onnx"
    path.write_bytes(published())
    for _ in range(2):
        registry.load(registry.entry(f"arcface:{path}"), WeightsStore(tmp_path / "cache"), RuntimeOptions(threads=1))
    assert len([r.message for r in caplog.records if "commercial" in r.message]) == 1


def test_devices_are_never_replaced_in_silence():
    assert providers("cpu") == ["CPUExecutionProvider"]
    assert providers("auto")[-1] == "CPUExecutionProvider"
    with pytest.raises(DeviceError, match="choose one of auto"):
        providers("quantum")
    with pytest.raises(DeviceError, match="use --device cpu"):
        providers("directml")


def test_a_file_that_is_no_model_is_one_line(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match=r"onnxruntime cannot load broken\.onnx") as caught:
        Session(broken, RuntimeOptions())
    assert "\n" not in str(caught.value)


def test_threads_are_at_least_one_and_not_without_end():
    assert 1 <= default_threads() <= 8
