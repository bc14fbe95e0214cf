"""What readers do with files and words that somebody else made: only `UserError` may come out, soon, and in little memory.

    python scripts/fuzz.py                       # goes on to 100,000 inputs and records them in scripts/results/fuzz.json
    python scripts/fuzz.py --scale 0.001         # a trial
    python scripts/fuzz.py --only npz pictures

Hypothesis makes the inputs, a batch for each seed, from whole files whose bytes, JSON values or members are changed. An input that raises
another error, takes more than `SECONDS` or asks for more than `MEMORY` bytes at once is found; it is made small, shown and recorded. Needs
the extra dev.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import shutil
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_tensors
from torch import nn

import sngan
from sngan.cache import Tensors, remembered
from sngan.cli.hydra_app import readable_errors
from sngan.config import Config, parse
from sngan.data.decoding import FORMATS, Form
from sngan.data.image_folder import ImageFolder, Pictures
from sngan.data.images import ImageSpec
from sngan.data.npz import Npz
from sngan.errors import UserError
from sngan.evaluation.extractors import small_resnet
from sngan.evaluation.reference import is_fit
from sngan.files import read_json, write_json
from sngan.processes import cache_folder
from sngan.provenance import commit, versions
from sngan.report.comparison_page import several_page
from sngan.report.embedding import from_file
from sngan.report.run_page import one_page
from sngan.report.samples import Made
from sngan.report.tables import csv_table, markdown
from sngan.runs.folder import RunFolder, differences
from sngan.runs.records import read_metrics, read_scalars, read_sessions
from sngan.runs.run import read_run
from sngan.runs.tensors import load_tensors, restore_optimizers
from sngan.sampling.grids import ungrid
from sngan.training.log import RunLog

ROOT = Path(__file__).parents[1]

BATCH = 500
"""Inputs of a seed; the record is written after each."""

SECONDS, MEMORY = 60, 2**32
"""The most that an input may take: seconds, and bytes beyond what the process has at the start."""


class Kind(NamedTuple):
    """Inputs of a kind."""

    n: int
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], object]


# How inputs are changed

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**400), 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"),
    "", "0", "a", "a.b", "é", "\ud800", "\0", "${env:HOME}", "_target_", "=1+1", "<b>", "../..", "/etc/passwd", "x" * 1000, "hinge", "none",
    [], [0], [None, None], [[[]]], [1.5, "a"], list(range(1000)), {}, {"name": "hinge"}, {"step": 1}, {"a": {"b": {"c": []}}}, {"": None},
]  # fmt: skip
KEYS = ["", "step", "name", "scores", "sigma", "a", "\ud800", "x" * 300, "generator", "protocol", "quick", "_target_"]


@st.composite
def changed_bytes(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    """One of the contents with some bytes changed, a part doubled or removed, or cut short."""
    plan = draw(st.binary(min_size=12, max_size=56))  # a single choice, because Hypothesis takes its time for each
    content = bytearray(contents[plan[0] % len(contents)])
    for i in range(1, len(plan) - 10, 11):
        operation, size, high, low, *fill = plan[i : i + 12]
        if not content:
            break
        at, size = (high << 8 | low) % len(content), 2 ** (size % 7)
        match operation % 6:
            case 0 | 1:
                content[at : at + size] = (bytes(fill) * 8)[:size]
            case 2:
                content[at] ^= 1 << fill[0] % 8
            case 3:
                content[at:at] = content[at : at + size]
            case 4:
                del content[at : at + size]
            case 5:
                del content[at:]
    return bytes(content)


@st.composite
def changed_json(draw: st.DrawFn, contents: list[Any]) -> Any:
    """One of the contents with one or two of its values changed, removed or added."""
    plan = draw(st.binary(min_size=6, max_size=11))
    content = copy.deepcopy(contents[plan[0] % len(contents)])
    for i in range(1, len(plan) - 4, 5):
        operation, high, low, key, value = plan[i : i + 5]
        places = list(_places(content))
        if operation == 0 or not places:
            return copy.deepcopy(VALUES[value % len(VALUES)])
        inside, at = places[(high << 8 | low) % len(places)]
        match operation % 4:
            case 0 | 1:
                inside[at] = copy.deepcopy(VALUES[value % len(VALUES)])
            case 2:
                del inside[at]
            case 3 if isinstance(inside, dict):
                inside[KEYS[key % len(KEYS)]] = copy.deepcopy(VALUES[value % len(VALUES)])
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside, as its container and its key there."""
    for key in list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield content, key
        yield from _places(content[key])


