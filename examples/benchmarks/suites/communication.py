"""What a step of training computes and sends when many processes share it, on paper.

Measured: seconds of one training step of this machine at a batch of B rows and at its 2nd to 64th
part, and seconds in which two processes of it add up the gradients (gloo). From there on it is
arithmetic: a ring of P processes sends each 2 (P - 1) / P of the gradient's bytes through every
link and waits 2 (P - 1) times for its latency, after the computation. ``strong`` divides a batch
of B rows among the processes, as `fit` does with its `batch_size`; ``weak`` gives B rows to each.
Efficiency is the speed-up, in rows per second, over the number of processes. ``speed`` is how many
times as fast as this machine a process's device computes, for batches of all sizes: an assumption,
which flatters cards on small batches, where they wait for the start of their kernels.
"""

import datetime
import itertools
import tempfile
import time

import torch
import torch.distributed
import torch.multiprocessing
from flows import curved_rows, library_training, training_options
from measuring import interleaved
from reporting import Option, markdown, printed, ratio

__all__ = ["OPTIONS", "ratios", "run", "table"]

# Bytes a second and seconds of latency.
LINKS = {
    "10 Gbit/s Ethernet": (1.25e9, 5e-5),
    "400 Gbit/s InfiniBand": (5e10, 5e-6),
    "NVLink (450 GB/s)": (4.5e11, 3e-6),
}
PARTS = (1, 2, 4, 8, 16, 32, 64)
WARMUP = 3
BYTES = 4
OPTIONS = (
    Option("columns", 63, 2, "columns"),
    Option("width", 512, 16, "width of the two hidden layers"),
    Option("batch", 4096, 64, "rows of a batch, B"),
    Option("speeds", (1.0, 200.0), (1.0,), "speeds of a device, of which this machine's is 1"),
    Option("steps", 12, 5, f"steps of each batch, {WARMUP} of them not timed"),
)


def run(arguments):
    trainings, n_numbers = {}, 0
    for part in PARTS:
        rows = curved_rows(max(arguments.batch // part, 1), arguments.columns, arguments.seed)
        rows = torch.tensor(rows, dtype=torch.float32)
        trainings[part], n_numbers = step_of(rows, arguments)
    seconds = interleaved(trainings, arguments.steps, WARMUP)
    sent = BYTES * n_numbers
    records = [
        printed(
            {
                "link": "none: measured",
                "processes": part,
                "batch": max(arguments.batch // part, 1),
                "step_seconds": seconds[part],
                "bytes": sent,
            }
        )
        for part in PARTS
    ]
    measured = {"link": "gloo, two processes here: measured", "processes": 2, "bytes": sent}
    records.append(printed({**measured, "send_seconds": seconds_of_sum(n_numbers, arguments)}))
    for speed, link, n in itertools.product(arguments.speeds, LINKS, PARTS):
        faster = {part: seconds[part] / speed for part in PARTS}
        record = {"speed": speed, "link": link, **efficiency(link, n, sent, faster)}
        records.append(printed(record))
    return records


def step_of(rows, arguments):
    """A function that trains one step on all rows, and how many numbers are added up for it."""
    n, d = rows.shape
    options = training_options(
        arguments.batch, d, arguments.width, batch_size=n, max_iter=arguments.steps
    )
    training = library_training(rows, options, arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    n_numbers = sum(p.numel() for p in training.block.parameters()) + len(training.last_terms)
    return lambda: training.step(rows, generator), n_numbers


def efficiency(link, n, sent, seconds):
    """Of n processes by a ring over that link."""
    per_second, latency = LINKS[link]
    sending = 2 * (n - 1) / n * sent / per_second + 2 * (n - 1) * latency
    return {
        "processes": n,
        "send_seconds": sending,
        "strong": seconds[1] / (seconds[n] + sending) / n,
        "weak": seconds[1] / (seconds[1] + sending),
    }


def seconds_of_sum(n_numbers, arguments):
    """Median seconds in which two processes add up so many numbers."""
    with tempfile.TemporaryDirectory() as folder:
        context = torch.multiprocessing.get_context("spawn")
        answers = context.SimpleQueue()
        torch.multiprocessing.spawn(
            add_up, (f"file://{folder}/meeting", n_numbers, arguments.steps, answers), nprocs=2
        )
        return answers.get()


def add_up(rank, meeting, n_numbers, rounds, answers):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=meeting,
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=60),
    )
    numbers, seconds = torch.ones(n_numbers), []
    for _ in range(rounds):
        torch.distributed.barrier()
        start = time.perf_counter()
        torch.distributed.all_reduce(numbers)
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        answers.put(sorted(seconds[WARMUP:])[len(seconds[WARMUP:]) // 2])
    torch.distributed.destroy_process_group()


def table(records):
    computed = [r for r in records if "step_seconds" in r]
    (measured,) = [r for r in records if r["link"].startswith("gloo")]
    times = markdown(
        ["rows of a batch", "ms a step, computation", "MB sent a step"],
        [
            [r["batch"], f"{1e3 * r['step_seconds']:.2f}", f"{r['bytes'] / 1e6:.2f}"]
            for r in computed
        ],
    )
    shares = markdown(
        ["speed", "link", "processes", "ms a step, sending", "efficiency, strong", "weak"],
        [share_of(r) for r in [measured, *(r for r in records if "strong" in r)]],
    )
    return f"{times}\n\n{shares}"


def share_of(record):
    shares = (f"{record[name]:.2f}" if name in record else "-" for name in ("strong", "weak"))
    sending = f"{1e3 * record['send_seconds']:.3f}"
    return [f"{record.get('speed', 1):g}", record["link"], record["processes"], sending, *shares]


def ratios(records):
    whole, *parts = [r for r in records if "step_seconds" in r]
    return [
        ratio(
            f"seconds a step, {whole['batch']} rows over {r['batch']}",
            whole["step_seconds"],
            r["step_seconds"],
        )
        for r in parts
    ]
