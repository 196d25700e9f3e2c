"""Outlier detection on the sets of ADBench: ours against the detectors that people use.

Area under the ROC curve, and average precision, of the outliers among the test rows. In the setting
"half" a detector is trained on half of the normal rows and judged on the other half and the
outliers; in the setting "all" it is trained and judged on all rows, whose labels it does not see.
Larger sets are cut to ``--max-rows`` rows at random. Ours gets the rows as they are, the others get
columns standardised by the training rows; all have their defaults (`detectors.py`). Every figure is
the mean over the seeds, which draw the halves too; ranks are by these means, ties shared. The
"log-density alone" is the score of the flow in our detector without the other terms.

The last table is of the conformal p-values in the setting "half": how many of the normal test rows,
of all seeds, have one of at most 0.05, next to the interval that 99 % of binomial draws of that
chance fall into. The interval knows nothing of the chance in the calibration rows, which is larger
where they are few.
"""

import functools
import warnings

import numpy as np
from datasets import data_folder
from detectors import DETECTORS
from flows import OURS_DETECTOR
from joblib import Parallel, delayed
from measuring import limit_threads, timed
from reporting import Option, markdown, printed, ratio
from scipy.stats import binom, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowOutlierDetector

__all__ = ["OPTIONS", "ratios", "run", "table"]

OURS, ALONE = OURS_DETECTOR, "log-density alone"
HALF, ALL = "half", "all"
LEVEL = 0.05
FILES = (
    "2_annthyroid 4_breastw 6_cardio 10_cover 12_fault 14_glass 18_Ionosphere 22_magic.gamma "
    "23_mammography 24_mnist 26_optdigits 27_PageBlocks 28_pendigits 29_Pima 31_satimage-2 "
    "32_shuttle 38_thyroid 40_vowels 42_WBC 44_Wilt 45_wine"
)
DATASETS = {name.split("_", 1)[1]: name for name in FILES.split()}
OPTIONS = (
    Option("datasets", tuple(DATASETS), ("thyroid",), "data sets", tuple(DATASETS)),
    Option("settings", (HALF, ALL), (HALF, ALL), "settings", (HALF, ALL)),
    Option("seeds", 5, 1, "seeds, counted from --seed"),
    Option("max-rows", 10_000, 120, "most rows of a set"),
    Option("max-time", 0.0, 0.5, "most seconds of our fits; 0 for no limit"),
    Option("workers", 1, 1, "processes, each with its --threads"),
)


def run(arguments):
    return run_jobs(run_job, arguments)


def run_jobs(run_job, arguments):
    """All methods on every set in each setting with each seed, in as many processes as wanted."""
    folder = data_folder()
    jobs = [
        delayed(run_job)(folder, dataset, setting, seed, arguments)
        for dataset in arguments.datasets
        for setting in arguments.settings
        for seed in range(arguments.seed, arguments.seed + arguments.seeds)
    ]
    parts = Parallel(arguments.workers, return_as="generator")(jobs)
    return [printed(record) for part in parts for record in part]


