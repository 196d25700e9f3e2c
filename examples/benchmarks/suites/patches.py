"""Likelihood of BSDS300 image patches over time, ours.

Negative log-likelihood of test patches in nats per patch (less is better), in the units in which
the benchmark's figures are published, not standardised. Each budget of seconds is a fit of its
own. Every figure is also given with the solver's steps doubled and quadrupled.
"""

from datasets import bsds300_patches, data_folder
from flows import OURS, fit_ours
from reporting import Option, markdown, printed

from suites.likelihood import budget_ratios, cell, steps_table

__all__ = ["OPTIONS", "ratios", "run", "table"]

BSDS = "BSDS300"
MAX_TEST = 25_000
OPTIONS = (
    Option("rows", 100_000, 400, "training patches"),
    Option("budgets", (75.0, 150.0, 300.0, 600.0), (1.0, 2.0), "seconds of each fit"),
    Option("device", "auto", "cpu", "device of the fit, as torch names it"),
)


def run(arguments):
    n = arguments.rows
    sizes = n, max(n // 20, 1), min(max(n // 4, 2), MAX_TEST)
    parts = bsds300_patches(*sizes, arguments.seed, data_folder())
    return [
        printed(
            {
                "dataset": BSDS,
                "method": OURS,
                "rows": n,
                "budget": budget,
                **fit_ours(parts, arguments.seed, max_time=budget, device=arguments.device),
            }
        )
        for budget in arguments.budgets
    ]


def table(records):
    curve = markdown(
        ["training patches", "budget", "NLL (fit seconds)"],
        [[r["rows"], f"{r['budget']:g} s", cell(r)] for r in records],
    )
    return f"{curve}\n\n{steps_table(records)}"


def ratios(records):
    return budget_ratios(records)
