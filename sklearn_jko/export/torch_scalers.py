"""Scalers in torch, for exported modules.

Each is a ``torch.nn.Module`` built from a fitted scaler. Its ``forward(X)`` computes the scaler's
`transform` on float64 tensors, up to rounding, with gradients, and in operations that
`torch.export` can record. What the scaler has learned is stored in buffers. To add one, write such
a class and enter it in `TORCH_SCALERS`: the tests in `tests/test_export.py` run over all scalers.
"""

import math

import numpy as np
import torch
from torch import nn

from sklearn_jko.scaling.bounds import Bounds
from sklearn_jko.scaling.chain import Chain
from sklearn_jko.scaling.identity import Identity
from sklearn_jko.scaling.marginal import Marginal
from sklearn_jko.scaling.mixture import FARTHEST, Mixture
from sklearn_jko.scaling.power import MAX_OUTER_SLOPE, Power
from sklearn_jko.scaling.radial import Radial
from sklearn_jko.scaling.standard import Standard
from sklearn_jko.scaling.tails import REACH, Tails
from sklearn_jko.scaling.whiten import Whiten
from sklearn_jko.statistics.columns import LARGEST, LARGEST_EXPONENT

__all__ = ["TORCH_SCALERS", "torch_scaler"]

SINGLE = torch.finfo(torch.float32)
SMALLEST_NORMAL = np.finfo(np.float64).tiny
NEWTON_STEPS = 3


def torch_scaler(scaler):
    """The torch module that computes the `transform` of a fitted scaler.

    Parameters
    ----------
    scaler : scaler
        See `sklearn_jko.scaling`.

    Returns
    -------
    module : nn.Module
        Maps X (n, d) to Z (n, d) and log |det dZ/dX| (n,).

    Raises
    ------
    TypeError
        If there is no torch module for this scaler.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklearn_jko.export.torch_scalers import torch_scaler
    >>> from sklearn_jko.scaling import make_scaler
    >>> X = np.exp(np.random.default_rng(0).normal(size=(1000, 2)))
    >>> scaler = make_scaler("marginal+whiten").fit(X)
    >>> Z, log_det = torch_scaler(scaler)(torch.from_numpy(X))
    >>> bool(np.allclose(Z, scaler.transform(X)[0]))
    True
    """
    name = type(scaler).__name__
    if type(scaler) not in TORCH_SCALERS:
        raise TypeError(
            f"The scaler {name} is not in TORCH_SCALERS: write a torch module and enter it there."
        )
    return TORCH_SCALERS[type(scaler)](scaler)


class TorchChain(nn.Module):
    def __init__(self, scaler):
        super().__init__()
        self.parts = nn.ModuleList(torch_scaler(part) for part in scaler.parts)

    def forward(self, X):
        log_det = X.new_zeros(X.shape[0])
        for part in self.parts:
            X, step = part(X)
            log_det = log_det + step
        return X, log_det


class Learned(nn.Module):
    """Base class that holds what a scaler has learned, under the same names."""

    def __init__(self, scaler):
        super().__init__()
        for name in scaler.learned:
            self.register_buffer(name, torch.tensor(np.asarray(getattr(scaler, name))))


class TorchIdentity(Learned):
    def forward(self, X):
        return _bounded(X), X.new_zeros(X.shape[0])


class TorchStandard(Learned):
    def forward(self, X):
        Z = _standardised(X, self.mean_, self.scale_)
        return Z, -self.scale_.log().sum().expand(X.shape[0])


class TorchWhiten(Learned):
    def forward(self, X):
        standard = _standardised(X, self.mean_, self.scale_)
        return standard @ self.whitening_, self.log_det_.expand(X.shape[0])


class TorchTails(Learned):
    def __init__(self, scaler):
        super().__init__(scaler)
        self.register_buffer("steepness", torch.tensor(scaler.steepness))

    def forward(self, X):
        Z = _standardised(X, self.median_, self.spread_)
        distance, scale = Z.abs(), self.steepness * (1 + self.farthest_ - REACH)
        inner = (torch.minimum(distance, self.farthest_) - REACH).clamp(min=0.0).log1p()
        outer = ((distance - self.farthest_).clamp(min=0.0) / scale).log1p()
        log_det = -(self.spread_.log() + inner + outer).sum(dim=1)
        return Z.clamp(-REACH, REACH) + Z.sign() * (inner + self.steepness * outer), log_det


