"""Every two choices meet in a game that trains a step or is refused with its reason; `scripts/cross_product.py` draws from the whole product."""

from __future__ import annotations

import pytest
from games import Games, pairwise_cover, words

from sngan.layers import spectral_norm


def test_every_two_choices_train_together_or_are_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral_norm, "WARMUP_ITERATIONS", 5)  # half the time, where sigma need not be right from the start
    games = Games()
    cover, outcomes = pairwise_cover(games), {}
    for choice in cover:
        try:
            outcomes[choice] = games.play(choice)
        except Exception as error:
            raise AssertionError(" ".join(words(choice))) from error
    n_refused = sum(reason is not None for reason in outcomes.values())
    assert 0 < n_refused < 0.6 * len(cover)
    assert games.still.total() < 0.05 * len(cover)  # the others move both networks
