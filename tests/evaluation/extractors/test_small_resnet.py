from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sngan.config import Component
from sngan.data.images import TensorImages
from sngan.data.shapes import Shapes
from sngan.errors import UserError
from sngan.evaluation.extractors import small_resnet as module
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.extractors.small_resnet import SHIPPED, SmallResNet, read
from sngan.registry import build


def extractor(weights: Path | None = None) -> Extractor:
    return build("extractor", Component(name="small_resnet", weights=None if weights is None else str(weights)))


def images(n: int = 5) -> Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> SmallResNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallResNet([4, 6, 9], [2, 1, 3], n_classes=7).eval()


@pytest.fixture
def tensors(network: SmallResNet) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def test_the_shipped_weights_recognise_shapes_they_have_not_seen() -> None:
    test = Shapes(n_train=1, n_test=500, seed=0, max_angle=360).load("test")
    assert isinstance(test, TensorImages)
    _, logits = extractor().load("cpu")(test.pixels)
    assert (logits.argmax(1) == test.labels).float().mean() > 0.95


def test_the_shipped_weights_are_small() -> None:
    assert SHIPPED.stat().st_size <= 400_000


def test_the_shipped_extractor_is_named_and_its_distance_is_not_fid() -> None:
    shipped = extractor()
    assert (shipped.label, shipped.distance) == ("small_resnet", "fd")
    assert shipped.sha256 == module.SHIPPED_SHA256


@pytest.mark.parametrize("content", [b"", None], ids=["cut short", "missing"])
def test_a_damaged_installation_is_told(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "small_resnet.safetensors")
    if content is not None:
        module.SHIPPED.write_bytes(content)
    with pytest.raises(UserError, match="missing or damaged; install sngan again"):
        extractor()


def test_any_depth_and_widths_load_and_give_what_was_saved(
    network: SmallResNet, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "mine.safetensors")
    loaded = extractor(tmp_path / "mine.safetensors")
    features, logits = loaded.load("cpu")(images())
    with torch.no_grad():
        expected = copy.deepcopy(network).to(memory_format=torch.channels_last)(images())
    assert loaded.label == "mine"
    assert torch.equal(features, expected[0])
    assert torch.equal(logits, expected[1])


def test_logits_are_a_linear_function_of_the_features(network: SmallResNet) -> None:
    features, logits = network(images())
    assert features.shape == (5, 9)
    torch.testing.assert_close(logits, features @ network.linear.weight.T + network.linear.bias)


def test_the_shortcut_halves_the_map_and_adds_zero_channels_on_both_sides() -> None:
    block = module.Block(2, 6, stride=2).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # silences the convolutions
    x = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    y = block(x)
    assert torch.equal(y[:, 2:4], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 4:].any()


def test_loading_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    extractor().load("cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def _without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _without(t, "linear.bias"), "linear.bias is missing"),
        (lambda t: _without(t, "linear.weight"), "lacks layer1.0.conv1.weight or linear.weight"),
        (lambda t: {"w": torch.ones(3)}, "lacks layer1.0.conv1.weight"),
        (lambda t: {**t, "head": torch.ones(3)}, "head does not belong"),
        (lambda t: {**t, "bn1.bias": torch.ones(3)}, r"bn1.bias has shape \[3\], not \[4\]"),
        (lambda t: {**t, "bn1.bias": torch.full((4,), float("nan"))}, "bn1.bias holds other than finite"),
        (lambda t: {**t, "bn1.bias": torch.ones(4, dtype=torch.int64)}, "bn1.bias holds other than finite"),
    ],
)
def test_a_file_with_other_tensors_is_refused_by_name(change, message: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(change(tensors), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=rf"extractor\.weights=.*other\.safetensors.*{message}"):
        extractor(tmp_path / "other.safetensors")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"extractor\.weights=.*nowhere.*no such file"):
        extractor(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [SHIPPED.read_bytes()[:100_000], b"PK\x03\x04 not tensors", b""])
def test_a_file_that_is_cut_short_or_of_another_kind_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(UserError, match=r"extractor\.weights=.*broken: not a whole safetensors file"):
        extractor(tmp_path / "broken")


@pytest.mark.skipif("SNGAN_SHARED" not in os.environ, reason="needs the folder of a public CIFAR ResNet-20 in SNGAN_SHARED")
def test_a_public_cifar_resnet_classifies_cifar() -> None:
    import numpy as np
    from PIL import Image

    shared = Path(os.environ["SNGAN_SHARED"])
    weights = shared / "extractors" / "cifar10_resnet20.safetensors"
    with Image.open(shared / "data" / "cifar10" / "test_000.webp") as sheet:
        pixels = torch.from_numpy(np.array(sheet.convert("RGB")).reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.load(shared / "data" / "cifar10" / "test_labels.npy")[: len(pixels)])
    with torch.no_grad():
        _, logits = read(weights).eval()(pixels)
    assert extractor(weights).label == "cifar10_resnet20"
    assert (logits.argmax(1) == labels).float().mean() > 0.88  # 91.73 % over all 10,000
