"""A run killed at any moment and resumed ends as one that was never stopped, bit for bit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import agents
from agents import checkpoint
from tests.recipes.kills import AFTER_A_ROW, KILL

Recipe = Callable[..., Any]

# dropout and a large learning rate: the masks come from torch's generator, and evaluations differ
SETTINGS = (
    "gradient_steps=30",
    "eval_every=10",
    "log_every=5",
    "algorithm.actor.dropout=0.5",
    "algorithm.actor_optimizer.lr=0.03",
    "validation=0.25",
)
RUN = "runs/iql/test/pendulum-v0/seed0"

DURING_AN_UPDATE = """
from agents.training import update_rule
check = update_rule.check_finite
def dying_check(losses, *, step, **rest):
    if step == {updates} + 1: die()
    check(losses, step=step, **rest)
update_rule.check_finite = dying_check
"""
WHILE_WRITING_A_CHECKPOINT = """
import agents.files, builtins
class Torn:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *exception): self.file.close()
    def write(self, payload):
        self.file.write(payload[: len(payload) // 2])
        self.file.flush()
        die()
def torn(path, mode):
    again = "last.staged" in str(path) and os.path.exists(os.path.join(os.path.dirname(path), "last.safetensors"))
    return (Torn if again else lambda file: file)(builtins.open(path, mode))
agents.files.open = torn
"""
WHEN_A_FILE_IS_REPLACED = """
replace = os.replace
def dying_replace(source, destination):
    if not str(destination).endswith("{name}"): return replace(source, destination)
    if {before} and os.path.exists(destination): die()
    replace(source, destination)
    if not {before}: die()
os.replace = dying_replace
"""
WITHIN_A_ROW = """
from recipes.runs import metrics_log
to_text = metrics_log.CsvLog._to_text
def torn_text(self, rows, **options):
    text = to_text(self, rows, **options)
    if not rows or rows[-1]["step"] != 15: return text
    with open(self.path, "a") as file: file.write(text[: len(text) // 2])
    die()
metrics_log.CsvLog._to_text = torn_text
"""
MOMENTS = {
    "before the first checkpoint": DURING_AN_UPDATE.format(updates=7),
    "during an update": DURING_AN_UPDATE.format(updates=17),
    "while writing a checkpoint": WHILE_WRITING_A_CHECKPOINT,
    "before an older checkpoint is let go": WHEN_A_FILE_IS_REPLACED.format(before=True, name="previous.safetensors"),
    "between keeping the previous and the new one": WHEN_A_FILE_IS_REPLACED.format(
        before=True, name="last.safetensors"
    ),
    "between a checkpoint and the best link": WHEN_A_FILE_IS_REPLACED.format(before=False, name="last.safetensors"),
    "after a row of metrics.csv": AFTER_A_ROW.format(name="metrics.csv", step=25),
    "within a row of metrics.csv": WITHIN_A_ROW,
    "between the first evaluation's row and the first checkpoint": AFTER_A_ROW.format(name="evaluations.csv", step=10),
    "between an evaluation's row and its checkpoint": AFTER_A_ROW.format(name="evaluations.csv", step=20),
}
RARE = (  # moments of which another one is nearly the same, or that only break files, as tests of those do
    "while writing a checkpoint",
    "between keeping the previous and the new one",
    "within a row of metrics.csv",
    "before an older checkpoint is let go",
    "between a checkpoint and the best link",
    "between the first evaluation's row and the first checkpoint",
)
SIGNAL = """
import os, signal
from agents.training.agent import Agent
update = Agent.update
def signalled(self, batch):
    if self.num_updates + 1 == 17:
        for number in ({signals}): os.kill(os.getpid(), number)
    return update(self, batch)
Agent.update = signalled
"""


@dataclass(frozen=True)
class Outcome:
    """All of a run that must not depend on whether it was stopped."""

    last: checkpoint.Checkpoint
    best: checkpoint.Checkpoint
    metrics: list[dict[str, str]]
    evaluations: list[dict[str, str]]


@pytest.fixture(scope="session")
def outcome_of(read_log: Callable[[Path], list[dict[str, str]]]) -> Callable[[Path], Outcome]:
    def read(folder: Path) -> Outcome:
        saved = (checkpoint.load(folder / "checkpoints" / f"{name}.safetensors") for name in ("last", "best"))
        return Outcome(*saved, *(read_log(folder / f"{name}.csv") for name in ("metrics", "evaluations")))

    return read


def assert_same(ours: Outcome, theirs: Outcome) -> None:
    for mine, other in ((ours.last, theirs.last), (ours.best, theirs.best)):
        assert mine.metadata == other.metadata
        assert mine.tensors.keys() == other.tensors.keys()
        assert [name for name, tensor in mine.tensors.items() if not torch.equal(tensor, other.tensors[name])] == []
        assert mine.path.read_bytes() == other.path.read_bytes()
    assert ours.metrics == theirs.metrics
    assert ours.evaluations == theirs.evaluations


@pytest.fixture(scope="module")
def never_stopped(quick_train: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which a run of ``SETTINGS`` went through."""
    folder = tmp_path_factory.mktemp("never_stopped")
    assert quick_train(*SETTINGS, cwd=folder).code == 0
    return folder


@pytest.fixture
def finished(never_stopped: Path, tmp_path: Path) -> Path:
    """The same run as a copy in the test's own folder."""
    shutil.copytree(never_stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path / RUN


def test_the_run_has_what_the_comparison_needs(never_stopped, outcome_of) -> None:
    outcome = outcome_of(never_stopped / RUN)
    assert [row["step"] for row in outcome.metrics] == ["5", "10", "15", "20", "25", "30"]
    returns = {int(row["step"]): float(row["eval/return"]) for row in outcome.evaluations}
    assert list(returns) == [10, 20, 30] and len(set(returns.values())) == 3
    assert outcome.best.num_updates == max(returns, key=returns.get)
    assert outcome.best.extra["best_return"] == outcome.last.extra["best_return"] == max(returns.values())


@pytest.mark.parametrize("moment", [pytest.param(m, marks=[pytest.mark.slow] * (m in RARE)) for m in MOMENTS])
def test_a_killed_run_resumes_exactly(moment, train, train_as_is, tmp_path, never_stopped, outcome_of) -> None:
    assert train(*SETTINGS, before=KILL + MOMENTS[moment]).code == -9
    resumed = train_as_is(f"resume={RUN}")
    assert resumed.code == 0, resumed.err
    assert_same(outcome_of(tmp_path / RUN), outcome_of(never_stopped / RUN))


def test_a_killed_run_that_was_traced_resumes_exactly_also_on_discrete_actions(
    train, train_as_is, tmp_path, outcome_of
) -> None:
    settings = (*SETTINGS, "dataset=test/cartpole-v0", "compile=trace")
    assert train(*settings, "run_dir=whole", algorithm="discrete_iql").code == 0
    killed = KILL + DURING_AN_UPDATE.format(updates=17)
    assert train(*settings, "run_dir=killed", algorithm="discrete_iql", before=killed).code == -9
    assert train_as_is("resume=killed").code == 0
    assert_same(outcome_of(tmp_path / "killed"), outcome_of(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [name for name in agents.ALGORITHMS if "iql" not in name])  # which are above
def test_a_killed_run_of_each_algorithm_resumes_exactly(algorithm, train, train_as_is, tmp_path, outcome_of) -> None:
    data = "test/cartpole-v0" if algorithm.startswith("discrete") else "test/pendulum-v0"
    settings = ("gradient_steps=30", "compile=off", f"dataset={data}")
    whole = train(*settings, "run_dir=whole", algorithm=algorithm)
    assert whole.code == 0, whole.err
    killed = KILL + DURING_AN_UPDATE.format(updates=17)
    assert train(*settings, "run_dir=killed", algorithm=algorithm, before=killed).code == -9
    assert train_as_is("resume=killed").code == 0
    assert_same(outcome_of(tmp_path / "killed"), outcome_of(tmp_path / "whole"))


@pytest.mark.slow
def test_a_killed_stack_goes_on_exactly_run_by_run(train, train_as_is, tmp_path, outcome_of) -> None:
    settings = (*SETTINGS, "seeds=[0,1]", "stack=true")
    assert train(*settings, "run_dir=whole/seed${seed}").code == 0
    killed = KILL + DURING_AN_UPDATE.format(updates=17)
    assert train(*settings, "run_dir=killed/seed${seed}", before=killed).code == -9
    for seed in ("seed0", "seed1"):
        assert train_as_is(f"resume=killed/{seed}").code == 0
        assert_same(outcome_of(tmp_path / "killed" / seed), outcome_of(tmp_path / "whole" / seed))


@pytest.mark.parametrize(("name", "code", "logger"), [("SIGINT", 130, "none"), ("SIGTERM", 143, "wandb")])
def test_a_signal_finishes_the_update_saves_and_tells_how_to_go_on(
    name, code, logger, train, train_as_is, tmp_path, never_stopped, outcome_of, read_wandb
) -> None:
    stopped = train(*SETTINGS, f"logger={logger}", before=SIGNAL.format(signals=f"signal.{name},"))
    assert stopped.code == code, stopped.err
    assert "Traceback" not in stopped.err
    assert checkpoint.load(tmp_path / RUN / "checkpoints" / "last.safetensors").num_updates == 17
    if logger == "wandb":
        assert read_wandb(tmp_path / RUN)[-1]["exit"]["exit_code"] == code
    told = re.fullmatch(
        r"stopped after step 17; go on with: python \S+/recipes/train\.py (\S+)", stopped.out.splitlines()[-1]
    )
    assert train_as_is(told[1]).code == 0
    assert_same(outcome_of(tmp_path / RUN), outcome_of(never_stopped / RUN))


def test_a_second_signal_stops_at_once(train, tmp_path) -> None:
    stopped = train(*SETTINGS, before=SIGNAL.format(signals="signal.SIGTERM, signal.SIGINT"))
    assert stopped.code == 130
    assert "Traceback" not in stopped.err
    assert checkpoint.load(tmp_path / RUN / "checkpoints" / "last.safetensors").num_updates == 10


def test_the_folder_of_a_run_reproduces_it(finished, train_as_is, outcome_of, never_stopped) -> None:
    for path in finished.iterdir():
        if path.name not in ("config.yaml", "run.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train_as_is(f"resume={RUN}").code == 0
    assert_same(outcome_of(finished), outcome_of(never_stopped / RUN))


def test_a_finished_run_is_only_reported(finished, train_as_is, outcome_of) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "checkpoints").iterdir()}
    outcome = outcome_of(finished)
    resumed = train_as_is(f"resume={RUN}")
    assert resumed.code == 0
    assert re.search(r"^iql +2 ", resumed.out, re.MULTILINE) and "checkpoints/last.safetensors" in resumed.out
    assert {path: path.stat().st_mtime_ns for path in (finished / "checkpoints").iterdir()} == before
    assert_same(outcome_of(finished), outcome)


def test_a_finished_run_goes_on_to_more_updates_at_the_rates_that_it_has(
    finished, train, train_as_is, tmp_path, outcome_of
) -> None:
    message = train_as_is(f"resume={RUN}", "gradient_steps=29").refusal()
    assert "has made 30 updates already: gradient_steps=29 would undo some" in message
    resumed = train_as_is(f"resume={RUN}", "gradient_steps=40")
    assert resumed.code == 0, resumed.err
    line = "algorithm.actor_optimizer.decay_steps stays 30, where the learning rate ends at 0; "
    assert line + "algorithm.actor_optimizer.decay_steps=40 has it follow the new length" in resumed.err
    length = ("gradient_steps=40", "algorithm.actor_optimizer.decay_steps=30", "run_dir=whole")
    assert train(*SETTINGS[1:], *length).code == 0
    assert_same(outcome_of(finished), outcome_of(tmp_path / "whole"))
    for place in (finished, tmp_path / "whole"):
        settings = yaml.safe_load((place / "config.yaml").read_text())
        assert (settings["gradient_steps"], settings["algorithm"]["actor_optimizer"]["decay_steps"]) == (40, 30)
    longer = train_as_is(f"resume={RUN}", "gradient_steps=50", "algorithm.actor_optimizer.decay_steps=50")
    assert longer.code == 0 and "decay_steps" not in longer.err
    assert float(outcome_of(finished).metrics[-2]["train/lr_actor"]) > 0.0


def test_a_run_of_a_compiled_stack_goes_on_alone_only_if_it_may_round_otherwise(finished, train_as_is) -> None:
    info = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps({**info, "stacked": 2, "compile": "inductor"}))
    assert "alone it would go on with other rounding errors" in train_as_is(f"resume={RUN}").refusal()
    assert train_as_is(f"resume={RUN}", "compile=off").code == 0
    (finished / "run.json").write_text(json.dumps({**info, "stacked": 2, "compile": "off"}))
    assert train_as_is(f"resume={RUN}").code == 0


def test_another_setting_on_resume_is_shown(finished, train_as_is) -> None:
    given = ("seed=1", "algorithm.expectile=0.9", "batch_size=16", "algorithm=iql_corl")
    message = train_as_is(f"resume={RUN}", *given).refusal()
    assert (
        "seed is 0 there, 1 here; algorithm.expectile is 0.7 there, 0.9 here; algorithm is iql there, iql_corl here"
        in message
    )
    assert "batch_size" not in message and "leave them out" in message


@pytest.mark.parametrize("given", ["run_dir=elsewhere", "overwrite=true"])
def test_a_run_is_resumed_where_it_is_and_as_it_is(given, finished, train_as_is) -> None:
    assert "leave out run_dir and overwrite" in train_as_is(f"resume={RUN}", given).refusal()


def as_killed_before_a_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "evaluations.csv").unlink()


def test_what_only_changes_where_and_how_fast_can_be_given_on_resume(
    finished, train_as_is, never_stopped, outcome_of
) -> None:
    as_killed_before_a_checkpoint(finished)
    assert train_as_is(f"resume={RUN}", "logger=csv", "num_eval_envs=2", "checkpoint_every=3").code == 0
    assert (finished / "csv").is_dir()
    assert_same(outcome_of(finished), outcome_of(never_stopped / RUN))


def test_a_moved_run_resumes_where_it_is(finished, train_as_is, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    finished.rename(tmp_path / "elsewhere" / "run")
    as_killed_before_a_checkpoint(tmp_path / "elsewhere" / "run")
    assert train_as_is("resume=elsewhere/run").code == 0
    assert (tmp_path / "elsewhere" / "run" / "checkpoints" / "last.safetensors").exists()
    assert not finished.exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])  # in place: best may be the same file


def test_a_truncated_checkpoint_is_named_and_the_previous_one_used(
    train, train_as_is, tmp_path, never_stopped, outcome_of
) -> None:
    assert (
        train(
            *SETTINGS, before=KILL + MOMENTS["between an evaluation's row and its checkpoint"].replace("20", "30")
        ).code
        == -9
    )
    truncate(tmp_path / RUN / "checkpoints" / "last.safetensors")
    resumed = train_as_is(f"resume={RUN}")
    assert resumed.code == 0, resumed.err
    (warning,) = [line for line in resumed.err.splitlines() if line.startswith("warning: ")]
    assert f"{RUN}/checkpoints/last.safetensors is damaged, truncated or" in warning
    assert "previous.safetensors (step 10)" in warning
    assert_same(outcome_of(tmp_path / RUN), outcome_of(never_stopped / RUN))


def test_a_run_without_any_readable_checkpoint_is_refused(finished, train_as_is) -> None:
    for path in (finished / "checkpoints").glob("*"):
        truncate(path)
    assert "previous.safetensors is damaged, truncated or not a checkpoint" in train_as_is(f"resume={RUN}").refusal()


def test_a_run_that_goes_on_with_other_versions_says_so(train, train_as_is, tmp_path) -> None:
    assert train(*SETTINGS, before=KILL + DURING_AN_UPDATE.format(updates=17)).code < 0
    info = json.loads((tmp_path / RUN / "run.json").read_text())
    now = info["versions"]["torch"]
    info["versions"]["torch"] = "1.0"
    (tmp_path / RUN / "run.json").write_text(json.dumps(info))
    assert (
        f"warning: the run goes on with another version of torch: 1.0, then {now}" in train_as_is(f"resume={RUN}").err
    )
    versions = json.loads((tmp_path / RUN / "run.json").read_text())["versions"]
    assert versions == {**info["versions"], "torch": f"1.0, then {now}"}
    assert train_as_is(f"resume={RUN}").err.count("another version") == 0


def test_results_without_a_checkpoint_are_not_begun_anew(finished, train_as_is) -> None:
    shutil.rmtree(finished / "checkpoints")
    before = (finished / "evaluations.csv").read_text(), (finished / "metrics.csv").read_text()
    assert "put its checkpoints/ back, or start a new run" in train_as_is(f"resume={RUN}").refusal()
    assert ((finished / "evaluations.csv").read_text(), (finished / "metrics.csv").read_text()) == before


def test_other_data_under_the_same_id_are_refused(finished, train_as_is, environment) -> None:
    datasets = Path(environment["MINARI_DATASETS_PATH"], "test")
    other = finished.parents[4] / "minari"
    shutil.copytree(datasets / "other-v0", other / "test" / "pendulum-v0")
    message = train_as_is(f"resume={RUN}", MINARI_DATASETS_PATH=str(other)).refusal()
    assert "the data of test/pendulum-v0 are not those that this run was trained on" in message


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", "a: [b"),
        ("config.yaml", "expectile: 3"),
        ("config.yaml", "run_dir: ${oc.env:HOME}"),  # nothing that a file names is looked up
        ("config.yaml", 'dataset: "\\x24{oc.env:HOME}"'),
        ("run.json", "{"),
        ("run.json", '{"algorithm_config": "CQL"}'),
    ],
)
def test_a_damaged_run_folder_is_refused(file, content, finished, train_as_is) -> None:
    (finished / file).write_text(content)
    assert f"{RUN}/{file} is damaged or of another version" in train_as_is(f"resume={RUN}").refusal()


def test_a_run_of_an_algorithm_that_is_not_registered_here_is_refused(finished, train_as_is) -> None:
    info = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps({**info, "algorithm_config": "MyConfig"}))
    message = train_as_is(f"resume={RUN}").refusal()
    assert "its algorithm, MyConfig, is not registered" in message and "damaged" not in message


def test_a_folder_without_a_run_is_refused(train_as_is, tmp_path) -> None:
    assert "no run to resume in nowhere" in train_as_is("resume=nowhere").refusal()
    assert list(tmp_path.iterdir()) == []


def test_both_parts_of_a_killed_run_carry_the_same_wandb_id(train, train_as_is, tmp_path) -> None:
    assert train(*SETTINGS, "logger=wandb", before=KILL + MOMENTS["during an update"]).code == -9
    resumed = train_as_is(f"resume={RUN}")
    assert resumed.code == 0, resumed.err
    first, second = sorted((tmp_path / RUN / "wandb").glob("offline-run-*/run-*.wandb"))
    assert first.name == second.name == f"run-{json.loads((tmp_path / RUN / 'run.json').read_text())['wandb_id']}.wandb"
