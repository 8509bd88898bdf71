"""The build backend (PEP 517) that pip and uv call; see the package's docstring."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

REQUIREMENT = "MIEN_INERT_REQUIREMENT"
MEMBERS = "MIEN_INERT_MEMBERS"

_WHEEL = "Wheel-Version: 1.0\nGenerator: mien\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _distribution() -> tuple[str, str]:
    """The name with underscores and version of the requirement, and its METADATA."""
    name, version = os.environ[REQUIREMENT].split("==")
    stem = f"{name.replace('-', '_')}-{version}"
    return stem, f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


class _Legacy:
    """What a package without pyproject.toml is built by: `setuptools.build_meta:__legacy__`."""

    def get_requires_for_build_wheel(self, config_settings: Any = None) -> list[str]:
        """Nothing is needed to build it."""
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory: str, config_settings: Any = None) -> str:
        """Write a METADATA that says the name and version, for pip."""
        stem, metadata = _distribution()
        folder = Path(metadata_directory, f"{stem}.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(metadata)
        return folder.name

    def build_wheel(
        self, wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
    ) -> str:
        """Pack only the wanted members, for uv, which cannot download without installing."""
        stem, metadata = _distribution()
        wheel = Path(wheel_directory, f"{stem}-py3-none-any.whl")
        with zipfile.ZipFile(wheel, "w") as archive:
            for member in os.environ[MEMBERS].split("\n"):
                if Path(member).is_file():
                    archive.write(member, member)
            archive.writestr(f"{stem}.dist-info/METADATA", metadata)
            archive.writestr(f"{stem}.dist-info/WHEEL", _WHEEL)
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        return wheel.name


__legacy__ = _Legacy()
get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = __legacy__.prepare_metadata_for_build_wheel
build_wheel = __legacy__.build_wheel
