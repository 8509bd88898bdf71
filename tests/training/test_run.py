"""Whole small training runs on real faces."""

import csv
import errno
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from mien import load_image  # noqa: E402
from mien.errors import DataError, DeviceError, ImageDecodeError, MienError, UnknownModelError, WeightsError  # noqa: E402
from mien.models.base import RuntimeOptions  # noqa: E402
from mien.models.classifier import CropClassifier  # noqa: E402
from mien.training import checkpoint, crops, loop, run, run_folder  # noqa: E402
from mien.training.architectures import ARCHITECTURES, architecture  # noqa: E402
from mien.training.options import TrainingOptions  # noqa: E402

SMALL = TrainingOptions(
    architecture="cnn2",
    crop_size=24,
    input_size=24,
    epochs=6,
    batch=16,
    warmup=4,
    learning_rate=2e-3,
    ema=0.8,
    augment=0.5,
    threads=1,
)


def prepared(folder, make_set, options=SMALL, n=96):
    run_folder.prepare_folder(folder, options, resume=False)
    return run.read_data(make_set(n), make_set(32, seed=1), options, folder)


def trained(folder, make_set, options=SMALL, **settings):
    data = prepared(folder, make_set, options)
    return run.train(data, options, folder, name="small", backbone="none", **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_set):
    """A run from its beginning to its end."""
    return trained(tmp_path_factory.mktemp("whole") / "run", make_set)


class Interrupt:
    """Presses Ctrl-C at a step."""

    def __init__(self, at):
        self.at = at

    def __call__(self, done, _total, what=""):
        if what.startswith("epoch") and done == self.at:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("drawn")
def test_learns_exports_and_reports(tmp_path, make_set):
    model = trained(tmp_path / "run", make_set)
    losses = [row["train_loss"] for row in model.history]
    assert losses[-1] < losses[0]
    assert model.report.figures.accuracy > 0.9
    classifier = CropClassifier(model.model)
    assert classifier.labels == ("astronaut", "hopper")
    assert classifier.card.metrics["two faces 1"]["accuracy"] == pytest.approx(model.report.figures.accuracy, abs=1e-4)
    with (tmp_path / "run" / "log.csv").open() as file:
        assert [float(row["train_loss"]) for row in csv.DictReader(file)] == pytest.approx(losses, rel=1e-4)
    for name in ("confusion", "reliability", "curves"):
        assert load_image(tmp_path / "run" / f"{name}.png").std() > 5


@pytest.mark.parametrize("at", [3, 6, 9, 14])
def test_an_interrupted_run_ends_with_the_very_same_weights(tmp_path, make_set, whole, at):
    """6 steps an epoch: interrupted within the first, at the end of one, within the second, within the last."""
    folder = tmp_path / "pieces"
    data = prepared(folder, make_set)
    with pytest.raises(KeyboardInterrupt):
        run.train(data, SMALL, folder, name="small", backbone="none", progress=Interrupt(at))
    torch.manual_seed(12345)  # what else happens in the process must not matter
    pieces = run.train(data, SMALL, folder, name="small", backbone="none", resume=True)
    one, other = (load_file(model.folder / run_folder.WEIGHTS) for model in (whole, pieces))
    assert all(torch.equal(one[name], other[name]) for name in one)
    without_time = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in pieces.history] == without_time


@pytest.mark.parametrize("handler", [signal.default_int_handler, lambda *_: sys.exit(130)], ids=["python", "mien"])
def test_a_real_interrupt_waits_for_the_end_of_the_step(tmp_path, make_set, monkeypatch, handler):
    """Ctrl-C comes in the middle of a step, when random numbers have been used already."""
    options = replace(SMALL, epochs=1)  # its dropout has used random numbers by then
    whole = trained(tmp_path / "whole", make_set, options)
    before = signal.signal(signal.SIGINT, handler)
    plain, calls = loop.losses.soft_cross_entropy, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(*arguments)

    folder = tmp_path / "pieces"
    data = prepared(folder, make_set, options)
    monkeypatch.setattr(loop.losses, "soft_cross_entropy", interrupted)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run.train(data, options, folder, name="small", backbone="none")
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) == 3
    assert checkpoint.load_checkpoint(folder / loop.CHECKPOINT)["step"] == 3
    assert not [thread for thread in threading.enumerate() if thread.name == "mien-batches"]
    pieces = run.train(data, options, folder, name="small", backbone="none", resume=True)
    assert len(calls) == 6
    one, other = (load_file(model.folder / run_folder.WEIGHTS) for model in (whole, pieces))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_seed_gives_one_model(tmp_path, make_set):
    one, same, other = (
        load_file(trained(tmp_path / name, make_set, replace(SMALL, seed=seed, epochs=1)).folder / run_folder.WEIGHTS)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.05},
        {"optimizer": "adam", "schedule": "one-cycle"},
        {"schedule": "step", "balance": "loss", "balance_power": 0.5},
        {"loss": "majority", "smoothing": 0.1, "balance": "none"},
        {"mixup": 0.2, "schedule": "constant", "ema": 0.0},
        {"colour": True, "clip": 0.0},
        {"precision": "bf16"},
        {"metric": "macro_f1", "patience": 1},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_every_setting_learns(tmp_path, make_set, changes):
    model = trained(tmp_path / "run", make_set, replace(SMALL, **changes))
    assert model.report.figures.accuracy > 0.8


