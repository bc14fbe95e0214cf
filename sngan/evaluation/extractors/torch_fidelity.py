"""`extractor=torch_fidelity`: the other networks that torch-fidelity knows by name, such as CLIP and DINOv2.

They are downloaded by their publishers' own means; DINOv2 comes with its program from GitHub, which torch.hub runs.
"""

from __future__ import annotations

import hashlib
from http.client import HTTPException

import torch
from torch import Tensor, nn

from sngan.errors import UserError, nearest
from sngan.evaluation.extractors.extractor import Extractor, network_timeout
from sngan.registry import register

OWN = ("inception-v3-compat", "sngan-small-resnet")
"""Networks of torch-fidelity's registry that have an extractor of their own here."""


class FeaturesAlone(nn.Module):
    """A network that does not classify: uint8 [N, 3, H, W] in 0..255 -> (features [N, F], logits [N, 0])."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        (features,) = self.network(images)
        return features, features[:, :0]


@register("extractor", "torch_fidelity")
def torch_fidelity(*, network: str) -> Extractor:
    """`network` is torch-fidelity's name: vgg16, clip-…, dinov2-…; its features are those that torch-fidelity takes for distances.

    Loaded at once, so that a run without the network stops before its first step. Raises `UserError` for an unknown name, and when the
    download fails.
    """
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    known = [name for name in FEATURE_EXTRACTORS_REGISTRY if name not in OWN]
    if network not in known:
        raise UserError(f"extractor.network={network}: torch-fidelity knows no such network; {nearest(network, known)}")
    kind = FEATURE_EXTRACTORS_REGISTRY[network]
    layer = kind.get_default_feature_layer_for_metric("fid")
    try:
        with torch.random.fork_rng(devices=[]), network_timeout():
            loaded = kind(network, [layer])
    except (OSError, HTTPException, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"extractor.network={network} cannot be fetched ({reason});\n"
            "without a network, extractor=small_resnet scores with the shipped one, protocol=none does not"
        ) from None
    return Extractor(
        label=network,
        weights=None,
        sha256=_sha256(loaded),
        distance="fd",
        classifies=False,
        network=lambda _: FeaturesAlone(loaded),
    )


def _sha256(network: nn.Module) -> str:
    """The hash of all its tensors with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
