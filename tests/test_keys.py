from __future__ import annotations

from sngan.keys import flat, is_among


def test_a_key_is_named_with_the_sections_it_lies_in() -> None:
    assert flat({"a": 1, "b": {"c": [2], "d": {"e": None}}, "f": {}}) == {"a": 1, "b.c": [2], "b.d.e": None, "f": {}}


def test_a_key_is_among_keys_and_sections_and_not_among_others_that_begin_alike() -> None:
    assert [is_among(key, {"a", "b.c"}) for key in ("a", "a.x", "b.c.d", "b", "b.x", "ab")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
