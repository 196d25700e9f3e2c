"""Experiments of the paper, each run once at its smallest."""

import functools
import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts import in_new_python, in_this_python, marked, needs_proc
from test_benchmarks import load, numbers, read_report, rows_of, write_data

PAPER = Path(__file__).resolve().parent.parent / "examples" / "paper"
EXPERIMENTS = ("toys", "tabular", "refinement", "depth", "mnist")
DRAWN = ("toys", "mnist")
OURS = "JKOFlowDensity"
REPRODUCE = PAPER / "reproduce.py"


def write_mnist(folder):
    """Dim noise with a bright bar, whose place is the label."""
    rng = np.random.default_rng(0)
    (folder / "mnist").mkdir()
    for part, n in (("train", 300), ("t10k", 200)):
        labels = rng.integers(10, size=n)
        images = rng.integers(100, size=(n, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 6 + 2 * label, 4:24] += 150
        write_idx(folder / "mnist" / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / "mnist" / f"{part}-labels-idx1-ubyte.gz", labels)


def write_idx(path, values):
    """Bytes as the files of MNIST hold them: 8 is the type's number."""
    lengths = b"".join(n.to_bytes(4, "big") for n in values.shape)
    head = bytes([0, 0, 8, values.ndim]) + lengths
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A function of an experiment's name: its report, its markdown and the folder of results."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    write_mnist(folder)

    @functools.cache
    def run(name):
        results = tmp_path_factory.mktemp("results")
        options = ["--pictures", results / "pictures"] if name in DRAWN else []
        in_this_python(
            *(REPRODUCE, name, "--tiny", "--threads", 1, "--output", results / name, *options),
            SKLEARN_JKO_DATA=folder,
        )
        return *read_report(results, name), results

    return run


def test_experiments_are_listed():
    listed = in_new_python(REPRODUCE, "--list").splitlines()
    assert tuple(line.split()[0] for line in listed) == EXPERIMENTS


@pytest.mark.parametrize("name", marked(EXPERIMENTS, depth=needs_proc))
def test_experiment_writes_its_figures_and_what_they_depend_on(tiny, name):
    report, markdown, _ = tiny(name)
    assert report["suite"] == name
    assert report["tiny"]
    assert report["results"]
    assert all(math.isfinite(v) for record in report["results"] for v in numbers(record))
    assert all(math.isfinite(one["ratio"]) for one in report["ratios"])
    assert rows_of(markdown)


def test_toys_are_compared_and_drawn(tiny):
    report, _, results = tiny("toys")
    methods = {record["method"] for record in report["results"]}
    assert methods == {OURS, "KernelDensity"}
    for record in report["results"]:
        assert 0 <= record["mmd_m"] < 1
        assert 0 < record["mmd_c_threshold"] < 1
        assert 0 <= record["classifier_accuracy"] <= 1
        # Eight bumps of deviation 0.35 that hardly overlap: no model can beat their entropy.
        entropy = math.log(8) + 1 + math.log(2 * math.pi / 8)
        assert record["nll"] > entropy - 4 * record["standard_error"]
    (picture,) = (results / "pictures").glob("*.png")
    assert picture.stat().st_size > 10_000


def test_ours_is_true_where_blocks_are_kept(tiny):
    """The other experiments' fits end too soon, by the clock, to be sure of a block."""
    for record in tiny("refinement")[0]["results"]:
        assert len(record["n_steps"]) == record["n_blocks"] > 0
        assert record["nll_steps_x2"] == pytest.approx(record["nll"], abs=2e-3)


def test_the_paper_stands_beside_ours(tiny):
    report, markdown, _ = tiny("tabular")
    (record,) = report["results"]
    (row,) = [row for row in rows_of(markdown) if row[:2] == ["BSDS300, drawn", OURS]]
    assert row[4] == str(sum(record["optimiser_steps"]) or "")
    assert row[-2:] == ["-153.82", "-157.75"]


def test_refinement_is_compared_at_equal_steps(tiny):
    report, _, _ = tiny("refinement")
    fits = {record["fit"]: record for record in report["results"]}
    assert list(fits) == ["start", "refined", "longer", "more blocks"]
    most = fits["refined"]["steps"]
    assert fits["start"]["steps"] < most
    assert fits["longer"]["steps"] <= most
    assert fits["more blocks"]["steps"] <= most
    assert len(fits["refined"]["evenness_of_rounds"]) >= 2


@needs_proc
def test_memory_of_both_trainings_is_measured_at_every_depth(tiny):
    report, _, _ = tiny("depth")
    assert {(r["training"], r["blocks"]) for r in report["results"]} == {
        (training, blocks) for training in ("block by block", "end to end") for blocks in (1, 2)
    }
    assert all(record["peak_bytes"] > 0 for record in report["results"])


def test_mnist_is_compared_and_drawn(tiny):
    from matplotlib.image import imread

    report, _, results = tiny("mnist")
    autoencoder, classifier, *others = report["results"]
    assert 0 < autoencoder["squared_error"] < 1
    assert 0 <= classifier["accuracy"] <= 1
    distances = {record["method"]: record["distance"] for record in others}
    references = ("training images", "test images, decoded", "training images, decoded")
    assert tuple(distances) == (*references, OURS, "Gaussian", "GaussianMixture")
    # Real images are nearer than anything out of an autoencoder of two steps.
    assert min(distances, key=distances.get) == "training images"
    pictures = [imread(path) for path in (results / "pictures").glob("*.png")]
    assert [picture.shape[:2] for picture in pictures] == [(8 * 28, 16 * 28)] * len(distances)
    assert all(np.ptp(picture[..., 0]) > 0 for picture in pictures)


def test_mnist_files_are_read_as_written(tmp_path):
    mnist = load(PAPER / "experiments" / "mnist")
    values = np.random.default_rng(0).integers(256, size=(5, 300, 2))
    write_idx(tmp_path / "values.gz", values)
    np.testing.assert_array_equal(mnist.read_idx(tmp_path / "values.gz"), values)
    with pytest.raises(SystemExit, match=r"other\.gz is missing: put the four files of MNIST"):
        mnist.read_idx(tmp_path / "other.gz")


def test_mnist_distance_has_its_closed_forms():
    mnist = load(PAPER / "experiments" / "mnist")
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(2, 50, 2)) * [[[1.0, 3.0]], [[2.0, 0.5]]] + [0.5, -1.0]
    B[:, 1] += B[:, 0]  # so that the covariances do not commute
    C, D = np.cov(A.T), np.cov(B.T)
    # The eigenvalues a, b of a product of two columns: (sqrt a + sqrt b)^2 = a + b + 2 sqrt(a b).
    of_roots = np.sqrt(np.trace(C @ D) + 2 * np.sqrt(np.linalg.det(C @ D)))
    of_means = np.sum((A.mean(0) - B.mean(0)) ** 2)
    expected = of_means + np.trace(C + D) - 2 * of_roots
    assert mnist.frechet_distance(A, B) == pytest.approx(expected)
    # Deviations s and t of independent columns come to |m - n|^2 + |s - t|^2; one is constant.
    Z = rng.normal(size=(50, 3))
    Z = np.linalg.qr(Z - Z.mean(0))[0] * math.sqrt(49)  # centred, orthogonal, of deviation 1
    s, t, shift = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 0.0]), np.array([0.0, 1.0, 2.0])
    found = mnist.frechet_distance(Z * s, Z * t + shift)
    assert found == pytest.approx(np.sum(shift**2) + np.sum((s - t) ** 2))


def test_mnist_images_that_get_no_label_are_unsure():
    mnist = load(PAPER / "experiments" / "mnist")
    classifier = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity())
    logits = torch.log(torch.tensor([[0.95, 0.05], [0.85, 0.15], [0.5, 0.5], [0.08, 0.92]]))
    record = mnist.compared(classifier, logits, "", "ours", logits[:, None, None])
    assert record["unsure"] == 0.5
    assert record["distance"] == pytest.approx(0, abs=1e-6)