def run_job(folder, dataset, setting, seed, arguments):
    limit_threads(arguments.threads)
    train, test, is_outlier = rows_of(folder, dataset, setting, seed, arguments.max_rows)
    facts = {"dataset": dataset, "setting": setting, "seed": seed, "rows": len(train)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties and of short trainings
        records = [
            {**facts, **record} for record in judged_ours(train, test, is_outlier, seed, arguments)
        ]
        scaler = StandardScaler().fit(train)
        scaled = scaler.transform(train)
        scaled_test = scaled if test is train else scaler.transform(test)
        for method, detect in DETECTORS.items():
            scores, seconds = timed(functools.partial(detect, scaled, scaled_test, seed))
            records.append({**facts, **judged(method, is_outlier, scores, seconds)})
    return records


def rows_of(folder, dataset, setting, seed, max_rows):
    """Training rows, test rows, and which of these are outliers."""
    with np.load(folder / "adbench" / f"{DATASETS[dataset]}.npz") as data:
        X, is_outlier = data["X"].astype(np.float64), data["y"] == 1
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(X))[:max_rows]
    X, is_outlier = X[some], is_outlier[some]
    if setting == ALL:
        return X, X, is_outlier
    normal = np.flatnonzero(~is_outlier)
    test = np.r_[normal[len(normal) // 2 :], np.flatnonzero(is_outlier)]
    return X[normal[: len(normal) // 2]], X[test], is_outlier[test]


def judged_ours(train, test, is_outlier, seed, arguments):
    detector = JKOFlowOutlierDetector(random_state=seed)
    if arguments.max_time:
        detector.density = detector._unfitted_density().set_params(max_time=arguments.max_time)
    scores, seconds = timed(lambda: -detector.fit(train).score_samples(test))
    p_values = detector.p_values(test[~is_outlier])
    calibration = {
        "normal_rows": len(p_values),
        "normal_at_level": int((p_values <= LEVEL).sum()),
        "calibration_rows": len(detector.calibration_scores_),
    }
    yield {**judged(OURS, is_outlier, scores, seconds), **calibration}
    yield judged(ALONE, is_outlier, -detector.density_.score_samples(test), seconds)


def judged(method, is_outlier, scores, seconds):
    return {
        "method": method,
        "auroc": float(roc_auc_score(is_outlier, scores)),
        "average_precision": float(average_precision_score(is_outlier, scores)),
        "seconds": seconds,
    }


def table(records):
    settings = list(dict.fromkeys(r["setting"] for r in records))
    parts = [f"**{setting}**\n\n{setting_table(records, setting)}" for setting in settings]
    if HALF in settings:
        parts.append(f"p-values of normal rows, **{HALF}**\n\n{p_value_table(records)}")
    return "\n\n".join(parts)


def setting_table(records, setting):
    """Areas of each set and method, their mean, the mean precision, and ranks."""
    areas, precision = (figures(records, setting, name) for name in ("auroc", "average_precision"))
    methods = list(next(iter(areas.values())))
    rows = [
        [dataset, *(f"{by_method[m]:.3f}" for m in methods)] for dataset, by_method in areas.items()
    ]
    ranks = ranks_of(areas)
    rows += [
        ["mean AUROC", *(f"{np.mean([a[m] for a in areas.values()]):.4f}" for m in methods)],
        [
            "mean precision",
            *(f"{np.mean([p[m] for p in precision.values()]):.4f}" for m in methods),
        ],
        ["mean rank", *(f"{np.mean(ranks[m]):.2f}" if m in ranks else "" for m in methods)],
        ["worst rank", *(f"{np.max(ranks[m]):g}" if m in ranks else "" for m in methods)],
    ]
    return markdown(["set", *methods], rows)


def figures(records, setting, name):
    """Means over the seeds, by set and method."""
    found = {}
    for record in records:
        if record["setting"] == setting:
            by_method = found.setdefault(record["dataset"], {})
            by_method.setdefault(record["method"], []).append(record[name])
    return {
        dataset: {method: float(np.mean(values)) for method, values in by_method.items()}
        for dataset, by_method in found.items()
    }


def ranks_of(areas):
    """Ranks of each method on the sets; the score that is a part of ours has none."""
    methods = [method for method in next(iter(areas.values())) if method != ALONE]
    ranks = [rankdata([-by_method[m] for m in methods]) for by_method in areas.values()]
    return dict(zip(methods, np.transpose(ranks), strict=True))


def p_value_table(records):
    ours = [r for r in records if r["method"] == OURS and r["setting"] == HALF]
    rows = []
    for dataset in dict.fromkeys(r["dataset"] for r in ours):
        mine = [r for r in ours if r["dataset"] == dataset]
        n, hits = (sum(r[name] for r in mine) for name in ("normal_rows", "normal_at_level"))
        low, high = binom(n, LEVEL).ppf([0.005, 0.995]) / n
        inside = "yes" if low <= hits / n <= high else "no"
        calibration = sum(r["calibration_rows"] for r in mine)
        rows.append([dataset, calibration, n, f"{hits / n:.4f}", f"{low:.4f} {high:.4f}", inside])
    header = ["set", "calibration rows", "normal rows", f"share at {LEVEL}", "interval", "inside"]
    return markdown(header, rows)


def ratios(records):
    """The mean area of ours over the best other's."""
    found = []
    for setting in dict.fromkeys(r["setting"] for r in records):
        areas = figures(records, setting, "auroc")
        means = {m: np.mean([a[m] for a in areas.values()]) for m in next(iter(areas.values()))}
        best = max((m for m in means if m not in (OURS, ALONE)), key=means.get)
        of = f"mean AUROC, ours over {best} (best other); {setting}"
        found.append(ratio(of, float(means[OURS]), float(means[best])))
    return found