def test_patience_ends_a_run_that_gains_nothing(tmp_path, make_set):
    options = replace(SMALL, epochs=50, learning_rate=1e-9, patience=2, warmup=0)
    assert len(trained(tmp_path / "run", make_set, options).history) <= 4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_exported_as_it_is(tmp_path, make_set, name):
    size = architecture(name).smallest
    options = replace(SMALL, architecture=name, input_size=size, epochs=1, batch=8)
    run_folder.prepare_folder(tmp_path / "run", options, resume=False)
    data = run.read_data(make_set(16), make_set(8, seed=1), options, tmp_path / "run")
    model = run.train(data, options, tmp_path / "run", name=name, backbone="none")
    # export() itself refuses a graph that differs: here the check is held against a graph that does differ
    answers = CropClassifier(model.model, RuntimeOptions(threads=1))(
        np.stack([make_set(4).read(i)[:24, :24] for i in range(4)])
    )
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_an_export_that_differs_is_not_written(tmp_path, make_set, monkeypatch):
    from mien.errors import ModelError
    from mien.training import export

    monkeypatch.setattr(export, "parity", lambda *_: 0.5)
    with pytest.raises(ModelError, match="differs from the network"):
        trained(tmp_path / "run", make_set)
    assert not (tmp_path / "run" / run_folder.MODEL).exists()


def test_a_student_learns_from_its_teacher_alone(tmp_path, make_set):
    teacher = trained(tmp_path / "teacher", make_set)
    options = replace(SMALL, distil=1.0, seed=3, epochs=8)
    folder = tmp_path / "student"
    run_folder.prepare_folder(folder, options, resume=False)
    shuffled = make_set(96)
    wrong = replace(shuffled, targets=shuffled.targets[:, ::-1].copy())  # labels that say the opposite
    data = run.read_data(wrong, make_set(32, seed=1), options, folder, unlabelled=make_set(16, seed=5))
    student = run.train(data, options, folder, name="student", backbone="none", teachers=[teacher.model])
    assert student.report.figures.accuracy > 0.9
    assert "teacher model" in student.card.parents


def test_a_run_starts_from_the_weights_of_another(tmp_path, make_set):
    first = trained(tmp_path / "first", make_set)
    weights = first.folder / run_folder.WEIGHTS
    data = prepared(tmp_path / "second", make_set)
    options = replace(SMALL, epochs=1, learning_rate=1e-6)
    with pytest.raises(WeightsError, match="say --backbone-sha256"):
        run.train(data, options, tmp_path / "second", name="second", backbone=str(weights))
    with pytest.raises(WeightsError, match="not the file it should be"):
        run.train(data, options, tmp_path / "second", name="second", backbone=str(weights), backbone_sha256="0" * 64)
    from hashlib import sha256

    digest = sha256(weights.read_bytes()).hexdigest()
    second = run.train(data, options, tmp_path / "second", name="second", backbone=str(weights), backbone_sha256=digest)
    assert second.report.figures.accuracy == pytest.approx(first.report.figures.accuracy, abs=0.1)
    assert second.card.parents == {run_folder.WEIGHTS: digest}
    with pytest.raises(DataError, match="a run from another backbone"):
        run.train(data, options, tmp_path / "second", name="second", backbone="none", resume=True)
    with pytest.raises(WeightsError, match="not a file"):
        run.train(data, options, tmp_path / "second", name="x", backbone=str(tmp_path / "first"))
    other = tmp_path / "other.safetensors"
    save_file({"nothing": torch.zeros(3)}, other)
    digest = sha256(other.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match="another architecture"):
        run.train(data, options, tmp_path / "second", name="x", backbone=str(other), backbone_sha256=digest)


