"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mien


def test_public_names_are_these():
    assert sorted(mien.__all__) == [
        "Ages",
        "Candidate",
        "Client",
        "DataError",
        "DeviceError",
        "Enrolment",
        "Expressions",
        "Face",
        "FaceAnalyzer",
        "Faces",
        "FileResult",
        "Frame",
        "FrameSource",
        "Gallery",
        "GalleryBusyError",
        "GalleryError",
        "GalleryKeyError",
        "GalleryModelError",
        "GateError",
        "Genders",
        "Identification",
        "ImageDecodeError",
        "ImageError",
        "ImageTooLargeError",
        "MienError",
        "ModelError",
        "Moment",
        "NoFaceError",
        "Person",
        "ServerError",
        "Timeline",
        "UnknownModelError",
        "Verification",
        "VideoAnalyzer",
        "VideoError",
        "WeightsError",
        "WeightsStore",
        "__version__",
        "draw_faces",
        "load_image",
        "open_frames",
        "save_image",
    ]


@pytest.mark.parametrize("name", [n for n in mien.__all__ if n != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    assert getattr(mien, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'FaceAnalyser'"):
        mien.FaceAnalyser  # noqa: B018


def test_every_error_is_in_the_tree_drawn_in_its_docstring():
    names = [n for n, v in vars(mien.errors).items() if isinstance(v, type) and issubclass(v, Exception)]
    assert names
    for name in names:
        assert f" {name} " in f"{mien.errors.__doc__} ".replace("\n", " "), name


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_mien_loads_nothing_heavy():
    heavy = {"numpy", "cv2", "PIL", "onnxruntime", "onnx", "typer", "rich", "matplotlib"}
    assert not heavy & modules_after("import mien")


def test_listing_models_loads_no_network_library():
    assert not {"onnxruntime", "onnx"} & modules_after("from mien.models import registry")
