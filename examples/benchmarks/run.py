"""Benchmark suites, by name.

    python examples/benchmarks/run.py --list
    python examples/benchmarks/run.py step --output examples/benchmarks/results/step
    python examples/benchmarks/run.py likelihood --help

A suite prints what its figures depend on, its table and its ratios, and with ``--output PREFIX``
writes them to PREFIX-<date>.json and PREFIX-<date>.md. Some read data sets from the folder that
the environment variable SKLEARN_JKO_DATA names, see `data_folder` in datasets.py. To add a suite,
write a module in suites/ and name it in `SUITES`. The paper's experiments run in the same way,
see examples/paper/reproduce.py.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from flows import warm_up
from measuring import limit_threads
from reporting import markdown
from suites import SUITES

PACKAGES = (
    "numpy",
    "pyod",
    "scikit-learn",
    "scipy",
    "sklearn-jko",
    "torch",
    "torchdiffeq",
    "zuko",
)


def main(argv=None, suites=SUITES, description=__doc__):
    """Run the suite that the command line names, out of a table like `SUITES`."""
    arguments = parse(argv, suites, description)
    if arguments.list:
        print(listing(imported(suites)))
        return
    suite = importlib.import_module(suites[arguments.suite])
    facts = describe_run(arguments, suite)
    limit_threads(arguments.threads)
    warm_up()
    records = suite.run(arguments)
    ratios = suite.ratios(records)
    text = f"{suite.table(records)}\n\n{ratio_table(ratios)}"
    print(f"\n{text}")
    if arguments.output:
        report = {**facts, "ratios": ratios, "results": records}
        write(report, f"{suite.__doc__}\n{text}\n\n{notes(facts)}", arguments.output)


def imported(suites):
    return {name: importlib.import_module(module) for name, module in suites.items()}


def parse(argv, suites=SUITES, description=__doc__):
    argv = sys.argv[1:] if argv is None else argv
    wanted = argv[:1] if argv and argv[0] in suites else suites
    suites = imported({name: suites[name] for name in wanted})
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="list the suites and end")
    commands = parser.add_subparsers(dest="suite", metavar="SUITE")
    for name, suite in suites.items():
        add_options(commands.add_parser(name, description=first_line(suite)), suite)
    arguments = parser.parse_args(argv)
    if arguments.suite:
        for option in suites[arguments.suite].OPTIONS:
            option.fill(arguments)
    elif not arguments.list:
        parser.error(f"no suite was named: name one of {', '.join(suites)}, or use --list")
    return arguments


def add_options(parser, suite):
    parser.add_argument("--tiny", action="store_true", help="sizes of seconds, to try the suite")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0, help="of data, splits and methods")
    parser.add_argument("--output", metavar="PREFIX", help="write PREFIX-<date>.json and .md")
    for option in suite.OPTIONS:
        option.add_to(parser)


def positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads: give 1 or more")
    return int(text)


def listing(suites):
    width = max(map(len, suites))
    return "\n".join(f"{name:{width}}  {first_line(suite)}" for name, suite in suites.items())


def first_line(suite):
    return suite.__doc__.splitlines()[0]


def describe_run(arguments, suite):
    """Print, and return for the record, what the figures depend on."""
    facts = {
        "suite": arguments.suite,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **installed_versions()},
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "seed": arguments.seed,
        "tiny": arguments.tiny,
        "options": {option.name: getattr(arguments, option.attribute) for option in suite.OPTIONS},
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


def processor():
    """The model's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def ratio_table(ratios):
    rows = [
        [r["of"], f"{r['numerator']:.4g}", f"{r['denominator']:.4g}", f"{r['ratio']:.3g}"]
        for r in ratios
    ]
    return markdown(["ratio", "numerator", "denominator", "value"], rows)


def notes(facts):
    """The facts in one paragraph."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    options = ", ".join(f"{name} {value}" for name, value in facts["options"].items())
    return (
        f"{facts['date']}; {facts['processor']}, {facts['cores']} cores; threads: "
        f"{facts['threads']}; seed: {facts['seed']}; {'tiny; ' if facts['tiny'] else ''}{versions}."
        f"\n\nOptions: {options}."
    )


def write(report, text, prefix):
    stem = f"{prefix}-{report['date'][:10]}"
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    Path(f"{stem}.md").write_text(text + "\n", encoding="utf-8")
    print(f"\nWritten: {stem}.json, {stem}.md")


if __name__ == "__main__":
    main()
