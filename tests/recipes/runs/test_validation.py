"""Held-out episodes of a run: what is trained on, what is written, and what finds them again."""

from __future__ import annotations

import json
from types import SimpleNamespace

import minari
import numpy as np
import pytest
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer

import agents
from agents import checkpoint
from agents.training.sampling import Sampling
from recipes.runs.validation import EVERY, Validation, draw, split_again
from recipes.settings.schema import TrainConfig

DATASET = "test/pendulum-v0"
RUN = f"runs/iql/{DATASET}/seed0"


def write_part(part: agents.OfflineDataset, dataset_id: str) -> None:
    """The episodes of a part of the data as a dataset of their own."""
    source = minari.load_dataset(DATASET)
    by_start = {episode.observations[0].astype(np.float32).tobytes(): episode for episode in source}
    starts = part.rows[part.starts, : part.layout.observation].numpy()
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    episodes = [EpisodeBuffer(**{name: getattr(by_start[start.tobytes()], name) for name in names}) for start in starts]
    minari.create_dataset_from_buffers(dataset_id, episodes, env=source.env_spec)


@pytest.mark.filterwarnings("ignore")  # that no author and no code is named
def test_a_run_learns_from_the_other_episodes_as_if_they_were_all(train, tmp_path, read_log) -> None:
    whole = agents.load_dataset(DATASET)
    write_part(whole.split(0.25)[0], "test/part-v0")
    for dataset, more in ((DATASET, ["validation=0.25"]), ("test/part-v0", [])):
        finished = train(f"dataset={dataset}", *more, "algorithm.actor.dropout=0.5", "rewards.scale=return_range")
        assert finished.code == 0, finished.err
    ours, alone = (tmp_path / f"runs/iql/{name}/seed0" for name in (DATASET, "test/part-v0"))
    first, second = (checkpoint.load(path / "checkpoints" / "last.safetensors") for path in (ours, alone))
    for name, tensor in second.tensors.items():
        exact = torch.equal if not name.startswith("specs/") else torch.allclose  # moments, summed in another order
        assert exact(first.tensors[name], tensor), name
    returns = [[row["eval/return"] for row in read_log(path / "evaluations.csv")] for path in (ours, alone)]
    assert returns[0] == returns[1] and read_log(ours / "metrics.csv") == read_log(alone / "metrics.csv")

    row = read_log(ours / "evaluations.csv")[-1]
    names = ("loss_actor", "loss_qvalue", "loss_value", "log_prob", "action_error")
    assert {key for key in row if key.startswith("validation/")} == {f"validation/{name}" for name in names}
    note = {"share": 0.25, "seed": 0}
    assert json.loads((ours / "run.json").read_text())["validation"] == first.extra["validation"] == note
    assert "validation" not in second.extra
    training, held_out = split_again(first, whole)
    assert held_out is not None and held_out.statistics.num_episodes == 2 and training.statistics.num_episodes == 6
    assert split_again(second, whole) == (whole, None)
    damaged = SimpleNamespace(extra={"validation": {"share": "x"}}, path="mine")
    with pytest.raises(agents.CheckpointError, match="mine does not say which episodes were held out"):
        split_again(damaged, whole)


def test_without_an_environment_the_held_out_steps_are_the_evaluation(train, tmp_path, read_csv) -> None:
    finished = train("dataset=test/no-env-v0", "validation=0.25", algorithm="bc")
    assert finished.code == 0, finished.err
    assert "step 20: held out: log_prob" in finished.out.replace("log prob", "log_prob")
    rows = read_csv(tmp_path / "runs/bc/test/no-env-v0/seed0/evaluations.csv")
    assert [row["step"] for row in rows] == ["10", "20"]
    assert float(rows[0]["validation/log_prob"]) == -float(rows[0]["validation/loss_bc"])


def test_held_out_rewards_are_those_that_are_learned_from() -> None:
    training, held_out = agents.load_dataset(DATASET).split(0.25)
    config = SimpleNamespace(
        algorithm=agents.BCConfig(), n_step=3, batch_size=2, rewards=agents.RewardsConfig("return_range", shift=1.0)
    )
    rewards = training.learner_rewards(config.rewards)
    batch, plain = (draw(config, held_out, Sampling(), each) for each in (rewards, None))
    assert len(batch) == len(held_out) == 50 and "steps_to_next_obs" not in batch.keys()  # which BC has no use for
    expected = rewards.scale * plain["next", "reward"].double() + 1.0
    torch.testing.assert_close(batch["next", "reward"].double(), expected)
    config.algorithm = agents.IQLConfig(gamma=0.5)
    sums = draw(config, held_out, Sampling(), rewards)
    torch.testing.assert_close(sums["next", "reward"][0].double(), expected[0] + 0.5 * expected[1] + 0.25 * expected[2])
    assert draw(config, None, Sampling(), rewards) is None


def test_held_out_steps_are_looked_at_once_in_so_many_updates() -> None:
    def due(log_every: int, last: int) -> list[int]:
        looks = SimpleNamespace(_every=EVERY["cpu"], _log_every=log_every)
        return [step for step in range(log_every, last + 1, log_every) if Validation.due(looks, step)]

    assert due(500, 2000) == [500, 1000, 1500, 2000]
    assert due(200, 2000) == [600, 1000, 1600, 2000]
    assert due(3000, 6000) == [3000, 6000]
    assert due(5, 495) == []


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(share) -> None:
    with pytest.raises(agents.ConfigError, match=r"^validation must be a share of the episodes, in \[0, 1\), got "):
        TrainConfig(algorithm=agents.BCConfig(), run_dir="", validation=share)
