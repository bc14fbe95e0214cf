"""Trains the small residual network as a classifier, so that its features can score a GAN on the same kind of images.

    python scripts/train_extractor.py small_resnet.safetensors
    python scripts/train_extractor.py mine.safetensors --epochs 30 data=npz data.path=mine.npz

The data set is chosen as in `sngan train`; the default is the shapes that the shipped weights were trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

import sngan
from sngan.data.images import Images, Source, TensorImages
from sngan.errors import UserError
from sngan.evaluation.extractors.small_resnet import SmallResNet
from sngan.provenance import sha256_of, versions

# another seed than that of configs/data/shapes.yaml: the extractor has not seen the images that a run trains on
SHAPES = ["data=shapes", "data.n_train=20000", "data.n_test=10000", "data.seed=1"]


def main() -> None:
    args = arguments()
    data = sngan.compose(args.data).data
    source: Source = sngan.build("data", data)
    if source.spec.n_classes < 2:
        raise UserError(f"data.name={data.name} has no labels to train on; give a labelled data set")
    if not args.out.absolute().parent.is_dir():
        raise UserError(f"{args.out}: its folder does not exist; make it first")
    train, test = (in_memory(source.load(split), args.device) for split in ("train", "test"))

    network = fit(train, args=args, n_classes=source.spec.n_classes)
    accuracy = accuracy_of(network, test)
    origin = {"data": {"name": data.name, **data.options}, "seed": args.seed, "test_accuracy": accuracy, "versions": versions()}
    save(network, args.out, origin=origin)
    print(f"{args.out}: test accuracy {accuracy:.2%} on {len(test)} images, sha256 {sha256_of(args.out)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the safetensors file to write; its name is the extractor's name in scores")
    parser.add_argument("data", nargs="*", metavar="data=NAME data.KEY=VALUE", help="the data set and its options")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64], help="channels of each stage")
    parser.add_argument("--blocks", type=int, default=1, help="residual blocks a stage")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1, help="the largest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_intermixed_args()
    args.data = args.data or SHAPES
    return args


def in_memory(images: Images, device: str) -> TensorImages:
    """The whole split on the device."""
    if not isinstance(images, TensorImages):
        pixels, labels = zip(*(images[i] for i in range(len(images))), strict=True)
        images = TensorImages(torch.stack(pixels), torch.tensor(labels))
    return TensorImages(images.pixels.to(device), images.labels.to(device))


def fit(train: TensorImages, *, args: argparse.Namespace, n_classes: int) -> SmallResNet:
    """Nesterov momentum; the learning rate rises to `lr` over a quarter of the steps, then falls to 0."""
    with torch.random.fork_rng():  # the layers' initialisation draws from the global generator
        torch.manual_seed(args.seed)
        network = SmallResNet(args.widths, [args.blocks] * len(args.widths), n_classes).to(args.device)
    order = torch.Generator().manual_seed(args.seed)
    steps = args.epochs * math.ceil(len(train) / args.batch)
    optimizer = torch.optim.SGD(network.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(4 * (step + 1), 4 / 3 * (steps - step)) / steps)
    progress = trange(args.epochs, desc="training", unit="epoch", disable=None)
    for _ in progress:
        for rows in torch.randperm(len(train), generator=order).to(args.device).split(args.batch):
            _, logits = network(train.pixels[rows])
            loss = F.cross_entropy(logits, train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.4f}")
    return network.eval()


@torch.no_grad()
def accuracy_of(network: SmallResNet, test: TensorImages) -> float:
    """The share of images whose largest logit is that of their label."""

    def right(pixels: Tensor, labels: Tensor) -> int:
        return int((network(pixels)[1].argmax(1) == labels).sum())

    return sum(map(right, test.pixels.split(1000), test.labels.split(1000))) / len(test)


def save(network: SmallResNet, path: Path, *, origin: dict[str, object]) -> None:
    """The tensors that evaluation needs, so without batch norm's counters, and where they come from.

    The origin is one JSON text, because safetensors writes several entries in an order that changes, and the file's hash with it.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.cpu() for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(tensors, path, metadata={"origin": json.dumps(origin)})


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
