"""Every command that the documentation shows is run, as shown, on real photographs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mien.cli.app import app
from mien.client.transport import URL
from tests.video.making import write_video

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "recipes").glob("*.md")])
FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)

# Run by CI itself, or too long for a test; what they do is tested otherwise.
ELSEWHERE = {
    "make test": "CI runs it: it is what runs this test",
    "make check": "CI runs it",
    "make lock": "changes what CI installs",
    "make bench": "installs peers; `mien benchmark` is run here",
    "make models-page": "test_models_page_is_fresh compares its output",
    "python recipes/dlib_parity.py": "needs dlib; its result is tests/fixtures/dlib_reference.npz",
    "python recipes/detector_limits.py": "minutes on the development data",
    "python recipes/verification.py": "hours of work on the development data",
    'mien unlock "Grace Hopper" --gallery people.db': "needs a camera, and somebody before it",
    'mien unlock "Grace Hopper" --gallery people.db --without smile': "likewise",
    'mien unlock "Grace Hopper" --gallery people.db --frames attempt.mp4 --challenge smile@2,turn-left@5.5': (
        "never exits with 0; tests/liveness/test_cli_unlock.py runs it"
    ),
    "mien serve": "the server that the other commands ask is this",
    "pip install 'mien[server]'": "installs from an index; the tests' environment has the same packages",
    "pip install 'mien[train]'": "installs from an index; the tests' environment has the same packages",
}
LONG_PAGES = {  # on the development data
    f"recipes/{name}.md" for name in ("attributes", "expression", "eyes", "int8", "temporal")
}


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                if line.startswith("$ "):
                    command = re.sub(r"\s+#.*$", "", line[2:]).strip()
                    found.append((page.relative_to(ROOT).as_posix(), command))
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory, portrait, astronaut) -> Path:
    """A folder with everything that the documentation names."""
    folder = tmp_path_factory.mktemp("docs")
    one, other = (Image.open(p).convert("RGB") for p in (astronaut, portrait))
    one.save(folder / "photo.jpg")
    other.save(folder / "a.jpg")
    other.crop((60, 20, 460, 420)).resize((300, 300)).save(folder / "b.jpg")
    one.save(folder / "c.jpg")
    faces = [np.asarray(picture.resize((400, 400))) for picture in (one, other)]
    Image.fromarray(np.hstack(faces)).save(folder / "party.jpg")
    # two seconds of the two, slowly passing by
    write_video(folder / "lesson.mp4", [np.hstack(faces)[:, 2 * i : 2 * i + 640] for i in range(50)])
    for place, picture in {"holidays/day1/one.jpg": one, "holidays/two.jpg": other}.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / place)
    (folder / "more").mkdir()
    other.resize((300, 350)).save(folder / "more" / "later.jpg")
    lfw(folder / "lfw", {"Hopper": other, "Collins": one})
    labelled(folder, {"happiness": one, "neutral": other})
    for label, place in {"open": (215, 95, 245, 118), "closed": (230, 160, 260, 183)}.items():  # an eye, and a cheek
        (folder / "patches" / label).mkdir(parents=True)
        one.crop(place).save(folder / "patches" / label / "1.png")
    (folder / "people.csv").write_text("name,path\nGrace Hopper,a.jpg\nEileen Collins,photo.jpg\n")
    # made-up labels: training asks for both genders
    (folder / "ages.csv").write_text("file,age,gender,group\na.jpg,45,female,east\nphoto.jpg,36,male,west\n")
    (folder / "later.csv").write_text("file,age,gender\nb.jpg,45,female\nparty.jpg,36,male\n")
    lines = ["2\t2"] + 2 * (["Hopper\t1\t2", "Collins\t1\t2", "Hopper\t1\tCollins\t1", "Hopper\t2\tCollins\t2"])
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    attempts(folder / "attempts", np.asarray(one.resize((256, 256))))
    return folder


def attempts(root: Path, picture: np.ndarray) -> None:
    """Two short videos in which nobody does anything."""
    from tests.liveness.recordings import write_video

    for place in (root / "genuine", root / "attacks" / "print"):
        place.mkdir(parents=True)
        write_video(place / "1.mp4", [picture] * 5)
    (root / "genuine" / "1.json").write_text('{"challenge": ["smile", "turn-left"], "asked": [2.0, 5.5]}')


def labelled(root: Path, classes: dict[str, Image.Image]) -> None:
    """faces/{train,validation}/CLASS and people/NAME: each picture lit in several ways."""
    for label, photo in classes.items():
        picture = photo.resize((photo.width // 2, photo.height // 2))  # what these commands do has no need of more
        for i in range(15):
            part = "validation" if i % 3 == 0 else "train"
            for place in (root / "faces" / part / label, root / "people" / f"{label} person"):
                place.mkdir(parents=True, exist_ok=True)
                lit = ImageEnhance.Brightness(picture).enhance(0.6 + 0.05 * i)
                lit.save(place / f"{i}.jpg")


def lfw(root: Path, people: dict[str, Image.Image]) -> None:
    """Two pictures of each, laid out as LFW is."""
    for name, picture in people.items():
        (root / name).mkdir(parents=True)
        for i, size in enumerate((400, 300), 1):
            picture.resize((size, size)).save(root / name / f"{name}_{i:04}.jpg")


def runnable() -> list[tuple[str, str]]:
    """Each command once, with the first page that shows it; a page's gallery, which is its own, needs all of them."""
    first = {command: page for page, command in reversed(commands())}
    shown = [(page, command) for page, command in commands() if first[command] == page or "mien gallery" in command]
    return [(page, command) for page, command in shown if command not in ELSEWHERE and page not in LONG_PAGES]


