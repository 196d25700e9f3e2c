"""Files of the present format, written by an earlier state of the code, are still read."""

import json

import golden
import numpy as np
import pandas as pd
import pytest
from saved_models import parts

from sklearn_jko.files.persistence import FORMAT_VERSION, SavedModelError

WRITTEN = json.loads((golden.DATA / "scores.json").read_text())
each = pytest.mark.parametrize("name", golden.CLASSES)


def load(name):
    try:
        return golden.CLASSES[name].load(golden.DATA / f"{name}.safetensors")
    except SavedModelError as error:
        raise AssertionError(
            "The format of files has changed: raise FORMAT_VERSION, run `python tests/golden.py` "
            f"and commit tests/data. ({error})"
        ) from error


def test_files_are_of_the_present_format():
    assert WRITTEN["format_version"] == FORMAT_VERSION, (
        "FORMAT_VERSION was raised: run `python tests/golden.py` and commit tests/data."
    )


@each
def test_what_was_saved_scores_as_it_did(name):
    model, saved = load(name), WRITTEN["models"][name]
    assert getattr(model, "density_", model).n_blocks_ > 0
    found = model.score_samples(pd.DataFrame(saved["rows"]))
    np.testing.assert_allclose(found, saved["scores"], rtol=1e-6)


@each
def test_what_is_saved_again_says_the_same(name, tmp_path):
    load(name).save(tmp_path / name)
    (_, state, arrays), (_, state_before, arrays_before) = (
        parts(path) for path in (tmp_path / name, golden.DATA / f"{name}.safetensors")
    )
    assert json.dumps(state) == json.dumps(state_before), (
        "The format of files has changed: raise FORMAT_VERSION."
    )
    assert arrays.keys() == arrays_before.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_before[key])


@pytest.mark.filterwarnings("ignore")
def test_the_script_writes_such_files(tmp_path):
    golden.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in golden.DATA.iterdir()}
