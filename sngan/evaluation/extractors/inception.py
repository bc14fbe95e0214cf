"""`extractor=inception`: the 2015 Inception network that FID and the Inception score are defined on, as torch-fidelity runs it."""

from __future__ import annotations

import io
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sngan.errors import UserError
from sngan.evaluation.extractors.extractor import Extractor, check_tensors, label_of, network_timeout
from sngan.processes import open_regular
from sngan.provenance import sha256_of
from sngan.registry import register

if TYPE_CHECKING:
    from torch_fidelity import FeatureExtractorInceptionV3

FIDELITY_NAME = "inception-v3-compat"
OUTPUTS = ["2048", "logits_unbiased"]  # torch-fidelity's own choice for FID and for the Inception score
PUBLISHED_SHA256 = "6726825d"  # how it begins, as the name of the published file tells


@register("extractor", "inception")
def inception(*, weights: Path | None, compile: bool | Literal["auto"]) -> Extractor:
    """The Inception network with the weights in a file; null: the published ones, from torch.hub's cache or else downloaded to it.

    Only the published file is called 'inception', and its distance FID; with others the network goes by their file's name. With
    `compile` it runs compiled, which needs a C++ compiler on a CPU; with auto, there alone and for many images. Raises
    `UserError` when the file is something else, or when there is none and the download fails.
    """
    path = _published() if weights is None else weights
    _read(path)
    sha256 = sha256_of(path)
    published = sha256.startswith(PUBLISHED_SHA256)
    return Extractor(
        label="inception" if published else label_of(path, sha256),
        weights=path,
        sha256=sha256,
        distance="fid" if published else "fd",
        network=_network,
        cpu_batch=10,  # few, for the cache; it divides the 250 that come at once, so that one shape is compiled
        compile=compile,
    )


def _published() -> Path:
    """The published weights in torch.hub's cache, after a download if they were not there."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with network_timeout():  # writes beside the path, and renames only what is whole
                torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=PUBLISHED_SHA256)
        except (OSError, HTTPException, RuntimeError) as error:
            raise UserError(
                f"extractor=inception: cannot fetch {URL_INCEPTION_V3} ({error}); put it at {path} or give\n"
                "extractor.weights=FILE; without it, extractor=small_resnet scores with the shipped network, protocol=none does not"
            ) from None
    if not sha256_of(path).startswith(PUBLISHED_SHA256):
        raise UserError(f"{path} is damaged: its sha256 does not begin with {PUBLISHED_SHA256}; delete it and start again")
    return path


def _network(path: Path) -> FeatureExtractorInceptionV3:
    network = _skeleton()
    nn.Module.load_state_dict(network, _read(path), assign=True)
    return _without_batch_norm(network.float().eval()).to(memory_format=torch.channels_last)  # scripts/scoring_speed.py


def _without_batch_norm(network: FeatureExtractorInceptionV3) -> FeatureExtractorInceptionV3:
    """Each batch norm, whose statistics are fixed, becomes part of the convolution before it: the same features but for rounding."""
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d

    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    return network


def _read(path: Path) -> dict[str, Tensor]:
    """The network's tensors on the CPU. Nothing in the file is executed; raises `UserError` when it holds anything else."""
    try:
        open_regular(path, follow=True).close()
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"extractor.weights={path}: {error.strerror}; give torch-fidelity's Inception weights or null") from None
    except Exception:  # whatever the unpickler meets in a file that is none; there are too many kinds to list
        tensors = None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(f"extractor.weights={path} is cut short or something else; give torch-fidelity's Inception weights or null")
    check_tensors(tensors, _skeleton().state_dict(), path=path, what="torch-fidelity's Inception")
    return tensors


def _skeleton() -> FeatureExtractorInceptionV3:
    """torch-fidelity's network with empty tensors (on the meta device).

    Its constructor would load the weights itself, and would execute what a pickle asks for; here it loads nothing.
    """
    from torch_fidelity import FeatureExtractorInceptionV3

    class Skeleton(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *args: Any, **kwargs: Any) -> None:
            pass

    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    with torch.device("meta"):
        return Skeleton(FIDELITY_NAME, OUTPUTS, feature_extractor_weights_path=nothing)
