"""Data of the paper's experiments: toys against their formulas, loaders on small made-up files."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import logsumexp
from scipy.stats import chisquare, norm
from scripts import load

PAPER = Path(__file__).resolve().parent.parent / "examples" / "paper"
# Of shape (height, width) = (2, 4): a pixel is 2 wide and 4 high, its bump's deviations half of it.
SMALL = np.array([[0.6, 0.0, 0.1, 0.0], [0.0, 0.3, 0.0, 1.0]])
toys, tabular = load(PAPER / "toys.py"), load(PAPER / "tabular.py")


def draw(name, n=2000, seed=0):
    return toys.TOYS[name](n, np.random.default_rng(seed))


def distances(X, points):
    """From each row to the nearest point."""
    return np.linalg.norm(X[:, None] - points, axis=2).min(axis=1)


def small_centres():
    """Of all pixels of `SMALL`, top row first."""
    x, y = np.meshgrid([-3.0, -1.0, 1.0, 3.0], [2.0, -2.0])
    return np.c_[x.ravel(), y.ravel()]


def log_density_of_all_bumps(intensity, centres, deviation, X):
    with np.errstate(divide="ignore"):
        log_shares = np.log(intensity.ravel() / intensity.sum())
    bumps = norm.logpdf(X[:, None], centres, deviation).sum(axis=2)
    return logsumexp(log_shares + bumps, axis=1)


def save_image(path, mode):
    """Black on white, the top left quarter of 6 x 4 pixels; in RGBA the white is transparent."""
    gray = np.full((4, 6), 255, dtype=np.uint8)
    gray[:2, :3] = 0
    picture = Image.fromarray(gray)
    if mode == "RGBA":
        picture = Image.fromarray(np.dstack([np.zeros((4, 6, 3), dtype=np.uint8), 255 - gray]))
    picture.convert(mode).save(path)


def power_rows(n=1005, seed=0):
    """The eight columns of the file; each row has its number in the last."""
    rng = np.random.default_rng(seed)
    digits = [3, 3, 2, 1, 0, 0, 0]
    measured = np.column_stack([rng.uniform(0, 9, n).round(digit) for digit in digits])
    return np.c_[measured, np.arange(n)]


def gas_frame(n=200, seed=0):
    """Columns c, a and b are one; d is the negative of it, e is by itself."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(5, 2, size=n)
    columns = {
        **{"Time": np.arange(n) / 10, "Meth": np.zeros(n), "Eth": np.ones(n)},
        **{name: signal + 0.01 * rng.normal(size=n) for name in "cab"},
        **{"d": -signal, "e": rng.normal(size=n)},
    }
    return pd.DataFrame(columns)


def save_gas(folder, frame):
    (folder / "gas").mkdir()
    frame.to_pickle(folder / "gas" / "ethylene_CO.pickle")


def save_rows(folder, name, rows):
    (folder / name).parent.mkdir(exist_ok=True)
    np.save(folder / name, rows)


@pytest.mark.parametrize("name", toys.TOYS)
def test_toys_are_finite_and_as_their_generator(name):
    X = draw(name)
    assert X.shape == (2000, 2)
    assert X.dtype == np.float64
    assert np.isfinite(X).all()
    assert np.abs(X).max() < 5
    np.testing.assert_array_equal(X, draw(name))
    assert not np.array_equal(X, draw(name, seed=1))


def test_checkerboard_fills_every_second_cell():
    cells = np.floor(draw("checkerboard") / 2).astype(int)
    found, counts = np.unique(cells, axis=0, return_counts=True)
    assert (found.sum(axis=1) % 2 == 0).all()
    assert [-2, -2] in found.tolist()
    assert len(found) == 8
    assert chisquare(counts).pvalue > 1e-3


def test_olympic_rings_are_five_circles():
    centres = np.array([[-2.5, 0.6], [0, 0.6], [2.5, 0.6], [-1.25, -0.6], [1.25, -0.6]])
    radii = np.linalg.norm(draw("Olympic rings")[:, None] - centres, axis=2)
    off = np.abs(radii - 1.1)
    assert off.min(axis=1).max() < 5 * 0.08
    _, counts = np.unique(off.argmin(axis=1), return_counts=True)
    assert (counts > 300).all()


def test_two_moons_are_half_circles():
    angle = np.linspace(0, np.pi, 200)
    upper = 2 * np.c_[np.cos(angle), np.sin(angle)] + [-1, -0.5]
    X = draw("two moons")
    assert distances(X, np.r_[upper, -upper]).max() < 5 * 0.2
    share = (distances(X, upper) < distances(X, -upper)).mean()
    assert share == pytest.approx(0.5, abs=0.05)


