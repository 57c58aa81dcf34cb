"""The card of a dataset: every finding appears where there is reason for it and nowhere else; text and JSON agree."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from matplotlib.image import imread

import agents
from agents.data.contents import NotFinite
from agents.data.inspection import inspect_dataset
from agents.environments.protocols import PROTOCOLS
from agents.environments.reward_sign import remark
from agents.environments.scoring import Reference, ScoreProtocol, Scoring
from recipes.dataset_card import facts, figure, rendering
from recipes.dataset_card.finding import Finding, percent
from recipes.dataset_card.verdict import assess, verdict
from recipes.dataset_card.weights import expected_weights
from recipes.reporting import terminal
from recipes.settings import overrides

OUTPUT = "runs/inspection/test/pendulum-v0"
NO_PAGE = """
import io, PIL.Image
from recipes.dataset_card import figure
file = io.BytesIO()
PIL.Image.new("RGB", (1, 1)).save(file, "PNG")
figure.page = lambda *_: file.getvalue()
"""  # drawing takes as long as all else


@pytest.fixture
def inspect(run_recipe, tmp_path) -> Callable[..., Any]:
    """The recipe in the test's own folder."""
    return functools.partial(run_recipe, "inspect_dataset", cwd=tmp_path)


@pytest.fixture(scope="module")
def inspected(environment) -> Callable[[str], agents.Inspection]:
    def run(dataset_id: str) -> agents.Inspection:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MINARI_DATASETS_PATH", environment["MINARI_DATASETS_PATH"])
            return inspect_dataset(dataset_id, progress=False)

    return run


@pytest.fixture(scope="module")
def pendulum(inspected) -> agents.Inspection:
    return inspected("test/pendulum-v0")


@pytest.fixture(scope="module")
def cartpole(inspected) -> agents.Inspection:
    return inspected("test/cartpole-v0")


OF_SOURCE = ("reference", "env_spec", "id", "recorded_elsewhere")


def changed(inspection: agents.Inspection, **parts: Any) -> agents.Inspection:
    """With other fields, of the source and of the actions too; Minari's scores follow from them."""
    of_source = {name: parts.pop(name) for name in OF_SOURCE if name in parts}
    of_actions = {name: parts.pop(name) for name in ("low", "at_low", "at_high", "outside", "columns") if name in parts}
    source, actions = (
        dataclasses.replace(inspection.source, **of_source),
        dataclasses.replace(inspection.actions, **of_actions),
    )
    inspection = dataclasses.replace(inspection, source=source, actions=actions, **parts)
    scores = {} if source.reference is None else {"minari": source.reference.score(inspection.horizon_returns)}
    return dataclasses.replace(inspection, scores=scores)


@pytest.fixture(scope="module")
def plain(pendulum) -> agents.Inspection:
    """A dataset against which nothing speaks: 100 episodes of 200 steps, with returns from 0 to 99."""
    last = np.arange(100) % 2 == 0
    return changed(
        pendulum,
        reference=Reference(-1.0, 200.0),
        env_spec=agents.EvaluationEnv("Pendulum-v1").spec,
        returns=np.arange(100.0),
        horizon_returns=np.arange(100.0),
        lengths=np.full(100, 200),
        terminated=last,
        truncated=~last,
        rewards=np.linspace(-1.0, 1.0, 20_000),
        repeats=np.zeros(100, bool),
        num_starts=100,
        advantages=np.linspace(-2.0, 2.0, 1000),
    )


def findings_of(inspection: agents.Inspection, good_above: float = 0.75) -> list[Finding]:
    return verdict(inspection, good_above)


def says(inspection: agents.Inspection) -> str:
    return " ".join(finding.says for finding in findings_of(inspection))


def test_of_plain_data_there_is_only_the_main_thing_to_say(plain) -> None:
    assert [finding.level for finding in findings_of(plain)] == ["note"] * 3


def test_good_episodes_are_counted_above_the_share_of_the_way_to_the_best(plain) -> None:
    quality = assess(plain, 0.75)
    assert quality.threshold == -1.0 + 0.75 * 100.0 and quality.good.sum() == 26
    mixture, floor, headroom = findings_of(plain)
    assert mixture.says.startswith("A mixture: 26 of 100 episodes (26 %) are good.")
    assert "75 % of the way from -1 (the dataset's ref_min_score) to 99 (the best episode)" in mixture.computed_from
    assert "algorithm=bc_top algorithm.best_episodes=0.26" in mixture.advice
    assert "return 49.5 (minari score 25.1) on average, the best tenth 94.5 (minari score 47.5)" in floor.says
    assert "49.5 more than the mean, 4.5 more than the best tenth" in headroom.says and "101 above" in headroom.says


