"""Toy densities in the plane: likelihood, samples against the truth, and pictures.

Negative log-likelihood (NLL) of fresh rows in nats per row (less is better), next to the entropy
of the truth, which no model can beat, where it is known; the squared maximum mean discrepancy
(MMD) between samples and fresh rows, with a bandwidth of a tenth of the median distance (MMD-m)
and with a constant one (MMD-c), each over the threshold that two samples of the truth exceed in 5 %
of cases (below 1 is as good as can be told); and how often boosted trees tell samples from fresh
rows (0.5 is chance). Ours is fitted within the budget of seconds, in its default settings but for
`SETTINGS`; the figure is also given with the solver's steps doubled and quadrupled.
"""

import functools
import math
from pathlib import Path

import numpy as np
from baselines import BASELINES
from flows import OURS, judged, likelihood
from measuring import timed
from reporting import Option, markdown, printed, ratio
from suites.likelihood import cell, steps_table
from toys import PICTURES, TOYS, image_intensity, picture_entropy, picture_rows

from sklearn_jko import JKOFlowDensity
from sklearn_jko.diagnostics import path_through_blocks
from sklearn_jko.step_sizes import geometric_step
from sklearn_jko.two_sample import classifier_test, median_distance, mmd_test

__all__ = ["OPTIONS", "ratios", "run", "table"]

MEDIAN_SHARE, CONSTANT_BANDWIDTH = 0.1, 0.2
N_PERMUTATIONS = 500
METHODS = (OURS, *BASELINES)
# The default's, but for all blocks, however little they move.
GROWING = functools.partial(geometric_step, first=0.5, growth=2.0)
# Pictures have more detail than other tables of two columns.
DETAILED = {"scaling": "standard", "hidden_layer_sizes": (256, 256), "step_size": GROWING}
SETTINGS = dict.fromkeys(PICTURES, DETAILED)
SOME_METHODS = (OURS, "KernelDensity", "MAF", "NSF", "CNF", "CNF, regularised", "diffusion")
OPTIONS = (
    Option("datasets", tuple(TOYS), ("8 Gaussians",), "toys", tuple(TOYS)),
    Option("rose-image", "", "", "path of an image that stands in for our rose"),
    Option("tree-image", "", "", "path of an image that stands in for our tree"),
    Option("rows", 20_000, 300, "training rows, a tenth of them to validate"),
    Option("test-rows", 10_000, 200, "fresh rows for the likelihood"),
    Option("samples", 5000, 100, "rows of either sample that are compared"),
    Option("methods", SOME_METHODS, (OURS, "KernelDensity"), "methods", METHODS),
    Option("budget", 60.0, 0.5, "seconds of each fit"),
    Option("pictures", "", "", "folder for a picture of each toy by ours; none where empty"),
)


def run(arguments):
    records = []
    for dataset in arguments.datasets:
        draw, entropy = truth(dataset, arguments)
        rng = np.random.default_rng(arguments.seed)
        tenth = arguments.rows // 10
        train, validation = draw(arguments.rows - tenth, rng), draw(tenth, rng)
        test, fresh = draw(arguments.test_rows, rng), draw(arguments.samples, rng)
        for method in arguments.methods:
            fitted = fit(method, train, validation, test, dataset, arguments)
            sample = fitted.pop("sample")
            record = {"dataset": dataset, "method": method, "entropy": entropy, **fitted}
            records.append(printed({**record, **compared(sample, fresh, arguments.seed)}))
    return records


def truth(dataset, arguments):
    """Function that draws rows, and their entropy in nats, None where it is not known."""
    path = {"rose": arguments.rose_image, "fractal tree": arguments.tree_image}.get(dataset)
    if dataset not in PICTURES:
        return TOYS[dataset], math.log(32) if dataset == "checkerboard" else None
    picture = image_intensity(path) if path else PICTURES[dataset]()
    rng = np.random.default_rng(arguments.seed + 1)
    entropy = picture_entropy(picture, arguments.test_rows, rng)
    return functools.partial(picture_rows, picture), float(entropy)


