"""Suites of the benchmark, by name.

A suite is a module with a docstring that explains its figures, the first line by itself;
``OPTIONS``, a tuple of `reporting.Option`; ``run(arguments)``, which returns a list of records
(dicts of plain values); ``table(records)``, markdown; and ``ratios(records)``, a list of what
`reporting.ratio` returns. To add one, write such a module and name it in `SUITES`.
"""

__all__ = ["SUITES"]

# Imported when they are asked for: some bring libraries that take seconds.
SUITES = {
    "step": "suites.step",
    "likelihood": "suites.likelihood",
    "truth": "suites.truth",
    "outliers": "suites.outliers",
    "contextual": "suites.contextual",
    "patches": "suites.patches",
    "scoring": "suites.scoring",
    "memory": "suites.memory",
    "cost": "suites.cost",
    "peak": "suites.peak",
    "search": "suites.search",
    "choices": "suites.choices",
    "cures": "suites.cures",
    "conditional": "suites.conditional",
    "structure": "suites.structure",
    "dask": "suites.dask_scoring",
    "communication": "suites.communication",
}
