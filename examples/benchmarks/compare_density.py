"""Held-out likelihood of density estimators, all given the same wall time.

Prints the negative log-likelihood of the test rows (nats per row; less is better) and seconds
for `JKOFlowDensity` and the baselines of `baselines.py` on the data sets of `datasets.py`:

    export SKLEARN_JKO_DATA=...            # see data_folder in datasets.py
    python compare_density.py --seconds 40 --output results
    python compare_density.py --datasets --bsds 100000 --seconds 300

Rows are shuffled and cut 80/10/10 into training, validation and test rows, and every method sees
columns standardised by the training rows, so figures are in standardised units. The baselines
tune themselves on the validation rows; `JKOFlowDensity` gets training and validation rows
together and splits them itself.
"""

import argparse
import copy
import json
import platform
import time
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from baselines import BASELINES
from datasets import DATASETS, DEQUANTISATION, bsds300_patches, data_folder, make_splits
from threadpoolctl import threadpool_limits

from sklearn_jko import JKOFlowDensity

OURS = "JKOFlowDensity"
METHODS = (OURS, *BASELINES)
BSDS = "BSDS300"
MAX_BSDS_TEST = 25_000
PACKAGES = ("numpy", "scikit-learn", "scipy", "sklearn-jko", "torch", "zuko")
UNITS = (
    "Negative log-likelihood of the test rows, nats per row, with the standard error of the mean. "
    "Columns are standardised by the training rows for every method; BSDS300 patches are left in "
    "their usual units."
)


def main(argv=None):
    arguments = parse(argv)
    folder = data_folder()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        report = {**describe_run(arguments), "results": run_all(arguments, folder)}
    print(f"\n{UNITS}\n\n{markdown_table(report['results'])}")
    if arguments.output:
        write(report, arguments.output)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ", ".join(METHODS)
    parser.add_argument("--datasets", nargs="*", default=[*DATASETS], choices=DATASETS)
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS, help=names)
    parser.add_argument("--seconds", type=float, default=40.0, help="wall time of each fit")
    parser.add_argument("--seed", type=int, default=0, help="of the noise, split and methods")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--bsds", type=int, metavar="N_PATCHES", help=f"train {OURS} on so many image patches too"
    )
    parser.add_argument("--output", metavar="PREFIX", help="write PREFIX-<date>.json and .md")
    return parser.parse_args(argv)


def describe_run(arguments):
    """Print, and return for the record, what the figures depend on."""
    facts = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **installed_versions()},
        "threads": arguments.threads,
        "seconds_per_fit": arguments.seconds,
        "seed": arguments.seed,
        "units": UNITS,
        "dequantisation": DEQUANTISATION,
    }
    for name, fact in facts.items():
        print(f"{name}: {fact}")
    print(flush=True)
    return facts


def installed_versions():
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def run_all(arguments, folder):
    results = []
    for dataset in arguments.datasets:
        parts = make_splits(DATASETS[dataset](folder), arguments.seed)
        print(f"{dataset}: {describe_parts(parts)}", flush=True)
        for method in arguments.methods:
            results.append(run(dataset, method, parts, arguments))
    if arguments.bsds:
        results.append(run_bsds(arguments, folder))
    return results


def describe_parts(parts):
    rows = " + ".join(str(len(part)) for part in parts)
    return f"{rows} rows (training, validation, test) of {parts[0].shape[1]} columns"


def run(dataset, method, parts, arguments):
    """Fit and score one method; print and return the record."""
    if method == OURS:
        result = run_ours(parts, arguments, device="cpu")
    else:
        result = run_baseline(BASELINES[method], parts, arguments)
    return printed({"dataset": dataset, "method": method, **result})


def run_baseline(fit, parts, arguments):
    train, validation, test = parts
    start = time.monotonic()
    log_density = fit(train, validation, arguments.seconds, arguments.seed)
    seconds = time.monotonic() - start
    return {**likelihood(log_density, test), "fit_seconds": seconds}


def run_ours(parts, arguments, device):
    """Also score with the solver's steps doubled and quadrupled: a true figure stays."""
    train, validation, test = parts
    estimator = JKOFlowDensity(
        max_time=arguments.seconds, random_state=arguments.seed, device=device
    )
    start = time.monotonic()
    estimator.fit(np.concatenate([train, validation]))
    seconds = time.monotonic() - start
    return {
        **likelihood(estimator.score_samples, test),
        "fit_seconds": seconds,
        "scaling": estimator.scaling_,
        "n_blocks": estimator.n_blocks_,
        "n_steps": estimator.flow_.n_steps,
        **{f"nll_steps_x{k}": refined_nll(estimator, test, k) for k in (2, 4)},
    }


def refined_nll(estimator, test, factor):
    refined = copy.deepcopy(estimator)
    refined.flow_.n_steps *= factor
    return -float(refined.score_samples(test).mean())


def likelihood(log_density, test):
    start = time.monotonic()
    values = log_density(test)
    return {
        "nll": -float(np.mean(values)),
        "standard_error": float(np.std(values, ddof=1) / np.sqrt(len(values))),
        "score_seconds": time.monotonic() - start,
    }


def run_bsds(arguments, folder):
    """Ours on image patches, in the units in which the benchmark's figures are published."""
    n_train = arguments.bsds
    n_validation, n_test = max(n_train // 20, 1), min(max(n_train // 4, 2), MAX_BSDS_TEST)
    parts = bsds300_patches(n_train, n_validation, n_test, arguments.seed, folder)
    print(f"{BSDS}: {describe_parts(parts)}; not standardised: nats per patch", flush=True)
    result = run_ours(parts, arguments, device="auto")
    return printed({"dataset": BSDS, "method": OURS, **result})


def printed(result):
    line = (
        f"  {result['method']:18s} {result['nll']:9.3f} +- {result['standard_error']:.3f}   "
        f"fit {result['fit_seconds']:5.1f} s   score {result['score_seconds']:5.1f} s"
    )
    if "nll_steps_x2" in result:
        line += (
            f"   [{result['scaling']}, {result['n_blocks']} blocks of {result['n_steps']} steps; "
            f"steps x2: {result['nll_steps_x2']:.3f}, x4: {result['nll_steps_x4']:.3f}]"
        )
    print(line, flush=True)
    return result


def markdown_table(results):
    """One row a method, one column a data set."""
    datasets = list(dict.fromkeys(result["dataset"] for result in results))
    methods = list(dict.fromkeys(result["method"] for result in results))
    cells = {
        (r["method"], r["dataset"]): (
            f"{r['nll']:.3f} ± {r['standard_error']:.3f} ({r['fit_seconds']:.0f} s)"
        )
        for r in results
    }
    lines = [["method", *datasets], ["---"] * (len(datasets) + 1)]
    lines += [[method, *(cells.get((method, d), "") for d in datasets)] for method in methods]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(report, prefix):
    stem = f"{prefix}-{report['date'][:10]}"
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    Path(f"{stem}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    notes = (
        f"{report['date']}; {versions}; threads: {report['threads']}; seconds a fit may take: "
        f"{report['seconds_per_fit']:g}; seed: {report['seed']}."
    )
    table = markdown_table(report["results"])
    text = "\n\n".join([report["units"], report["dequantisation"], table, notes])
    Path(f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    print(f"\nWritten: {stem}.json, {stem}.md")


if __name__ == "__main__":
    main()
