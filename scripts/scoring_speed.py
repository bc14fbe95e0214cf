"""How fast the Inception network looks at images: ours beside torch-fidelity's own, at its default batch of 64, and what differs.

    python scripts/scoring_speed.py [--weights FILE]     # five minutes on two cores

Without the published weights the network has random ones, which take as long. One process, all in turn on the same images of noise; the
median of the rounds' ratios counts. `differs` is the largest difference of a feature, relative to the largest feature.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record_head import head
from torch import Tensor, nn
from torch_fidelity import FeatureExtractorInceptionV3

import sngan
from sngan.config import Component
from sngan.evaluation import fidelity
from sngan.evaluation.extractors.extractor import Extractor
from sngan.evaluation.extractors.inception import _skeleton
from sngan.files import write_json

RESULTS = Path(__file__).parent / "results"
N = 64
"""Images, of 32 px, in a round."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = args.weights or random_weights(Path(folder, "random.pth"))
        theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(weights)).eval()
        forms = {"torch-fidelity": seen_by(theirs, N)}
        for name, compiled in {"sngan": False, "sngan, extractor.compile=true": True}.items():
            ours: Extractor = sngan.build("extractor", Component(name="inception", weights=str(weights), compile=compiled))
            forms[name] = seen_by(ours.load("cpu", compiled=compiled), ours.cpu_batch)
        images = torch.randint(0, 256, (N, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        record = head("scoring_speed.py", "images a second through the 2015 Inception network, float32; all in turn")
        record["weights"], record["rounds"], record["forms"] = ("a file" if args.weights else "random"), args.rounds, {}
        features = {name: look(images) for name, look in forms.items()}  # the first look compiles
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(args.rounds):
            for name, look in forms.items():
                start = time.perf_counter()
                look(images)
                seconds[name].append(time.perf_counter() - start)
    expected, slow = features["torch-fidelity"], seconds["torch-fidelity"]
    for name, taken in seconds.items():
        ratios = [a / b for a, b in zip(slow, taken, strict=True)]
        record["forms"][name] = {
            "images_per_s": N / statistics.median(taken),
            "ratio": statistics.median(ratios),
            "ratios": [min(ratios), max(ratios)],
            "differs": float((features[name] - expected).abs().max() / expected.abs().max()),
        }
    write_json(RESULTS / "scoring_speed.json", record)


def seen_by(network: nn.Module, batch: int) -> Callable[[Tensor], Tensor]:
    return lambda images: fidelity.extract(images.split(batch), network, "cpu").features


def random_weights(path: Path) -> Path:
    """A file of the published form: normal activations, and batch norms that do something."""
    random = torch.Generator().manual_seed(0)

    def fill(name: str, shape: torch.Size) -> Tensor:
        if len(shape) > 1:
            return torch.randn(shape, generator=random) * (2 / shape[1:].numel()) ** 0.5
        numbers = torch.rand(shape, generator=random)
        return numbers + 0.5 if name.endswith(("running_var", "bn.weight")) else numbers - 0.5

    torch.save({name: fill(name, tensor.shape) for name, tensor in _skeleton().state_dict().items()}, path)
    return path


if __name__ == "__main__":
    main()
