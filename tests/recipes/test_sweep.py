"""The whole sweep: what is missing is trained, what is there is used, and a table has the best trial first."""

from __future__ import annotations

import functools
import html
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from agents.environments.protocols import PROTOCOLS
from agents.environments.scoring import Reference, Scoring
from agents.errors import ConfigError
from recipes.many.trials import is_scored
from recipes.settings.many_runs import SweepConfig

Recipe = Callable[..., Any]
DATASET = "test/pendulum-v0"
QUICK = (
    *("sweep=mine.yaml", f"dataset={DATASET}", "gradient_steps=20", "batch_size=16", "eval_every=10"),
    *("num_eval_episodes=2", "log_every=5", "compile=off", "workers=2"),
)
FILE = {
    "method": "grid",
    "metric": {"name": "eval/minari_score", "goal": "maximize"},
    "early_terminate": {"type": "hyperband", "min_iter": 1},
    "parameters": {
        "algorithm": {"value": "bc"},
        "algorithm.actor.hidden_sizes": {"values": [[8], [8, 8]]},
        "algorithm.actor_optimizer.lr": {"values": [0.001, 0.1]},
    },
}
NO_FIGURE = """
from agents import files
from recipes.reporting import figures
figures.draw_trials = lambda path, *_, **__: files.write_atomically(path, b"")
"""
STOP_IN_THE_THIRD = """
import agents.training.agent
update = agents.training.agent.Agent.update
def signalled(self, batch):
    if self.num_updates == 12 and "lr=0.001" in " ".join(sys.argv) and "[8,8]" in " ".join(sys.argv):
        os.kill(parent, 15); import time; time.sleep(0.3)
    return update(self, batch)
parent = os.getpid()
agents.training.agent.Agent.update = signalled
"""


@pytest.fixture(scope="session")
def run_sweep(run_recipe: Recipe, forked: str) -> Recipe:
    def run(*arguments: str, cwd: Path, before: str = NO_FIGURE, file: dict = FILE, **options: Any) -> Any:
        (cwd / "mine.yaml").write_text(yaml.safe_dump(file))
        return run_recipe("sweep", *QUICK, *arguments, cwd=cwd, before=forked + before, **options)

    return run


@pytest.fixture
def sweep(run_sweep: Recipe, tmp_path: Path) -> Recipe:
    """The recipe in the test's own folder."""
    return functools.partial(run_sweep, cwd=tmp_path)


