import itertools

import pytest
import torch

from sngan.data.order import Order


def places(order: Order, steps: int) -> list[int]:
    return torch.cat([order(step).flatten() for step in range(steps)]).tolist()


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (10, 4), (3, 8)], ids=["even", "uneven", "batch larger than the data set"])
def test_every_epoch_holds_every_image_once(n, batch):
    seen = places(Order(n, batch=batch, d_steps=2, seed=0), steps=3 * n)
    epochs = [seen[start : start + n] for start in range(0, len(seen) - n, n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)


def test_epochs_and_seeds_are_ordered_differently():
    first, second = (places(Order(50, batch=50, d_steps=1, seed=seed), steps=2) for seed in (0, 1))
    assert len({tuple(first[:50]), tuple(first[50:]), tuple(second[:50]), tuple(second[50:])}) == 4


def test_a_step_does_not_depend_on_the_steps_before():
    order = Order(10, batch=4, d_steps=3, seed=0)
    in_sequence = [order(step) for step in range(8)]
    assert all(torch.equal(Order(10, batch=4, d_steps=3, seed=0)(step), in_sequence[step]) for step in (7, 2, 5))
    assert torch.equal(order(1), in_sequence[1])


def test_the_ranks_together_see_what_one_process_sees():
    whole = Order(10, batch=6, d_steps=2, seed=0)
    shares = [Order(10, batch=6, d_steps=2, seed=0, rank=rank, world=3) for rank in range(3)]
    for step in range(4):
        assert torch.equal(torch.cat([share(step) for share in shares], dim=1), whole(step))


def test_batches_from_a_step_are_those_of_the_steps_that_follow():
    order = Order(10, batch=4, d_steps=2, seed=0)
    assert list(itertools.islice(order.batches_from(3), 4)) == [*order(3).tolist(), *order(4).tolist()]
