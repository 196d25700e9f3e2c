"""Densities to compare with, each tuned on validation rows within a wall time.

A baseline is a function ``fit(train, validation, seconds, seed) -> Density`` of arrays of shape
(n, d) with standardised columns.
"""

import copy
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch import nn

from sklearn_jko import JKOFlowDensity
from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.scaling import make_scaler
from sklearn_jko.velocities import VELOCITIES

__all__ = [
    "BASELINES",
    "Density",
    "fit_cnf",
    "fit_diffusion",
    "fit_flow_matching",
    "fit_gaussian_mixture",
    "fit_kernel_density",
    "fit_maf",
    "fit_nsf",
    "fit_regularised_cnf",
    "fit_scaled_nsf",
]

BANDWIDTHS = tuple(np.geomspace(1.0, 0.03, 30).tolist())
BATCH_SIZE = 512
LEARNING_RATE = 1e-3
PATIENCE, MAX_STALLS = 15, 3
CHUNK = 8192
# Flow matching and diffusion are scored with steps that move the validation mean by less when
# doubled.
STEPS_TOL, MAX_STEPS = 1e-3, 512
# Weight of the kinetic energy in Finlay et al. (2020), as a step size: 1 / (2 h) = 0.01.
REGULARISING_STEP = 50.0
# Of the variance-preserving diffusion in Song et al. (2021): rates of noise, and the first moment.
NOISE_RATES, FIRST_MOMENT = (0.1, 20.0), 1e-3


class Density(NamedTuple):
    """A fitted density.

    Attributes
    ----------
    log_density : callable
        Maps rows (n, d) to (n,), in nats.
    sample : callable
        Maps a number of rows and a seed to rows (n, d).
    """

    log_density: Callable
    sample: Callable


def fit_kernel_density(train, validation, seconds, seed, bandwidths=BANDWIDTHS):
    """Gaussian kernels: the bandwidth is the validation rows' best, the rows are both parts'."""
    deadline = time.monotonic() + seconds
    scores = {}
    for bandwidth in bandwidths:
        scores[bandwidth] = KernelDensity(bandwidth=bandwidth).fit(train).score(validation)
        best = max(scores, key=scores.get)
        # Bandwidths fall, and the score has one maximum: half the best one is well past it.
        if bandwidth < best / 2 or time.monotonic() > deadline:
            break
    kernels = KernelDensity(bandwidth=best).fit(np.r_[train, validation])
    return Density(kernels.score_samples, kernels.sample)


def fit_gaussian_mixture(train, validation, seconds, seed, max_components=40):
    """Full covariances: the validation rows choose the components, both parts' rows refit."""
    deadline = time.monotonic() + seconds
    scores, slowest = {}, 0.0
    for n_components in range(1, max_components + 1):
        start = time.monotonic()
        # The fit to come, and the last one, on both parts, must still find the time.
        if scores and start + 2.5 * slowest > deadline:
            break
        mixture = GaussianMixture(n_components, random_state=seed).fit(train)
        scores[n_components] = mixture.score(validation)
        slowest = max(slowest, time.monotonic() - start)
    best = max(scores, key=scores.get)
    mixture = GaussianMixture(best, random_state=seed).fit(np.r_[train, validation])

    def sample(n, seed):
        return mixture.set_params(random_state=seed).sample(n)[0]

    return Density(mixture.score_samples, sample)


def fit_maf(train, validation, seconds, seed):
    """Masked autoregressive flow (Papamakarios et al. 2017) of zuko."""
    import zuko

    torch.manual_seed(seed)
    flow = zuko.flows.MAF(train.shape[1], transforms=5, hidden_features=(128, 128))
    return train_flow(flow, train, validation, seconds)


def fit_nsf(train, validation, seconds, seed):
    """Neural spline flow (Durkan et al. 2019), autoregressive, of zuko."""
    import zuko

    torch.manual_seed(seed)
    flow = zuko.flows.NSF(train.shape[1], transforms=5, hidden_features=(128, 128))
    return train_flow(flow, train, validation, seconds)


