"""A score protocol that is added in one place is known everywhere: evaluations, data, logs, tables, panels, reports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import agents
from agents import metrics
from agents.data.opening import open_source
from agents.environments.protocols import PROTOCOLS
from recipes.many.trials import check_metric
from recipes.reporting import results, tables
from recipes.tracking import panels, wandb_project, wandb_report, wandb_workspace

DATASET = "test/pendulum-v0"
# twice Pendulum's return, between -4000 and 0
SWING = """
from agents.environments.protocols import PROTOCOLS
from agents.environments.scoring import Reference, Scoring, ScoreProtocol

def scoring(spec, reference, num_observations):
    if spec is None or spec.id != "Pendulum-v1":
        return None
    return Scoring(Reference(-4000.0, 0.0), lambda observations, rewards: 2.0 * float(rewards.sum()))

swing = ScoreProtocol("swing", "Swing-up", "the swing-up protocol", "Up is good.", scoring, own_return=True)
PROTOCOLS.insert(0, swing)
"""
QUICK = (
    *("gradient_steps=20", "batch_size=16", "eval_every=10", "num_eval_episodes=2", "log_every=5", "compile=off"),
    *("algorithm.actor.hidden_sizes=[8]", "num_resamples=50", "workers=1"),
)


@pytest.fixture
def swing() -> Iterator[None]:
    exec(SWING, {})
    yield
    PROTOCOLS[:] = [protocol for protocol in PROTOCOLS if protocol.name != "swing"]


@pytest.fixture
def store(environment, tmp_path, monkeypatch) -> str:
    """A store of its own: the converted datasets are others than without the protocol."""
    place = tmp_path / "minari"
    shutil.copytree(Path(environment["MINARI_DATASETS_PATH"], DATASET), place / DATASET)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place))
    return str(place)


def test_an_evaluation_has_its_score_return_and_keys(swing) -> None:
    with agents.EvaluationEnv("Pendulum-v1") as env:
        result = agents.evaluate(agents.random_policy(env), env, 2)
    np.testing.assert_allclose(result.scores["swing"], 100.0 * (2.0 * result.returns + 4000.0) / 4000.0)
    np.testing.assert_array_equal(result.protocol_returns["swing"], 2.0 * result.returns)
    assert f"swing score {result.scores['swing'].mean():.1f}" in result.summary()
    scalars = metrics.evaluation(result)
    assert scalars["eval/swing_score"] == result.scores["swing"].mean()
    assert {"eval/swing_score", "eval/swing_return"} <= scalars.keys() & {*metrics.evaluation_keys()}


def test_the_statistics_of_a_dataset_have_it_and_their_cache_follows(store, swing) -> None:
    dataset = agents.load_dataset(DATASET, progress=False)
    returns = dataset.statistics.horizon_returns
    np.testing.assert_allclose(dataset.statistics.scores["swing"], 100.0 * (2.0 * returns + 4000.0) / 4000.0)
    assert metrics.data(dataset)["data/swing_score"] == dataset.statistics.scores["swing"].mean()
    cached = agents.load_dataset(DATASET, progress=False)
    np.testing.assert_array_equal(cached.statistics.scores["swing"], dataset.statistics.scores["swing"])
    PROTOCOLS.pop(0)
    without = agents.load_dataset(DATASET, progress=False)
    assert [*without.statistics.scores] == ["minari"] and without.fingerprint == dataset.fingerprint


def test_a_comparison_logs_it_and_has_a_section_of_it(store, run_recipe, forked, tmp_path, read_csv) -> None:
    before = forked + SWING + "from recipes.reporting import figures; figures.draw = lambda *_, **__: []\n"
    arguments = ("algorithms=bc", f"datasets={DATASET}", "seeds=0", *QUICK)
    finished = run_recipe("compare", *arguments, cwd=tmp_path, before=before, MINARI_DATASETS_PATH=store)
    assert finished.code == 0, finished.err + finished.out
    folder = tmp_path / "runs" / "bc" / DATASET / "seed0"
    last = read_csv(folder / "evaluations.csv")[-1]
    assert float(last["eval/swing_return"]) == pytest.approx(2.0 * float(last["eval/return"]))
    header = (folder / "output.log").read_text()
    assert "swing score" in header and "Swing-up score. Last evaluation" in finished.out
    found = json.loads(next(tmp_path.rglob("results.json")).read_text())
    scores = {row[0]: row[4] for row in found["runs"][1:]}
    assert scores["swing"] == float(last["eval/swing_score"]) and "minari" in scores
    assert "## Swing-up score" in next(tmp_path.rglob("results.md")).read_text()


def project() -> wandb_project.Project:
    settings = {"algorithm_name": "bc", "dataset": DATASET, "seed": 0, "gradient_steps": 10}
    logged = {f"{when}/swing_{name}": 1.0 for when in ("eval", "final") for name in ("score", "return")}
    run = wandb_project.Run({**settings, "batch_size": 16, "num_eval_episodes": 2}, {**logged, "data/swing_score": 2.0})
    return wandb_project.Project(None, "grasp", (run,))


def test_it_has_panels_and_a_chapter_of_the_report(swing) -> None:
    titles = {panel.title: panel.unit for own in panels.sections().values() for panel in own}
    assert titles["Swing-up score"] == "the swing-up protocol, 0-100"
    assert titles["Swing-up return"] == "return under the swing-up protocol" and "Swing-up score of the data" in titles
    view = wandb_workspace.workspace(project())
    assert "summary:final/swing_score" in view.runset_settings.pinned_columns
    texts = [str(getattr(block, "text", "")) for block in wandb_report.report(project()).blocks]
    assert "Results: Swing-up score" in texts and "Up is good." in texts


def test_tables_name_it_first_and_a_sweep_can_be_for_it(store, swing) -> None:
    curves = {(DATASET, "bc", 0): [{"step": 10, "eval/return": 1.0, "eval/minari_score": 2.0, "eval/swing_score": 3.0}]}
    names = {"algorithms": ["bc"], "datasets": [DATASET], "seeds": [0], "baseline": "bc", "num_resamples": 10}
    sections = results.sections(curves, {}, **names)
    assert [row[:5] for row in tables.numbers(sections)["runs"][1:]] == [
        ("swing", DATASET, "bc", 0, 3.0),
        ("minari", DATASET, "bc", 0, 2.0),
    ]
    run: Any = SimpleNamespace(dataset=DATASET, config=SimpleNamespace(eval_env=None, max_episode_steps=None))
    check_metric("eval/swing_score", {DATASET: open_source(DATASET, progress=False)}, [run])