def test_eight_gaussians_have_their_centres_and_deviation():
    angle = np.arange(8) * np.pi / 4
    centres = np.sqrt(8) * np.c_[np.cos(angle), np.sin(angle)]
    off = distances(draw("8 Gaussians"), centres)
    # Two columns of variance 1/8.
    assert (off**2).mean() == pytest.approx(1 / 4, rel=0.1)


@pytest.mark.parametrize("name", toys.PICTURES)
def test_our_pictures_fit_their_square(name):
    picture = toys.PICTURES[name]()
    assert set(np.unique(picture)) == {0.0, 1.0}
    assert not picture[[0, -1]].any()
    assert not picture[:, [0, -1]].any()
    np.testing.assert_array_equal(
        draw(name), toys.picture_rows(picture, 2000, np.random.default_rng(0))
    )


def test_the_tree_stands_on_its_trunk():
    X = draw("fractal tree")
    trunk = X[X[:, 1] < -2]
    assert len(trunk) > 50
    assert np.abs(trunk[:, 0]).max() < 0.3
    assert np.abs(X[X[:, 1] > 1, 0]).max() > 3


def test_the_rose_has_the_petals_of_its_curves():
    X = draw("rose", n=20_000)
    outer = X[np.linalg.norm(X, axis=1) > 3.2]
    turns = np.arctan2(*outer.T[::-1]) / (np.pi / 4)
    found, counts = np.unique(np.round(turns).astype(int) % 8, return_counts=True)
    assert len(found) == 8
    assert np.abs(turns - np.round(turns)).max() < 0.4
    assert counts.min() > 0.5 * counts.max()


def test_rows_of_a_picture_are_as_likely_as_its_pixels_are_dark():
    X = toys.picture_rows(SMALL, 20_000, np.random.default_rng(0))
    edges = [[-np.inf, -2, 0, 2, np.inf], [-np.inf, 0, np.inf]]
    counts = np.histogram2d(*X.T, bins=edges)[0]
    expected = np.zeros_like(counts)
    shares = SMALL.ravel() / SMALL.sum()
    for share, (x, y) in zip(shares, small_centres(), strict=True):
        across, up = (np.diff(norm.cdf(edges[0], x)), np.diff(norm.cdf(edges[1], y, 2.0)))
        expected += 20_000 * share * np.outer(across, up)
    assert chisquare(counts, expected, axis=None).pvalue > 1e-3


def test_log_density_of_a_picture_integrates_to_one():
    axis = np.arange(-18, 18, 0.25)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.exp(toys.picture_log_density(SMALL, grid)).sum() * 0.25**2
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("farness", [1, 3])
def test_log_density_of_a_picture_is_that_of_all_bumps(monkeypatch, farness):
    """On more pixels than are looked at, in several chunks, and far from all pixels too."""
    monkeypatch.setattr(toys, "CHUNK", 100)
    rng = np.random.default_rng(0)
    picture = rng.random((20, 16)) * (rng.random((20, 16)) < 0.7)
    X = farness * rng.uniform(-4, 4, size=(250, 2))
    across, down = 0.5 * (np.arange(16) - 7.5), 0.4 * (9.5 - np.arange(20))
    centres = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    expected = log_density_of_all_bumps(picture, centres, (0.25, 0.2), X)
    np.testing.assert_allclose(toys.picture_log_density(picture, X), expected, atol=1e-9)


def test_log_density_of_a_small_picture_is_that_of_all_bumps():
    X = np.random.default_rng(0).uniform(-9, 9, size=(50, 2))
    expected = log_density_of_all_bumps(SMALL, small_centres(), (1.0, 2.0), X)
    np.testing.assert_allclose(toys.picture_log_density(SMALL, X), expected)


def test_no_rows_have_no_log_density():
    assert toys.picture_log_density(SMALL, np.empty((0, 2))).shape == (0,)


def test_entropy_of_two_pixels_is_that_of_a_bump_and_a_coin():
    picture = np.zeros((1, 40))
    picture[0, [0, -1]] = 1
    entropy = toys.picture_entropy(picture, 20_000, np.random.default_rng(0))
    assert entropy == pytest.approx(1 + np.log(2 * np.pi * 0.1 * 4) + np.log(2), abs=0.03)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_images_of_every_mode_are_dark_where_they_are_black(tmp_path, mode):
    save_image(tmp_path / "corner.png", mode)
    intensity = toys.image_intensity(tmp_path / "corner.png")
    expected = np.zeros((4, 6))
    expected[:2, :3] = 1
    np.testing.assert_array_equal(intensity, expected)


