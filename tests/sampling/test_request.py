from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from sngan.sampling.request import Numbers


@pytest.mark.parametrize(
    ("given", "numbers"),
    [(3, (3,)), ("0-3", (0, 1, 2, 3)), ("7-7", (7,)), ([5, "0-1", 9], (5, 0, 1, 9)), (None, None), (2**63 - 1, (2**63 - 1,))],
)
def test_numbers_are_one_a_range_or_a_list_of_these(given: object, numbers: tuple[int, ...] | None) -> None:
    assert TypeAdapter(Numbers).validate_json(json.dumps(given)) == numbers


@pytest.mark.parametrize(
    "given", [-1, 2**63, "3-1", "0-9999999", "1 - 2", "a-b", "٣-٤", 1.5, True, [], [1, 1], [1, "0-2"], [[1]], {}]
)
def test_what_is_no_number_is_refused(given: object) -> None:
    with pytest.raises(ValidationError, match="input should"):
        TypeAdapter(Numbers).validate_json(json.dumps(given))
