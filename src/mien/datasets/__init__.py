"""Labelled pictures on a disk: what models are trained on and measured by. Readers only; nothing here learns."""

from mien.datasets.base import NO_ANSWER, ImageSet, Split
from mien.datasets.folder import Task
from mien.datasets.labels import EXPRESSIONS
from mien.datasets.opening import has_split, open_image_set

__all__ = ["EXPRESSIONS", "NO_ANSWER", "ImageSet", "Split", "Task", "has_split", "open_image_set"]
