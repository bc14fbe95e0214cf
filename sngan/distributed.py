"""Several processes that train together: ranks, gradient averaging, broadcast. On one process every function is a no-op.

Gradients are averaged by one call between backward and step rather than by a wrapper module, because a GAN runs D in ways that the
wrapper does not expect: twice before a backward, with other weights in place of its own, without gradients of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from sngan.errors import UserError
from sngan.launch import Launch, launch
from sngan.watch import ARRIVAL_S, Watch

Value = TypeVar("Value")

PATIENCE = timedelta(hours=6)
"""How long a rank waits for another that is there: rank 0 scores alone while the others wait. That one is gone, `Watch` says at once."""

MOMENT_S = 3.0
"""A collective fails a moment before it is known which rank has ended."""

_groups = count()
"""The groups of this process, one for each job of a sweep; all ranks count the same ones."""

_watch: Watch | None = None
"""Of the process group, which is one for the process, too."""


def rank() -> int:
    """This process's number, 0 on one process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Joins the other processes if this one is one of several ranks, and leaves together with them at the end.

    A rank that ends before ends the others within ten seconds, with a `UserError` that says which one, and why.
    """
    place = launch()
    if place is None or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _watched(place) as store:
        group = {"store": store, "rank": place.rank, "world_size": place.world, "timeout": PATIENCE}
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", **group)
        try:
            yield
            dist.barrier()  # a rank that leaves while others still talk may end in an abort
        finally:
            dist.destroy_process_group()


@contextmanager
def _watched(place: Launch) -> Iterator[Any]:
    """Where ranks meet; whatever ends the block is told to all ranks, and comes out as what began it."""
    global _watch
    try:
        timeout = timedelta(seconds=ARRIVAL_S)
        meeting, _, _ = next(rendezvous(place.url, place.rank, place.world, timeout=timeout))
        store = PrefixStore(f"{place.attempt}/{next(_groups)}", meeting)  # what earlier groups left there is not for this one
        post, read = partial(store.set, "watch"), partial(store.get, "watch")
        _watch = Watch(place.rank, place.world, place.address, post=post, read=read)
    except (dist.DistError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"rank {place.rank} did not find rank 0 on {place.address} ({reason}); start all ranks at one time"
        ) from None
    try:
        with naming_the_rank():
            yield store
    except BaseException as error:
        _watch.tell(error)
        if isinstance(error, UserError):
            error.said = not _watch.speaks()
        raise
    finally:
        _watch.leave()
        _watch = None


@contextmanager
def naming_the_rank() -> Iterator[None]:
    """What ends the block because another rank has ended comes out as a `UserError` that says which one, and why."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        word = _watch.of_another(within=MOMENT_S if isinstance(error, RuntimeError) else 0.0) if _watch else None
        if word is None or (word.how == "interrupted" and not isinstance(error, Exception)):
            raise
        raise UserError(f"{word.why}\nall ranks have ended; the same command goes on from the last checkpoint") from error


def wait_for_all() -> None:
    """Waits until every rank is here."""
    if world_size() > 1:
        dist.barrier()


def share(batch: int, key: str, *, accumulate: int = 1) -> int:
    """This rank's part of a batch that is a sum over ranks; `UserError` names the key when it, or its micro-batches, cannot be split evenly."""
    n = world_size() * accumulate
    least = 2 * n if accumulate > 1 else n  # batch norm of features takes no micro-batch of one
    if batch % n or batch < least:
        counts = {"ranks": world_size(), f"micro-batches (accumulate={accumulate})": accumulate}
        over = " of ".join(f"{count} {what}" for what, count in counts.items() if count > 1)
        usable = f"use a multiple of {n}" + (f" from {least} on" if accumulate > 1 else "")
        raise UserError(f"{key}={batch} cannot be split over {over}; {usable} ({key} is the sum over ranks)")
    return batch // world_size()


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replaces each tensor by its mean over ranks, in place, in one all-reduce of their concatenation."""
    if world_size() == 1:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


class _Sum(torch.autograd.Function):
    """The sum over ranks; the gradient of the sum of their objectives by one rank's part is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Sum.apply(gradient)


def rows(tensor: Tensor) -> Tensor:
    """The tensors of all ranks, which are of one shape, stacked: [ranks, …], on every rank, and as often differentiable as asked.

    A gradient is that of the sum of all ranks' objectives. Each rank fills its row of zeros and all are added: of the collectives, the sum
    alone is its own derivative.
    """
    stack = torch.zeros(world_size(), *tensor.shape, dtype=tensor.dtype, device=tensor.device)
    stack[rank()] = tensor
    return stack if world_size() == 1 else _Sum.apply(stack)


def mean(tensor: Tensor) -> Tensor:
    """The mean of the numbers of all ranks' tensors, which are of one size; differentiable as `rows`."""
    return rows(tensor.mean()).mean() if world_size() > 1 else tensor.mean()


def broadcast(module: nn.Module) -> None:
    """Gives every rank rank 0's parameters and buffers (u and v of spectral norm among them)."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def from_first_rank(value: Value) -> Value:
    """Rank 0's value (something that pickles) on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def first_rank_first() -> Iterator[None]:
    """Rank 0 runs the block before the others enter it, so that it downloads what they then find."""
    if world_size() > 1 and rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier()


def gathered(value: Value) -> list[Value]:
    """The values (which pickle) of all ranks in their order, on every rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; all ranks get the same answer."""
    return any(gathered(flag))


def first_difference(tensors: Mapping[str, Tensor]) -> tuple[str, list[int]] | None:
    """The first tensor of which some ranks hold another than rank 0, bit for bit, and those ranks; None if all agree. All get one answer."""
    sums = gathered(torch.stack([fingerprint(t) for t in tensors.values()]).tolist())
    for name, of_ranks in zip(tensors, zip(*sums, strict=True), strict=True):
        differing = [rank for rank, value in enumerate(of_ranks) if value != of_ranks[0]]
        if differing:
            return name, differing
    return None


def fingerprint(tensor: Tensor) -> Tensor:
    """An int64 scalar of a tensor's bits and their places: the sum of its numbers, read as integers, times 1, 3, 5, …, modulo 2^64.

    Two tensors that differ in one number never have the same one.
    """
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().flatten().view(integer).to(torch.int64)
    return (bits * torch.arange(1, 2 * len(bits), 2, device=bits.device)).sum()
