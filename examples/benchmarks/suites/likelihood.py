"""Held-out likelihood over time: ours against other densities.

Negative log-likelihood of the test rows in nats per row (less is better), with the standard error
of the mean. Rows are shuffled and cut 80/10/10 into training, validation and test rows, and every
method sees columns standardised by the training rows. Each budget of seconds is a fit of its own;
without one, ours takes its defaults. The others tune themselves on the validation rows; ours gets
training and validation rows together and splits them itself. A method that was done in half of
its budget would do the same with a larger one, which is left out. The others stop their training
at the budget and are judged as they are; every figure of ours is also given with the solver's
steps doubled and quadrupled.
"""

from baselines import BASELINES
from datasets import DATASETS, DEQUANTISATION, data_folder, make_splits
from flows import OURS, fit_ours, likelihood
from measuring import timed
from reporting import Option, listed, markdown, printed, ratio

__all__ = ["OPTIONS", "ratios", "run", "steps_table", "table"]

NO_BUDGET = "default"
METHODS = (OURS, *BASELINES)
OPTIONS = (
    Option("datasets", tuple(DATASETS), ("thyroid",), "data sets", tuple(DATASETS)),
    Option("methods", METHODS, METHODS, "methods", METHODS),
    Option("budgets", (10.0, 20.0, 40.0, 120.0), (0.5,), "seconds of each fit"),
    Option("default-fit", 1, 0, "whether ours is also fitted without a budget", (0, 1)),
)


def run(arguments):
    folder = data_folder()
    records = []
    for dataset in arguments.datasets:
        parts = make_splits(DATASETS[dataset](folder), arguments.seed)
        print(f"{dataset}: training, validation, test {[part.shape for part in parts]}", flush=True)
        for method in arguments.methods:
            for record in run_method(method, parts, arguments):
                records.append(printed({"dataset": dataset, "method": method, **record}))
    return records


def run_method(method, parts, arguments):
    """A record for each budget that makes a difference."""
    if method == OURS and arguments.default_fit:
        yield {"budget": NO_BUDGET, **fit_ours(parts, arguments.seed, device="cpu")}
    for budget in sorted(arguments.budgets):
        if method == OURS:
            result = fit_ours(parts, arguments.seed, max_time=budget, device="cpu")
        else:
            result = fit_baseline(BASELINES[method], parts, budget, arguments.seed)
        yield {"budget": budget, **result}
        if method != OURS and result["fit_seconds"] < budget / 2:
            break


def fit_baseline(fit, parts, budget, seed):
    train, validation, test = parts
    density, seconds = timed(lambda: fit(train, validation, budget, seed))
    return {**likelihood(density.log_density, test), "fit_seconds": seconds}


def table(records):
    """For each data set a row a method and a column a budget; then ours at doubled steps."""
    parts = []
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        parts += [f"**{dataset}**", budget_table([r for r in records if r["dataset"] == dataset])]
    return "\n\n".join([*parts, steps_table(records), DEQUANTISATION])


def budget_table(records):
    budgets = sorted({r["budget"] for r in records}, key=lambda b: (b != NO_BUDGET, b))
    rows = []
    for method in dict.fromkeys(r["method"] for r in records):
        cells = {r["budget"]: cell(r) for r in records if r["method"] == method}
        rows.append([method, *(cells.get(budget, "") for budget in budgets)])
    header = [b if b == NO_BUDGET else f"{b:g} s" for b in budgets]
    return markdown(["method", *header], rows)


def cell(record):
    return f"{record['nll']:.3f} ± {record['standard_error']:.3f} ({record['fit_seconds']:.1f} s)"


def steps_table(records):
    """Figures of ours with the solver's steps as chosen, doubled and quadrupled."""
    names = ("nll", "nll_steps_x2", "nll_steps_x4")
    rows = [
        [r["dataset"], r["budget"], r["scaling"], r["n_blocks"], listed(r["n_steps"])]
        + [f"{r[name]:.4f}" for name in names]
        for r in records
        if r["method"] == OURS
    ]
    header = ["ours", "budget", "scaling", "blocks", "steps", "NLL", "steps x 2", "steps x 4"]
    return markdown(header, rows)


def ratios(records):
    """Seconds of the best other fit over those of our fastest fit that is as good."""
    found = []
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        fits = [r for r in records if r["dataset"] == dataset]
        others = [r for r in fits if r["method"] != OURS]
        best = min(others, key=lambda r: r["nll"], default=None)
        as_good = [
            r for r in fits if r["method"] == OURS and best and r["nll_steps_x2"] <= best["nll"]
        ]
        if as_good:
            fastest = min(as_good, key=lambda r: r["fit_seconds"])
            of = f"fit seconds, {best['method']} (best other) over ours as good; {dataset}"
            found.append(ratio(of, best["fit_seconds"], fastest["fit_seconds"]))
    return found + budget_ratios(records)


def budget_ratios(records):
    """Seconds that our fits took over those they were given."""
    return [
        ratio(f"fit seconds of ours over the budget; {r['dataset']}", r["fit_seconds"], r["budget"])
        for r in records
        if r["method"] == OURS and r["budget"] != NO_BUDGET
    ]
