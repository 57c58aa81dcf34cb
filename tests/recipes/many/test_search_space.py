"""What a sweep file asks for, and what is proposed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from agents.errors import ConfigError
from recipes.many import search_space
from recipes.many.plan import compose_settings
from recipes.many.search_space import extremes, grid, make_search, read_sweep
from recipes.settings import command_line, schema

FILES = sorted((schema.CONF.parent / "sweeps").glob("*.yaml"))
TWO = {"a": {"values": [1, 2]}, "b": {"values": [[8], [8, 8]]}, "c": {"value": 5}}


def sweep_of(parameters: dict, tmp_path: Path, **others) -> search_space.Sweep:
    path = tmp_path / "mine.yaml"
    metric = {"name": "eval/return", "goal": "maximize"}
    path.write_text(yaml.safe_dump({"method": "grid", "metric": metric, "parameters": parameters, **others}))
    return read_sweep(path)


@pytest.fixture(scope="module")
def hydra() -> Iterator[None]:
    command_line.register()
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_first_and_last_trial_of_every_file_are_settings_of_its_algorithm_as_wandbs_agent_writes_them(
    path, hydra
) -> None:
    sweep, content = read_sweep(path), yaml.safe_load(path.read_text())
    assert read_sweep(path.stem) == sweep  # by its name, from any folder
    assert content["program"] == "recipes/train.py" and content["early_terminate"]["type"] == "hyperband"
    discrete = sweep.fixed["algorithm"].startswith("discrete_")
    assert sweep.maximize and sweep.metric == ("eval/return" if discrete else "eval/d4rl_score")
    points = grid(sweep)
    for point in (points[0], points[-1]):
        settings = {"dataset": "any/data-v0", **sweep.fixed, **point}
        given = create_sweep_command_args({"args": {name: {"value": value} for name, value in settings.items()}})
        own = [flag for flag in given["args_no_hyphens"] if flag.split("=")[0] not in ("algorithm", "dataset")]
        cfg = compose_settings(settings["algorithm"], settings["dataset"], own)
        for name, value in point.items():
            found = cfg
            for part in name.split("."):
                found = found[part]
            assert found == (None if value == "null" else value)


def test_trials_of_wandbs_agent_have_a_folder_each(hydra, monkeypatch) -> None:
    commands = [yaml.safe_load(path.read_text())["command"] for path in FILES]
    assert all(command == commands[0] for command in commands)
    monkeypatch.setenv("WANDB_RUN_ID", "before")  # the agent sets a trial's after it has put the command together
    command = create_sweep_command(commands[0])
    assert command[:4] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    for trial in ("first", "second"):
        monkeypatch.setenv("WANDB_RUN_ID", trial)
        assert compose("train", command[4:]).run_dir == f"runs/wandb/{trial}"


def test_a_trial_of_wandbs_agent_has_the_agents_id_so_that_it_goes_on_under_it(train, tmp_path) -> None:
    of_agent = {"WANDB_SWEEP_ID": "sweep", "WANDB_RUN_ID": "trial"}
    finished = train("run_dir=runs/wandb/${oc.env:WANDB_RUN_ID}", algorithm="bc", **of_agent)
    assert finished.code == 0, finished.err
    assert json.loads((tmp_path / "runs/wandb/trial/run.json").read_text())["wandb_id"] == "trial"


def test_a_grid_is_every_combination(tmp_path) -> None:
    sweep = sweep_of(TWO, tmp_path)
    assert sweep.fixed == {"c": 5}
    assert grid(sweep) == [{"a": a, "b": b} for a in (1, 2) for b in ([8], [8, 8])]
    search = make_search(sweep, num_trials=3, batch=1, seed=0)
    assert len(search.next()) == 3 and search.next() == []
    assert sweep.without(["a"]).fixed == {"c": 5} and [*sweep.without(["a"]).varied] == ["b"]


def test_a_grid_that_is_cut_varies_every_parameter_and_a_larger_cut_goes_on_from_there(tmp_path) -> None:
    sweep = sweep_of({"a": {"values": [1, 2, 3, 4]}, "b": {"values": [*range(10)]}}, tmp_path)
    few, more = (make_search(sweep, num_trials=number, batch=1, seed=0).next() for number in (6, 12))
    assert len({point["a"] for point in few}) > 1 and len({point["b"] for point in few}) > 1
    assert more[:6] == few and all(point in grid(sweep) for point in more)


def test_extremes_hold_every_value_and_both_bounds(tmp_path) -> None:
    points = extremes(sweep_of({**TWO, "d": {"min": 0.5, "max": 3.0}, "e": {"values": [1, 2, 3]}}, tmp_path))
    assert [point["d"] for point in points] == [0.5, 3.0, 3.0]
    assert [point["e"] for point in points] == [1, 2, 3] and [point["a"] for point in points] == [1, 2, 2]


def explore(sweep: search_space.Sweep, **options) -> list[list[dict]]:
    """Batches of a search that is told how near a is to 0.3."""
    search, batches = make_search(sweep, **{"num_trials": 30, "batch": 4, "seed": 1, **options}), []
    while batch := search.next():
        batches.append(batch)
        for point in batch:
            search.tell(point, -((point["a"] - 0.3) ** 2))
    return batches


def test_told_the_same_scores_tpe_proposes_the_same_settings_again(tmp_path) -> None:
    pytest.importorskip("optuna")
    sweep = sweep_of({"a": {"min": 0.0, "max": 1.0}, "b": {"values": ["x", "y"]}}, tmp_path, method="bayes")
    assert sweep.method == "tpe"
    batches = explore(sweep)
    assert [*map(len, batches)] == [4] * 7 + [2]
    assert explore(sweep) == batches and explore(sweep, seed=2) != batches
    assert explore(sweep, num_trials=10)[:2] == batches[:2]  # more trials later go on from there


def test_tpe_goes_to_where_the_scores_are_high(tmp_path) -> None:
    pytest.importorskip("optuna")
    sweep = sweep_of({"a": {"min": 0.0, "max": 1.0}, "b": {"values": ["x", "y"]}}, tmp_path, method="bayes")
    early, late = 0.0, 0.0
    for seed in range(5):
        distances = [abs(point["a"] - 0.3) for batch in explore(sweep, seed=seed) for point in batch]
        early, late = early + sum(distances[:10]), late + sum(distances[-10:])
    assert late < 0.6 * early


def test_no_settings_are_proposed_twice_and_a_small_space_comes_to_an_end(tmp_path) -> None:
    pytest.importorskip("optuna")
    for method in ("bayes", "random"):
        sweep = sweep_of({"a": {"values": [1, 2, 3]}, "b": {"values": [[8], "null"]}}, tmp_path, method=method)
        points = [repr(point) for batch in explore(sweep) for point in batch]
        assert len({*points}) == len(points) == 6


def test_a_trial_that_failed_is_told_so_and_not_proposed_again(tmp_path) -> None:
    pytest.importorskip("optuna")
    search = make_search(
        sweep_of({"a": {"values": [1, 2]}}, tmp_path, method="bayes"), num_trials=None, batch=2, seed=0
    )
    batch = search.next()
    for point in batch:
        search.tell(point, None)
    assert len(batch) == 2 and search.next() == []


@pytest.mark.parametrize(
    ("parameter", "low", "high", "whole"),
    [
        ({"min": 1, "max": 3}, 1, 3, True),
        ({"min": 1.0, "max": 3}, 1, 3, False),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}, 1e-5, 1e-2, False),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25}, 0, 1, False),
    ],
)
def test_ranges_are_those_of_wandb(parameter, low, high, whole, tmp_path) -> None:
    pytest.importorskip("optuna")
    sweep = sweep_of({"a": parameter}, tmp_path, method="random")
    values = [point["a"] for point in make_search(sweep, num_trials=20, batch=1, seed=0).next()]
    assert all(low <= value <= high for value in values) and all(isinstance(value, int) == whole for value in values)
    if "q" in parameter:
        assert {value % 0.25 for value in values} == {0.0}


MISTAKES = {
    "no parameters": ({}, None, "needs a section 'parameters'"),
    "no metric": ({"metric": None}, TWO, "needs a section 'metric'"),
    "method": ({"method": "hill"}, TWO, "unknown method 'hill'; choose from grid, random, tpe"),
    "goal": (
        {"metric": {"name": "a", "goal": "max"}},
        TWO,
        "unknown metric.goal 'max'; choose from maximize, minimize",
    ),
    "run_cap": ({"run_cap": 0}, TWO, "run_cap must be at least 1, got 0"),
    "nested": (
        {},
        {"a": {"parameters": {"b": {"value": 1}}}},
        "a: nested parameters are not known here; write .* dots",
    ),
    "plain": ({}, {"a": 3}, r"a: write values, as in \{values: \[1, 2\]\}, got 3"),
    "key": ({}, {"a": {"values": [1], "mu": 2}}, "a: mu is not known here; known are value, .*"),
    "empty": ({}, {"a": {"values": []}}, "a: values must be a list with at least one"),
    "name": ({}, {1: {"values": [1, 2]}}, "a setting's name is text, got 1"),
    "text": ({}, {"a": {"min": "1e-5", "max": 1}}, "a: min must be a number, got '1e-5'; .* write 1.0e-5"),
    "half": ({}, {"a": {"min": 1}}, "a: needs a value, values, or min and max"),
    "distribution": (
        {},
        {"a": {"min": 1, "max": 2, "distribution": "beta"}},
        "unknown a.distribution 'beta'; .*uniform",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_done_is_refused(mistake, tmp_path) -> None:
    others, parameters, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        sweep_of(parameters, tmp_path, **others)


def test_a_grid_over_a_range_is_refused_with_the_way_out(tmp_path) -> None:
    with pytest.raises(ConfigError, match="method=grid needs values for a; use method=random or method=tpe"):
        grid(sweep_of({"a": {"min": 1, "max": 2}}, tmp_path))


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"a: [", b"- a"])
def test_a_file_that_cannot_be_read_is_refused(content, tmp_path) -> None:
    if content is not None:
        (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match="the sweep .*a.yaml"):
        read_sweep(tmp_path / "a.yaml")
