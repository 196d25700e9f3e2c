"""Mutations of saved models, and a run over many of them: `python saved_models.py COUNT FOLDER`.

Each mutated file must load as what it says, or raise `SavedModelError`: within two seconds, in
bounded memory, with no code executed and no other file opened.
"""

import collections
import copy
import json
import random
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import safetensors

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.files.persistence import SavedModelError, _encoded
from sklearn_jko.files.tensor_file import read_arrays, write_arrays

MAX_SECONDS, MAX_BYTES = 2.0, 2**30
CROWDED_PERIOD = 50
CLASSES = {cls.__name__: cls for cls in (JKOFlowDensity, JKOFlowOutlierDetector)}
FORBIDDEN = ("exec", "compile", "import", "open", "os.", "subprocess.", "pickle.", "ctypes.")
FORBIDDEN += ("socket.", "shutil.", "marshal.", "builtins.input", "builtins.breakpoint")
PICKLED = "cposix\nsystem\n(S'touch executed'\ntR."
HOSTILE = (
    *(None, True, False, 0, -1, 1, 64, 65, 2**31, 2**63, 10**300, 0.5, -0.5, 1e308, float("nan")),
    *({"$float": "inf"}, {"$float": "-inf"}, {"$float": "nan"}, {"$tuple": []}, {"$array": "x"}),
    *([], {}, "", "mlp", "linear", "radial", "none+none", "os.system", PICKLED, "../../x", "\0"),
    *([2**40, 2**40], [1] * 10_000, "x" * 100_000, "__class__", "torch.nn.Linear"),
)


def parts(path):
    """Texts, state and arrays of a file, to edit and to `sign` again."""
    with safetensors.safe_open(path, "np") as file:
        arrays, texts = read_arrays(file), file.metadata()
    del texts["digest"]
    return texts, json.loads(texts.pop("state")), arrays


def sign(path, texts, state, arrays):
    """Write a file whose check sum is right, whatever it holds."""
    write_arrays(path, arrays, {**texts, "state": json.dumps(state)})


def content(model):
    """All that a model's file says, in a form that compares."""
    arrays = {}
    text = json.dumps(_encoded(model._state(), "", arrays), sort_keys=True)
    return text, {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}


def said(path):
    """The same of a file, by this module's own reading."""
    _, state, arrays = parts(path)
    named = {}

    def walk(value, name):
        if isinstance(value, dict) and value.keys() == {"$array"}:
            named[name] = arrays[value["$array"]]
            return {"$array": name}
        if isinstance(value, dict) and value.keys() == {"$tuple"}:
            return {"$tuple": [walk(v, f"{name}.{k}") for k, v in enumerate(value["$tuple"])]}
        if isinstance(value, dict):
            return {key: walk(v, f"{name}.{key}") for key, v in value.items()}
        if isinstance(value, list):
            return [walk(v, f"{name}.{k}") for k, v in enumerate(value)]
        return value

    text = json.dumps(walk(state, ""), sort_keys=True)
    return text, {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in named.items()}