def fit(method, train, validation, test, dataset, arguments):
    """A record with the likelihood, and under "sample" a function that draws rows."""
    if method == OURS:
        settings = {} if arguments.tiny else SETTINGS.get(dataset, {})
        limits = {"max_time": arguments.budget, "random_state": arguments.seed}
        estimator = JKOFlowDensity(**settings, **limits, device="cpu")
        density, seconds = timed(lambda: estimator.fit(np.r_[train, validation]))
        if arguments.pictures:
            save_picture(density, train, dataset, Path(arguments.pictures))
        figures = judged(density, test)
    else:
        baseline = functools.partial(BASELINES[method], train, validation)
        density, seconds = timed(lambda: baseline(arguments.budget, arguments.seed))
        figures = likelihood(density.log_density, test)
    fitted = {"fit_seconds": seconds, "budget": arguments.budget, **figures}
    return {**fitted, "sample": density.sample}


def compared(sample, fresh, seed):
    """Discrepancies between samples and fresh rows over their thresholds, and a classifier's."""
    rows = sample(len(fresh), seed)
    bandwidths = {"mmd_m": MEDIAN_SHARE * median_distance(fresh), "mmd_c": CONSTANT_BANDWIDTH}
    record = {}
    for name, bandwidth in bandwidths.items():
        test = mmd_test(rows, fresh, bandwidth, n_permutations=N_PERMUTATIONS, random_state=seed)
        record |= {name: test.mmd, f"{name}_threshold": test.threshold}
    return {
        **record,
        "classifier_accuracy": classifier_test(rows, fresh, random_state=seed).accuracy,
    }


def table(records):
    header = ["method", "NLL (fit seconds)", "MMD-m / threshold", "MMD-c / threshold", "trees"]
    parts = []
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        some = [r for r in records if r["dataset"] == dataset]
        rows = [
            [
                r["method"],
                cell(r),
                *(f"{r[name] / r[name + '_threshold']:.2f}" for name in ("mmd_m", "mmd_c")),
                f"{r['classifier_accuracy']:.3f}",
            ]
            for r in some
        ]
        entropy = some[0]["entropy"]
        known = "" if entropy is None else f", entropy {entropy:.3f}"
        parts += [f"**{dataset}**{known}", markdown(header, rows)]
    return "\n\n".join([*parts, steps_table(records)])


def ratios(records):
    """Of ours: discrepancies over their thresholds."""
    return [
        ratio(f"{name} over its threshold; {r['dataset']}", r[name], r[f"{name}_threshold"])
        for r in records
        if r["method"] == OURS
        for name in ("mmd_m", "mmd_c")
    ]


def save_picture(estimator, train, dataset, folder):
    """Rows, samples, the density, and rows on their way through the blocks, in one line."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    shown = train[:4000]
    path = path_through_blocks(estimator, shown)
    figure = Figure(figsize=(3 * (3 + len(path)), 3.2), layout="constrained")
    axes = figure.subplots(1, 3 + len(path))
    low, high = shown.min(axis=0), shown.max(axis=0)
    x, y = (np.linspace(a, b, 200) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    density = np.exp(estimator.score_samples(grid.reshape(-1, 2))).reshape(grid.shape[:2])
    panels = {"rows": shown, "samples": estimator.sample(len(shown), random_state=0)}
    for axis, (title, rows) in zip(axes, panels.items(), strict=False):
        axis.plot(*rows.T, ".", markersize=1)
        axis.set(title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes[2].imshow(
        density, origin="lower", extent=(low[0], high[0], low[1], high[1]), aspect="auto"
    )
    axes[2].set(title="density")
    for k, (axis, rows) in enumerate(zip(axes[3:], path, strict=True)):
        axis.plot(*rows.T, ".", markersize=1)
        axis.set(title="scaled" if k == 0 else f"after block {k}", xlim=(-4, 4), ylim=(-4, 4))
    figure.savefig(folder / f"{dataset.replace(' ', '_')}.png", dpi=100)