def written(lines: Any) -> bytes:
    """JSON lines, of whatever was made of a list of objects."""
    return "".join(json.dumps(line) + "\n" for line in (lines if isinstance(lines, list) else [lines])).encode()


def archive(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file with whole checksums, whatever is in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", kind) as file:
        for name, member in members.items():
            file.writestr(name, member)
    return content.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


@st.composite
def changed_member(draw: st.DrawFn, content: bytes) -> bytes:
    """An archive one of whose members is changed, and whose checksums are right."""
    found = members(content)
    name = draw(st.sampled_from(sorted(found)))
    return archive(
        found | {name: draw(changed_bytes([found[name]]))}, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    )


@st.composite
def changed_header(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file whose header says something else."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(draw(changed_json([json.loads(content[8 : 8 + size])]))).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


# What is read

RECORD = {
    "step": 6, "by": "train", "role": "full", "weights": "ema", "batch_norm": "running statistics", "device": "cpu", "seconds": 1.5,
    "protocol": {"name": "quick", "n": 32, "draws": 1, "splits": 1, "seed": 0, "rounding": "inverse"},
    "reference": {"n": 64, "split": "train", "data": "shapes", "sha256": "0f"}, "extractor": {"label": "small_resnet", "sha256": "1a"},
    "scores": {"fd_32_shapes-train_small_resnet": 9.5, "kid_32": 0.1}, "deviations": {"kid_32": 0.01}, "versions": {"torch": "2"},
    "floor": {"n": 16, "split": "test", "scores": {"fd_16": 1.0, "kid_16": 0.1}, "deviations": {}},
}  # fmt: skip
SCALAR = {"step": 2, "D_loss": 1.5, "G_loss": -0.5, "lr": 1e-4, "images_per_s": 10.0, "sigma": {"linear": 1.0}}
SESSIONS = {"sessions": [{"device": "cpu", "from_step": 0, "engine": "eager", "versions": {"torch": "2"}, "seconds": 3.5}]}
RESULT = {
    "status": "finished",
    "error": None,
    "step": 6,
    "steps": 6,
    "seconds": 3.5,
    "scores": {"last": RECORD, "best": RECORD},
    "quick": None,
}


def configs() -> list[dict[str, Any]]:
    """Configs of the most different kinds."""
    words: list[list[str]] = [[], ["experiment=cifar10_resnet_conditional"], ["data=npz", "data.path=a.npz", "protocol=none"]]
    return [sngan.compose(each).model_dump(mode="json") for each in words]


@cache
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@cache
def optimizer() -> torch.optim.Adam:
    """With moments."""
    torch.manual_seed(0)
    made = nn.Linear(3, 2)
    adam = torch.optim.Adam(made.parameters())
    made(torch.ones(4, 3)).square().sum().backward()
    adam.step()
    return adam


def state() -> bytes:
    content = io.BytesIO()
    torch.save({"G_optimizer": optimizer().state_dict()["state"]}, content)
    return content.getvalue()


def arrays() -> list[bytes]:
    """Archives with labels as numbers and as text, and a single array."""
    images, contents = np.arange(192, dtype=np.uint8).reshape(4, 4, 4, 3), [io.BytesIO() for _ in range(3)]
    np.savez(contents[0], images=images, labels=np.arange(4))
    np.savez(contents[1], x_train=(images / 255).transpose(0, 3, 1, 2), y_train=np.array(["b", "a", "b", "c"]))
    np.save(contents[2], images.astype(np.uint16) * 16)
    return [content.getvalue() for content in contents]


def pictures() -> list[bytes]:
    """One of each format that is read."""
    image = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8))
    contents = []
    for kind in FORMATS:
        content = io.BytesIO()
        image.save(content, kind)
        contents.append(content.getvalue())
    deep = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).save(deep, "PNG")
    return [*contents, deep.getvalue()]


def zipped() -> bytes:
    """Pictures and their labels, in the layout of StyleGAN's data sets."""
    found = {f"0/{i}.png": picture for i, picture in enumerate(pictures()[-3:])}
    return archive(
        found | {"dataset.json": json.dumps({"labels": [[name, i] for i, name in enumerate(found)]}).encode()}, zipfile.ZIP_STORED
    )


