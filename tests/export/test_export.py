"""`sngan export`: files that their own runtimes run, and nothing where the images differ."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

import sngan
from conftest import TINY, finished_run
from sngan.__main__ import main
from sngan.export import module
from sngan.export.export import FORMATS
from sngan.export.formats.format import Inputs
from sngan.export.formats.weights import Weights
from sngan.runs.exported import public
from sngan.sampling import truncation
from sngan.sampling.sampling import balanced_labels, latents

Capture = pytest.CaptureFixture[str]
CONDITIONAL = [
    "conditional=true", "generator=resnet", "discriminator=resnet", "generator.widths=[8,8,8,8]", "discriminator.widths=[8,8,8,8]",
    "generator.normalization=spectral", "steps=1", "sample_every=0", "evaluate_every=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With spectral norm in G, labels, and convolutions that are one operation with their upsampling."""
    words = [word for word in TINY if not re.match(r"generator|discriminator|steps|sample|evaluate", word)]
    folder = tmp_path_factory.mktemp("conditional") / "run"
    assert main(["train", *words, *CONDITIONAL, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("plain"), "protocol=none", "evaluate_every=0")


def run_card(folder: Path) -> Tensor:
    """The images that the code of a card makes, in a process of its own, in the folder."""
    (code,) = re.findall(r"(?s)```python\n(.*?)```", (folder / "README.md").read_text())
    show = "import numpy as np; np.save('made.npy', np.asarray(images.detach() if hasattr(images, 'detach') else images))"
    subprocess.run([sys.executable, "-c", f"{code}\n{show}"], cwd=folder, check=True, capture_output=True)
    import numpy as np

    return torch.from_numpy(np.load(folder / "made.npy"))


def test_onnxruntime_makes_the_generators_images(conditional: Path) -> None:
    import onnxruntime

    path = sngan.Run(conditional).export(format="onnx", out="onnx", truncation=1.0, uint8=True)
    assert {file.name for file in Path("onnx").iterdir()} == {"model.onnx", "README.md"}
    session = onnxruntime.InferenceSession(path)
    for n in (1, 3, 20):
        z, y = latents(n, 128, seed=7), balanced_labels(n, 10)
        (made,) = session.run(None, {"z": z.numpy(), "y": y.numpy()})
        apart = (torch.from_numpy(made).int() - sngan.Run(conditional).sample(n, seed=7, truncation=1.0).int()).abs()
        assert made.shape == (n, 3, 32, 32)
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 1e-3


@pytest.mark.parametrize("kind", ["torch_export", "torchscript"])
def test_torch_runs_a_file_without_sngan(kind: str, plain: Path) -> None:
    path = sngan.Run(plain).export(format=kind, out="out")
    G, z = FORMATS[kind].load(path), latents(5, 128, seed=3)
    torch.testing.assert_close(G((z,)), sngan.Run(plain).generator()(z), rtol=0, atol=1e-5)


def test_the_code_of_a_card_makes_images(plain: Path) -> None:
    sngan.Run(plain).export(format="torchscript", out="out")
    made = run_card(Path("out"))
    assert made.shape == (16, 3, 32, 32)
    assert made.abs().max() <= 1


def test_weights_are_a_generator_again_without_its_run(conditional: Path) -> None:
    run = sngan.Run(conditional)
    assert run.export(format="weights", out="out", license="mit") == Path("out/model.safetensors")
    G = sngan.load_generator("out")
    assert torch.equal(G.sample(12, seed=2), run.sample(12, seed=2))
    assert (G.step, G.batch_norm) == (1, run.generator().batch_norm)
    text = "".join(path.read_text() for path in (Path("out/README.md"), Path("out/config.json")))
    assert str(conditional) not in text
    assert "run_dir" not in text
    with pytest.raises(sngan.UserError, match="holds ema weights, not raw"):
        sngan.load_generator("out", weights="raw")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 400_000), "is damaged: missing, cut short or changed"),
        (lambda folder: (folder / "config.json").write_text('{"format": "another"}'), "has format another"),
        (lambda folder: (folder / "config.json").write_text("["), "cannot be read as JSON"),
    ],
    ids=["weights", "another format", "no JSON"],
)
def test_a_damaged_generator_is_told(damage: Callable[[Path], object], said: str, conditional: Path) -> None:
    sngan.Run(conditional).export(format="weights", out="out")
    damage(Path("out"))
    with pytest.raises(sngan.UserError, match=said):
        sngan.load_generator("out")


def test_the_card_has_scores_with_their_protocol_and_where_all_comes_from(conditional: Path) -> None:
    run = sngan.Run(conditional)
    run.export(format="weights", out="out", license="cc-by-4.0")
    text = Path("out/README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert (head["license"], head["library_name"]) == ("cc-by-4.0", "sngan")
    record = run.records[-1]
    assert record.floor is not None
    for (name, value), real in zip(record.scores.items(), record.floor.scores.values(), strict=True):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"{value:.4g}" in row
        assert f"{real:.4g} (16 test images)" in row
        assert record.reference["sha256"][:16] in row
        assert record.extractor["sha256"][:16] in row
    assert "| seed | 0 |" in text
    assert run.checkpoint.sha256["generator.safetensors"] in text


def test_paths_of_the_machine_are_left_out_wherever_they_stand() -> None:
    words = ["data=image_folder", "data.path=pictures", "run_dir=/home/me/run", "extractor.weights=/home/me/net", "loss=hinge"]
    values = public(sngan.compose(words))
    assert not [key for key, value in values.items() if isinstance(value, str) and ("/" in value or "pictures" in value)]
    assert (values["data.name"], values["loss.name"], values["data.resolution"]) == ("image_folder", "hinge", 32)


class Wrong(Weights):
    """Runs the weights with another factor, as an exporter does that drops an argument."""

    def load(self, path: Path) -> Callable[[Inputs], Tensor]:
        right = super().load(path)
        return lambda inputs: right(inputs) * 0.99


def test_a_file_that_makes_other_images_is_not_left_behind(plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(FORMATS, "weights", Wrong())
    assert main(["export", f"run={plain}", "format=weights", "out=folder/out"]) == 2
    said = capsys.readouterr().err
    assert "makes other images than the generator: values differ by up to 0.0" in said
    assert len(said.splitlines()) == 2
    assert not list(Path("folder").iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["format=onx"], "format=onx: input should be 'onnx'"),
        (["format=weights", "uint8=true"], "leave uint8 and truncation out"),
        (["format=torchscript", "truncation=-1"], "truncation=-1: input should be greater than or equal to 0"),
        (["format=torchscript", "out=there"], "out=there is there already"),
        (["format=torchscript", "out=there/file/x"], "out=there/file/x cannot be written"),
        (["license=my own"], "license=my own"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing(words: list[str], said: str, plain: Path, capsys: Capture) -> None:
    Path("there").mkdir()
    Path("there/file").touch()
    quoted = [f'{word.partition("=")[0]}="{word.partition("=")[2]}"' if " " in word else word for word in words]
    assert main(["export", f"run={plain}", *quoted]) == 2
    assert said in capsys.readouterr().err
    assert sorted(map(str, Path().rglob("*"))) == ["there", "there/file"]


@pytest.mark.parametrize("psi", [0.0, 0.1, 0.7, 1.0, 2.0, 3.0])
def test_truncation_by_arithmetic_is_the_one_by_quantiles(psi: float) -> None:
    z = torch.linspace(-4.5, 4.5, 20_001)
    torch.testing.assert_close(module.truncated(z, psi), truncation.truncated(z, psi), rtol=0, atol=5e-6)
