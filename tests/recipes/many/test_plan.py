"""Which runs are missing, and which of those that are there can stand for one that is wanted."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from hydra import initialize_config_dir

import agents
from agents.errors import ConfigError, DataError
from recipes.many import plan
from recipes.many.plan import compose_settings, fingerprint, place
from recipes.runs.folder import RunFolder
from recipes.settings import command_line, schema
from recipes.settings.many_runs import CompareConfig
from recipes.settings.schema import TrainConfig

ANY = "demo/pen/mixed-v1"
DATASET = "test/pendulum-v0"


@pytest.fixture(autouse=True)
def hydra():
    command_line.register()
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        yield


def print_of(*overrides: str, algorithm: str = "iql", dataset: str = ANY) -> str:
    return fingerprint(compose_settings(algorithm, dataset, overrides))


@pytest.mark.parametrize(
    "override",
    ["device=cuda", "logger=none", "wandb.project=mine", "num_eval_envs=3", "log_every=7", "storage=memmap"]
    + ["checkpoint_every=5", "compile=off", "overwrite=true", "algorithm.expectile=0.7", "gradient_steps=20000"],
)
def test_what_does_not_change_a_result_does_not_change_the_fingerprint(override) -> None:
    assert print_of(override) == print_of()


@pytest.mark.parametrize(
    "override",
    ["gradient_steps=10", "batch_size=8", "eval_every=10", "num_eval_episodes=3", "clip_actions=true", "seed=1"]
    + ["eval_env=X", "precision=bfloat16", "algorithm.expectile=0.8", "algorithm.actor.hidden_sizes=[8]"],
)
def test_what_may_change_a_result_changes_the_fingerprint(override) -> None:
    assert print_of(override) != print_of()


def test_algorithms_datasets_and_presets_differ_and_the_same_settings_by_another_way_do_not() -> None:
    prints = [print_of(), print_of(algorithm="bc"), print_of(algorithm="iql_corl"), print_of(dataset="a/b-v0")]
    assert len({*prints}) == 4
    tuned = print_of(algorithm="iql_tuned", dataset="D4RL/pen/human-v2")
    given = ["algorithm.expectile=0.95", "algorithm.temperature=1.0"]
    assert tuned == print_of(*given, algorithm="iql_corl", dataset="D4RL/pen/human-v2")


def test_a_run_that_was_trained_alone_has_the_fingerprint_of_the_one_that_is_wanted(usual) -> None:
    overrides = ["gradient_steps=20", "batch_size=16", "eval_every=10", "num_eval_episodes=2"]
    overrides += ["matmul_precision=highest"]
    overrides += [f"algorithm.{part}.hidden_sizes=[8]" for part in ("actor", "qvalue", "value")]
    wanted = print_of(*overrides, dataset="test/pendulum-v0")
    assert place(usual.parent, 0, wanted) == usual
    assert place(usual.parent, 0, "0123456789abcdef") == usual.parent / "seed0-01234567"


def test_a_run_of_a_version_that_knew_fewer_settings_is_read_with_their_defaults(run) -> None:
    wanted = fingerprint(plan.read_settings(plan.RunFolder(run)))
    lines = (run / "config.yaml").read_text().splitlines(True)
    (run / "config.yaml").write_text("".join(line for line in lines if not line.startswith("precision")))
    assert place(run.parent, 0, wanted) == run


@pytest.mark.parametrize("content", ["", "seed: [", "unknown: 1\n"])
def test_a_folder_that_cannot_be_read_is_left_alone(content, tmp_path) -> None:
    (tmp_path / "seed0").mkdir()
    assert place(tmp_path, 0, "abcdefghij") == tmp_path / "seed0"  # empty
    assert place(tmp_path, 0, "abcdefghij", alone=False) == tmp_path / "seed0-abcdefgh"
    (tmp_path / "seed0" / "config.yaml").write_text(content)
    assert place(tmp_path, 0, "abcdefghij") == tmp_path / "seed0-abcdefgh"


def test_there_is_a_run_for_each_algorithm_dataset_and_seed(tmp_path) -> None:
    wanted = CompareConfig(["iql", "bc"], [ANY, "demo/door/mixed-v1"], [0, 5], runs=str(tmp_path))
    runs = plan.plan(wanted, ["batch_size=8", "gradient_steps=70"])
    assert len({run.job.name for run in runs}) == len({run.job.folder for run in runs}) == 8
    assert [run.seed for run in runs] == [run.config.seed for run in runs] == [0] * 4 + [5] * 4
    last = runs[-1]
    assert (last.algorithm, last.dataset, last.job.gradient_steps) == ("bc", "demo/door/mixed-v1", 70)
    assert last.job.folder == tmp_path / "bc" / "demo/door/mixed-v1" / "seed5"
    assert last.job.overrides == (
        *("device=cpu", "batch_size=8", "gradient_steps=70", "algorithm=bc"),
        *("dataset=demo/door/mixed-v1", "seed=5", "logger=none"),
    )
    assert "device=cpu" not in plan.plan(wanted, ["device=cuda"])[0].job.overrides


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["gradient_steps=0"], "gradient_steps must be at least 1, got 0"),
        (["batch_size=x"], "batch_size: 'x' is not a whole number"),
        (["algorithm.expectile=2"], r"expectile must lie in \(0, 1\), got 2"),
        (["algorithm.expektile=2"], r"unknown setting 'algorithm.expektile' \(did you mean algorithm.expectile\?\)"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_run(overrides, message, tmp_path) -> None:
    with pytest.raises(ConfigError, match=message):
        plan.plan(CompareConfig(["iql"], [ANY], [0], runs=str(tmp_path / "runs")), overrides)
    assert not [*tmp_path.iterdir()]


def made(folder: Path, gradient_steps: int = 20) -> plan.Run:
    """A run of the pendulum."""
    schema = TrainConfig(algorithm=agents.IQLConfig(), dataset=DATASET)
    return plan.Run("iql", DATASET, 0, plan.Job("a", folder, (), gradient_steps), schema)


def test_a_run_is_finished_when_its_last_evaluation_and_checkpoint_are_the_last(run) -> None:
    def finished(gradient_steps: int = 20) -> bool:
        return plan.is_finished(made(run, gradient_steps))

    lines = (run / "evaluations.csv").read_text().splitlines(True)
    assert finished() and not finished(30) and not finished(10)
    shutil.copy(run / "checkpoints" / "last.safetensors", run / "kept")
    shutil.copy(run / "checkpoints" / "previous.safetensors", run / "checkpoints" / "last.safetensors")
    assert not finished()
    shutil.copy(run / "kept", run / "checkpoints" / "last.safetensors")
    assert finished()
    (run / "checkpoints" / "last.safetensors").rename(run / "checkpoints" / "moved")
    assert not finished()
    Path(run / "checkpoints" / "moved").rename(run / "checkpoints" / "last.safetensors")
    shutil.move(run / "checkpoints", run / "elsewhere")  # not kept: the results are those of the last update
    assert finished() and not finished(30) and not finished(10)
    (run / "evaluations.csv").write_text("".join(lines[:1] + lines[-1:]))  # killed before the first was written
    assert not finished()
    shutil.move(run / "elsewhere", run / "checkpoints")
    (run / "evaluations.csv").write_text("".join(lines[:-1]))
    assert not finished()
    (run / "evaluations.csv").unlink()
    assert not finished()


def test_data_that_cannot_be_had_or_learnt_from_are_refused_before_anything_is_run(run) -> None:
    schemas = (agents.IQLConfig, agents.DiscreteCQLConfig)
    iql, discrete_cql = (TrainConfig(algorithm=schema(), dataset=DATASET) for schema in schemas)
    assert plan.open_data([(iql, "iql"), (iql, "iql")])[DATASET].id == DATASET
    with pytest.raises(ConfigError, match="dqn learns from discrete actions, the data have continuous ones"):
        plan.open_data([(iql, "iql"), (discrete_cql, "dqn")])
    with pytest.raises(DataError, match="did you mean test/pendulum-v0"):
        plan.open_data([(iql, "iql"), (dataclasses.replace(iql, dataset="test/pendulm-v0"), "iql")])


def test_runs_on_other_data_than_todays_are_named_once(run) -> None:
    assert plan.changed_data([made(run)]) == []
    other = Path(shutil.copytree(run, run.with_name("seed1")))
    RunFolder(run).add_info(dataset_fingerprint="of yesterday")
    (line,) = plan.changed_data([made(run), made(run)])
    assert plan.changed_data([made(other), made(run)]) == [line]
    assert line.startswith("test/pendulum-v0 has other data here and now than finished runs were trained on")
    elsewhere = dataclasses.replace(made(run), dataset="test/not-here-v0")  # the results were copied without the data
    assert plan.changed_data([elsewhere]) == []
