"""Rows scored in a second: ours against KernelDensity and a masked autoregressive flow.

`score_samples` of each on fresh rows, in turns; the figure is the median. What a kernel density
costs grows with the rows it was fitted to; what a flow costs does not, and its fit is not timed
here, so the flows are fitted to no more than ``--fit-rows`` of the rows (column "rows seen").
All compute in double precision; KernelDensity has its default algorithm and Scott's bandwidth.
"""

from baselines import fit_maf
from flows import OURS, curved_rows
from measuring import interleaved, rows_for
from reporting import Option, listed, markdown, printed, ratio
from sklearn.neighbors import KernelDensity

from sklearn_jko import JKOFlowDensity

__all__ = ["OPTIONS", "ratios", "run", "table"]

KDE, MAF = "KernelDensity", "MAF"
OPTIONS = (
    Option("rows", (1000, 20_000, 100_000, 1_000_000), (200, 400), "rows fitted"),
    Option("columns", 10, 2, "columns of them"),
    Option("fit-rows", 20_000, 300, "most rows that the flows are fitted to"),
    Option("fit-seconds", 60.0, 0.5, "most seconds of the flows' fits"),
    Option("scored-rows", 65_536, 200, "most rows scored in one timing"),
    Option("seconds", 1.0, 0.02, "seconds of one timing, where the rows suffice"),
    Option("rounds", 5, 2, "timings of each"),
)


def run(arguments):
    d, seed = arguments.columns, arguments.seed
    fresh = curved_rows(arguments.scored_rows, d, seed + 1)
    flows, records = {}, []
    for n in arguments.rows:
        rows = curved_rows(n, d, seed)
        seen = min(n, arguments.fit_rows)
        if seen not in flows:
            flows[seen] = fit_flows(rows[:seen], arguments)
        scores, shape = flows[seen]
        kernels = KernelDensity(bandwidth="scott").fit(rows)
        for record in throughputs({**scores, KDE: kernels.score_samples}, fresh, arguments):
            n_seen = n if record["method"] == KDE else seen
            ours = shape if record["method"] == OURS else {}
            records.append(printed({"rows_fitted": n, "rows_seen": n_seen, **record, **ours}))
    return records


def fit_flows(rows, arguments):
    """Functions of rows that give log-densities, of both flows, and the shape of ours."""
    seconds, seed = arguments.fit_seconds, arguments.seed
    estimator = JKOFlowDensity(max_time=seconds, random_state=seed, device="cpu").fit(rows)
    tenth = len(rows) // 10
    scores = {
        OURS: estimator.score_samples,
        MAF: fit_maf(rows[tenth:], rows[:tenth], seconds, seed).log_density,
    }
    return scores, {"n_blocks": estimator.n_blocks_, "n_steps": estimator.flow_.n_steps.tolist()}


def throughputs(scores, fresh, arguments):
    """A record for each of the functions, timed in turns."""
    parts = {name: rows_for(score, fresh, arguments.seconds) for name, score in scores.items()}

    def contender(name):
        return lambda: scores[name](parts[name])

    seconds = interleaved({name: contender(name) for name in scores}, arguments.rounds)
    return [
        {
            "method": name,
            "rows_scored": len(parts[name]),
            "seconds": seconds[name],
            "rows_per_second": len(parts[name]) / seconds[name],
        }
        for name in scores
    ]


def table(records):
    header = ["rows fitted", "method", "rows seen", "rows scored", "rows per second"]
    names = ("rows_fitted", "method", "rows_seen", "rows_scored")
    rows = [[*(r[name] for name in names), f"{r['rows_per_second']:.0f}"] for r in records]
    shapes = {
        r["rows_seen"]: f"{listed(r['n_steps'])} solver steps of its {r['n_blocks']} blocks"
        for r in records
        if r["method"] == OURS
    }
    flows = [[seen, shape] for seen, shape in shapes.items()]
    return f"{markdown(header, rows)}\n\n{markdown(['rows seen', 'our flow'], flows)}"


def ratios(records):
    """Our rows per second over the others'."""
    rate = {(r["rows_fitted"], r["method"]): r["rows_per_second"] for r in records}
    return [
        ratio(f"rows per second, ours over {other}; {n} rows fitted", rate[n, OURS], rate[n, other])
        for other in (KDE, MAF)
        for n in dict.fromkeys(r["rows_fitted"] for r in records)
    ]
