"""Which parts of a config make sense together, and which are known to train poorly."""

from __future__ import annotations

from sngan.config import Config, Network
from sngan.errors import UserError
from sngan.losses.loss import RelativisticLoss
from sngan.registry import build

FIXES_SCALE = {"spectral", "weight", "bjorck"}
"""Norms whose result does not depend on the scale of the weights."""

GRADIENT_PENALTIES = {"gradient_penalty", "r1", "r2", "r1_r2"}

CENTRED = {"bce", "hinge"}
"""Losses under which a logit above 0 says that D takes an image for a real one."""


def check_combination(config: Config) -> list[str]:
    """Raises `UserError`, with the reason, for parts that make no sense together; returns warnings about those known to train poorly."""
    _check_options(config.generator, "generator")
    _check_options(config.discriminator, "discriminator")
    for role, network in (("generator", config.generator), ("discriminator", config.discriminator)):
        if config.accumulate > 1 and network.iterate_per == "forward":
            raise UserError(
                f"accumulate={config.accumulate} with {role}.iterate_per=forward: each micro-batch would advance u and v, so the game would be "
                "another; use iterate_per=update, or accumulate=1"
            )
    if config.optimizer.decay_from and config.optimizer.decay == "none":
        raise UserError(
            f"optimizer.decay_from={config.optimizer.decay_from} does nothing with optimizer.decay=none; use decay=linear"
        )
    if config.freeze_d and (config.init is None or "D" not in config.init_networks):
        raise UserError(
            f"freeze_d={config.freeze_d} would keep random weights, because D begins with none of another run; "
            "give init=RUN with D among init_networks, or freeze_d=0"
        )
    labels = config.discriminator.options.get("labels", "projection")
    if labels != "projection" and not config.conditional:
        raise UserError(f"discriminator.labels={labels} does nothing with conditional=false; use conditional=true")
    if config.augment.name == "ada" and config.augment.options.get("target") is not None and config.loss.name not in CENTRED:
        raise UserError(
            f"augment=ada with loss={config.loss.name}: p follows the signs of D's logits, which mean real and generated with "
            f"loss={' or '.join(sorted(CENTRED))} alone; use one of these, augment=diffaugment, or augment.target=null with augment.p=0.2"
        )
    normalization, regularizer = config.discriminator.normalization, config.regularizer.name
    chosen = f"discriminator.normalization={normalization}"
    if config.weight_clip and normalization in FIXES_SCALE:
        raise UserError(
            f"weight_clip={config.weight_clip} with {chosen}: this norm does not see how large weights are, so clipping them constrains nothing; "
            "use discriminator.normalization=none, or weight_clip=null"
        )
    if regularizer == "spectral_regularization" and normalization in FIXES_SCALE:
        raise UserError(
            f"regularizer={regularizer} with {chosen}: this norm does not see how large weights are, so their singular values need no "
            "penalty; use discriminator.normalization=none, or regularizer=none"
        )
    if regularizer in GRADIENT_PENALTIES and normalization == "batch":
        raise UserError(
            f"regularizer={regularizer} with {chosen}: the penalty is on each image's own gradient, which batch statistics mix; "
            "use another norm, such as discriminator.normalization=layer"
        )
    if isinstance(build("loss", config.loss), RelativisticLoss) and config.g_batch > config.d_steps * config.batch:
        raise UserError(
            f"loss={config.loss.name} shows G as many real images as g_batch={config.g_batch}, and a step has d_steps * batch = "
            f"{config.d_steps * config.batch}; use g_batch={config.d_steps * config.batch} or less"
        )
    if config.loss.name == "relativistic_average" and config.accumulate > 1:
        raise UserError(
            f"accumulate={config.accumulate} with loss=relativistic_average: it compares each logit with the mean of a whole batch, which no "
            "micro-batch has; use accumulate=1, or loss=relativistic_pair"
        )
    if config.loss.name == "wasserstein" and regularizer not in GRADIENT_PENALTIES and not config.weight_clip:
        return [_of_wasserstein(config.discriminator)]
    return []


def _of_wasserstein(network: Network) -> str:
    if network.normalization in FIXES_SCALE and network.scale != "learned":
        return (
            f"loss=wasserstein with {network.normalization} norm alone is known to train poorly; "
            "free the scale of D by discriminator.scale=learned with regularizer=gradient_penalty (paper appendix E), or use loss=hinge"
        )
    learned = " discriminator.scale=learned" if network.scale == "learned" else ""
    return (
        f"loss=wasserstein with discriminator.normalization={network.normalization}{learned} alone: nothing bounds the slope of D, so its "
        "loss has no minimum; add regularizer=gradient_penalty"
    )


def _check_options(network: Network, role: str) -> None:
    """Refuses options of a norm that is not in use: they would do nothing."""
    given = {
        "norm_of": (network.norm_of, "matrix", {"spectral": "spectral norm"}),
        "iterate_per": (network.iterate_per, "update", {"spectral": "spectral norm"}),
        "power_iterations": (network.power_iterations, 1, {"spectral": "spectral norm", "bjorck": "bjorck"}),
        "scale": (network.scale, 1.0, {"spectral": "spectral", "weight": "weight norm", "bjorck": "bjorck"}),
        "exclude": (list(network.exclude), [], {"spectral": "spectral", "weight": "weight norm", "bjorck": "bjorck"}),
    }
    for key, (value, neutral, norms) in given.items():
        if value != neutral and network.normalization not in norms:
            raise UserError(
                f"{role}.{key}={value} does nothing with {role}.normalization={network.normalization}; it is an option of "
                f"{' or '.join(norms.values())}"
            )
    if network.normalization == "bjorck" and network.scale == "learned":
        raise UserError(f"{role}.scale=learned with {role}.normalization=bjorck: give a number, or use normalization=spectral")