def test_the_top_left_of_an_image_is_left_of_and_above_the_origin(tmp_path):
    save_image(tmp_path / "corner.png", "P")
    X = toys.image_rows(tmp_path / "corner.png", 1000, np.random.default_rng(0))
    # Of six pixels three span 4 to the left, of four two span 4 up; a bump's deviations add.
    np.testing.assert_allclose(X.mean(axis=0), [-2, 2], atol=0.15)
    np.testing.assert_allclose(X.var(axis=0), [8 / 9 * 4 / 3 + 4 / 9, 1 + 1], rtol=0.15)


def test_gray_is_less_likely_than_black(tmp_path):
    Image.fromarray(np.array([[0, 102, 255]], dtype=np.uint8)).save(tmp_path / "gray.png")
    np.testing.assert_allclose(toys.image_intensity(tmp_path / "gray.png"), [[1, 0.6, 0]])


def test_half_transparent_black_is_gray(tmp_path):
    pixels = np.array([[[0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "veil.png")
    np.testing.assert_allclose(toys.image_intensity(tmp_path / "veil.png"), [[0.2]])


def test_white_images_are_explained(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("RGBA", (3, 2)).save(path)
    with pytest.raises(ValueError, match=r"blank\.png is white all over.*give an image with dark"):
        toys.image_rows(path, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="All pixels have the intensity 0: give"):
        toys.picture_rows(np.zeros((2, 3)), 10, np.random.default_rng(0))


def test_power_is_preprocessed_as_in_the_benchmark(tmp_path):
    """Its steps one after the other, by shuffling in place, without standardisation."""
    rows = power_rows()
    save_rows(tmp_path, "power/data.npy", rows)
    rng = np.random.RandomState(42)
    expected = rows.copy()
    rng.shuffle(expected)
    expected = expected[:, [0, 2, 4, 5, 6, 7]]
    expected[:, 1] += 0.01 * rng.random_sample(len(rows))
    expected[:, 0] += 0.001 * rng.random_sample(len(rows))
    expected[:, 2:5] += rng.random_sample((len(rows), 3))
    mean, scale = expected[:905].mean(axis=0), expected[:905].std(axis=0)
    found = np.concatenate(tabular.power(tmp_path))
    np.testing.assert_allclose(mean + scale * found, expected, atol=1e-10)


def test_noise_of_power_is_within_the_recorded_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(tabular, "standardised", lambda *parts: parts)
    rows = power_rows()
    save_rows(tmp_path, "power/data.npy", rows)
    found = np.concatenate(tabular.power(tmp_path))
    originals = rows[found[:, -1].astype(int)][:, [0, 2, 4, 5, 6, 7]]
    noise = found - originals
    widths = np.array([1e-3, 1e-2, 1, 1, 1, 0])
    assert (noise >= -1e-12).all()
    assert (noise <= widths + 1e-12).all()
    np.testing.assert_allclose(noise.mean(axis=0), widths / 2, atol=0.05 * widths.max())
    np.testing.assert_allclose(noise[:, :2].max(axis=0), widths[:2], rtol=0.05)


@pytest.mark.parametrize("name", ["POWER", "MINIBOONE"])
def test_tenths_are_cut_and_standardised_by_train_and_validation(tmp_path, name):
    save_rows(tmp_path, "power/data.npy", power_rows())
    raw = np.random.default_rng(0).normal(3, 2, size=(1005, 4)).astype(np.float32)
    save_rows(tmp_path, "miniboone/data.npy", raw)
    train, validation, test = tabular.LOADERS[name](tmp_path, 0)
    assert [len(part) for part in (train, validation, test)] == [815, 90, 100]
    assert all(part.dtype == np.float64 for part in (train, validation, test))
    both = np.concatenate([train, validation])
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(both.std(axis=0), 1)
    assert np.abs(test.mean(axis=0)).max() > 1e-3


def test_miniboone_keeps_the_order_of_its_file(tmp_path):
    raw = np.random.default_rng(0).normal(3, 2, size=(105, 4))
    save_rows(tmp_path, "miniboone/data.npy", raw)
    mean, scale = raw[:95].mean(axis=0), raw[:95].std(axis=0)
    found = np.concatenate(tabular.miniboone(tmp_path))
    np.testing.assert_allclose(found, (raw - mean) / scale)


def test_gas_is_without_correlated_columns(tmp_path):
    """Of columns that are one the last stays; a correlation near -1 is no reason to drop any."""
    frame = gas_frame()
    save_gas(tmp_path, frame)
    parts = tabular.gas(tmp_path)
    assert [len(part) for part in parts] == [162, 18, 20]
    kept = frame[["b", "d", "e"]].to_numpy()
    expected = (kept - kept.mean(axis=0)) / kept.std(axis=0, ddof=1)
    np.testing.assert_allclose(np.concatenate(parts), expected)
    assert np.isfinite(expected).all()


@pytest.mark.parametrize("seed", range(5))
def test_gas_drops_columns_one_by_one(tmp_path, seed):
    """As the benchmark does: the first that is correlated with another, until there is none."""
    frame = gas_frame()
    rng = np.random.default_rng(seed)
    for name in range(12):
        source = frame[frame.columns[rng.integers(3, frame.shape[1])]]
        frame[f"x{name}"] = source + rng.choice([0.2, 0.4]) * source.std() * rng.normal(size=200)
    save_gas(tmp_path, frame)
    left = frame.drop(columns=["Time", "Meth", "Eth"])
    while True:
        partners = (left.corr().to_numpy() > 0.98).sum(axis=1)
        if (partners <= 1).all():
            break
        left = left.drop(columns=left.columns[np.argmax(partners > 1)])
    expected = ((left - left.mean()) / left.std()).to_numpy()
    np.testing.assert_allclose(np.concatenate(tabular.gas(tmp_path)), expected)


def test_bsds300_is_read_as_stored(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"train": 20, "validation": 5, "test": 10}
    stored = {name: rng.normal(size=(n, 63)).astype(np.float32) for name, n in sizes.items()}
    (tmp_path / "BSDS300").mkdir()
    with h5py.File(tmp_path / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for name, rows in stored.items():
            file[name] = rows
    for found, rows in zip(tabular.bsds300(tmp_path), stored.values(), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, rows)


def test_the_part_of_miniboone_keeps_the_test_rows(tmp_path):
    rng = np.random.default_rng(0)
    rows, test = rng.normal(size=(105, 3)), rng.normal(size=(20, 3))
    save_rows(tmp_path, "miniboone/miniboone_val.npy", rows)
    save_rows(tmp_path, "miniboone/miniboone_test.npy", test)
    parts = tabular.miniboone_part(tmp_path, 1)
    assert [len(part) for part in parts] == [95, 10, 20]
    np.testing.assert_array_equal(parts[2], test)
    np.testing.assert_array_equal(np.sort(np.r_[parts[0], parts[1]], axis=0), np.sort(rows, axis=0))
    np.testing.assert_array_equal(tabular.miniboone_part(tmp_path, 1)[0], parts[0])
    assert not np.array_equal(tabular.miniboone_part(tmp_path, 2)[1], parts[1])


@pytest.mark.parametrize("name", tabular.LOADERS)
def test_missing_files_are_explained(tmp_path, name):
    remedy = r"There is no file .*\.(npy|pickle|hdf5): take it from .*https://"
    with pytest.raises(SystemExit, match=remedy) as error:
        tabular.LOADERS[name](tmp_path, 0)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(("name", "module"), [("GAS", "pandas"), ("BSDS300", "h5py")])
def test_missing_packages_are_explained(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "gas").mkdir()
    (tmp_path / "gas" / "ethylene_CO.pickle").touch()
    with pytest.raises(SystemExit, match=f"needs {module}: pip install {module}"):
        tabular.LOADERS[name](tmp_path, 0)


def test_pickles_of_another_pandas_are_explained(tmp_path):
    """Early releases name a module that is no more."""
    (tmp_path / "gas").mkdir()
    (tmp_path / "gas" / "ethylene_CO.pickle").write_bytes(b"cpandas.no_such_module\nIndex\n.")
    with pytest.raises(SystemExit, match=r"cannot read .*pickle.*pip install \"pandas<3\""):
        tabular.gas(tmp_path)


def test_the_papers_figures_are_of_data_that_can_be_loaded():
    assert set(tabular.PAPER_NLL) < set(tabular.LOADERS)
    for figures in tabular.PAPER_NLL.values():
        assert figures["full"] < figures["fixed budget"]
