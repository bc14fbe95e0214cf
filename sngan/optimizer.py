"""The only place where gradients and moments meet an optimiser, because their memory layouts must agree.

Fused kernels walk raw memory. A gradient or a moment in another memory order than its parameter's would be applied permuted: silently
on a CPU, while a GPU refuses it; one of another shape would be read and written past its end. Both are made to fit, or refused, here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor, nn

from sngan import distributed
from sngan.config import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")

Objective = Callable[[], tuple[Tensor, dict[str, Tensor]]]
"""Computes what a network minimises on a part of a batch, a scalar, and statistics of it, which are scalars, too."""


class Adam(torch.optim.Adam):
    """torch's Adam, without what torch wraps around it for programs that compile it: loading the compiler for that takes two seconds."""

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


def adam(network: nn.Module, options: Optimizer, device: torch.device) -> Adam:
    """Adam (Kingma & Ba 2015) for the parameters of `network` that are trained, its update one fused kernel."""
    # the rate is a tensor so that a schedule fills it in place, which captured and compiled steps need
    lr = torch.tensor(options.lr, device=device)
    on_gpu = device.type == "cuda"  # the step may be captured there
    return Adam(trained(network), lr=lr, betas=options.betas, fused=True, capturable=on_gpu)


def trained(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def descend(objectives: Sequence[Objective], network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """One optimiser step of `network` on the gradient of the mean of the objectives and over ranks; nothing else gets a gradient.

    Each objective is computed when its turn comes, and its graph is gone before the next. Returns the statistics, averaged likewise, over
    ranks in the same message as the gradients.
    """
    parameters = trained(network)
    gradients, stats = _gradients(objectives[0], parameters)
    for objective in objectives[1:]:
        more, said = _gradients(objective, parameters)
        gradients = torch._foreach_add(gradients, more)  # not in place: a gradient may be a view
        stats = {name: value + said[name] for name, value in stats.items()}
    if len(objectives) > 1:
        gradients = torch._foreach_div(gradients, len(objectives))
        stats = {name: value / len(objectives) for name, value in stats.items()}
    distributed.average([*gradients, *stats.values()])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = laid_out_as(parameter, gradient)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return stats


def _gradients(objective: Objective, parameters: list[nn.Parameter]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    value, stats = objective()
    return torch.autograd.grad(value, parameters), {name: stat.detach() for name, stat in stats.items()}


def restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[int, Mapping[str, Any]]) -> None:
    """Gives an optimiser the `state_dict()["state"]` of another one for the same parameters: all of them, or none before the first step.

    Raises `ValueError` for moments of other parameters, of another shape or type, and for what is missing or no moment.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if moments and sorted(moments) != list(range(len(parameters))):
        raise ValueError(f"it holds the moments of {len(moments)} parameters, and there are {len(parameters)}")
    fitted = {i: _fitted(moments[i], parameter) for i, parameter in enumerate(parameters)} if moments else {}
    optimizer.load_state_dict({"state": fitted, "param_groups": optimizer.state_dict()["param_groups"]})


def laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` in the memory order of `parameter`: itself if it has that order, else a copy.

    `torch.autograd.grad` gives a gradient in whatever order its last operation made it: a penalty's double backward makes contiguous ones
    for channels_last weights. (Autograd's own rule, that a gradient is laid out as its parameter, binds `backward` alone.)
    """
    assert (tensor.shape, tensor.dtype) == (parameter.shape, parameter.dtype), (tensor.shape, tensor.dtype, parameter.shape)
    if _strides(tensor) == _strides(parameter):
        return tensor
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def _strides(tensor: Tensor) -> list[int]:
    """The strides of dimensions of more than one entry; the others do not matter."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def _fitted(moments: Mapping[str, Any], parameter: Tensor) -> dict[str, Tensor]:
    """Adam's moments of one parameter, laid out as it is, and its count of steps, a scalar."""
    if set(moments) != {"step", *MOMENTS}:
        raise ValueError(f"Adam keeps step, {', '.join(MOMENTS)}, not {', '.join(map(str, moments))}")
    step = torch.as_tensor(moments["step"], dtype=torch.float32).clone()
    if step.shape != ():
        raise ValueError("a count of steps is no number")
    fitted = {"step": step}
    for name in MOMENTS:
        moment = moments[name]
        if not isinstance(moment, Tensor) or (moment.shape, moment.dtype, moment.layout) != (
            parameter.shape,
            parameter.dtype,
            parameter.layout,
        ):
            raise ValueError(f"a moment is not of its parameter's shape {list(parameter.shape)} and type")
        fitted[name] = laid_out_as(parameter, moment.to(parameter.device, copy=True))  # it may be a map of a file
    return fitted
