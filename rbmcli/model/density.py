"""Whether a machine has a density at all, or its energies fall without bound."""

from __future__ import annotations

from rbmcli.model.rbm import Rbm


def has_density(model: Rbm) -> bool:
    """Whether exp(-E) can be normalised for sure.

    Where both layers' energies grow like s^2 / 2, (v, h) has the quadratic form v'v + h'h - 2 v'Wh,
    which is positive definite exactly while the spectral norm of W lies below 1. For two Gaussian
    layers that is necessary; for a rectified one, whose states are not negative, it is sufficient.
    """
    quadratic = model.visible.kind.quadratic and model.hidden.kind.quadratic
    return not quadratic or model.link.precise_spectral_norm() < 1
