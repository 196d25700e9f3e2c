"""Options, ratios and tables of the suites."""

from typing import NamedTuple

__all__ = ["Option", "listed", "markdown", "printed", "ratio"]


class Option(NamedTuple):
    """A suite's own option; its type, and whether it takes several values, are its default's."""

    name: str
    full: object
    tiny: object
    help: str
    choices: tuple | None = None

    @property
    def attribute(self):
        return self.name.replace("-", "_")

    def add_to(self, parser):
        several = isinstance(self.full, tuple)
        parser.add_argument(
            f"--{self.name}",
            type=type(self.full[0] if several else self.full),
            nargs="+" if several else None,
            choices=self.choices,
            help=f"{self.help} (default: {listed(self.full)}; tiny: {listed(self.tiny)})",
        )

    def fill(self, arguments):
        """Put the default where the command line gave nothing."""
        if getattr(arguments, self.attribute) is None:
            setattr(arguments, self.attribute, self.tiny if arguments.tiny else self.full)


def ratio(of, numerator, denominator):
    """A record of two figures and their ratio."""
    return {
        "of": of,
        "numerator": numerator,
        "denominator": denominator,
        "ratio": numerator / denominator,
    }


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def printed(record):
    """Show a record while the suite goes on, and return it."""
    print("  " + " ".join(f"{name}={_brief(value)}" for name, value in record.items()), flush=True)
    return record


def listed(value):
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _brief(value):
    return f"{value:.4g}" if isinstance(value, float) else value
