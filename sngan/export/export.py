"""`sngan export`: a generator as a file that is compared with it before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sngan import devices
from sngan.errors import UserError
from sngan.export.card import card
from sngan.export.compare import Compared, compare, inputs_of
from sngan.export.formats.format import Format
from sngan.export.formats.onnx import Onnx
from sngan.export.formats.torch_export import TorchExport
from sngan.export.formats.torchscript import TorchScript
from sngan.export.formats.weights import Weights
from sngan.export.module import ExportedModule
from sngan.export.request import Export
from sngan.files import remove, replace
from sngan.provenance import sha256_of
from sngan.runs.checkpoint import find
from sngan.runs.exported import known_of
from sngan.sampling.trained import load_generator

FORMATS: dict[str, Format] = {"onnx": Onnx(), "torch_export": TorchExport(), "torchscript": TorchScript(), "weights": Weights()}


class Written(NamedTuple):
    """The result of an export."""

    path: Path
    """The file."""
    compared: Compared


def export(request: Export) -> Written:
    """Writes a folder with the file and a card, after the file's own runtime has made the generator's images from it.

    Raises `UserError`, and leaves nothing, for what cannot be exported or makes other images.
    """
    how = FORMATS[request.format]
    out = request.out or Path(f"export-{request.format}")
    if (request.uint8 or request.truncation is not None) and not how.takes_options:
        raise UserError(f"format={request.format} holds the network alone; leave uint8 and truncation out, or take another format")
    if out.exists():
        raise UserError(f"out={out} is there already; remove it, or give another out=DIR")
    how.check()
    checkpoint = find(request.run, request.checkpoint)
    config = checkpoint.config()
    G = load_generator(checkpoint, weights=request.weights, device=devices.resolve(request.device)).cpu()
    known = known_of(checkpoint, config, weights=request.weights, rounding=G.rounding, batch_norm=G.batch_norm)
    module = ExportedModule(G.network, rounding=G.rounding if request.uint8 else None, truncation=request.truncation).eval()
    partial = out.with_name(f".partial-{out.name}")
    try:
        remove(partial)
        partial.mkdir(parents=True)
        try:
            how.write(module, inputs_of(G, 2), partial / how.file, known)
            compared = compare(how, partial / how.file, G, request)
            text = card(request, checkpoint, G, how, compared, sha256=sha256_of(partial / how.file))
            replace(partial / "README.md", text)
            partial.rename(out)
        finally:
            remove(partial)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error.strerror}); give another out=DIR") from None
    return Written(out / how.file, compared)
