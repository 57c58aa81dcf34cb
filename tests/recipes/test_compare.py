"""The whole comparison: what is missing is trained, what is there is used, and a table says it."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agents
from agents import metrics
from recipes.settings import overrides

Recipe = Callable[..., Any]
DATASET = "test/pendulum-v0"
QUICK = (
    "gradient_steps=20",
    "batch_size=16",
    "eval_every=10",
    "num_eval_episodes=2",
    "log_every=5",
    "compile=off",
    "matmul_precision=highest",
    "algorithm.actor.hidden_sizes=[8]",
    "num_resamples=50",
    "workers=2",
)
QUICK_ESTIMATE = ("fqe.gradient_steps=3", "fqe.num_members=3", "fqe.compile=off", "fqe.qvalue.hidden_sizes=[8]")
NO_FIGURES = "from recipes.reporting import figures; figures.draw = lambda *_, **__: []\n"
STOP_IN_THE_MIDDLE = """
import agents.training.agent
update = agents.training.agent.Agent.update
def signalled(self, batch):
    if self.num_updates == 12 and os.getpid() != parent: os.kill(parent, {number}); import time; time.sleep(0.3)
    return update(self, batch)
parent = os.getpid()
agents.training.agent.Agent.update = signalled
"""


@pytest.fixture(scope="session")
def run_compare(run_recipe: Recipe, forked: str) -> Recipe:
    def run(*arguments: str, before: str = NO_FIGURES, **options: Any) -> Any:
        return run_recipe("compare", *QUICK, *arguments, before=forked + before, **options)

    return run


@pytest.fixture
def comparison(run_compare: Recipe, tmp_path: Path) -> Recipe:
    """The recipe in the test's own folder."""
    return functools.partial(run_compare, cwd=tmp_path)


