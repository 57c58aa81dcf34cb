"""``seeds=[...]``: each run as if alone, stacked or in a process."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from agents import checkpoint

RUNS = "runs/iql/test/pendulum-v0"


def scalars(path: Path) -> list[list[float]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [[float(value) for key, value in row.items() if not key.startswith("time/")] for row in rows]


@pytest.fixture(scope="module")
def alone(quick_train, tmp_path_factory) -> Path:
    """Two seeds, one after the other."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in (3, 5):
        assert quick_train(f"seed={seed}", "validation=0.25", cwd=folder).code == 0
    return folder / RUNS


def test_stacked_seeds_are_what_each_is_alone(train, alone, tmp_path) -> None:
    finished = train("seeds=[3,5]", "stack=true", "validation=0.25")
    assert finished.code == 0, finished.err
    for seed in (3, 5):
        mine, other = tmp_path / RUNS / f"seed{seed}", alone / f"seed{seed}"
        assert {path.name for path in mine.iterdir()} == {path.name for path in other.iterdir()}
        assert (mine / "config.yaml").read_text() == (other / "config.yaml").read_text()
        for log in ("metrics.csv", "evaluations.csv"):
            assert (mine / log).read_text().splitlines()[0] == (other / log).read_text().splitlines()[0]
        torch.testing.assert_close(scalars(mine / "metrics.csv"), scalars(other / "metrics.csv"), rtol=1e-4, atol=1e-4)
        ours, theirs = (checkpoint.load(path / "checkpoints" / "last.safetensors") for path in (mine, other))
        assert ours.extra.keys() == theirs.extra.keys() and ours.num_updates == theirs.num_updates
        assert ours.tensors.keys() == theirs.tensors.keys()
        for name, tensor in theirs.tensors.items():
            if name.startswith("generators/"):  # a resumed run goes on with the same batches and masks
                assert torch.equal(ours.tensors[name], tensor)
            else:
                torch.testing.assert_close(ours.tensors[name], tensor, rtol=1e-4, atol=1e-4)
    ids = [json.loads((tmp_path / RUNS / f"seed{seed}" / "run.json").read_text())["wandb_id"] for seed in (3, 5)]
    assert ids[0] != ids[1]
    assert json.loads((tmp_path / RUNS / "seed3" / "run.json").read_text())["stacked"] == 2


def test_each_stacked_seed_has_a_wandb_run_of_its_own(train, tmp_path, read_wandb) -> None:
    assert train("seeds=[0,1]", "stack=true", "logger=wandb").code == 0
    for seed in (0, 1):
        records = read_wandb(tmp_path / RUNS / f"seed{seed}")
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        assert run["display_name"] == f"iql/test/pendulum-v0/seed{seed}"
        assert sum("train/loss_actor" in str(record) for record in records if record["type"] == "history") == 4


def test_a_stacked_seed_goes_on_alone(train, train_as_is, tmp_path) -> None:
    stop = """
from recipes.runs.writer import RunWriter
save = RunWriter.save
def stopping(self, *arguments, **options):
    save(self, *arguments, **options)
    if self.last_step == 0 and self._agent.num_updates == 10: raise KeyboardInterrupt
RunWriter.save = stopping
"""
    assert train("seeds=[0,1]", "stack=true", before=stop).code != 0
    place = f"{RUNS}/seed0"
    finished = train_as_is(f"resume={place}")
    assert finished.code == 0, finished.err
    assert checkpoint.load(tmp_path / place / "checkpoints" / "last.safetensors").num_updates == 20


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("seeds=[1,1]",), "seeds must be different ones"),
        (("seeds=[]",), "seeds must be different ones, at least one"),
        (("seeds=[0,1]", "run_dir=same"), "put the seed into run_dir"),
        (("seeds=[0,-1]",), "seeds must be at least 0 and below"),
        (("seeds=[0,1]", "resume=somewhere"), "leave out seeds"),
    ],
)
def test_seeds_that_cannot_have_a_run_each_are_refused(train, tmp_path, overrides, reason) -> None:
    assert reason in train(*overrides, "stack=true").refusal()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # the processes of a comparison are the same, and fast
def test_a_process_per_seed_leaves_what_each_leaves_alone(train, alone, tmp_path) -> None:
    finished = train(
        "seeds=[3,5]", "validation=0.25", "algorithm.actor_optimizer.torch_scheduler={}"
    )  # handed on as it was typed
    assert finished.code == 0, finished.err
    assert finished.out.splitlines()[-2:] == ["seed 3: done", "seed 5: done"]
    for seed in (3, 5):
        mine, other = tmp_path / RUNS / f"seed{seed}", alone / f"seed{seed}"
        assert (mine / "config.yaml").read_text() == (other / "config.yaml").read_text()
        assert scalars(mine / "metrics.csv") == scalars(other / "metrics.csv")
        assert scalars(mine / "evaluations.csv") == scalars(other / "evaluations.csv")
        ours, theirs = (checkpoint.load(path / "checkpoints" / "last.safetensors") for path in (mine, other))
        assert all(torch.equal(ours.tensors[name], tensor) for name, tensor in theirs.tensors.items())
    assert "already holds a run" in train("seeds=[3,7]").refusal()
    assert "did you mean test/pendulum-v0" in train("seeds=[7,8]", "dataset=test/pendulm-v0").refusal()
    assert not (tmp_path / RUNS / "seed7").exists() and len([*tmp_path.iterdir()]) == 1