def test_the_trunk_answers_as_dlibs_network_until_it_is_trained(two_faces):
    """Norms put back, nothing changes: the pooled features give the embeddings of the converted graph."""
    from mien.models import registry
    from mien.models.dlib_format import read_network
    from mien.models.dlib_resnet import DlibResNet, to_onnx
    from mien.models.store import WeightsStore
    from mien.training.architectures.face_trunk import FaceTrunk

    data = WeightsStore().path(registry.record("dlib-resnet").weights).read_bytes()
    crops = np.stack([cv2.resize(face, (150, 150)) for face in two_faces])
    expected = DlibResNet(to_onnx(data), RuntimeOptions(threads=1))(crops)
    trunk = FaceTrunk(3).eval()
    network = read_network(data)
    trunk.load_dlib(network)
    inputs = torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2)
    head = torch.from_numpy(np.ascontiguousarray(network.layers[-1].arrays["weight"]))
    for _ in range(2):
        with torch.no_grad():
            np.testing.assert_allclose((trunk(inputs) @ head).numpy(), expected, atol=2e-4)
        trunk.settle_norms(inputs)
    assert trunk.stem.norm.running_var.min() > 0


def test_what_is_frozen_stays(tmp_path, make_set):
    options = replace(SMALL, architecture="mien-s", input_size=103, freeze=99, epochs=1, batch=8)
    run_folder.prepare_folder(tmp_path / "run", options, resume=False)
    data = run.read_data(make_set(16), make_set(8, seed=1), options, tmp_path / "run")
    torch.manual_seed(options.seed)
    before = architecture("mien-s").build(1, 103, 2).state_dict()
    after = load_file(run.train(data, options, tmp_path / "run", name="x", backbone="none").folder / run_folder.WEIGHTS)
    assert torch.equal(before["trunk.blocks.13.second.conv.weight"], after["trunk.blocks.13.second.conv.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


# What goes wrong


def test_another_run_is_neither_overwritten_nor_resumed(tmp_path, make_set):
    folder = tmp_path / "run"
    data = prepared(folder, make_set)
    run.train(data, SMALL, folder, name="small", backbone="none")
    with pytest.raises(DataError, match="holds a training run already"):
        run_folder.prepare_folder(folder, SMALL, resume=False)
    with pytest.raises(DataError, match=r"epochs was 6, is 5"):
        run.train(data, replace(SMALL, epochs=5), folder, name="small", backbone="none", resume=True)
    other = run.read_data(make_set(96, seed=9), make_set(32, seed=1), SMALL, folder)
    with pytest.raises(DataError, match="labels have changed"):
        run.train(other, SMALL, folder, name="small", backbone="none", resume=True)


def test_a_refused_resumption_leaves_the_settings_as_they_were(tmp_path, make_set):
    folder = tmp_path / "run"
    trained(folder, make_set)
    before = (folder / run_folder.SETTINGS).read_bytes()
    run_folder.prepare_folder(folder, replace(SMALL, epochs=5), resume=True)
    assert (folder / run_folder.SETTINGS).read_bytes() == before


def test_a_checkpoint_that_lacks_something_is_one_line(tmp_path, make_set):
    folder = tmp_path / "run"
    data = prepared(folder, make_set)
    run.train(data, SMALL, folder, name="small", backbone="none")
    state = checkpoint.load_checkpoint(folder / loop.CHECKPOINT)
    for damage in ({"network": {}}, {"optimizer": {"state": {}, "param_groups": []}}, {"random": None}):
        checkpoint.save_checkpoint(folder / loop.CHECKPOINT, state | damage)
        with pytest.raises(DataError, match="the checkpoint is damaged") as error:
            run.train(data, SMALL, folder, name="small", backbone="none", resume=True)
        assert "\n" not in str(error.value)


def test_names_that_are_long_or_equal_fit_into_the_card(tmp_path, make_set):
    teacher = trained(tmp_path / "teacher", make_set).model
    again = tmp_path / "again" / teacher.name
    again.parent.mkdir()
    again.write_bytes(teacher.read_bytes())
    folder = tmp_path / "run"
    options = replace(SMALL, epochs=1)
    run_folder.prepare_folder(folder, options, resume=False)
    held = replace(make_set(16, seed=1), name="v" * 150)
    data = run.read_data(make_set(32), held, options, folder)
    card = run.train(data, options, folder, name="x", backbone="none", teachers=[teacher, again]).card
    assert list(card.parents) == ["teacher model", "teacher 2"]
    assert list(card.metrics) == ["v" * 100]


def test_resuming_nothing_is_said(tmp_path, make_set):
    with pytest.raises(DataError, match="no checkpoint to resume from"):
        run_folder.prepare_folder(tmp_path / "nowhere", SMALL, resume=True)
    assert not (tmp_path / "nowhere").exists()
    data = prepared(tmp_path / "run", make_set)
    with pytest.raises(DataError, match="no checkpoint to resume from"):
        run.train(data, SMALL, tmp_path / "run", name="small", backbone="none", resume=True)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="start again without it"):
        checkpoint.load_checkpoint(path)


def test_a_checkpoint_that_executes_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    path = tmp_path / "checkpoint.pt"
    torch.save({"fingerprint": Evil()}, path)
    with pytest.raises(DataError, match="not a checkpoint"):
        checkpoint.load_checkpoint(path)
    assert not (tmp_path / "pwned").exists()


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, make_set, monkeypatch):
    folder = tmp_path / "run"
    data = prepared(folder, make_set)
    with pytest.raises(KeyboardInterrupt):
        run.train(data, SMALL, folder, name="small", backbone="none", progress=Interrupt(8))
    kept = (folder / loop.CHECKPOINT).read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(DataError, match=r"No space left on device; the one before is kept"):
        run.train(data, SMALL, folder, name="small", backbone="none", resume=True)
    assert (folder / loop.CHECKPOINT).read_bytes() == kept
    assert not list(folder.glob("*.tmp"))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, make_set):
    with pytest.raises(DataError, match="diverged; lower --learning-rate"):
        trained(tmp_path / "run", make_set, replace(SMALL, optimizer="sgd", learning_rate=1e9, warmup=0, clip=0.0))