@pytest.fixture(scope="session")
def compared(run_compare: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished comparison; not to be changed."""
    folder = tmp_path_factory.mktemp("compared")
    finished = run_compare("algorithms=iql,bc", f"datasets={DATASET}", "seeds=0,1", before="", cwd=folder)
    assert finished.code == 0, finished.err + finished.out
    (folder / "printed").write_text(finished.out)
    return folder


def test_every_run_is_made_and_the_table_names_each_of_them(compared) -> None:
    for algorithm in ("iql", "bc"):
        for seed in (0, 1):
            folder = compared / "runs" / algorithm / DATASET / f"seed{seed}"
            assert {"config.yaml", "evaluations.csv", "output.log", "checkpoints"} <= {
                path.name for path in folder.iterdir()
            }
    printed = (compared / "printed").read_text()
    assert printed.startswith("4 runs, of which 0 are finished already\n")
    assert len(re.findall(rf"^done (iql|bc)/{DATASET}/seed[01] in ", printed, re.MULTILINE)) == 4
    assert "Minari score. Last evaluation, mean ± standard error over seeds; data: mean of the recorded" in printed
    assert "bold" not in printed  # in a file nothing is
    assert f"\n{DATASET}  " in printed and "P(better than bc)" in printed


def test_tables_and_figures_are_written(compared, read_csv) -> None:
    output = compared / "runs" / "comparison"
    names = ("curves", "clock", "intervals", "profiles")
    figures = {f"{name}_minari.{kind}" for name in names for kind in ("png", "pdf", "svg")}
    figures |= {f"{name}_minari_narrow.svg" for name in names}
    numbers = {"runs.csv", "datasets.csv", "aggregates.csv"}
    assert {path.name for path in output.iterdir()} == figures | numbers | {
        "results.md",
        "results.html",
        "results.tex",
        "results.json",
    }
    for row in read_csv(output / "runs.csv"):
        folder = compared / "runs" / row["algorithm"] / row["dataset"] / f"seed{row['seed']}"
        assert float(row["score"]) == float(read_csv(folder / "evaluations.csv")[-1]["eval/minari_score"])
    found = json.loads((output / "results.json").read_text())
    (header, *rows), (key,) = found["datasets"], {row["dataset"] for row in read_csv(output / "runs.csv")}
    expected = metrics.data(agents.load_dataset(key))["data/minari_score"]
    assert {row[header.index("data")] for row in rows} == {expected}
    assert "20 gradient steps, 2 episodes per evaluation, seeds 0, 1." in found["about"][0]
    assert "torch" in found["about"][1] and "offline-agents 0.1.0" in found["about"][1]
    page = (output / "results.md").read_text()
    assert "![curves_minari.png](curves_minari.png)" in page
    assert "algorithms=iql,bc " in page and "gradient_steps=20" in page  # the way to make it again


def test_finished_runs_are_used_again_and_only_what_is_missing_is_made(compared, comparison, tmp_path) -> None:
    shutil.copytree(compared / "runs", tmp_path / "runs")
    before = (tmp_path / "runs" / "comparison" / "runs.csv").read_text()
    shutil.rmtree(tmp_path / "runs" / "bc" / DATASET / "seed1" / "checkpoints")  # large, and not kept by all
    again = comparison("algorithms=iql,bc", f"datasets={DATASET}", "seeds=0,1", "device=cpu", "log_every=3")
    assert again.code == 0 and again.out.startswith("4 runs, of which 4 are finished already\n")
    assert "started" not in again.out
    assert (tmp_path / "runs" / "comparison" / "runs.csv").read_text() == before

    more = comparison("algorithms=bc", f"datasets={DATASET}", "seeds=[0,2]")
    assert more.code == 0 and more.out.startswith("2 runs, of which 1 are finished already\n")
    assert "started bc/test/pendulum-v0/seed2" in more.out and "seed0" not in more.out.partition("\n")[2]


def test_a_run_with_other_settings_is_left_alone_and_stands_beside_the_new_one(compared, comparison, tmp_path) -> None:
    shutil.copytree(compared / "runs", tmp_path / "runs")
    place = tmp_path / "runs" / "bc" / DATASET
    before = (place / "seed0" / "evaluations.csv").read_text()
    other = ("algorithms=bc", f"datasets={DATASET}", "seeds=0", "batch_size=8", "output=other")
    assert comparison(*other).code == 0
    (own,) = place.glob("seed0-*")
    assert "batch_size: 8" in (own / "config.yaml").read_text()
    assert (place / "seed0" / "evaluations.csv").read_text() == before
    assert (tmp_path / "other" / "results.md").exists()
    assert comparison(*other).out.startswith("1 runs, of which 1 are finished already\n")


def test_a_dataset_that_is_not_there_is_refused_before_anything_is_run(comparison, tmp_path) -> None:
    message = comparison("algorithms=bc", f"datasets={DATASET},test/pendulm-v0", "seeds=0").refusal()
    assert message.startswith("dataset 'test/pendulm-v0' is not in") and "did you mean test/pendulum-v0" in message
    assert not [*tmp_path.iterdir()]


def test_data_without_an_environment_are_compared_by_estimates(compared, comparison, tmp_path) -> None:
    shutil.copytree(compared / "runs", tmp_path / "runs")  # beside a run that is evaluated
    typed = ("algorithms=bc", f"datasets={DATASET},test/no-env-v0", "seeds=0", *QUICK_ESTIMATE)
    finished = comparison(*typed)
    assert finished.code == 0, finished.err
    assert "estimating 1 policies from test/no-env-v0 by fitted Q evaluation" in finished.out
    _, _, after = finished.out.partition("\nEstimate (fqe). Discounted return as estimated from the data")
    assert "bc/test/no-env-v0/seed0: " in after and " means nothing: " in after, "who sees the value sees the verdict"
    page = (tmp_path / "runs/comparison/results.md").read_text()
    assert after.split("bc/test/no-env-v0/seed0: ")[1].splitlines()[0] in page and "curves_estimate" not in page
    numbers = json.loads((tmp_path / "runs/comparison/results.json").read_text())
    rows = {tuple(row[:4]): row[4] for row in numbers["runs"]}
    folder = tmp_path / "runs/bc/test/no-env-v0/seed0"
    valued = json.loads((folder / "valuation.json").read_text())
    assert rows["estimate", "test/no-env-v0", "bc", 0] == valued["estimate"]["value"]
    assert not any(kind == "estimate" and dataset == DATASET for kind, dataset, *_ in rows)
    assert valued["how"]["step"] == 20 and valued["how"]["fqe"]["gradient_steps"] == 3
    again = comparison(*typed)
    assert "2 are finished already" in again.out and "estimating" not in again.out
    valued["how"]["method"] -= 1  # of an earlier version of the package
    (folder / "valuation.json").write_text(json.dumps(valued))
    assert "estimating 1 policies" in comparison(*typed).out
    assert "estimating 1 policies" in comparison(*typed, "fqe.gradient_steps=4").out


@pytest.mark.slow
def test_what_estimates_would_have_chosen_stands_beside_what_was_evaluated(compared, comparison, tmp_path) -> None:
    shutil.copytree(compared / "runs", tmp_path / "runs")
    finished = comparison("algorithms=iql,bc", f"datasets={DATASET}", "seeds=0,1", "select=fqe", *QUICK_ESTIMATE)
    assert finished.code == 0, finished.err
    assert "estimating 4 policies" in finished.out and "Estimate (fqe)." not in finished.out  # these runs have scores
    found = json.loads((tmp_path / "runs/comparison/results.json").read_text())
    scores = [row[4] for row in found["runs"][1:]]
    header, *rows = found["choice"]
    assert [row[1:3] for row in rows] == [["iql", "2"], ["bc", "2"], ["any", "4"]]
    regret, taken = (float(rows[-1][header.index(name)]) for name in ("regret", "score"))
    assert taken + regret == pytest.approx(max(scores), abs=0.11)
    page = (tmp_path / "runs/comparison/results.md").read_text()
    assert "## Choice" in page and "Choice" in (tmp_path / "runs/comparison/results.html").read_text()
    assert "unknown select 'wis'; choose from fqe" in comparison("select=wis").refusal()


def test_one_run_that_fails_is_reported_and_does_not_stop_the_others(comparison, tmp_path) -> None:
    datasets = f"datasets=test/outside-v0,{DATASET},test/no-env-v0"
    finished = comparison("algorithms=bc", datasets, "seeds=0", *QUICK_ESTIMATE)
    assert finished.code == 1
    (first,) = (line for line in finished.err.splitlines() if " failed: " in line)
    assert first.startswith("warning: bc/test/outside-v0/seed0 failed: ") and "clip_actions=true" in first
    assert first.endswith("(see runs/bc/test/outside-v0/seed0.log)")
    page = (tmp_path / "runs" / "comparison" / "results.md").read_text()
    assert re.search(rf"^\| {DATASET} \| [-\d.]+ \| \*\*", page, re.MULTILINE)
    assert "bc/test/outside-v0/seed0 failed" in page
    assert "No run has finished on test/outside-v0." in page and "## Estimate (fqe)" in page
    assert "2 failed" not in finished.out and "1 failed" in finished.out


def test_without_a_finished_run_there_is_no_table(comparison, tmp_path) -> None:
    finished = comparison("algorithms=bc", "datasets=test/outside-v0", "seeds=0")
    assert finished.code == 1 and not (tmp_path / "runs" / "comparison").exists()
    assert "Traceback" not in finished.err


@pytest.mark.parametrize("number", [2, pytest.param(15, marks=pytest.mark.slow)])
def test_an_interrupted_comparison_goes_on_and_ends_as_if_it_never_had_been(
    number, comparison, compared, tmp_path
) -> None:
    wanted = ("algorithms=iql,bc", f"datasets={DATASET}", "seeds=0,1", "workers=1")
    stopped = comparison(*wanted, before=NO_FIGURES + STOP_IN_THE_MIDDLE.format(number=number))
    assert "warning" not in stopped.err and not (tmp_path / "runs" / "comparison").exists()  # nothing has finished yet
    assert stopped.code == 128 + number and "stopped; the same command goes on" in stopped.out, stopped.err
    assert "stopped after step" in (tmp_path / "runs" / "iql" / DATASET / "seed0" / "output.log").read_text()
    finished = comparison(*wanted)
    assert finished.code == 0, finished.err
    assert f"started iql/{DATASET}/seed0 after step" in finished.out
    here, there = (folder / "runs" / "comparison" / "runs.csv" for folder in (tmp_path, compared))
    assert here.read_text() == there.read_text()


def test_an_interrupted_comparison_shows_what_has_finished(comparison, compared, tmp_path) -> None:
    shutil.copytree(compared / "runs" / "bc", tmp_path / "runs" / "bc")
    wanted = ("algorithms=iql,bc", f"datasets={DATASET}", "seeds=0,1", "workers=1", "logger=wandb")
    stopped = comparison(*wanted, before=NO_FIGURES + STOP_IN_THE_MIDDLE.format(number=2))
    assert stopped.code == 130 and stopped.out.endswith("stopped; the same command goes on\n")
    assert f"iql on {DATASET}: 0 of 2 seeds." in stopped.out and "warning" not in stopped.err
    assert not (tmp_path / "runs" / "comparison").exists()  # or a part would replace a whole one


def test_runs_and_comparison_are_runs_of_wandb_when_asked_for(comparison, tmp_path, read_wandb) -> None:
    arguments = ("algorithms=bc", f"datasets={DATASET}", "seeds=0", "logger=wandb", "wandb.mode=offline")
    finished = comparison(*arguments, before="")
    assert finished.code == 0, finished.err
    (upload,) = re.findall(r"^W&B:     offline; upload by: wandb sync (.*)$", finished.out, re.MULTILINE)
    assert [path.split("/wandb/offline-run-")[0] for path in upload.split()] == [
        *(f"runs/bc/{DATASET}/seed0", "runs/comparison")
    ]
    assert all((tmp_path / path).is_dir() for path in upload.split())
    assert [*(tmp_path / "runs" / "bc" / DATASET / "seed0" / "wandb").glob("offline-run-*")]
    text = json.dumps(read_wandb(tmp_path / "runs" / "comparison"))
    for key in ("runs", "datasets", "aggregates", "curves_minari", "intervals_minari", "profiles_minari"):
        assert f'"{key}._type"' in text
    media = tmp_path / "runs" / "comparison" / "wandb" / "latest-run" / "files" / "media"
    assert len([*media.glob("images/*.png")]) == 4 and len([*media.glob("table/*.json")]) == 3


MISTAKES = {
    "algorithms=ilq": r"unknown algorithm 'ilq' \(did you mean iql\?\); choose from .*",
    "algorithms=": r"algorithms: .*",
    "algorithms=iql,iql": r"algorithms must be different ones, at least one, got \['iql', 'iql'\]",
    "algorithm=iql": r"unknown setting 'algorithm' \(did you mean algorithms\?\); --help .*",
    "seed=0": r"unknown setting 'seed' \(did you mean seeds\?\); .*",
    "seeds=0,x": r"seeds.*: 'x' is not a whole number; --help .*",
    "runs=/dev/null": r"cannot write to /dev/null/iql/.*: /dev/null is no folder .*; name another place by runs=...",
    "seeds=-1": r"seeds must be at least 0 and below 2\^63, got -1",
    "gradient_stepz=3": r"unknown setting 'gradient_stepz' \(did you mean gradient_steps\?\); --help .*",
    "gradient_steps=0": r"gradient_steps must be at least 1, got 0",
    "algorithm.expectile=2": r"expectile must lie in \(0, 1\), got 2.0",
    "run_dir=x": r"unknown setting 'run_dir'.*",
    "baseline=cql": r"unknown baseline 'cql'; choose from iql, bc",
    "executor=spark": r"unknown executor 'spark'; choose from local, ray, slurm",
    "workers=0": r"workers must be at least 1, got 0",
    "num_resamples=0": r"num_resamples must be at least 1, got 0",
    "slurm.minutes=0": r"slurm.minutes must be at least 1, got 0",
    "logger=csv": r"unknown logger 'csv'; choose from wandb, none",
    "wandb.mode=on": r"unknown wandb.mode 'on'; choose from auto, online, offline",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_refused_in_one_line_before_anything_is_run(typed, run_recipe, tmp_path) -> None:
    given = (
        [] if typed.startswith("algorithms") else ["algorithms=iql" if "expectile" in typed else "algorithms=iql,bc"]
    )
    refused = run_recipe("compare", *given, typed, cwd=tmp_path)
    assert re.fullmatch(MISTAKES[typed], refused.refusal()), refused.refusal()
    assert not [*tmp_path.iterdir()]


def test_lists_may_be_written_with_commas_and_other_settings_go_to_the_runs() -> None:
    own, others = overrides.split(
        ["algorithms=iql,bc", "seeds=3", "datasets=[a/b-v0]", "batch_size=8", "algorithm.expectile=0.8"]
        + ["wandb.mode=offline", "device=cuda", "output=x", "-m", "+foo=1", "run_dir=x"],
        "compare",
    )
    assert own == [
        *("algorithms=[iql,bc]", "seeds=[3]", "datasets=[a/b-v0]", "wandb.mode=offline", "output=x"),
        *("-m", "+foo=1", "run_dir=x"),
    ]
    assert others == ["batch_size=8", "algorithm.expectile=0.8", "wandb.mode=offline", "device=cuda"]
