"""Places: so many at once, and no owner takes them all from the others."""

import pytest

from mien.server.places import Places
from mien.server.problems import Problem


def test_places_are_given_back():
    places = Places(2, shared=False)
    with (
        places.taken("local"),
        places.taken("local"),
        pytest.raises(Problem, match="too many live streams and attempts at once"),
    ):
        places.take("local")
    assert places.free == 2


def test_one_key_leaves_half_to_others():
    places = Places(4, shared=True)
    places.take("one")
    places.take("one")
    with pytest.raises(Problem, match="of this key") as refused:
        places.take("one")
    assert refused.value.status == 429
    places.take("other")
    places.leave("one")
    places.take("one")
    assert places.free == 1
