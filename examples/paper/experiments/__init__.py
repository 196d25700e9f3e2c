"""Experiments of the paper, by name: each a suite as examples/benchmarks/suites explains it."""

from experiments import depth, mnist, refinement, tabular, toys

__all__ = ["EXPERIMENTS"]

EXPERIMENTS = {
    "toys": toys,
    "tabular": tabular,
    "refinement": refinement,
    "depth": depth,
    "mnist": mnist,
}
