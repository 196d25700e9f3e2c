"""Experiments of the paper, by name: each a suite as examples/benchmarks/suites explains it."""

__all__ = ["EXPERIMENTS"]

EXPERIMENTS = {
    "toys": "experiments.toys",
    "tabular": "experiments.tabular",
    "refinement": "experiments.refinement",
    "depth": "experiments.depth",
    "mnist": "experiments.mnist",
}
