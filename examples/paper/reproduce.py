"""The paper's experiments, by name.

    python examples/paper/reproduce.py --list
    python examples/paper/reproduce.py toys --pictures toys
    python examples/paper/reproduce.py refinement --output examples/paper/results/refinement

They run, print and write as the suites of examples/benchmarks/run.py do, and share their data,
baselines and tables.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from experiments import EXPERIMENTS
from run import main

if __name__ == "__main__":
    main(None, EXPERIMENTS, __doc__)
