"""Estimates from data without an environment: what the commands print, write and refuse."""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents.errors import CheckpointError, DataError
from agents.evaluation.offline.estimate import Estimate, Trust
from agents.evaluation.offline.settings import FQEConfig
from recipes import compare, select_policy, sweep
from recipes.many import trials, valuation
from recipes.runs.resume import ONLINE
from tests.agents.evaluation.offline.tabular import world

WITHOUT = "test/no-env-v0"
FAST = ("fqe.gradient_steps=3", "fqe.num_members=3", "fqe.compile=off", "fqe.qvalue.hidden_sizes=[8]", "device=cpu")
SHORT_CLONE = "from agents.evaluation.offline import behavior; behavior.cloned.__kwdefaults__['gradient_steps'] = 20"
PAIR = ("iql", "bc")


@pytest.fixture(scope="module")
def runs(quick_train, tmp_path_factory) -> Path:
    """Two runs on data without an environment, one of which held out a quarter of the episodes."""
    folder = tmp_path_factory.mktemp("runs")
    for name, further in zip(PAIR, (("validation=0.5",), ())):
        done = quick_train(f"dataset={WITHOUT}", f"run_dir={name}", *further, algorithm=name, cwd=folder)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def here(runs, tmp_path) -> Path:
    return Path(shutil.copytree(runs, tmp_path / "runs"))


@pytest.fixture
def estimate(run_recipe, here):
    return lambda *arguments: run_recipe("estimate", *arguments, *FAST, cwd=here, before=SHORT_CLONE)


@pytest.fixture
def select(run_recipe, here):
    return functools.partial(run_recipe, "select_policy", cwd=here)


def test_an_estimate_is_printed_with_its_interval_and_a_verdict(estimate, here) -> None:
    done = estimate("checkpoint=iql", f"dataset={WITHOUT}", "held_out=false")
    assert done.code == 0, done.err
    assert f"iql at step 20 on {WITHOUT}: 8 episodes, 200 steps" in done.out
    assert "of the policy as it is deployed, which draws no action" in done.out
    assert "discounted by 0.99" in done.out and "undiscounted" in done.out
    assert "\nfqe (fitted Q evaluation) " in done.out and "\nfqe: " in done.out
    assert "\nwis, is, dr: not possible: iql at step 20 has no density" in done.out
    assert "note:" not in done.err
    values = json.loads((here / "iql/estimate.json").read_text())
    assert [*values["estimates"]] == ["estimate/fqe"] and {*values["not_possible"]} == {"wis", "is", "dr"}
    estimated = values["estimates"]["estimate/fqe"]
    assert estimated["low"] <= estimated["value"] <= estimated["high"] and estimated["gamma"] == 0.99
    assert estimated["bellman_error"] > 0 and 0 <= estimated["outside_support"] <= 1
    assert estimated["doubts"][0].startswith("the policy has learned from these episodes, which flatters it")
    assert "score" not in done.out + json.dumps(values)


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(estimate, here) -> None:
    files = [here / name for name in ("one.json", "two.json")]
    for file in files:
        assert estimate("checkpoint=bc", "drawn=true", f"output={file.name}").code == 0
    one, two = (json.loads(file.read_text()) for file in files)
    assert one == two and {*one["estimates"]} | {*one["not_possible"]} >= {"estimate/fqe"}


