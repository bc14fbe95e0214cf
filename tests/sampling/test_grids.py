from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sngan.data.images import ImageSpec
from sngan.errors import UserError
from sngan.sampling.grids import grid, ungrid, write_png


@pytest.mark.parametrize("spec", [ImageSpec(8, 1, 0), ImageSpec(8, 3, 0), ImageSpec((8, 12), 3, 0), ImageSpec(8, 4, 0)])
def test_ungrid_gives_back_what_grid_laid_out(spec: ImageSpec) -> None:
    images = torch.randint(0, 256, (12, *spec.shape), dtype=torch.uint8)
    write_png(grid(images, columns=4), Path("grid.png"))
    assert torch.equal(ungrid(Path("grid.png"), spec), images if spec.channels == 4 else images.expand(-1, 3, -1, -1))


def test_a_picture_that_is_no_such_grid_is_named() -> None:
    write_png(grid(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), columns=2), Path("grid.png"))
    with pytest.raises(UserError, match=r"grid\.png is no grid of images of 32 px"):
        ungrid(Path("grid.png"), ImageSpec(32, 3, 0))
    Path("grid.png").write_bytes(Path("grid.png").read_bytes()[:50])
    with pytest.raises(UserError, match=r"grid\.png cannot be read"):
        ungrid(Path("grid.png"), ImageSpec(8, 3, 0))


def test_a_link_is_replaced_by_a_picture_and_never_read_as_one() -> None:
    Path("victim.png").write_text("mine")
    for name in ("grid.png", ".partial-grid.png"):
        Path(name).symlink_to("victim.png")
    with pytest.raises(UserError, match=r"grid\.png cannot be read \(it is a link"):
        ungrid(Path("grid.png"), ImageSpec(8, 3, 0))
    write_png(torch.zeros(3, 12, 12, dtype=torch.uint8), Path("grid.png"))
    assert not Path("grid.png").is_symlink()
    assert Path("victim.png").read_text() == "mine"