def test_without_a_reference_the_way_begins_at_the_worst_episode(plain) -> None:
    quality = assess(changed(plain, reference=None), 0.5)
    assert (quality.low, quality.threshold, quality.scores) == (0.0, 49.5, {})


@pytest.mark.parametrize(
    ("returns", "start"),
    [
        (np.where(np.arange(100) < 3, 100.0, 0.0), "Hardly any good episode: 3 of 100"),
        (np.array([0.0, 0.0, 0.0, 9.0, 9.0, 9.0]), "Few good episodes: 3 of 6"),
        (np.where(np.arange(100) < 90, 100.0, 0.0), "Mostly good episodes: 90 of 100"),
        (np.full(100, 7.0), "All episodes return 7:"),
    ],
)
def test_the_main_thing_depends_on_the_share_of_good_episodes(plain, returns, start) -> None:
    assert findings_of(changed(plain, returns=returns, horizon_returns=returns))[0].says.startswith(start)


def test_episodes_with_a_return_that_is_not_finite_are_left_out(plain) -> None:
    returns = np.where(np.arange(100) < 50, np.nan, np.arange(100.0))
    assert len(assess(changed(plain, horizon_returns=returns), 0.75).returns) == 50
    nothing = changed(plain, returns=np.full(100, np.nan), horizon_returns=np.full(100, np.nan))
    assert assess(nothing, 0.75) is None and findings_of(nothing) == []


# what to change, and what is said then
REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "not_finite": ({"not_finite": (NotFinite("rewards", 2, 5, 3),)}, "2 in rewards, the first in episode 5, step 3"),
    "outside": ({"outside": 4}, "4 action components outside the action space"),
    "saturated": ({"at_low": np.array([0.02])}, "2 % of the action components are at a bound"),
    "infinite": ({"low": np.array([-np.inf])}, "Action dimensions [0] have an infinite bound"),
    "few": ({"rewards": np.linspace(-1.0, 1.0, 900)}, "Little data: 100 episodes, 900 steps"),
    "repeats": ({"num_repeated_steps": 2_000}, "10 % of the transitions repeat an earlier one"),
    "repeated episode": ({"repeats": np.arange(100) == 7}, "and so do 1 whole episode"),
    "sparse": ({"rewards": np.repeat([0.0, 1.0], (19_500, 500))}, "Sparse rewards: all but 500 of 20,000 steps give 0"),
    "hardly a reward": ({"rewards": np.repeat([0.0, 1.0], (19_999, 1))}, "all but 1 of 20,000 steps give 0"),
    "no reward": ({"rewards": np.ones(20_000)}, "Every reward is 1: only what terminates"),
    "large": ({"advantages": np.linspace(-900.0, 900.0, 1000)}, "Rewards are large: nearly all of the weight that iql"),
    "small": ({"advantages": np.linspace(-0.1, 0.1, 1000)}, "would differ by about 2.9 %, which is behaviour cloning"),
    "too long": ({"lengths": np.where(np.arange(100) < 3, 300, 200)}, "3 episodes longer than an evaluation"),
    "never ends": ({"terminated": np.zeros(100, bool)}, "No episode terminates, all are cut off; 50 without a flag"),
    "just stops": ({"truncated": np.zeros(100, bool)}, "50 episodes neither terminated nor truncated at the end"),
    "early": ({"early_terminations": 3}, "3 steps flagged as terminated though the episode goes on"),
    "no environment": ({"env_spec": None}, "The dataset names no environment"),
    "unknown": ({"env_spec": EnvSpec("Gone-v9", entry_point="gone:Gone")}, "Gone-v9 is not registered here"),
    "elsewhere": ({"recorded_elsewhere": True}, "The data were recorded in another task than evaluations are made in"),
    "bandit": ({"lengths": np.ones(100, int)}, "Every episode is one step, as in a bandit"),
    "pieces": ({"lengths": np.full(100, 99), "terminated": np.zeros(100, bool)}, "Most episodes were cut off before"),
    "plus": ({"remarks": (remark(0.101),)}, "those of gymnasium-robotics 1.2.1 to 1.4.2"),
    "minus": ({"remarks": (remark(-0.099),)}, "The rewards are D4RL's"),
    "neither": ({"remarks": (remark(0.3),)}, "neither those of gymnasium-robotics 1.2.1 to 1.4.2 nor D4RL's"),
    "published": ({"id": "D4RL/pen/human-v2"}, "Published d4rl scores: bc 71, "),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_seen_and_without_it_nothing_is_said(reason, plain) -> None:
    parts, expected = REASONS[reason]
    assert expected in says(changed(plain, **parts)) and expected not in says(plain)