WORDS = [
    "loss=bce", "optimizer.lr=1e-4", "+a.b=1", "~ema", "data=npz", "data.path='a b.npz'", "generator.widths=[8,8]", "seed=range(3)",
    "loss=hinge,bce", "hydra.run.dir=x", "run_dir=${name}", "plugins=[os]", "d_steps=choice(1,2)", "quick.n=null", "@a=b", "x={a:1}",
]  # fmt: skip
TEXT = st.lists(
    st.one_of(
        st.sampled_from(WORDS), changed_bytes([word.encode() for word in WORDS]).map(lambda word: word.decode(errors="replace"))
    ),
    min_size=1,
    max_size=3,
)


def kinds() -> dict[str, Kind]:
    """What is fuzzed: files lie in the working folder."""
    weights = save_tensors(network().state_dict())
    lines = [[SCALAR, {**SCALAR, "step": 4}], [RECORD, {**RECORD, "role": "quick"}]]
    run = {
        "config.json": configs()[0],
        "run.json": SESSIONS,
        "result.json": RESULT,
        "scalars.jsonl": lines[0],
        "metrics.jsonl": lines[1],
    }
    return {
        "JSON lines": Kind(34_000, changed_bytes([written(each) for each in lines]) | changed_json(lines).map(written), read_lines),
        "configs": Kind(14_000, changed_json(configs()), read_config),
        "npz": Kind(17_500, changed_bytes(arrays()) | changed_member(arrays()[0]) | changed_member(arrays()[1]), read_arrays),
        "safetensors": Kind(12_000, changed_bytes([weights]) | changed_header(weights), read_weights),
        "state.pt": Kind(8_000, changed_bytes([state()]) | changed_member(state()), read_state),
        "pictures": Kind(12_000, changed_bytes(pictures()), read_pictures),
        "zip": Kind(4_000, changed_bytes([zipped()]) | changed_member(zipped()), read_zip),
        "runs": Kind(2_000, changed_json([run]), read_folder),
        "overrides": Kind(500, TEXT, compose),
    }


@contextmanager
def mistakes() -> Iterator[None]:
    """Passes over the errors that are allowed."""
    try:
        yield
    except UserError as error:
        if len(str(error).splitlines()) > 3:
            raise RuntimeError(f"a mistake told in too many lines: {error}") from None


def at(name: str, content: bytes) -> Path:
    path = Path(name)
    path.write_bytes(content)
    return path


def read_lines(content: bytes) -> None:
    path = at("lines.jsonl", content)
    for read in (read_scalars, read_metrics, read_sessions):
        with mistakes():
            read(path)


def read_config(values: Any) -> None:
    path = Path("config.json")
    write_json(path, values)
    with mistakes():
        found = read_json(path)
        if isinstance(found, dict):
            differences(found, BEFORE)
            parse(Config, found)


BEFORE = parse(Config, configs()[0]).model_dump(mode="json")


AGAIN = parse(Config, BEFORE | {"run_dir": "run", "resume": "force"})
"""Continues whatever lies in the folder `run`."""


def read_arrays(content: bytes) -> None:
    with mistakes():
        source = Npz.at(at("a.npz", content))
        images = source.load("train")
        assert len(images) == source.count("train")


def read_zip(content: bytes) -> None:
    form = {"resolution": 8, "channels": "auto", "fit": "crop", "range": None}
    with mistakes():
        source = ImageFolder(path=at("a.zip", content), test_path=None, on_error="stop", cache=False, **form)
        images = source.load("train")
        assert images[0][0].shape == source.spec.shape


def read_weights(content: bytes) -> None:
    path = at("weights.safetensors", content)
    with mistakes():
        load_tensors(network(), path)
    with mistakes():
        small_resnet.read(path)
    made = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}

    def kept() -> Tensors:
        return remembered("fuzz", {}, lambda: made, fits=lambda found: is_fit(found, {"weight": 2, "bias": 1}))

    kept()
    for file in cache_folder().iterdir():
        file.write_bytes(content)
    assert all(torch.equal(found, made[name]) for name, found in kept().items())


def read_state(content: bytes) -> None:
    with mistakes():
        restore_optimizers({"G_optimizer": optimizer()}, at("state.pt", content))