def flipped(rng, path, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncated(rng, path, data):
    path.write_bytes(data[: rng.randrange(len(data))])


def inserted(rng, path, data):
    k, junk = rng.randrange(len(data)), rng.randbytes(rng.choice([1, 8, 1000]))
    path.write_bytes(data[:k] + junk + data[k:])


def spliced(rng, path, data):
    a, b, c, d = sorted(rng.randrange(len(data)) for _ in range(4))
    path.write_bytes(rng.choice([data[:a] + data[b:], data[:a] + data[c:d] + data[a:]]))


def header_edited(rng, path, data):
    """Edit the header's own JSON: types, shapes, offsets, names and texts."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if rng.random() < 0.2:
        length, text = rng.choice([0, 7, 2**21 + 1, 2**40, 2**64 - 1]), data[8 : 8 + length]
    else:
        text = json.dumps(edited(rng, header)).encode()
        length = len(text)
    path.write_bytes(length.to_bytes(8, "little") + text + data[8 + length :])


def nested(rng, path, data):
    texts, _, arrays = path_parts(path, data)
    depth = rng.choice([100, 10_000, 1_000_000])
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}"), ('{"$tuple":[', "]}")])
    text = opening * depth + "1" + closing * depth * rng.randrange(2)
    write_arrays(path, arrays, {**texts, "state": text})


def state_forged(rng, path, data):
    """A hostile state with the right checksum."""
    texts, state, arrays = path_parts(path, data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        state = edited(rng, state)
    if rng.random() < 0.7:  # what stands nowhere would be refused first
        text = json.dumps(state)
        arrays = {name: array for name, array in arrays.items() if json.dumps(name) in text}
    sign(path, texts, state, arrays)


def number_forged(rng, path, data):
    """Another number where one was, with the right checksum."""
    texts, state, arrays = path_parts(path, data)
    numbers = [(p, k) for p, k in _places(state) if isinstance(p[k], int | float)]
    parent, key = rng.choice(numbers)
    parent[key] = rng.choice([v for v in HOSTILE if isinstance(v, int | float) and v == v])
    sign(path, texts, state, arrays)


def arrays_forged(rng, path, data):
    """Hostile arrays with the right checksum."""
    texts, state, arrays = path_parts(path, data)
    name = rng.choice(list(arrays))
    array = arrays[name]
    hostile = [
        array.astype(dtype) for dtype in ("f4", "f8", "i8", "u1", "?", "i4") if np.size(array)
    ]
    hostile += [array[:-1], array[None], array.ravel(), array.T, np.repeat(array, 2, axis=0)]
    hostile += [-array, 0 * array, array + 1]
    for value in (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320):
        with_value = array.astype(float)
        with_value.flat[: rng.choice([1, None])] = value
        hostile.append(with_value)
    arrays[name] = rng.choice(hostile)
    if rng.random() < 0.2:
        arrays[rng.choice(["x", name + "x"])] = arrays.pop(name)
    sign(path, texts, state, arrays)


def texts_forged(rng, path, data):
    texts, state, arrays = path_parts(path, data)
    texts[rng.choice([*texts, "more"])] = rng.choice(["", "2", "-1", "1.0", PICKLED, "os.system"])
    sign(path, texts, state, arrays)


def crowded(rng, path, data):
    """Near the largest header: so many lists, texts, records, blocks or arrays."""
    texts, state, arrays = path_parts(path, data)
    fitted, flow = state["fitted"], state["fitted"]["flow_"]
    kind = rng.randrange(5)
    if kind == 0:
        item = rng.choice(["[],", "{},"])
        write_arrays(path, arrays, {**texts, "state": "[" + item * 690_000 + "0]"})
        return
    if kind == 1:
        fitted["feature_names_in_"] = ["x" * 2_000_000]
    elif kind == 2:
        fitted["history_"] = fitted["history_"][:1] * 5_000
    elif kind == 3:
        arrays |= {f"{k}": np.zeros(0) for k in range(30_000)}
    elif flow["blocks"]:
        flow["blocks"] = _many_blocks(rng, arrays, 2_500)
        arrays[flow["n_steps"]["$array"]] = np.ones(2_500, dtype=int)
    sign(path, texts, state, arrays)


def _many_blocks(rng, arrays, count):
    d = len(arrays["JKOFlowDensity.fitted.noise_width_"])
    for name in [name for name in arrays if ".weights." in name]:
        del arrays[name]
    blocks = []
    for k in range(count):
        arrays |= {f"{k}w": np.zeros((d, d)), f"{k}b": np.zeros(d)}
        weights = {"weight": {"$array": f"{k}w"}, "bias": {"$array": f"{k}b"}}
        linear = {"velocity": "linear", "hidden_layer_sizes": [], "weights": weights}
        blocks.append({"t0": 0.0, "t1": 1.0, **linear})
    return blocks


MUTATIONS = (flipped, truncated, inserted, spliced, header_edited, nested)
MUTATIONS += (
    state_forged,
    state_forged,
    state_forged,
    number_forged,
    arrays_forged,
    arrays_forged,
    texts_forged,
)


def path_parts(path, data):
    path.write_bytes(data)
    return parts(path)


def edited(rng, tree):
    """A copy of a JSON tree with one node replaced, removed, renamed, doubled or exchanged."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    if not places:
        return tree
    parent, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[rng.choice(["x", "__class__", "t0", "weights", "$array"])] = parent.pop(key)
        case 2 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        case 3:
            other, place = rng.choice(places)
            parent[key] = copy.deepcopy(other[place])
        case 4 if isinstance(parent, dict):
            parent[rng.choice(["fit", "transform", "more"])] = rng.choice(HOSTILE)
        case _:
            parent[key] = rng.choice(HOSTILE)
    return tree


def _places(tree):
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree))
    for key, value in items:
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