def test_what_training_held_out_is_asked_where_there_is_any(estimate, here) -> None:
    done = estimate("checkpoint=iql")
    assert "4 held-out episodes, 100 steps" in done.out and "learned from" not in done.out + done.err
    values = json.loads((here / "iql/estimate.json").read_text())
    assert values["held_out"] and not values["estimates"]["estimate/fqe"]["learned_from"]
    everything = estimate("checkpoint=bc", "drawn=true", "estimators=[fqe]")
    assert f"on {WITHOUT}: 8 episodes, 200 steps" in everything.out
    assert "note: train with validation=0.2, and estimates come from episodes that the policy has" in everything.err
    message = "the policy has not held out the same episodes of test/no-env-v0: train with validation=0.2"
    assert message in estimate("checkpoint=bc", "held_out=true").refusal()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("checkpoint=iql", "estimators=[is]"), "has no density: .* drawn=true"),
        (("checkpoint=iql", "estimators=[magic]"), "unknown estimators 'magic'; choose from fqe, wis, is, dr"),
        (("checkpoint=iql", "dataset=test/cartpole-v0"), "takes observations of 3 numbers, the data have 4"),
        (("checkpoint=nowhere",), "no checkpoint at nowhere"),
        (("checkpoint=iql", "dataset=test/nowhere-v0"), "'test/nowhere-v0' is not in "),
        (("checkpoint=iql", "gamma=1.5"), "gamma must lie in .0, 1., got 1.5"),
        (("checkpoint=iql", "output=iql/config.yaml/x.json"), "cannot write to iql/config.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(estimate, typed, message) -> None:
    assert re.search(message, estimate(*typed).refusal())


def test_the_best_of_many_is_named_or_that_the_data_cannot_tell(select, here) -> None:
    shutil.copytree(here / "iql", here / "iql" / "online")  # as of a run that went on there, which has other steps too
    (here / "iql" / "online" / ONLINE).touch()
    done = select("runs=.", *FAST)
    assert done.code == 0, done.err
    assert f"2 policies on {WITHOUT}: 8 episodes" in done.out and "note: the policies have learned" in done.err
    values = json.loads((here / "selection.json").read_text())
    assert {estimate["policy"] for estimate in values["policies"]} == {"iql", "bc"}
    first = values["advice"][0]
    assert first in done.out and first.startswith(("take ", "the data cannot tell "))


def test_runs_are_chosen_by_what_all_of_them_held_out(select, here) -> None:
    refused = select("runs=.", "held_out=true", *FAST).refusal()
    assert "these 2 policies have not all held out the same episodes of test/no-env-v0: train with" in refused
    shutil.copytree(here / "iql", here / "again")
    shutil.rmtree(here / "bc")
    for typed in ((), ("held_out=true",)):
        done = select("runs=.", *typed, *FAST)
        assert done.code == 0 and f"2 policies on {WITHOUT}: 4 held-out" in done.out and "note:" not in done.err


def test_runs_that_there_are_not_are_refused(select, here) -> None:
    assert select("runs=nowhere", *FAST).refusal().startswith("no run with a checkpoint in nowhere: ")
    assert "has 1 policy to choose among" in select("runs=iql", *FAST).refusal()
    other = select("runs=.", "dataset=test/cartpole-v0", *FAST).refusal()
    assert "takes observations of 3 numbers, the data have 4" in other


STEPS = world().log([[0.5, 0.5]] * 3, 50)


def estimated(policy: str, value: float, width: float = 0.1, **trust: float) -> Estimate:
    return Estimate(
        estimator="fqe",
        policy=policy,
        dataset="test/table-v0",
        gamma=0.9,
        value=value,
        low=value - width,
        high=value + width,
        draws=value + width * np.linspace(-0.5, 0.5, 5),
        data_return=1.0,
        data_range=(0.0, 5.0),
        trust=Trust(**trust),
    )


def advice(*estimates: Estimate, gap: float = 0.1) -> str:
    gaps = [None, *(estimated("gap", estimates[0].value - other.value, gap) for other in estimates[1:])]
    return "\n".join(select_policy.advice(estimates, gaps, STEPS))


def test_advice_follows_the_gap_to_the_others() -> None:
    assert advice(estimated("a", 3.0), estimated("b", 2.0)) == "take a: 1 (0.9 to 1.1) above b"
    text = advice(estimated("a", 3.0), estimated("b", 2.95), estimated("c", 2.0))
    assert text.startswith("the data cannot tell a, the first, from b\nabout 200 episodes like these would")
    assert "trial of these 2 in the environment" in text
    unsettled = advice(estimated("a", 3.0, remainder=0.06), estimated("b", 2.95, untried=0.02))
    assert "more episodes like these would not: what more updates" in unsettled and "0.08, is more" in unsettled
    partly = advice(estimated("a", 3.0, remainder=0.01), estimated("b", 2.95, untried=0.015))
    assert "about 450 episodes" in partly  # of a gap of 0.05, half is certain: the rest of the interval is to be 1 / 3
    assert advice(estimated("a", 3.0, outside_support=0.9), estimated("b", 2.0)).startswith("take none: ")
    twins = advice(estimated("a", 3.0), estimated("b", 2.9999), gap=1e-5)  # the same run twice, but for rounding
    assert twins.startswith("the data cannot tell a, the first, from b\na trial of these 2 in the environment would")
    only = advice(estimated("a", 3.0), estimated("b", 9.0, outside_support=0.9))  # what is refuted is no measure
    assert only == "take a: it is the only one whose estimate means something"
    assert "what made the data is better" in advice(estimated("a", 0.5), estimated("b", 0.1))


def test_runs_are_valued_with_the_discount_of_those_that_have_one(capsys) -> None:
    def candidates(*gammas: float | None) -> list[valuation.Candidate]:
        fields = [{} if gamma is None else {"gamma": gamma} for gamma in gammas]
        checkpoints = [SimpleNamespace(metadata={"algorithm": {"fields": each}}) for each in fields]
        return [valuation.Candidate(checkpoint, None) for checkpoint in checkpoints]  # pyright: ignore[reportArgumentType]

    for typed, gammas, expected in (
        (None, (None, 0.9), 0.9),
        (None, (None, None), 0.99),
        (0.5, (None, 0.9, 0.95), 0.5),
    ):
        assert valuation.common_discount(typed, candidates(*gammas)) == expected
    assert not capsys.readouterr().err
    assert valuation.common_discount(None, candidates(0.9, 0.95)) == 0.99
    assert "learned with gamma=0.9, 0.95; all are valued with 0.99" in capsys.readouterr().err


def test_verdicts_name_what_speaks_against_a_number() -> None:
    for estimate, words in (
        (estimated("a", 2.0), "nothing that is measured speaks against it, and it is above the data's own return"),
        (estimated("a", 0.5), "and it is below the data's own return"),
        (estimated("a", 2.0, learned_from=True), "with care: the policy has learned from these episodes"),
        (estimated("a", 2.0, outside_support=0.3), "with care: 30% of the policy's actions are unlike any in the data"),
        (estimated("a", 2.0, outside_support=0.6), "means nothing: 60%"),
        (estimated("a", 2.0, bellman_error=0.4, bellman_error_seen=0.2), "with care: the Bellman error .* 2.0 times"),
        (estimated("a", 6.0), "with care: it is above the best episode of the data"),
        (estimated("a", -6.0), "means nothing: it is below the worst episode of the data"),
        (estimated("a", 2.0, 3.0), "means nothing: its interval is wider than the range"),
        (estimated("a", float("nan")), "means nothing: it is not finite"),
        (estimated("a", 2.0, float("nan")), "means nothing: its interval is not finite"),
    ):
        assert re.search(words, estimate.verdict), estimate.verdict


FINITE, UNKNOWN = ({"value": 1.0, "low": low, "high": 2.0, "verdict": "means nothing"} for low in (0.0, None))


@pytest.fixture
def run() -> SimpleNamespace:
    return SimpleNamespace(job=SimpleNamespace(name="mine"), dataset=WITHOUT, folder=SimpleNamespace(path=Path("mine")))


@pytest.fixture
def valued(run, monkeypatch):
    """What a run is worth if its ``valuation.json`` says so; its data and policy are made up."""

    def value(estimate: dict | None) -> dict:
        candidate = SimpleNamespace(policy=SimpleNamespace(name="mine"), checkpoint=SimpleNamespace(num_updates=1))
        dataset = SimpleNamespace(fingerprint="here", whole=None)
        monkeypatch.setattr(valuation, "read_as_trained", lambda *_: dataset)
        monkeypatch.setattr(valuation, "read_transitions", lambda _: None)
        monkeypatch.setattr(valuation, "as_candidates", lambda *_: ([candidate], []))
        monkeypatch.setattr(valuation, "_read", lambda _, how: estimate if how["data"] == "here" else None)
        run.folder.checkpoints = SimpleNamespace(last="last")
        monkeypatch.setattr(valuation, "load", lambda _: SimpleNamespace(extra={"dataset_fingerprint": "there"}))
        return valuation.value_runs([run], FQEConfig(), gamma=0.9)

    return value


def test_an_estimate_that_is_no_number_is_none(valued, capsys) -> None:
    assert valued(FINITE) == {Path("mine"): FINITE}
    assert valued(UNKNOWN) == {}
    assert capsys.readouterr().err == "warning: without an estimate: mine means nothing\n"


@pytest.mark.parametrize("name", ["load", "read_transitions"])
def test_data_or_a_policy_that_cannot_be_read_cost_an_estimate_and_no_table(name, run, monkeypatch, capsys) -> None:
    def refuse(_: object) -> None:
        raise {"load": CheckpointError, "read_transitions": DataError}[name]("all are 0")

    checkpoint = SimpleNamespace(extra={"dataset_fingerprint": "there"})
    monkeypatch.setattr(valuation, "load", lambda _: checkpoint)
    monkeypatch.setattr(valuation, "read_as_trained", lambda *_: SimpleNamespace(fingerprint="here"))
    monkeypatch.setattr(valuation, name, refuse)
    run.folder.checkpoints = SimpleNamespace(last="last")
    assert valuation.value_runs([run], FQEConfig()) == {}
    assert capsys.readouterr().err == "warning: without an estimate: all are 0\n"


def test_rows_of_validation_alone_are_no_result_of_a_comparison(tmp_path) -> None:
    def finished(name: str, row: str) -> SimpleNamespace:
        file = tmp_path / f"{name}.csv"
        file.write_text(row)
        folder = SimpleNamespace(path=Path(name), evaluations_file=file, metrics_file=tmp_path / "none", info={})
        return SimpleNamespace(folder=folder, dataset=WITHOUT, algorithm=name, seed=0)

    row = "step,validation/log_prob\n20,1.5\n"
    runs = [finished("dt", row), finished("bc", row), finished("iql", "step,eval/return\n20,7\n")]
    curves = compare.curves(runs, {Path("bc"): FINITE})  # pyright: ignore[reportArgumentType]
    assert {name: curve[-1].get("estimate/fqe") for (_, name, _), curve in curves.items()} == {"bc": 1.0, "iql": None}


def test_a_sweep_ranks_what_is_refuted_last_and_leaves_out_what_has_no_estimate(monkeypatch) -> None:
    monkeypatch.setattr(trials, "is_finished", lambda _: True)
    sweep_by_estimate = SimpleNamespace(metric=valuation.KEY, maximize=True)

    def trial(number: int, value: float | None, *refutations: str) -> trials.Trial:
        file, path = SimpleNamespace(exists=lambda: False), Path(f"{number}")
        run = SimpleNamespace(folder=SimpleNamespace(path=path, evaluations_file=file), job=SimpleNamespace(name=path))
        verdict = "means nothing" if refutations else "holds"
        own = {"value": value, "low": 0.5, "high": 9.5, "refutations": refutations, "doubts": (), "verdict": verdict}
        return trials.Trial(number, {}, "iql", WITHOUT, (), (run,), {} if value is None else {path: own})  # pyright: ignore[reportArgumentType]

    some = [trial(1, 1.0), trial(2, 9.0, "it has not converged"), trial(3, None), trial(4, 2.0)]
    assert [each.number for each in sweep.ranked(some, sweep_by_estimate)] == [4, 1, 2]  # pyright: ignore[reportArgumentType]
    lines = sweep.remarks(some, sweep_by_estimate)  # pyright: ignore[reportArgumentType]
    assert lines[0] == "trial 3 has no estimate/fqe, and is left out"
    verdicts = ["1: 1 (0.5 to 9.5), holds", "2: 9 (0.5 to 9.5), means nothing", "4: 2 (0.5 to 9.5), holds"]
    assert sorted(lines[1:]) == verdicts
