"""The networks that can be trained, by name. A new one is one file, and one line here.

Every network takes (N, C, S, S) float32 crops with values 0..255, C being 1 (grey) or 3 (RGB), and gives (N, classes)
float32 logits; what scaling it wants, it does itself, so that the exported graph holds it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from mien.errors import UnknownModelError
from mien.training.architectures import face_trunk, mien_s, resnet18, tiny, tutorial, vgg


@dataclass(frozen=True)
class Architecture:
    """A network that can be built.

    Attributes:
        build: makes it from (channels, size, classes).
        size: side in pixels of the crops it is made for, unless the user says otherwise.
        smallest: side of the smallest crops it can take.
        summary: one line.
        backbone: name of the registered model whose weights it starts from, None for random ones.
        learning_rate: that AdamW does well with.
    """

    build: Callable[[int, int, int], nn.Module]
    size: int
    smallest: int
    summary: str
    backbone: str | None = None
    learning_rate: float = 1e-3


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "mien-s": Architecture(
            mien_s.MienS,
            size=104,
            smallest=103,
            summary="the shipped one: a dense residual network of 29 layers, started from face recognition",
            backbone="dlib-resnet",
            learning_rate=6e-4,
        ),
        "face-trunk": Architecture(
            face_trunk.FaceTrunkClassifier,
            size=150,
            smallest=103,
            summary="dlib's face recognition network as it is, with a new head; --freeze trains the head alone",
            backbone="dlib-resnet",
            learning_rate=6e-4,
        ),
        "resnet18": Architecture(
            resnet18.ResNet18, size=48, smallest=16, summary="ResNet-18 with a stem for small pictures"
        ),
        "vgg13": Architecture(
            vgg.VGG13, size=48, smallest=16, summary="VGG-13 as the FER+ paper has it", learning_rate=5e-4
        ),
        "vgg16": Architecture(vgg.VGG16, size=48, smallest=32, summary="VGG-16", learning_rate=3e-4),
        "cnn2": Architecture(
            tutorial.TwoBlocks, size=48, smallest=16, summary="the tutorials' network: 32-64-dense-softmax"
        ),
        "cnn3": Architecture(tutorial.ThreeBlocks, size=48, smallest=16, summary="the same with a third block of 128"),
        "tiny": Architecture(
            tiny.Tiny, size=32, smallest=16, summary="27,000 numbers, for parts of a face", learning_rate=3e-3
        ),
        "tiny-wide": Architecture(
            tiny.TinyWide, size=32, smallest=16, summary="the same for what is wide, such as eyes", learning_rate=3e-3
        ),
    }
)


def architecture(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        UnknownModelError: there is none.
    """
    if name not in ARCHITECTURES:
        raise UnknownModelError(f"no architecture called {name!r}; choose one of: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