def test_the_scale_that_is_advised_is_neither_too_large_nor_too_small(plain) -> None:
    for factor in (1e-3, 1e3):
        scale = expected_weights(changed(plain, advantages=factor * plain.advantages)).scale
        assert float(f"{scale:.0e}") == scale  # a number to type
        assert "Rewards are" not in says(changed(plain, advantages=scale * factor * plain.advantages))


def test_where_no_action_matters_there_are_no_weights(plain) -> None:
    assert expected_weights(changed(plain, advantages=np.zeros(1000))) is None
    assert expected_weights(changed(plain, advantages=np.zeros(0))) is None


def test_of_one_step_no_discount_is_advised(plain) -> None:
    sparse = changed(plain, **REASONS["sparse"][0])
    for data, advised in ((sparse, True), (changed(sparse, lengths=np.ones(100, int)), False)):
        advice = " ".join(finding.advice or "" for finding in findings_of(data))
        assert ("raise algorithm.gamma" in advice) == advised and ("these few are all" in advice) != advised


def test_of_data_without_an_environment_nothing_on_evaluations_is_advised(plain) -> None:
    few = changed(plain, rewards=np.linspace(-1.0, 1.0, 900))
    with_one, without = (
        " ".join(finding.advice or "" for finding in findings_of(data)) for data in (few, changed(few, env_spec=None))
    )
    assert "eval_every" in with_one and "eval_every" not in without


def test_nearly_all_is_not_all() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.996, 0.5)] == ["100 %", "99.9 %", "99.6 %", "50 %"]


def test_of_bounds_far_wider_than_the_data(plain) -> None:
    source = dataclasses.replace(plain.source, low=np.float32([-1e6]), high=np.float32([1e6]))
    wide = dataclasses.replace(plain, source=source)
    assert "The action space is more than 100 times as wide as the data in dimensions [0]" in says(wide)
    assert "as wide as" not in says(plain)


def test_of_constant_and_uneven_dimensions(plain) -> None:
    columns = plain.observations
    constant = dataclasses.replace(columns, min=np.array([0.0, 1.0, 2.0]), max=np.array([1.0, 1.0, 3.0]))
    assert "Observation dimensions [1] never change" in says(changed(plain, observations=constant))
    uneven = dataclasses.replace(columns, std=np.array([0.001, 1.0, 1.0]))
    assert "standard deviations from 0.001 to 1" in says(changed(plain, observations=uneven))
    actions = plain.actions.columns
    far = dataclasses.replace(columns, min=np.array([1e9, 0.0, 0.0]), max=np.array([1e9 + 4.0, 1.0, 1.0]))
    assert "Observation dimensions [0] lie so far from zero" in says(changed(plain, observations=far))
    assert "so far from zero" not in says(plain)
    assert "Action dimensions [0] never change" in says(
        changed(plain, columns=dataclasses.replace(actions, min=actions.max))
    )


def test_of_discrete_actions_only_algorithms_for_them_are_advised(cartpole) -> None:
    advice = " ".join(finding.advice or "" for finding in findings_of(cartpole))
    named = {word.split("=")[1].strip(";,") for word in advice.split() if word.startswith("algorithm=")}
    assert named and all(agents.ALGORITHMS[name.removesuffix("_top")].actions == "discrete" for name in named)


def test_a_discrete_action_that_was_never_taken(cartpole) -> None:
    assert "never taken" not in says(cartpole)
    counts = {"0": 5, "1": 0}
    unused = dataclasses.replace(cartpole, actions=dataclasses.replace(cartpole.actions, counts=counts))
    assert "Actions 1 were never taken" in says(unused)


def test_advice_names_settings_that_exist(plain, cartpole) -> None:
    known = {name for recipe in ("train", "compare") for name in overrides.key_names(overrides.RECIPES[recipe]())}
    for algorithm in agents.ALGORITHMS.values():
        known |= {*overrides.key_names(algorithm(), "algorithm.")}
    advice = [f.advice for parts, _ in REASONS.values() for f in findings_of(changed(plain, **parts)) if f.advice]
    words = [word.strip(",;:()").split("=")[0] for text in {*advice} for word in text.split() if "=" in word]
    words += [word.strip(",;:()") for text in {*advice} for word in text.split() if word.startswith("algorithm.")]
    assert len(words) > 5 and {word.split("=")[0] for word in words} <= known