def test_a_corrupt_picture_is_refused_by_name_or_skipped(tmp_path, make_set):
    images = make_set(32)

    def read(i, healthy=images.read):
        if i == 7:
            raise ImageDecodeError("7.png: not an image")
        return healthy(i)

    broken = replace(images, read=read)
    with pytest.raises(DataError, match=r"7\.png: not an image; mend or remove it, or .* --skip-unreadable"):
        run.read_data(broken, make_set(8, seed=1), SMALL, tmp_path)
    data = run.read_data(broken, make_set(8, seed=1), SMALL, tmp_path, skip_unreadable=True)
    assert len(data.training) == 31
    assert data.training.left_out == 1
    np.testing.assert_array_equal(data.training.truth[7:], images.truth[8:])
    rest, aside = broken.split(0.3)
    assert len(rest) + len(aside) == 32
    assert "7.png" in rest.items


def test_many_crops_lie_on_the_disk(tmp_path, make_set, monkeypatch):
    images = make_set(32)

    def read(i, healthy=images.read):
        if i in (0, 7):
            raise ImageDecodeError(f"{i}.png: not an image")
        return healthy(i)

    broken = replace(images, read=read)
    expected = run.read_data(broken, make_set(8, seed=1), SMALL, tmp_path, skip_unreadable=True).training
    monkeypatch.setattr(crops, "IN_MEMORY", 0)
    found = run.read_data(broken, make_set(8, seed=1), SMALL, tmp_path, skip_unreadable=True).training
    assert isinstance(found.pixels, np.memmap)
    assert found.digest == expected.digest
    monkeypatch.setattr(crops, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match="make room, or choose another --out"):
        run.read_data(images, make_set(8, seed=1), SMALL, tmp_path)


def test_settings_that_do_not_fit_are_said(tmp_path, make_set):
    data = prepared(tmp_path / "run", make_set)
    with pytest.raises(UnknownModelError, match="choose one of: mien-s"):
        run.train(data, replace(SMALL, architecture="resnet"), tmp_path, name="x")
    with pytest.raises(DataError, match="needs 103 pixels or more"):
        run.train(data, replace(SMALL, architecture="mien-s"), tmp_path, name="x")
    with pytest.raises(DataError, match="no trunk that can be frozen"):
        run.train(data, replace(SMALL, freeze=2), tmp_path, name="x", backbone="none")
    with pytest.raises(DataError, match=r"--optimizer 'lion': choose one of adamw, adam, sgd"):
        TrainingOptions.checked(optimizer="lion")
    with pytest.raises(WeightsError, match="fit mien-s and face-trunk"):
        run.train(data, SMALL, tmp_path, name="x", backbone="dlib-resnet")


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MienError, match="cannot be made"):
        run_folder.prepare_folder(tmp_path / "file" / "run", SMALL, resume=False)


