"""Suites of the benchmark, by name.

A suite is a module with a docstring that explains its figures, the first line by itself;
``OPTIONS``, a tuple of `reporting.Option`; ``run(arguments)``, which returns a list of records
(dicts of plain values); ``table(records)``, markdown; and ``ratios(records)``, a list of what
`reporting.ratio` returns. To add one, write such a module and name it in `SUITES`.
"""

from suites import (
    choices,
    communication,
    conditional,
    cost,
    cures,
    dask_scoring,
    likelihood,
    memory,
    outliers,
    patches,
    peak,
    scoring,
    search,
    step,
    structure,
)

__all__ = ["SUITES"]

SUITES = {
    "step": step,
    "likelihood": likelihood,
    "outliers": outliers,
    "patches": patches,
    "scoring": scoring,
    "memory": memory,
    "cost": cost,
    "peak": peak,
    "search": search,
    "choices": choices,
    "cures": cures,
    "conditional": conditional,
    "structure": structure,
    "dask": dask_scoring,
    "communication": communication,
}