# The card ------------------------------------------------------------------------------------------------------------


def printed(*card: Any) -> str:
    return terminal.plain(rendering.to_terminal(*card), rendering.WIDTH)


@pytest.mark.parametrize("name", ["pendulum", "cartpole", "plain"])
def test_the_three_forms_of_a_card_hold_the_same(name, request) -> None:
    inspection = request.getfixturevalue(name)
    listing, findings = facts.facts(inspection), findings_of(inspection)
    text, values = printed(inspection, listing, findings), rendering.to_json(inspection, listing, findings)
    tables = rendering.tables(listing, findings)
    parsed = json.loads(json.dumps(values, allow_nan=False))
    assert [finding["says"] for finding in parsed["verdict"]] == [row[1] for row in tables["verdict"][1:]]
    flat = " ".join(text.split())
    for section, fact, shown in tables["facts"][1:]:
        assert fact in parsed[section] and " ".join(f"{fact} {shown}".split()) in flat
    for finding in findings:
        assert finding.says in flat and finding.computed_from in flat
    assert max(map(len, text.splitlines())) <= rendering.WIDTH
    assert parsed["episodes"]["number"] == inspection.num_episodes


def test_no_fact_stands_twice_in_a_section(pendulum, cartpole) -> None:
    for inspection in (pendulum, cartpole):
        places = [(fact.section, fact.name) for fact in facts.facts(inspection)]
        assert len(places) == len({*places})


def test_what_is_not_known_is_said_to_be_so(pendulum) -> None:
    text = printed(pendulum, facts.facts(pendulum), [])
    assert "unknown: no infos say it (success or is_success)" in text
    assert rendering.to_json(pendulum, facts.facts(pendulum), [])["returns and rewards"]["success"] is None
    nowhere = changed(pendulum, env_spec=None, reference=None)
    lines = printed(nowhere, facts.facts(nowhere), []).splitlines()
    assert "environment not named" in {" ".join(line.split()) for line in lines}


def test_the_card_of_broken_data_is_valid_json_and_a_page(pendulum) -> None:
    empty = dataclasses.replace(pendulum.observations, std=np.full(3, np.nan), min=np.full(3, np.nan))
    broken = changed(
        pendulum,
        not_finite=(NotFinite("rewards", 1, 0, 0),),
        returns=np.full(8, np.nan),
        horizon_returns=np.full(8, np.nan),
        rewards=np.full(200, np.nan),
        observations=empty,
    )
    json.dumps(rendering.to_json(broken, facts.facts(broken), findings_of(broken)), allow_nan=False)
    assert figure.page(broken, assess(broken, 0.75)).startswith(b"\x89PNG")


def test_a_further_protocol_has_its_place_on_the_card(inspected) -> None:
    def first_steps(spec: EnvSpec | None, reference: Reference | None, num_observations: int | None) -> Scoring:
        return Scoring(Reference(-50.0, 0.0), lambda observations, rewards: float(rewards[:5].sum()))

    toy = ScoreProtocol("toy", "Toy", "the first five steps", "A test's.", first_steps, own_return=True)
    PROTOCOLS.append(toy)
    try:
        inspection = inspected("test/pendulum-v0")
        listing, findings = facts.facts(inspection), findings_of(inspection)
        values = rendering.to_json(inspection, listing, findings)
        (header, *rows) = csv.reader(io.StringIO(rendering.episodes_csv(inspection)))
    finally:
        PROTOCOLS.remove(toy)
    returns = np.array([float(row[header.index("toy_return")]) for row in rows])
    score = Reference(-50.0, 0.0).score(returns).mean()
    assert len(rows) == inspection.num_episodes and (returns > inspection.returns).all()
    assert values["origin"]["toy score 0 and 100"] == [-50.0, 0.0]
    assert values["returns and rewards"]["toy score"]["mean"] == pytest.approx(score)
    assert f", toy score {score:.1f}) on average" in values["verdict"][1]["says"]