def environment_of(sandbox: Path) -> dict[str, str]:
    """Where `mien` is this one, and keys and lock-outs are the sandbox's own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XDG_STATE_HOME": str(sandbox / "state")}


@pytest.fixture(scope="module")
def server(sandbox) -> Iterator[str]:
    """The address of the `mien serve` that the documentation talks to."""
    command = [sys.executable, "-m", "mien", "serve", "--port", "0", "--gallery", "served.db"]
    process = subprocess.Popen(command, cwd=sandbox, env=environment_of(sandbox), stderr=subprocess.PIPE, text=True)
    try:
        told = ""
        while (found := re.search(r"http://\S+", told)) is None:
            line = process.stderr.readline()
            assert line, told
            told += line
        url = found[0]
        until = time.monotonic() + 240
        while not answers(f"{url}/readyz"):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until, "the server is not ready after minutes"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        _, said = process.communicate(timeout=240)
    assert process.returncode in (0, -15), said


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=60):
            return True
    except OSError:
        return False


@pytest.mark.parametrize(("page", "command"), runnable())
def test_command(page, command, sandbox, request):
    if command == "make demo":
        demo(sandbox)
        return
    if command.startswith("curl "):
        if shutil.which("curl") is None:
            pytest.skip("needs curl")
        command = command.replace("curl ", "curl --fail-with-body ").replace(URL, request.getfixturevalue("server"))
    environment = environment_of(sandbox)
    environment["MIEN_GALLERY"] = f"{Path(page).stem}.db"  # each page tells its own story
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=sandbox,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{page}: {command}\n{done.stdout[-500:]}\n{done.stderr[-500:]}"


def demo(sandbox: Path) -> None:
    """`make demo` in a copy of the project that shares this virtual environment."""
    if not (ROOT / ".venv" / "ready-dev").exists():
        pytest.skip("needs the virtual environment that `make test` makes")
    copy = sandbox / "project"
    if copy.exists():
        return  # another page's `make demo`, which is the same
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "demo", ".*_cache"))
    (copy / ".venv").symlink_to(ROOT / ".venv")
    done = subprocess.run(["make", "demo"], cwd=copy, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert '"faces": [{"box"' in done.stdout
    assert "different people" in done.stdout
    with Image.open(copy / "demo" / "astronaut.jpg") as annotated:
        assert annotated.size == (512, 512)


def command_names(group=app, prefix="mien") -> list[str]:
    names = [f"{prefix} {c.name or c.callback.__name__}" for c in group.registered_commands]
    for sub in group.registered_groups:
        names += command_names(sub.typer_instance, f"{prefix} {sub.name}")
    return names


def test_every_command_is_documented():
    shown = "\n".join(command for _, command in commands())
    assert [name for name in command_names() if name not in shown] == []


def test_models_page_is_fresh(mien):
    page = (ROOT / "MODELS.md").read_bytes()
    assert mien("models", "list", "--markdown").stdout == page, "run: make models-page"


def test_the_chinese_readme_shows_the_same_commands():
    english, chinese = (
        [command for page, command in commands() if page == name] for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese
    assert english


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_lock_names_no_index():
    """Whoever installs from it has an index of their own."""
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text(), path.name


def snippets() -> list[tuple[str, str]]:
    pattern = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    pages = [(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")) for page in PAGES]
    return [(name, code) for name, text in pages for code in pattern.findall(text)]


@pytest.mark.parametrize(("page", "code"), snippets(), ids=lambda value: value[:20])
def test_python_snippet(page, code, sandbox, request):
    environment = environment_of(sandbox)
    if "mien.Client" in code:
        environment["MIEN_URL"] = request.getfixturevalue("server")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=sandbox,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{page}\n{code}\n{done.stderr[-500:]}"
    assert done.stdout or "save_image" in code
