from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mien.gallery.records import Person
from mien.liveness.agreement import NotAgreedError, check_agreement, objection

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOTED = Person("a" * 32, "Grace", NOW - timedelta(days=9))


def person(**fields):
    return Person(NOTED.id, NOTED.name, NOTED.created, **fields)


@pytest.mark.parametrize(
    ("who", "said"),
    [
        (person(), None),
        (person(consent="unlocking", consent_at=NOW), None),
        (person(consent=None, consent_at=NOW - timedelta(days=1)), "withdrawn"),
        (person(expires=NOW + timedelta(seconds=1)), None),
        (person(expires=NOW), "expired"),
        (person(consent="unlocking", consent_at=NOW, expires=NOW - timedelta(days=1)), "expired"),
        (person(consent_at=NOW, expires=NOW - timedelta(days=1)), "withdrawn"),
    ],
)
def test_who_may_be_recognised(who, said):
    assert objection(who, NOW) == said


def test_it_is_said_plainly():
    check_agreement(person(expires=datetime.now(UTC) + timedelta(hours=1)))
    with pytest.raises(NotAgreedError, match="withdrew their consent") as caught:
        check_agreement(person(consent_at=NOW))
    assert caught.value.reason == "withdrawn"
    with pytest.raises(NotAgreedError, match="may be kept is over") as caught:
        check_agreement(person(expires=datetime.now(UTC)))
    assert caught.value.reason == "expired"