def fit_scaled_nsf(train, validation, seconds, seed):
    """The neural spline flow on rows scaled by "marginal+whiten" of this package."""
    start = time.monotonic()
    scaler = make_scaler("marginal+whiten").fit(train)
    scaled = [scaler.transform(part)[0] for part in (train, validation)]
    inner = fit_nsf(*scaled, seconds - (time.monotonic() - start), seed)

    def log_density(X):
        Z, log_det = scaler.transform(X)
        return inner.log_density(Z) + log_det

    return Density(log_density, lambda n, seed: scaler.inverse_transform(inner.sample(n, seed)))


def fit_cnf(train, validation, seconds, seed):
    """Free-form continuous flow (FFJORD, Grathwohl et al. 2019) of zuko.

    Hutchinson's estimate of the divergence in training, the exact one for every judgement.
    """
    import zuko

    class CNF(zuko.flows.CNF):
        def train(self, mode=True):
            self.transform.exact = not mode
            return super().train(mode)

    torch.manual_seed(seed)
    flow = CNF(train.shape[1], hidden_features=(128, 128))
    return train_flow(flow, train, validation, seconds)


def fit_regularised_cnf(train, validation, seconds, seed):
    """Continuous flow held back by its transport (OT-Flow, RNODE): our one block, with a cost."""
    X = np.r_[train, validation]
    one_block = {"scaling": "none", "max_blocks": 1, "step_size": REGULARISING_STEP}
    estimator = JKOFlowDensity(**one_block, max_time=seconds, random_state=seed, device="cpu")
    estimator.fit(X)
    return Density(estimator.score_samples, estimator.sample)


def fit_flow_matching(train, validation, seconds, seed):
    """Flow matching (Lipman et al. 2023) on straight paths from the rows to noise."""
    torch.manual_seed(seed)
    return trained_by_matching(FlowMatching(train.shape[1], seed), train, validation, seconds)


def fit_diffusion(train, validation, seconds, seed):
    """Score-based diffusion (Song et al. 2021) with the likelihood of its probability flow."""
    torch.manual_seed(seed)
    return trained_by_matching(Diffusion(train.shape[1], seed), train, validation, seconds)


def trained_by_matching(flow, train, validation, seconds):
    density = train_flow(flow, train, validation, seconds, flow.matching_loss)
    before = density.log_density(validation).mean()
    while flow.n_steps < MAX_STEPS:
        flow.n_steps *= 2
        after = density.log_density(validation).mean()
        if abs(after - before) < STEPS_TOL:
            break
        before = after
    return density


