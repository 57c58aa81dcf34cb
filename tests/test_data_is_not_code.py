"""Ways from a file to code, of which there are none; what names an environment is in recipes/test_hostile_files.py."""

from __future__ import annotations

import ast
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

import agents
from agents.data import conversion
from agents.errors import ConfigError
from recipes.many.search_space import read_sweep
from tests.agents.handmade import ENDS, assert_transitions, create, load, refusal

REPOSITORY = Path(agents.__file__).parents[1]
SOURCES = sorted(path for top in ("agents", "recipes") for path in (REPOSITORY / top).rglob("*.py"))
# what makes objects of a file's bytes, or runs its text
EXECUTING = {
    *("eval", "exec", "pickle.load", "pickle.loads", "dill.load", "joblib.load", "torch.load", "yaml.load"),
    *("yaml.unsafe_load", "yaml.full_load", "instantiate", "hydra.utils.instantiate", "OmegaConf.load"),
}


class Trap:
    """An object whose pickle makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_nothing_makes_objects_of_a_file(path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not EXECUTING & {ast.unparse(call.func) for call in calls}
    assert "allow_pickle" not in {keyword.arg for call in calls for keyword in call.keywords}


def test_a_pickle_in_a_cache_is_not_opened_and_the_cache_is_made_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    create(*ENDS)
    load()
    file = next(tmp_path.rglob(conversion.STATISTICS))
    with np.load(file) as arrays:
        known = dict(arrays)
    np.savez(file, **{**known, "returns": np.array([Trap(tmp_path / "ran")], dtype=object)})
    assert_transitions(load(), ENDS)
    assert not (tmp_path / "ran").exists()


STRANGE = {  # kinds of values that HDF5 has beside numbers, each able to hold a pickle or to point at something
    "texts": lambda file, pickled: {"data": ["__import__('os')"] * 4, "dtype": h5py.string_dtype()},
    "opaque": lambda file, pickled: {"data": np.array([pickled] * 4, f"V{len(pickled)}")},
    "references": lambda file, pickled: {"data": [file.ref] * 4, "dtype": h5py.ref_dtype},
    "regions": lambda file, pickled: {
        "data": [file["episode_1/rewards"].regionref[:2]] * 4,
        "dtype": h5py.regionref_dtype,
    },
    "records": lambda file, pickled: {"data": np.zeros(4, [("number", "f8"), ("pickle", f"V{len(pickled)}")])},
}


@pytest.mark.parametrize("column", ["observations", "rewards", "infos/success"])
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_number_in_a_dataset_runs_nothing_and_is_refused(kind, column, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    path = create(*({**episode, "infos": {"success": np.zeros(len(episode["rewards"]) + 1)}} for episode in ENDS))
    pickled = pickle.dumps(Trap(tmp_path / "ran"))
    with h5py.File(path / "main_data.hdf5", "a") as file:
        del file["episode_0"][column]
        file["episode_0"].create_dataset(column, **STRANGE[kind](file, pickled))
    if column == "infos/success":  # which nothing is learned from
        assert_transitions(load(), ENDS)
    else:
        assert f"episode 0: {column} are " in refusal()
    assert not (tmp_path / "ran").exists()


def test_an_object_in_a_sweep_is_refused(tmp_path) -> None:
    (tmp_path / "sweep.yaml").write_text(f"parameters: !!python/object/apply:os.mkdir [{tmp_path / 'ran'}]\n")
    with pytest.raises(ConfigError, match="is no YAML"):
        read_sweep(tmp_path / "sweep.yaml")
    assert not (tmp_path / "ran").exists()
