"""Mixtures of equal round Gaussians in the plane, the data on which mode collapse is measured.

    p(x) = 1/K sum_k N(x; center_k, sigma^2 I)

ring: 8 modes on the unit circle, sigma 0.01. grid: 25 modes, 5 x 5 with a distance of 2, sigma 0.05 (Srivastava et al.
2017, VEEGAN, section 4.1; Lin et al. 2018, PacGAN, section 4.1). The circle is cut into 8 equal angles without its end
point: with it, as in widely copied code, the first and the last mode are the same and only 7 are left.
"""

from dataclasses import dataclass

import numpy as np

from training.data import generator


@dataclass(frozen=True, eq=False)
class Mixture:
    """Equally likely Gaussians N(center_k, sigma^2 I).

    centers: float64 [K, 2]. sigma: standard deviation of each coordinate, of every mode.

    Example:
        GRID.scaled(0.25).sample(1000, seed=0)  # float32 [1000, 2]
    """

    name: str
    centers: np.ndarray
    sigma: float

    def scaled(self, factor, name=None):
        """The mixture of factor * x."""
        return Mixture(name or f"{factor:g} {self.name}", factor * self.centers, factor * self.sigma)

    def sample(self, num_samples, seed):
        """float32 [num_samples, 2]: a function of the arguments. A scaled mixture gives the same points, scaled."""
        draws = generator("mixture", seed)
        modes = draws.integers(len(self.centers), size=num_samples)
        noise = draws.standard_normal((num_samples, 2))
        return (self.centers[modes] + self.sigma * noise).astype("float32")


def ring():
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    return Mixture("ring", np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01)


def grid():
    x, y = np.meshgrid(np.linspace(-4.0, 4.0, 5), np.linspace(-4.0, 4.0, 5), indexing="ij")
    return Mixture("grid", np.stack([x.ravel(), y.ravel()], axis=1), 0.05)


RING = ring()
GRID = grid()
UNIT_GRID = GRID.scaled(0.25, "unit_grid")  # within [-1, 1]^2; a power of 2, so its points are those of the grid / 4

MIXTURES = {mixture.name: mixture for mixture in (RING, GRID, UNIT_GRID)}