class FlowMatching(nn.Module):
    """A velocity from the rows at time 0 to the standard normal at time 1; RK4, exact trace."""

    def __init__(self, n_features, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.velocity = VELOCITIES["mlp"](n_features, (256, 256), generator)
        self.n_steps = 4

    def matching_loss(self, rows):
        """Mean squared error of the velocity of the paths, at a random time of each."""
        noise, t = torch.randn_like(rows), torch.rand(len(rows), 1)
        velocity = self.velocity(t, (1 - t) * rows + t * noise)
        return (velocity - (noise - rows)).square().sum(1).mean()

    def forward(self):
        """The flow, as zuko's flows give theirs."""
        return JKOFlow([JKOBlock(self.velocity)], n_steps=self.n_steps)


class Diffusion(nn.Module):
    """Noise added at a growing rate, and a network that predicts it from the noisy rows."""

    def __init__(self, n_features, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.velocity = ProbabilityFlow(VELOCITIES["mlp"](n_features, (256, 256), generator))
        self.n_steps = 16

    def matching_loss(self, rows):
        """Mean squared error of the predicted noise, at a random moment of each row."""
        noise = torch.randn_like(rows)
        t = FIRST_MOMENT + (1 - FIRST_MOMENT) * torch.rand(len(rows), 1)
        shrinkage, deviation = noise_level(t)
        predicted = self.velocity.noise(t, shrinkage * rows + deviation * noise)
        return (predicted - noise).square().sum(1).mean()

    def forward(self):
        return JKOFlow([JKOBlock(self.velocity, FIRST_MOMENT, 1.0)], n_steps=self.n_steps)


class ProbabilityFlow(nn.Module):
    """Velocity -rate / 2 (x + score) of rows under the diffusion; score = -noise / deviation."""

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, t, x):
        return self._of(t, x, self.noise(t, x))

    def forward_and_trace(self, t, x):
        noise, trace = self.noise.forward_and_trace(t, x)
        return self._of(t, x, noise), self._of(t, x.shape[1], trace)

    def _of(self, t, x, noise):
        slowest, fastest = NOISE_RATES
        rate = slowest + t * (fastest - slowest)
        _, deviation = noise_level(torch.as_tensor(t, dtype=torch.float64))
        return -0.5 * rate * (x - noise / deviation)


def noise_level(t):
    """By how much the rows have shrunk at moment t, and the deviation of the noise then."""
    slowest, fastest = NOISE_RATES
    log_variance = -(slowest * t + 0.5 * (fastest - slowest) * t**2)
    return (0.5 * log_variance).exp(), (-log_variance.expm1()).sqrt()


BASELINES = {
    "KernelDensity": fit_kernel_density,
    "GaussianMixture": fit_gaussian_mixture,
    "MAF": fit_maf,
    "NSF": fit_nsf,
    "NSF + our scaling": fit_scaled_nsf,
    "CNF": fit_cnf,
    "CNF, regularised": fit_regularised_cnf,
    "flow matching": fit_flow_matching,
    "diffusion": fit_diffusion,
}


def train_flow(flow, train, validation, seconds, loss=None):
    """Adam with early stopping; the weights kept are the best on the validation rows.

    The loss of a batch is its negative log-likelihood where no other is given.

    After `PATIENCE` epochs without improvement the training returns to the best weights with a
    quarter of the learning rate, and ends the fourth time. Over the second half of the wall
    time the learning rate falls to zero.
    """
    start = time.monotonic()
    loss = loss or (lambda rows: -flow().log_prob(rows).mean())
    train, validation = (torch.as_tensor(a, dtype=torch.float32) for a in (train, validation))
    optimizer = torch.optim.Adam(flow.parameters(), lr=LEARNING_RATE)
    best, best_weights = -mean_log_density(flow, validation), copy.deepcopy(flow.state_dict())
    waited, stalls = 0, 0
    while stalls <= MAX_STALLS and time.monotonic() < start + seconds:
        train_epoch(flow, loss, optimizer, train, 0.25**stalls, start, seconds)
        nll = -mean_log_density(flow, validation)
        waited += 1
        if nll < best:
            best, best_weights, waited = nll, copy.deepcopy(flow.state_dict()), 0
        elif waited == PATIENCE:
            flow.load_state_dict(best_weights)
            waited, stalls = 0, stalls + 1
    flow.load_state_dict(best_weights)
    flow.double().eval()
    return Density(
        lambda X: log_density_by_chunks(flow, torch.as_tensor(X)),
        lambda n, seed: sampled(flow, (n, train.shape[1]), seed),
    )


def train_epoch(flow, loss, optimizer, rows, factor, start, seconds):
    flow.train()
    for batch in torch.randperm(len(rows)).split(BATCH_SIZE):
        left = 1 - (time.monotonic() - start) / seconds
        if left <= 0:
            break
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * factor * min(1.0, 2 * left)
        optimizer.zero_grad()
        loss(rows[batch]).backward()
        norm = torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        if torch.isfinite(norm):
            optimizer.step()


def mean_log_density(flow, rows):
    return float(log_density_by_chunks(flow, rows).mean())


@torch.no_grad()
def sampled(flow, shape, seed):
    """Rows of a flow of zuko's, which draws from torch's own generator, or of ours."""
    density = flow()
    if isinstance(density, JKOFlow):
        z = density.base.sample(shape, torch.Generator().manual_seed(seed))
        return density.inverse(z.to(next(density.parameters(), z))).numpy()
    torch.manual_seed(seed)
    return density.sample(shape[:1]).numpy()


@torch.no_grad()
def log_density_by_chunks(flow, rows):
    flow.eval()
    return torch.cat([flow().log_prob(chunk) for chunk in rows.split(CHUNK)]).numpy()
