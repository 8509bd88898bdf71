"""Weights to start from: an exported network gives back what it was trained to."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

from mien.errors import WeightsError  # noqa: E402
from mien.models import registry  # noqa: E402
from mien.models.base import RuntimeOptions  # noqa: E402
from mien.models.classifier import CropClassifier  # noqa: E402
from mien.models.store import WeightsStore  # noqa: E402
from mien.training.architectures import architecture  # noqa: E402
from mien.training.backbone import load_backbone, read_backbone  # noqa: E402
from mien.training.export import Deployed  # noqa: E402

SIZE = 104


@pytest.fixture(scope="module")
def shipped() -> Path:
    return WeightsStore().path(registry.record("mien-s").weights)


@pytest.fixture
def faces(two_faces):
    return np.stack([cv2.resize(np.asarray(face), (48, 48)) for face in two_faces])


def network(classes=8, name="mien-s"):
    torch.manual_seed(0)
    return architecture(name).build(1, SIZE, classes).eval()


def inputs(faces):
    grey = np.stack([cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (SIZE, SIZE)) for face in faces])
    return torch.from_numpy(grey[:, None].astype(np.float32))


def logits(net, faces):
    with torch.no_grad():
        return Deployed(net, SIZE, colour=False, widths=[8]).eval()(torch.from_numpy(faces))[0].numpy()


def test_an_exported_network_can_be_trained_further(shipped, faces):
    """Its norms are folded into its convolutions and its weights stored as float16: both are taken back."""
    net = network()
    load_backbone(net, read_backbone("mien-s", WeightsStore()), inputs(faces))
    expected = CropClassifier(shipped, RuntimeOptions(threads=1)).logits(faces)
    np.testing.assert_allclose(logits(net, faces), expected, atol=1e-3)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.running_var.std() > 0 for norm in norms), "the norms know their inputs again"


def test_the_head_stays_new_for_other_classes(faces):
    net, untouched = network(classes=3), network(classes=3)
    load_backbone(net, read_backbone("mien-s", WeightsStore()), inputs(faces))
    torch.testing.assert_close(net.head.weight, untouched.head.weight)
    assert not torch.equal(net.trunk.blocks[0].first.conv.weight, untouched.trunk.blocks[0].first.conv.weight)


def test_a_graph_of_another_network_is_refused(tmp_path, faces, tiny_expressions):
    digest = hashlib.sha256(tiny_expressions.read_bytes()).hexdigest()
    backbone = read_backbone(str(tiny_expressions), WeightsStore(), sha256_expected=digest)
    with pytest.raises(WeightsError, match=r"tiny\.onnx: not the exported graph"):
        load_backbone(network(), backbone, inputs(faces))
    with pytest.raises(WeightsError, match="these weights fit mien-s and face-trunk"):
        load_backbone(network(name="cnn2"), backbone, inputs(faces))


def test_a_graph_that_lacks_a_weight_is_refused(tmp_path, shipped, faces):
    model = onnx.load(shipped)
    [gemm] = [node for node in model.graph.node if node.op_type == "Gemm"]
    gemm.input[1] = "nowhere"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    digest = hashlib.sha256(broken.read_bytes()).hexdigest()
    backbone = read_backbone(str(broken), WeightsStore(), sha256_expected=digest)
    with pytest.raises(WeightsError, match="not the exported graph"):
        load_backbone(network(), backbone, inputs(faces))
