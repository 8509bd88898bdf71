"""What the page says: all of it in both languages, and nothing that nobody says."""

import ast
import json
import re
from pathlib import Path

import pytest

from mien import server
from mien.liveness.challenge import ACTIONS
from mien.liveness.reasons import SENTENCES
from mien.models import registry
from mien.ops.advice import TEXTS as ADVICE
from mien.problem_codes import CODES
from mien.server.access import SCOPES
from mien.server.routes.page import pages
from tests.server.web.conftest import as_json

SCRIPTS = {n: p.data.decode() for n, p in pages().items() if n.endswith(".js") and not n.startswith("texts/")}
TEXTS = {name: json.loads(as_json(pages()[f"texts/{name}.js"].data.decode())) for name in ("en", "zh")}
LABELS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "uncertain")


UNMET = {
    *("not-http", "header-too-long", "host", "wrong-host", "authorization", "content-length"),  # no browser is told so
    *("packed", "form", "invalid-json", "method-not-allowed", "refused"),  # the page does not ask like that
    *("other-site", "gone"),  # another page, or nobody, is told
}
"""Codes of refusals that nobody meets who uses the page."""


def codes() -> set[str]:
    """Of all refusals that the server may say."""
    found = {*CODES, "method-not-allowed", "refused"}
    for path in Path(server.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"Problem": 1, "_too_often": 0}.get(node.func.id)
                if place is not None and isinstance(code := node.args[place], ast.Constant):
                    found.add(code.value)
    return found


def blanks(text) -> set[str]:
    forms = text.values() if isinstance(text, dict) else [text]
    return {name for form in forms for name in re.findall(r"\{(\w+)\}", form)}


def test_both_languages_have_the_same_keys_and_blanks():
    assert list(TEXTS["en"]) == list(TEXTS["zh"])
    for key, text in TEXTS["en"].items():
        assert blanks(text) == blanks(TEXTS["zh"][key]), key


def test_no_key_is_written_twice():
    for language in TEXTS:
        keys = re.findall(r'^  "([^"]+)":', pages()[f"texts/{language}.js"].data.decode(), flags=re.M)
        assert len(keys) == len(set(keys)) == len(TEXTS[language])


def test_chinese_is_chinese():
    same = {key for key, text in TEXTS["en"].items() if TEXTS["zh"][key] == text}
    assert same == {"file.timeline.parquet"}


def test_what_scripts_say_has_a_text_and_every_text_is_said():
    text, known = "\n".join(SCRIPTS.values()), set(TEXTS["en"])
    called = re.findall(r'\bt\((?:[^"`;]*? \? )?"([\w.:-]+)"(?: : "([\w.:-]+)")?', text)
    assert len(called) > 200
    assert {key for pair in called for key in pair if key} <= known
    beginnings = tuple(re.findall(r"`([a-z]+\.[a-z.]*)\$\{", text))
    assert {key for key in known if f'"{key}"' not in text and not key.startswith(beginnings)} == set()


@pytest.mark.parametrize(
    ("beginning", "names"),
    [
        ("expression.", LABELS),
        ("advice.", ADVICE),
        ("action.", ACTIONS),
        ("scope.", SCOPES),
        ("task.", {record.task for record in registry.records().values()}),
        ("model.", registry.records()),
        ("gender.", ("female", "male")),
    ],
)
def test_what_the_server_says_has_a_text(beginning, names):
    assert {f"{beginning}{name}" for name in names} <= set(TEXTS["en"])


def test_every_refusal_that_a_visitor_can_meet_has_a_text():
    said = codes()
    assert {"no-key", "gallery", "rate", "storage", "not-found"} <= said  # found at all
    assert said >= UNMET
    explained = {key.removeprefix("error.") for key in TEXTS["en"] if key.startswith("error.")}
    assert {code for code in said - UNMET if code not in explained} == set()
    assert explained - said == {"unreachable", "unexpected", "status"}  # what the page itself says


def test_reasons_read_as_the_library_says_them():
    for reason, texts in SENTENCES.items():
        for language in ("en", "zh"):
            if f"reason.{reason}" in TEXTS[language] and reason != "no-rest":  # the page says movements, not actions
                assert TEXTS[language][f"reason.{reason}"] == texts[language]