class Guard:
    """Audit hook that takes note of what a load must not do."""

    def __init__(self, path):
        self.path, self.active, self.seen = str(path), False, []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.active and event.startswith(FORBIDDEN) and str(args[0]) != self.path:
            self.seen.append(f"{event}{args}"[:200])


def load_guarded(guard, path, cls):
    """The model or the error, and the seconds of the processor and of the clock."""
    cpu, clock, guard.active = time.process_time(), time.perf_counter(), True
    try:
        outcome = cls.load(path)
    except SavedModelError as error:
        outcome = error
    finally:
        guard.active = False
    return outcome, time.process_time() - cpu, time.perf_counter() - clock


def run(count, folder):
    """Mutate, load and judge so many times; raise AssertionError, or return figures."""
    paths = sorted(Path(folder).glob("*.safetensors"))
    originals = [(path.read_bytes(), CLASSES[parts(path)[0]["model"]]) for path in paths]
    path = Path(folder) / "mutated"
    guard, figures, slowest = Guard(path), collections.Counter(), (0.0, 0.0)
    for data, cls in originals:  # whatever is imported late is so now
        path.write_bytes(data)
        cls.load(path)
    path.write_bytes(data[:100])
    load_guarded(guard, path, cls)
    guard.seen.clear()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MAX_BYTES, size + MAX_BYTES))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    peak = peak_memory()
    for seed in range(count):
        rng = random.Random(seed)
        data, cls = rng.choice(originals)
        is_crowded = seed % CROWDED_PERIOD == 0 and cls is JKOFlowDensity
        mutate = crowded if is_crowded else rng.choice(MUTATIONS)
        mutate(rng, path, data)
        outcome, *seconds = load_guarded(guard, path, cls)
        assert not guard.seen, (seed, mutate.__name__, guard.seen)
        assert seconds[0] < MAX_SECONDS, (seed, mutate.__name__, seconds)
        slowest = tuple(map(max, slowest, seconds))
        if isinstance(outcome, SavedModelError):
            assert not isinstance(outcome.__cause__, MemoryError), (seed, mutate.__name__)
            assert str(path) in str(outcome)
            assert len(str(outcome)) < 1000
            figures["refused"] += 1
            figures[f"refused, {mutate.__name__}"] += 1
        else:
            assert content(outcome) == said(path), (seed, mutate.__name__)
            rows = np.random.default_rng(0).normal(size=(3, outcome.n_features_in_))
            getattr(outcome, "density_", outcome).set_params(device="cpu")
            scores = outcome.score_samples(rows)
            assert np.isfinite(scores).all(), (seed, mutate.__name__)
            figures["loaded as it says"] += 1
            figures[f"loaded, {mutate.__name__}"] += 1
    times = {"slowest load, CPU s": slowest[0], "slowest load, s": slowest[1]}
    memory = {"peak memory grew by, MB": peak_memory() - peak}
    return {**dict(sorted(figures.items())), **times, **memory}


def peak_memory():
    """Of this process, in MB."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    ]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    print(json.dumps(run(int(sys.argv[1]), sys.argv[2]), indent=2))
