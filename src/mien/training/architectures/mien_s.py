"""mien-s: the network that ships.

The layers of dlib's face recognition network (dense convolutions, which run fast on every processor) on grey crops of
104 pixels: half the multiply-adds of the original at 150, a side whose maps are multiples of 8 wide, and no colour,
which says nothing about an expression. It starts from the weights that recognise faces.
"""

from __future__ import annotations

from mien.training.architectures.face_trunk import FaceTrunkClassifier


class MienS(FaceTrunkClassifier):
    """See the module."""
