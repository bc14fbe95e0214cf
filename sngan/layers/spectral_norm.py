"""Spectral normalisation: every weight W of a network is used as W / sigma(W) (paper section 2.1, Algorithm 1).

sigma(W), the largest singular value of W as a matrix [out, in * kh * kw], is followed by one power iteration per update of the weights,
with u, v constant for differentiation, so that the gradient flows through sigma by way of W (paper eq. 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from sngan.layers.normalized import Network, Normalized, Scale
from sngan.layers.singular_vectors import SingularVectors


class SpectralNorm(Normalized[Network]):
    """`network` with every convolution, transposed convolution, linear layer and embedding spectrally normalised.

    The network stays plain: its parameters are the W, and it is run with `scale` * W / sigma in their place. Each layer gets buffers `u`
    [out] and `v` [kh * kw * in]. With `scale="learned"` each also gets a parameter `gamma`, a scalar that starts at sigma(W), so that
    the network starts as it would without the norm (paper appendix E, its start as in the author code).

    `exclude` names layers (patterns as in file names) that keep their weights. `power_iterations` are made at each update of sigma, and
    `iterate_per` says when that is: once per update of the weights as in Algorithm 1, or in each forward in training mode as in the
    author code, which makes 11 iterations a step where there are 5 updates of D. In evaluation mode u and v are read, never moved.

    Initialise the network before wrapping it. Raises `UserError` if a weight is zero or not finite, and for a pattern without a layer.
    """

    vectors: SingularVectors

    def __init__(
        self,
        network: Network,
        *,
        power_iterations: int = 1,
        iterate_per: Literal["update", "forward"] = "update",
        scale: Scale = 1.0,
        exclude: Sequence[str] = (),
    ):
        super().__init__(network)
        chosen = self._chosen_layers(exclude)
        self._follow(chosen)
        self.power_iterations, self.scale = power_iterations, scale
        self.iterates_per_forward = iterate_per == "forward"
        if scale == "learned":
            for name, sigma in self.sigmas().items():
                self._refuse_own(name, chosen[name], "gamma")
                chosen[name].gamma = nn.Parameter(sigma.detach().clone())

    def normalize(self, *, update: bool) -> dict[str, Tensor]:
        """scale * W / sigma of each layer, by parameter name; in the parameters' own type, also under autocast.

        `update` advances u and v first, in place.
        """
        weights = self.vectors.divided(iterations=self.power_iterations if update else 0)
        if self.scale == "learned":
            weights = {name: self.network.get_parameter(f"{name}.gamma") * weight for name, weight in weights.items()}
        elif self.scale != 1.0:
            weights = {name: self.scale * weight for name, weight in weights.items()}
        return {f"{name}.weight": weight for name, weight in weights.items()}

    def advance(self) -> None:
        """Power iterations alone, without normalised weights."""
        self.vectors.advance(self.power_iterations)
