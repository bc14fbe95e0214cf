import torch

from sngan import randomness
from sngan.randomness import generator


def draws(*key: int) -> torch.Tensor:
    return torch.rand(8, generator=generator("cpu", *key))


def test_one_key_always_gives_the_same_numbers():
    assert torch.equal(draws(3, randomness.LATENT, 0, 7), draws(3, randomness.LATENT, 0, 7))


def test_every_part_of_the_key_counts():
    keys = [
        (0, 1, 0, 5),
        (1, 1, 0, 5),
        (0, 2, 0, 5),
        (0, 1, 1, 5),
        (0, 1, 0, 6),
        (0, 1, 5, 0),
        (0, 10, 5),
        (0, 1, 0),
        (2**70, 1, 0, 5),
    ]
    assert len({tuple(draws(*key).tolist()) for key in keys}) == len(keys)


def test_neighbouring_steps_are_unrelated():
    x = torch.stack([draws(0, randomness.LATENT, 0, step) for step in range(2000)])  # [N, 8]
    correlation = torch.corrcoef(torch.stack([x[:-1, 0], x[1:, 0]]))[0, 1]
    assert abs(correlation) < 5 / 2000**0.5


def test_numbers_stay_what_they_were_in_earlier_versions():
    assert generator("cpu", 0, randomness.LATENT, 0, 0).initial_seed() == 7008314761380995737


def test_no_two_streams_share_a_number():
    streams = [value for name, value in vars(randomness).items() if name.isupper()]
    assert len(streams) == len(set(streams))