class TorchBounds(Learned):
    def __init__(self, scaler):
        super().__init__(scaler)
        self.register_buffer("low", torch.tensor(scaler.low))
        self.register_buffer("high", torch.tensor(scaler.high))

    def forward(self, X):
        X = self._on_bounds(X)
        width, inner = self.high - self.low, _bounded(X)
        below, above = inner <= self.low, inner >= self.high
        distance_low = torch.where(below, self.low_gap_, inner - self.low)
        distance_low = torch.where(above, width - self.high_gap_, distance_low)
        distance_high = torch.where(above, self.high_gap_, self.high - inner)
        distance_high = torch.where(below, width - self.low_gap_, distance_high)
        log_low, log_high = (
            torch.where(bound.isfinite(), distance, 1.0).log()
            for bound, distance in ((self.low, distance_low), (self.high, distance_high))
        )
        log_width = torch.where(width.isfinite(), width, 1.0).log()
        is_open = self.low.isinf() & self.high.isinf()
        Z = torch.where(is_open, inner, log_low - log_high)
        log_det = (log_width - log_low - log_high).sum(1)
        return Z, torch.where(((X < self.low) | (X > self.high)).any(1), -torch.inf, log_det)

    def _on_bounds(self, X):
        """X with bounds that were rounded to single precision replaced, as `Column.encode` does."""
        for bound in (self.low, self.high):
            size = bound.abs()
            is_single = (size >= SINGLE.tiny) & (size < SINGLE.max)
            X = torch.where(is_single & (X == bound.float().double()), bound, X)
        return X


class TorchPower(Learned):
    def forward(self, X):
        inner = _standardised(X, self.centre_, self.spread_)
        inside = inner.clamp(self.low_, self.high_)
        # Not by sign and abs, whose derivatives are 0 at 0, where the median is.
        sign = torch.where(inside < 0, -1.0, 1.0).to(inside)
        exponent = torch.where(inside < 0, 2 - self.exponent_, self.exponent_)
        log = torch.log1p(sign * inside)
        log_slope = (exponent - 1) * log
        flat = exponent.abs() < 1e-12
        power = sign * torch.where(
            flat, log, torch.expm1(exponent * log) / torch.where(flat, 1.0, exponent)
        )
        slope, distance = log_slope.exp(), inner - inside
        least, share = slope.clamp(max=MAX_OUTER_SLOPE), 1 / (1 + distance.abs())
        power = _bounded(power + distance * (least + (slope - least) * share))
        log_slope = (least + (slope - least) * share**2).log()
        log_det = log_slope - self.spread_.log() - self.scale_.log()
        return _standardised(power, self.mean_, self.scale_), log_det.sum(1)


class TorchMarginal(nn.Module):
    def __init__(self, scaler):
        super().__init__()
        self.splines = Splines(np.split(scaler.splines_, scaler.starts_[1:-1], axis=1))
        self.register_buffer("centre", torch.tensor(scaler.centre_))
        self.register_buffer("spread", torch.tensor(scaler.spread_))

    def forward(self, X):
        deviation = _bounded(X) - self.centre
        Z, log_slope = self.splines(self._inner(deviation))
        return Z, (log_slope - torch.hypot(deviation, self.spread).log()).sum(1)

    def _inner(self, deviation):
        inner = torch.asinh(deviation / self.spread)
        # The quotient can overflow where its logarithm does not.
        far = deviation.abs().clamp(min=SMALLEST_NORMAL).log() - (self.spread / 2).log()
        return torch.where(inner.isfinite(), inner, far.copysign(deviation))


class TorchRadial(nn.Module):
    def __init__(self, scaler):
        super().__init__()
        self.spline = Splines([scaler.spline_])

    def forward(self, X):
        bounded = _bounded(X)
        largest = bounded.abs().amax(1, keepdim=True)
        unit = torch.where(largest > 0, largest, 1.0)
        radius = unit * torch.linalg.vector_norm(bounded / unit, dim=1, keepdim=True)
        u = torch.maximum(radius, self.spline.start.exp()).log()
        v, log_slope = self.spline(u)
        stretched = X * (v - u).clamp(max=LARGEST_EXPONENT).exp()
        return _bounded(stretched), (log_slope + X.shape[1] * (v - u))[:, 0]


class TorchMixture(Learned):
    def __init__(self, scaler):
        super().__init__(scaler)
        self.register_buffer("inverse_roots", torch.tensor(np.linalg.inv(scaler.roots_)))

    def forward(self, X):
        X = _standardised(X, self.mean_, self.scale_).clamp(-FARTHEST, FARTHEST)
        roots = zip(self.means_, self.inverse_roots, strict=True)
        deviations = torch.stack([(X - mean) @ inverse.mT for mean, inverse in roots])
        log_scales = self.roots_.diagonal(dim1=-2, dim2=-1).log()
        log_weights = self.log_weights_[:, None].expand(-1, X.shape[0])
        Z, log_det = [], -self.scale_.log().sum().expand(X.shape[0])
        for e, log_scale in zip(deviations.unbind(2), log_scales.T[:, :, None], strict=True):
            z, log_slope = _normal_quantile(log_weights, e, log_scale)
            Z.append(z)
            log_det = log_det + log_slope
            log_weights = (log_weights - 0.5 * e**2 - log_scale).log_softmax(0)
        return torch.stack(Z, dim=1), log_det