def test_what_the_validation_part_has_is_not_learnt(tmp_path, make_set):
    images, held = make_set(32), make_set(8)  # the first eight of the same
    data = run.read_data(images, held, SMALL, tmp_path)
    assert len(data.training) == 24
    assert data.training.shared == 8
    np.testing.assert_array_equal(data.training.truth, images.truth[8:])
    with pytest.raises(DataError, match="nothing is left to learn from"):
        run.read_data(held, held, SMALL, tmp_path)


# What attackers found


def test_the_handler_before_gets_the_interrupt(tmp_path, make_set):
    """The command's own: it leaves by SystemExit, and the checkpoint is written before."""
    before = signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    try:
        with pytest.raises(SystemExit) as left:
            trained(
                tmp_path / "run",
                make_set,
                progress=lambda done, _total, what: (
                    signal.raise_signal(signal.SIGINT) if what.startswith("epoch") and done == 3 else None
                ),
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert left.value.code == 130
    assert checkpoint.load_checkpoint(tmp_path / "run" / loop.CHECKPOINT)["step"] == 3


def test_two_runs_in_one_folder_are_refused(tmp_path):
    pytest.importorskip("fcntl")
    with run_folder.held_folder(tmp_path / "run"):
        with pytest.raises(DataError, match="another run is at work"), run_folder.held_folder(tmp_path / "run"):
            pass
        with run_folder.held_folder(tmp_path / "other"):
            pass
    with run_folder.held_folder(tmp_path / "run"):  # free again
        pass
    assert not list((tmp_path / "run").iterdir())


def test_a_class_of_which_nothing_is_left_is_named(tmp_path, make_set):
    images = make_set(16)

    def read(i, healthy=images.read):
        if images.truth[i]:
            raise ImageDecodeError(f"{i}.png: not an image")
        return healthy(i)

    with pytest.raises(DataError, match="no picture of class hopper"):
        run.read_data(replace(images, read=read), make_set(8, seed=1), SMALL, tmp_path, skip_unreadable=True)


def test_what_cannot_be_read_stays_when_a_part_is_set_aside(make_set):
    images = make_set(40)

    def read(i, healthy=images.read):
        if i == 7:
            raise ImageDecodeError("7.png: not an image")
        return healthy(i)

    rest, aside = replace(images, read=read).split(0.3)
    assert "7.png" in rest.items
    assert len(aside) > 2


@pytest.mark.parametrize("device", ["meta", "cuda:99999999999", "", "abacus"])
def test_a_device_that_cannot_compute_is_refused(tmp_path, make_set, device):
    with pytest.raises(DeviceError, match="use cpu"):
        trained(tmp_path / "run", make_set, replace(SMALL, device=device))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_devices_are_no_weights(tmp_path, make_set):
    data = prepared(tmp_path / "run", make_set)
    with pytest.raises(WeightsError, match="not a file"):
        run.train(data, SMALL, tmp_path / "run", name="x", backbone="/dev/zero")
    with pytest.raises(WeightsError, match="not a file"):
        run.train(data, SMALL, tmp_path / "run", name="x", backbone="none", teachers=[Path("/dev/zero")])


def test_a_batch_that_norms_cannot_take_is_one_line(tmp_path, make_set):
    options = replace(SMALL, architecture="mien-s", input_size=103, epochs=1, batch=1)
    run_folder.prepare_folder(tmp_path / "run", options, resume=False)
    data = run.read_data(make_set(2), make_set(2, seed=1), options, tmp_path / "run")
    with pytest.raises(DataError, match="--batch 1: mien-s cannot be trained so"):
        run.train(data, options, tmp_path / "run", name="x", backbone="none")


def test_a_disk_that_fills_up_in_the_middle_of_a_checkpoint_is_named(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError, match="cannot be written: File too large; the one before is kept"):
            checkpoint.save_checkpoint(tmp_path / "checkpoint.pt", {"network": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["uncertain", "z" * 200, "new\nline"])
def test_a_folder_whose_name_no_class_can_have_is_named(tmp_path, name):
    for label in ("happiness", name):
        (tmp_path / "faces" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "faces" / label / "1.png"), np.zeros((24, 24), np.uint8))
    with pytest.raises(DataError, match="faces: classes that no model can have") as refused:
        run.open_parts(tmp_path / "faces", validation=None, fraction=0.5)
    assert repr(name[:10])[1:-1] in str(refused.value)