def read_pictures(content: bytes) -> None:
    path = at("a.png", content)
    with mistakes():
        image, _ = Pictures(Path(), ["a.png"], [0], Form(8, 4, "pad"))[0]
        assert image.shape == (4, 8, 8)
    with mistakes():
        ungrid(path, ImageSpec(8, 3, 0))
    from_file(path, small=True)


def read_folder(files: Any) -> None:
    """Reports a run, and opens it to go on."""
    shutil.rmtree("run", ignore_errors=True)
    Path("run").mkdir()
    for name, content in files.items() if isinstance(files, dict) else ():
        if name in ("config.json", "run.json", "result.json", "scalars.jsonl", "metrics.jsonl"):
            Path("run", name).write_bytes(written(content) if name.endswith("l") else json.dumps(content).encode())
    with mistakes():
        run, home = read_run(Path("run")), Path()
        csv_table([run], home)
        markdown([run], home, left_out=[])
        several_page([run, run], home, left_out=[])
        one_page(run, home, made=Made(None, None, None, None, [], []), command=None)
    with mistakes(), RunFolder(AGAIN) as folder:
        folder.begin({"from_step": 4})
        RunLog(folder.path, step=4, steps=8, images_per_step=1, configs=folder.configs()).close()


def compose(words: list[str]) -> None:
    with mistakes(), readable_errors("train", words):
        sngan.compose(words)


def fuzz(kind: Kind, n: int, number: int) -> str | None:
    """Reads n inputs of a seed; gives the first error that is no `UserError`, with the smallest input that raises it."""

    @seed(number)
    @settings(
        max_examples=n, deadline=None, database=None, phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        print_blob=False, report_multiple_bugs=False,
    )  # fmt: skip
    @given(kind.inputs)
    def read(content: Any) -> None:
        last.append(content)
        del last[:-1]
        with in_time():
            kind.read(content)

    last: list[Any] = []
    try:
        read()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, BaseExceptionGroup):  # it came once, and not again
            error = error.exceptions[0]
        return f"{type(error).__name__}: {str(error)[:300]}; input {last[-1]!r:.2000}"
    return None


@contextmanager
def in_time() -> Iterator[None]:
    """Raises `TimeoutError` for what takes longer than `SECONDS`, where the system can."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory() -> bool:
    """Whether the system refuses memory beyond `MEMORY` bytes more than there are now."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError):
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "scripts" / "results" / "fuzz.json", metavar="FILE")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of inputs")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="several processes may read kinds of their own into one record")
    args = parser.parse_args()
    out = args.out.absolute()
    n_found = 0
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Pillow's, of what it passes over
    with tempfile.TemporaryDirectory() as home:
        settle(Path(home))
        made_by = about(limit_memory())
        for name, kind in kinds().items():
            n = round(kind.n * args.scale)
            while name in (args.only or [name]) and (done := recorded(out)["inputs"].get(name, 0)) < n:
                size, started = min(BATCH, n - done), time.monotonic()
                found = fuzz(kind, size, done // BATCH)
                record = recorded(out)
                record["inputs"][name] = done + size
                record["seconds"][name] = round(record["seconds"].get(name, 0.0) + time.monotonic() - started, 1)
                if found:
                    n_found += 1
                    record["found"].append({"kind": name, "seed": done // BATCH, "what": found})
                write_json(out, record | made_by)
                print(
                    f"{name}: {done + size} of {n}, {record['seconds'][name]:.0f} s{', found ' + found if found else ''}",
                    flush=True,
                )
    return 1 if n_found else 0


def recorded(out: Path) -> dict[str, Any]:
    """The record so far."""
    return read_json(out) or {"inputs": {}, "seconds": {}, "found": []}


def settle(home: Path) -> None:
    """Makes a folder the working one, with a cache in it."""
    import os

    os.chdir(home)
    os.environ["SNGAN_CACHE"] = str(home / "cache")


def about(limited: bool) -> dict[str, Any]:
    """What the record says of itself."""
    return {
        "what": f"inputs read, by kind; seeds 0, 1, … of {BATCH} each; found: those that raised anything but UserError, or took too much",
        "limits": {"seconds": SECONDS, "bytes": MEMORY if limited else None},
        "date": date.today().isoformat(),
        "versions": {**versions(), **{"hypothesis": hypothesis.__version__}},
        "commit": commit(),
        "command": "python scripts/fuzz.py",
    }


if __name__ == "__main__":
    sys.exit(main())