@pytest.fixture(scope="session")
def swept(run_sweep: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished sweep of four trials; not to be changed."""
    folder = tmp_path_factory.mktemp("swept")
    finished = run_sweep(before="", cwd=folder)
    assert finished.code == 0, finished.err + finished.out
    (folder / "printed").write_text(finished.out)
    return folder


def output(folder: Path) -> Path:
    return folder / "runs" / "sweeps" / "mine" / DATASET


def test_every_trial_is_a_run_of_its_own_and_the_best_comes_first(swept, read_csv) -> None:
    rows = read_csv(output(swept) / "trials.csv")
    assert {row["trial"] for row in rows} == {"1", "2", "3", "4"} and len({row["folder"] for row in rows}) == 4
    for row in rows:
        settings = yaml.safe_load((swept / row["folder"] / "config.yaml").read_text())["algorithm"]
        assert str(settings["actor"]["hidden_sizes"]) == row["algorithm.actor.hidden_sizes"]
        assert settings["actor_optimizer"]["lr"] == float(row["algorithm.actor_optimizer.lr"])
        last = read_csv(swept / row["folder"] / "evaluations.csv")[-1]
        assert row["eval/minari_score"] == last["eval/minari_score"] and last["step"] == "20"
    scores = [float(row["eval/minari_score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_the_table_says_that_its_best_is_optimistic_and_how_to_train_it_anew(swept, read_csv) -> None:
    printed, best = (swept / "printed").read_text(), read_csv(output(swept) / "trials.csv")[0]
    assert "early_terminate is for W&B's agent" in printed
    assert re.search(r"\ntrial +actor.hidden_sizes +actor_optimizer.lr +Minari score +Return\n-", printed)
    assert "The best of 4 trials on the same 2 episodes is optimistic" in printed
    (command,) = re.findall(r"^  offline-agents compare (.*)$", printed, re.MULTILINE)
    assert {"algorithms=bc", f"datasets={DATASET}", "seeds=1,2,3", "gradient_steps=20"} <= {*command.split()}
    assert f"algorithm.actor_optimizer.lr={best['algorithm.actor_optimizer.lr']}" in command
    files = {path.name for path in output(swept).iterdir()}
    figures = {"trials.png", "trials.svg", "trials_narrow.svg"}
    assert files == {"results.md", "results.html", "results.json", "trials.csv", *figures}
    assert json.loads((output(swept) / "results.json").read_text())["retrain"].endswith(command)
    assert (output(swept) / "results.md").read_text().count("![trials.png]") == 1


def test_the_page_says_what_each_trial_took_and_leads_to_its_folder(swept, read_csv) -> None:
    page = (output(swept) / "results.html").read_text()
    folders = {os.path.relpath(swept / row["folder"], output(swept)) for row in read_csv(output(swept) / "trials.csv")}
    links = {html.unescape(unquote(path)) for path in re.findall(r'<td><a href="(\.[^"]*)"', page)}
    assert links == folders and len(links) == 4
    header, *rows = json.loads((output(swept) / "results.json").read_text())["costs"]
    assert header[:2] == ["trial", "minutes"] and {row[0] for row in rows} == {"1", "2", "3", "4"}
    assert "## Cost" in (output(swept) / "results.md").read_text() and ">Cost</h2>" in page


@pytest.mark.slow  # the same of a comparison, which is made by the same pool, is a fast one
def test_an_interrupted_sweep_goes_on_and_ends_as_if_it_never_had_been(sweep, swept, tmp_path) -> None:
    stopped = sweep("workers=1", before=NO_FIGURE + STOP_IN_THE_THIRD)
    assert stopped.code == 143 and "stopped; the same command goes on" in stopped.out, stopped.err + stopped.out
    assert not output(tmp_path).exists()
    finished = sweep()
    assert finished.code == 0, finished.err
    assert "4 runs, of which 2 are finished already" in finished.out
    assert len(re.findall("^started 3 .* after step ", finished.out, re.MULTILINE)) == 1
    assert (output(tmp_path) / "trials.csv").read_text() == (output(swept) / "trials.csv").read_text()


@pytest.mark.slow
def test_tpe_is_told_of_finished_trials_and_so_proposes_the_same_again_and_then_more(sweep, tmp_path, read_csv) -> None:
    pytest.importorskip("optuna")
    file = {**FILE, "parameters": {**FILE["parameters"], "algorithm.actor_optimizer.lr": {"min": 0.001, "max": 0.1}}}
    arguments = ("method=tpe", "batch=1", "seeds=0,1", "algorithm.actor.hidden_sizes=[8]")
    first = sweep(*arguments, "num_trials=1", file=file)
    assert first.code == 0 and "mean ± standard error over seeds" in first.out, first.err + first.out
    before = read_csv(output(tmp_path) / "trials.csv")
    assert len(before) == 2 and {row["seed"] for row in before} == {"0", "1"}
    more = sweep(*arguments, "num_trials=2", file=file)
    assert "trials 1-1: 2 runs, of which 2 are finished already\n" in more.out, more.err
    assert "trials 2-2: 2 runs, of which 0 are finished already\n" in more.out
    after = read_csv(output(tmp_path) / "trials.csv")
    assert len(after) == 4 and all(row in after for row in before)


def test_a_trial_that_fails_is_named_and_stops_no_other(sweep, tmp_path, read_csv) -> None:
    parameters = {"algorithm": {"value": "bc"}, "clip_actions": {"values": [False, True]}}
    finished = sweep(
        "dataset=test/outside-v0", "algorithm.actor.hidden_sizes=[8]", file={**FILE, "parameters": parameters}
    )
    assert finished.code == 1
    assert "warning: 1 clip_actions=false failed: " in finished.err and "1 done" in finished.out
    (row,) = read_csv(tmp_path / "runs" / "sweeps" / "mine" / "test/outside-v0" / "trials.csv")
    assert row["clip_actions"] == "True"


def test_wandb_holds_table_and_figure_by_keys_of_their_own_and_what_was_swept(
    sweep, swept, tmp_path, read_wandb, read_csv
) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    done = sweep("logger=wandb", "wandb.mode=offline", "output=my results", before="")
    assert done.code == 0, done.err
    records = read_wandb(tmp_path / "my results")
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert run["job_type"] == "sweep" and run["display_name"] == f"sweep mine: bc on {DATASET}"
    assert {DATASET, "bc", "pendulum"} <= {*run["tags"]}
    config = run["config"]["update"]
    assert (config["sweep_file"], config["algorithm_name"], config["dataset"]) == ("mine", "bc", DATASET)
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    kinds = {key.removesuffix("._type"): kind for item in items for key, kind in item.items() if key.endswith("._type")}
    assert kinds == {"runs": "table-file", "trials": "image-file"}
    (upload,) = re.findall(r"^W&B: +offline; upload by: wandb sync (.*)$", done.out, re.MULTILINE)
    (folder,) = shlex.split(upload)  # its name has a space
    assert folder.startswith("my results/wandb/offline-run-") and (tmp_path / folder).is_dir()
    (without,) = re.findall(r"^W&B: +without (.*), which were finished with another logger$", done.out, re.MULTILINE)
    assert {*without.split(", ")} == {row["folder"] for row in read_csv(output(swept) / "trials.csv")}


MISTAKES = {
    "sweep=nowhere.yaml": r"cannot read the sweep nowhere.yaml: No such file or directory",
    "output=/dev/null/x": r"cannot write to /dev/null/x: /dev/null is no folder .*; name another place by output=...",
    "metric=eval/retrun": r"unknown metric 'eval/retrun'; choose from eval/return, .*",
    "metric=validation/log_prob": r"metric=validation/log_prob is measured on held-out episodes: add validation=0.1.*",
    "seed=1": r"unknown setting 'seed' \(did you mean seeds\?\); --help .*",
    "dataset=test/pendulm-v0": r"dataset 'test/pendulm-v0' is not in .*did you mean test/pendulum-v0.*",
    "dataset=test/no-env-v0": r"evaluations on test/no-env-v0 name no environment; name one by eval_env=ID, or .*",
    "metric=eval/d4rl_score": r"evaluations on test/pendulum-v0 have no eval/d4rl_score; choose another, .*",
    "algorithm=iql_tuned": r"algorithm.expectile: no tuned settings for 'test/pendulum-v0'.*",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_refused_in_one_line_before_anything_is_run(typed, sweep, tmp_path) -> None:
    assert re.fullmatch(MISTAKES[typed], sweep(typed).refusal())
    assert os.listdir(tmp_path) == ["mine.yaml"]


def test_a_score_is_one_of_its_protocols_number_of_steps() -> None:
    d4rl, minari = PROTOCOLS
    scorings = {"d4rl": Scoring(Reference(0.0, 1.0), max, horizon=100), "minari": Scoring(Reference(0.0, 1.0), max)}
    source = SimpleNamespace(scorings=scorings, horizon=200)
    scored = {
        steps: (is_scored(d4rl, source, steps), is_scored(minari, source, steps)) for steps in (None, 200, 100, 99)
    }
    assert scored == {None: (True, True), 200: (True, True), 100: (True, False), 99: (False, False)}
    source.scorings = {}
    assert not is_scored(d4rl, source, None) and not is_scored(minari, source, 200)


OUT_OF_RANGE = {
    "method": ("hill", "unknown method 'hill'; choose from grid, random, tpe"),
    "num_trials": (0, "num_trials must be at least 1, got 0"),
    "batch": (0, "batch must be at least 1, got 0"),
    "workers": (0, "workers must be at least 1, got 0"),
    "search_seed": (2**32, r"search_seed must be at least 0 and below 2\^32, got 4294967296"),
    "seeds": ([0, 0], r"seeds must be different ones, at least one, got \[0, 0\]"),
    "executor": ("spark", "unknown executor 'spark'; choose from local, ray, slurm"),
    "logger": ("csv", "unknown logger 'csv'; choose from wandb, none"),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused(name) -> None:
    value, message = OUT_OF_RANGE[name]
    with pytest.raises(ConfigError, match=message):
        SweepConfig(**{name: value})


WRONG_FILES = {
    r"unknown setting 'algorithm.expektile'.*did you mean algorithm.expectile.*": {"algorithm.expektile": [0.7, 0.8]},
    r"expectile must lie in \(0, 1\), got 1.5": {"algorithm.expectile": [0.7, 0.8, 1.5]},
    r"mine.yaml sets seed, which is chosen here; take it out: seeds are seeds=0,1": {"seed": [0, 1]},
    r"mine.yaml has no setting with several values beside those that were given": {"gradient_steps": [10, 20]},
}


@pytest.mark.parametrize("message", WRONG_FILES)
def test_a_wrong_value_anywhere_in_the_file_is_refused_before_anything_is_run(message, sweep, tmp_path) -> None:
    parameters = {name: {"values": values} for name, values in WRONG_FILES[message].items()}
    assert re.fullmatch(message, sweep(file={**FILE, "parameters": parameters}).refusal())
    assert os.listdir(tmp_path) == ["mine.yaml"]


def test_data_without_an_environment_are_swept_by_what_held_out_steps_say(sweep, tmp_path, read_csv) -> None:
    finished = sweep(
        *("dataset=test/no-env-v0", "validation=0.25", "metric=validation/action_error", "output=mine"),
        "algorithm.actor.hidden_sizes=[8]",
    )
    assert finished.code == 0, finished.err
    errors = [float(row["validation/action_error"]) for row in read_csv(tmp_path / "mine" / "trials.csv")]
    assert len(errors) == 2 and errors == sorted(errors)  # less is better, whatever the file's own metric wants
    assert "on the same held-out steps is optimistic" in finished.out


@pytest.mark.slow
def test_data_without_an_environment_are_swept_by_estimates(sweep, tmp_path, read_csv) -> None:
    quick = ("fqe.gradient_steps=3", "fqe.num_members=3", "fqe.compile=off", "fqe.qvalue.hidden_sizes=[8]")
    where = ("dataset=test/no-env-v0", "metric=estimate/fqe", "output=mine", "algorithm.actor.hidden_sizes=[8]")
    finished = sweep(*where, *quick, file={**FILE, "metric": {"name": "validation/log_prob", "goal": "minimize"}})
    assert finished.code == 0, finished.err
    rows = read_csv(tmp_path / "mine" / "trials.csv")
    values = [float(row["estimate/fqe"]) for row in rows]
    assert len(values) == 2 and values == sorted(values, reverse=True)  # more is better, whatever the file wants
    kept = json.loads((tmp_path / rows[0]["folder"] / "valuation.json").read_text())
    assert kept["estimate"]["value"] == values[0]
    assert "on the same data is optimistic" in finished.out


def test_a_metric_that_was_not_evaluated_is_refused_with_those_that_were(sweep, swept, tmp_path) -> None:
    (tmp_path / "runs").symlink_to(swept / "runs")
    message = sweep("metric=eval/d4rl_score", "output=other").refusal()
    assert "has no eval/d4rl_score; choose another metric, as metric=..., from eval/return, " in message