def test_a_text_of_the_metadata_cannot_control_a_terminal(pendulum) -> None:
    spec = EnvSpec("Gone-v9", entry_point="gone:\x9b31mGone", kwargs={"name": "a\x07b\u202ec\x7f\ud800"})
    hostile = changed(pendulum, env_spec=spec)
    author = facts.Fact("origin", "author", None, "Ann\n\x1b]0;title\x07 Ångström 山田\r\x08")
    listing, findings = [*facts.facts(hostile), author], findings_of(hostile)
    text = printed(hostile, listing, findings)
    assert all(character.isprintable() for character in text.replace("\n", "")) and text.encode()
    flat = " ".join(text.split())
    for escaped in (
        r"Gone-v9",
        r"gone:\x9b31mGone",
        r"name=a\x07b\u202ec\x7f\ud800",
        r"Ann \x1b]0;title\x07 Ångström 山田",
    ):
        assert escaped in flat
    shown = json.dumps(rendering.to_json(hostile, listing, findings))
    assert shown.isprintable() and json.loads(shown)["origin"]["environment"] == spec.id


# The recipe ----------------------------------------------------------------------------------------------------------


def test_it_prints_the_card_and_writes_it_with_the_page(inspect, tmp_path, pendulum) -> None:
    done = inspect("dataset=test/pendulum-v0")
    assert done.code == 0, done.err
    folder = tmp_path / OUTPUT
    assert {path.name for path in folder.iterdir()} == {"card.txt", "card.json", "episodes.csv", "page.png"}
    assert done.out.startswith((folder / "card.txt").read_text())
    assert f"plots: {OUTPUT}/page.png" in done.out
    assert json.loads((folder / "card.json").read_text())["returns and rewards"]["return"]["mean"] == pytest.approx(
        pendulum.returns.mean()
    )
    rows = [*csv.DictReader(io.StringIO((folder / "episodes.csv").read_text()))]
    assert [float(row["return"]) for row in rows] == pendulum.returns.tolist()
    assert imread(folder / "page.png").shape[:2] > (800, 800)


def test_json_alone_is_on_standard_output(inspect, tmp_path) -> None:
    done = inspect("dataset=test/cartpole-v0", "--json", "output=here", before=NO_PAGE)
    assert json.loads(done.out) == json.loads((tmp_path / "here" / "card.json").read_text())
    assert "here/page.png" in done.err


def test_data_that_training_refuses_are_inspected(inspect) -> None:
    done = inspect("dataset=test/outside-v0", before=NO_PAGE)
    assert done.code == 0 and "clip_actions=true cuts such actions off" in done.out


def test_wandb_holds_tables_and_page(inspect, tmp_path, read_wandb) -> None:
    done = inspect("dataset=test/pendulum-v0", "logger=wandb", "wandb.mode=offline", before=NO_PAGE)
    assert "W&B:   offline; upload by: wandb sync" in done.out
    records = read_wandb(tmp_path / OUTPUT)
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["job_type"], run["run_group"], run["display_name"]) == ("inspect", "inspection", "test/pendulum-v0")
    assert "output" not in run["config"]["update"]
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert {"facts", "verdict", "page"} <= {key.split(".")[0] for item in items for key in item}


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("dataset=test/pendulm-v0", "did you mean test/pendulum-v0"),
        ("good_above=0", "good_above must lie in (0, 1], got 0.0"),
        ("logger=csv", "unknown logger 'csv'; choose from wandb, none"),
        (
            "output=/dev/null/x",
            "cannot write to /dev/null/x: /dev/null is no folder that may be written; name another place by output=...",
        ),
        ("datset=x", "unknown setting 'datset' (did you mean dataset?)"),
    ],
)
def test_a_mistake_is_refused_in_one_line_and_nothing_is_written(inspect, tmp_path, typed, line) -> None:
    offline = "import socket\ndef no_network(*_, **__): raise OSError\nsocket.getaddrinfo = no_network\n"
    assert line in inspect(typed, before=offline).refusal()
    assert os.listdir(tmp_path) == []


def test_hostile_metadata_are_printed_without_a_control_character(inspect, tmp_path, environment) -> None:
    store = tmp_path / "minari"
    shutil.copytree(Path(environment["MINARI_DATASETS_PATH"], "test/other-v0"), store / "test/other-v0")
    file = store / "test/other-v0/data/metadata.json"
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps({**metadata, "author": "\x1b[2JAnn\x9b"}))
    done = inspect("dataset=test/other-v0", before=NO_PAGE, MINARI_DATASETS_PATH=str(store))
    assert r"\x1b[2JAnn\x9b" in done.out and not {"\x1b", "\x9b"} & {*done.out}
    file.write_text(json.dumps({**metadata, "minari_version": "9\x1b[2J"}))
    refusal = inspect("dataset=test/other-v0", MINARI_DATASETS_PATH=str(store)).refusal()
    assert r"written by Minari 9\x1b[2J" in refusal