def _normal_quantile(log_weights, e, log_scale):
    below, above = ((log_weights + _log_tail(s * e)).logsumexp(0) for s in (1.0, -1.0))
    sign = torch.where(below < above, 1.0, -1.0).to(e)
    tail = torch.minimum(below, above).clamp(max=-math.log(2))
    z = _quantile_of_log(tail)
    shares = log_weights + _log_tail(sign * e) - tail
    log_slope = (shares + _log_hazard(sign * e) - log_scale).logsumexp(0) - _log_hazard(z)
    return sign * z, log_slope


def _quantile_of_log(tail):
    """The normal quantile, at most 0, of a probability whose logarithm is given."""
    with torch.no_grad():
        far = -2 * tail - math.log(2 * math.pi)
        z = -(far - far.clamp(min=2.0).log()).clamp(min=0.0).sqrt()
        z = torch.where(tail > -600, torch.special.ndtri(tail.exp()), z)
        for _ in range(NEWTON_STEPS):
            z = z - (_log_tail(z) - tail) / _log_hazard(z).exp()
        slope = _log_hazard(z).exp()
    return z - (_log_tail(z) - tail) / slope  # for the gradient


def _log_tail(e):
    """log Phi(e), with an accurate gradient in the lower tail, unlike torch's own."""
    below = e.clamp(max=0.0)
    far = _log_erfcx(below) - 0.5 * below**2 - math.log(2)
    return torch.where(e < 0, far, torch.special.log_ndtr(e.clamp(0.0, 40.0)))


def _log_hazard(e):
    """Logarithm of phi(e) / Phi(e)."""
    below, above = e.clamp(max=0.0), e.clamp(min=0.0)
    far = math.log(2 / math.pi) / 2 - _log_erfcx(below)
    near = -0.5 * above**2 - math.log(2 * math.pi) / 2 - _log_tail(above)
    return torch.where(e < 0, far, near)


def _log_erfcx(e):
    return torch.special.erfcx(-e / 2**0.5).log()


class Splines(nn.Module):
    """Monotone splines, one per column; see `sklearn_jko.scaling._spline`.

    Parameters
    ----------
    splines : list of ndarray of shape (3, k)
        The spline of each column; k may differ between columns.
    """

    def __init__(self, splines):
        super().__init__()
        width = max(spline.shape[1] for spline in splines) - 1
        edges = np.full((len(splines), width - 1), np.inf)
        pieces = np.ones((7, len(splines), width))
        for j, (x, y, slope) in enumerate(splines):
            k = len(x) - 1
            edges[j, : k - 1] = x[1:-1]
            dx, dy = np.diff(x), np.diff(y)
            pieces[:, j, :k] = x[:-1], dx, y[:-1], dy, dy / dx, slope[:-1], slope[1:]
        ends = [spline[[0, 0, 2, 2], [0, -1, 0, -1]] for spline in splines]
        self.register_buffer("edges", torch.tensor(edges))
        self.register_buffer("pieces", torch.tensor(pieces))
        for name, end in zip(("start", "end", "first", "last"), np.array(ends).T, strict=True):
            self.register_buffer(name, torch.tensor(end))

    def forward(self, x):
        """Values and log-slopes of the splines at x, both (n, d)."""
        inside = x.clamp(self.start, self.end)
        piece = torch.searchsorted(self.edges, inside.detach().T.contiguous(), right=True)
        found = self.pieces.gather(2, piece.expand(7, -1, -1)).mT
        x0, width, y0, height, secant, d0, d1 = found.unbind()
        t = (inside - x0) / width
        tt = t * (1 - t)
        below = secant + (d0 + d1 - 2 * secant) * tt
        y = y0 + height * (secant * t**2 + d0 * tt) / below
        slope = (secant / below) ** 2 * (d1 * t**2 + 2 * secant * tt + d0 * (1 - t) ** 2)
        outside = x - inside
        return y + torch.where(outside < 0, self.first, self.last) * outside, slope.log()


def _standardised(X, centre, scale):
    return _bounded((_bounded(X) - centre) / scale)


def _bounded(values):
    return values.clamp(-LARGEST, LARGEST)


TORCH_SCALERS = {
    Bounds: TorchBounds,
    Chain: TorchChain,
    Identity: TorchIdentity,
    Standard: TorchStandard,
    Tails: TorchTails,
    Whiten: TorchWhiten,
    Power: TorchPower,
    Marginal: TorchMarginal,
    Radial: TorchRadial,
    Mixture: TorchMixture,
}
