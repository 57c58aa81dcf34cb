"""What rows mean: where episodes end and how, the last observation, actions, bounds, rewards, missing values."""

from __future__ import annotations

import gymnasium as gym
import minari
import numpy as np
import pytest

from agents.errors import AgentsError, ConfigError, DataError

HEADER = "t,s,a,r,run,over,limit,won"
ROWS = [  # two episodes of three rows: the first one is over by success, the second one is cut off
    [0, 0.5, 0.1, 1, "b", 0, 0, 0],
    [1, 1.5, 0.2, 2, "b", 0, 0, 0],
    [2, 2.5, 0.3, 3, "b", 1, 0, 1],
    [9, 3.5, 0.4, 4, "a", 0, 0, 0],
    [10, 4.5, 0.5, 5, "a", 0, 0, 0],
    [11, 5.5, 0.6, 6, "a", 0, 1, 0],
]
USES = {"observation": ["s"], "action": ["a"], "earned": "r"}


def change(row: int, column: str, value: object) -> list[list[object]]:
    rows = [[*each] for each in ROWS]
    rows[row][HEADER.split(",").index(column)] = value
    return rows


@pytest.mark.parametrize(
    ("cut", "rule"),
    [
        ({"episode": "run"}, "the column 'run'"),
        ({"terminated": "over", "truncated": "limit"}, "the flags 'over', 'limit'"),
        ({"time": "t", "gap": 2}, "gaps of more than 2 in 't'"),
        ({"done": "over"}, "the flags 'over'"),
        ({"episode": "run", "time": "t", "gap": 6}, "the column 'run' and gaps of more than 6 in 't'"),
    ],
)
def test_episodes_are_cut_where_the_settings_say(take, table, episodes, cut, rule) -> None:
    imported = take(table(HEADER, ROWS), **USES, **cut, last_observation="repeat")
    assert [episode.rewards.tolist() for episode in episodes()] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert imported.meaning["episodes"] == f"2 of 3 steps, 6 in all, by {rule}"


def test_a_gap_cuts_the_episode_that_a_column_names(take, table, episodes) -> None:
    one = [[*row[:4], "b", *row[5:]] for row in ROWS]
    imported = take(table(HEADER, one), **USES, episode="run", time="t", gap=2, last_observation="repeat")
    assert [len(episode) for episode in episodes()] == [3, 3]
    assert imported.meaning["episodes"].endswith("by the column 'run' and gaps of more than 2 in 't'")


def test_without_any_rule_each_file_is_an_episode(take, table, episodes) -> None:
    table(HEADER, ROWS[:2], "1.csv")
    table(HEADER, ROWS[2:], "2.csv")
    imported = take("*.csv", **USES)
    assert [episode.observations.ravel().tolist() for episode in episodes()] == [[0.5, 1.5], [2.5, 3.5, 4.5, 5.5]]
    assert "the files, each one episode" in imported.meaning["episodes"]


def test_gaps_between_dates_are_in_seconds(take, table, episodes) -> None:
    dates = ["2026-01-01 23:59:58", "2026-01-01 23:59:59", "2026-01-02 00:00:00", "2026-01-03", "2026-01-03 00:00:01"]
    rows = [
        [date.ljust(19, " ") if len(date) > 10 else f"{date} 00:00:00", index, 0.5] for index, date in enumerate(dates)
    ]
    imported = take(table("t,s,a", rows), observation=["s"], action=["a"], time="t", gap=60)
    assert [episode.observations.ravel().tolist() for episode in episodes()] == [[0.0, 1.0, 2.0], [3.0, 4.0]]
    assert imported.meaning["time between steps"] == "1"


def test_a_time_limit_is_no_termination(take, table, episodes) -> None:
    imported = take(table(HEADER, ROWS), **USES, terminated="over", truncated="limit")
    over, cut_off = episodes()
    assert over.terminations.tolist() == [False, False, True] and not over.truncations.any()
    assert cut_off.truncations.tolist() == [False, True] and not cut_off.terminations.any()
    assert imported.meaning["ends"] == "1 terminated, 1 truncated, by 'over'"
    assert over.observations.ravel().tolist() == [0.5, 1.5, 2.5, 2.5]  # behind a termination nothing is looked at
    assert cut_off.observations.ravel().tolist() == [3.5, 4.5, 5.5]
    assert imported.meaning["last observation"].startswith("in 1 that of the last row, whose action and reward are")


def test_what_a_flag_cuts_off_is_not_terminated_by_a_setting(take, table, episodes) -> None:
    take(table(HEADER, ROWS), **USES, episode="run", truncated="limit", end="terminated")
    assert [bool(episode.terminations[-1]) for episode in episodes()] == [True, False]


@pytest.mark.parametrize("end", ["truncated", "terminated"])
def test_what_no_flag_says_is_said_by_a_setting(take, table, episodes, end) -> None:
    imported = take(table(HEADER, ROWS), **USES, episode="run", end=end)
    assert all(bool(episode.terminations[-1]) is (end == "terminated") for episode in episodes())
    assert [len(episode.rewards) for episode in episodes()] == ([3, 3] if end == "terminated" else [2, 2])
    assert "nothing says which" in imported.meaning["ends"]


def test_a_row_with_an_observation_alone_is_the_last_one(take, table, episodes) -> None:
    rows = [[*row] for row in ROWS]
    for row in (2, 5):
        rows[row][2:4] = [None, None]
    imported = take(table(HEADER, rows), **USES, episode="run", terminated="over")
    assert [episode.observations.ravel().tolist() for episode in episodes()] == [[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]]
    assert [episode.terminations.tolist() for episode in episodes()] == [[False, True], [False, False]]
    assert imported.meaning["last observation"] == "in 2 given"


def test_next_observations_of_the_rows_give_the_last(take, table, episodes) -> None:
    rows = [[index, index + 1, 0.5] for index in range(4)]
    take(table("s,s2,a", rows), observation=["s"], next_observation=["s2"], action=["a"])
    assert episodes()[0].observations.ravel().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_where_an_observation_is_not_the_next_one_an_episode_ends(take, table, episodes) -> None:
    """As in tables of transitions whose time limits nobody wrote down; of what is missing nothing is known."""
    rows = [[0, 1, 0.5], [1, 9, 0.5], [5, None, 0.5], [6, 7, 0.5]]
    imported = take(table("s,s2,a", rows), observation=["s"], next_observation=["s2"], action=["a"])
    assert [episode.observations.ravel().tolist() for episode in episodes()] == [[0, 1, 9], [5, 6, 7]]
    assert "where an observation is not the next one of the row before" in imported.meaning["episodes"]
    episode = {"observation": np.array([[0.0], [5.0]]), "action": np.array([[0.5], [0.5]])}
    with pytest.raises(DataError, match="step 0 of episode 0: its next observation is not the observation of the step"):
        take([episode | {"next_observation": np.array([[1.0], [6.0]])}], "robot/arm-v1")
    with pytest.raises(DataError, match=r"next observations are of shape \[2\], and observations of \[1\]"):
        take(table("s,s2,a", rows), "robot/arm-v1", observation=["s"], next_observation=["s2", "s"], action=["a"])


def test_times_that_cannot_be_negative_go_back_all_the_same(take) -> None:
    rows = {"observation": np.zeros((3, 1)), "action": np.full((3, 1), 0.5), "time": np.array([0, 2, 1], np.uint32)}
    with pytest.raises(DataError, match="step 2 of episode 0 is earlier than the row before"):
        take([rows])


def test_rewards_may_be_none_an_expression_or_a_success(take, table, episodes) -> None:
    source = table(HEADER, ROWS)
    cut = {"observation": ["s"], "action": ["a"], "episode": "run"}
    imported = take(source, **cut)
    assert "only cloning can use these data" in imported.meaning["rewards"]
    take(source, **cut, reward="-r + 10*won", overwrite=True, last_observation="repeat")
    assert [episode.rewards.tolist() for episode in episodes()] == [[-1.0, -2.0, 7.0], [-4.0, -5.0, -6.0]]
    imported = take(source, **cut, reward="last", success="won", overwrite=True)
    assert [episode.rewards.tolist() for episode in episodes()] == [[0.0, 1.0], [0.0, 0.0]]
    assert "the 1 episodes with a success" in imported.meaning["rewards"]


def test_success_is_among_the_infos(take, table, episodes) -> None:
    take(table(HEADER, ROWS), **USES, episode="run", success="won", end="terminated")
    assert [episode.infos["success"].tolist() for episode in episodes()] == [[False, False, True], [False] * 3]


@pytest.mark.parametrize(
    ("actions", "settings", "space", "says"),
    [
        ([1, 3, 2, 1], {}, gym.spaces.Discrete(3, start=1), "discrete, since all are few whole numbers; 1 to 3"),
        ([1, 3, 2, 1], {"action_bounds": [0, 4]}, gym.spaces.Discrete(5), "0 to 4. Else: action_kind=continuous"),
        ([1, 300, 2, 1], {}, (-13.95, 314.95), "continuous, since whole numbers in a wide range"),
        ([1, 300, 2, 1], {"action_kind": "discrete"}, gym.spaces.Discrete(300, start=1), "discrete, since as set"),
        ([0, 1, 2, 1], {"action_kind": "continuous"}, (-0.1, 2.1), "continuous, since as set; bounds -0.1 to 2.1"),
        (
            [0.5, 1, 2, 1],
            {"action_bounds": [-3, 3]},
            (-3.0, 3.0),
            "continuous, since 0.5 is no whole number; bounds -3",
        ),
        ([0.5, 0.5, 0.5, 0.5], {}, (0.45, 0.55), "continuous"),
    ],
)
def test_the_kind_of_actions_is_guessed_or_set(take, table, episodes, actions, settings, space, says) -> None:
    rows = [[index, action] for index, action in enumerate(actions)]
    imported = take(table("s,a", rows), observation=["s"], action=["a"], end="terminated", **settings)
    there = minari.load_dataset("robot/arm-v0").action_space
    if isinstance(space, tuple):
        assert isinstance(there, gym.spaces.Box) and there.shape == (1,)
        assert (there.low.item(), there.high.item()) == (pytest.approx(space[0]), pytest.approx(space[1]))
    else:
        assert there == space and episodes()[0].actions.dtype == np.int64
    assert says in imported.meaning["kind of actions"]
    assert all(there.contains(action) for action in episodes()[0].actions)


def test_several_choices_are_multi_discrete(take, table, episodes) -> None:
    rows = [[0.5, index % 3, index % 2 + 1] for index in range(6)]
    take(table("s,a,b", rows), observation=["s"], action=["a", "b"])
    assert minari.load_dataset("robot/arm-v0").action_space == gym.spaces.MultiDiscrete([3, 2], start=[0, 1])
    assert episodes()[0].actions.tolist() == [[0, 1], [1, 2], [2, 1], [0, 2], [1, 1]]


def test_actions_that_are_often_at_their_ends_are_hinted_at(take, table) -> None:
    rows = [[index // 4, action] for index, action in enumerate([-1, 1, 0.3, 0.5, 1, -1, 0.1, 0.2])]
    imported = take(table("s,throttle", rows), observation=["s"], action=["throttle"], episode="s", end="terminated")
    hint = "50 % of 'throttle' are -1 or 1: if these are limits, action_bounds=[-1,1]"
    assert hint in imported.meaning["kind of actions"]


def test_limits_that_are_hinted_at_fit_all_actions(take, table) -> None:
    throttle = [-1, 1, 0.3, 0.5, 1, -1, 0.1, 0.2] * 5
    log = table("s,throttle,wheel", [[index // 4, action, index] for index, action in enumerate(throttle)])
    uses = {"observation": ["s"], "action": ["throttle", "wheel"], "episode": "s", "end": "terminated"}
    hint = "50 % of 'throttle' are -1 or 1: if these are limits, action_bounds=[[-1,-1.95],[1,40.95]]"
    assert hint in take(log, **uses).meaning["kind of actions"]
    given = take(log, **uses, action_bounds=[[-1, -1.95], [1, 40.95]], dry_run=True)
    assert "bounds -1 to 1, -1.95 to 40.95 (as set)" in given.meaning["kind of actions"]


def test_missing_values_are_left_out_or_filled(take, table, episodes) -> None:
    rows = change(1, "s", None)
    imported = take(table(HEADER, rows), **USES, episode="run", missing="drop-episode")
    assert len(episodes()) == 1 and imported.meaning["left out"].startswith("1 episodes with missing values")
    rows = change(2, "s", None)
    for row in (4, 5):
        rows[row][1] = None
    take(table(HEADER, rows), **USES, episode="run", missing="forward-fill", overwrite=True)
    assert [episode.observations.ravel().tolist() for episode in episodes()] == [[0.5, 1.5, 1.5], [3.5, 3.5, 3.5]]


def test_patterns_choose_columns_and_leave_out(take, table) -> None:
    rows = [[1, 2, 3, 4, 0.5]] * 3
    imported = take(table("s_a,s_b,s_raw,x,act", rows), observation=["s_*", "!s_raw", "x"], action=["act"])
    assert imported.meaning["observations"] == "s_a, s_b, x (float64)"
    imported = take("log.csv", observation=["*"], action=["a*"], episode="s_raw", dry_run=True)
    assert imported.meaning["observations"] == "s_a, s_b, x (float64)"  # what has another use is no observation


def test_irregular_times_are_said(take, table) -> None:
    rows = [[time, 0.5, 0.1] for time in (0, 1, 2, 5)]
    imported = take(table("t,s,a", rows), observation=["s"], action=["a"], time="t")
    irregular = "1 to 3: irregular, which no algorithm knows of"
    assert imported.meaning["time between steps"] == (
        f"{irregular} (time_step=N resamples it; gap=N begins an episode behind a longer time)"
    )
    cut = take(table("t,s,a", rows), observation=["s"], action=["a"], time="t", gap=4, dry_run=True)
    assert cut.meaning["time between steps"] == f"{irregular} (time_step=N resamples it)"


CUT = {"episode": "run"}
MISTAKES = {
    "unknown": (ROWS, {"observation": ["sa"]}, r"columns.observation: log.csv has no column 'sa' \(did you mean s\?\)"),
    "other_case": (ROWS, {"observation": ["S"]}, r"has no column 'S' \(did you mean s\?\)"),
    "infinite_reward": (change(1, "r", "inf"), CUT, "line 3 of log.csv: the reward is inf; rewards have to be finite"),
    "no_action": (ROWS, {"action": []}, r"columns.action must name the columns of the actions, as \[a,b\*\]; there"),
    "leak": (ROWS, {"observation": ["s", "a"]}, "both name 'a', which nobody can see before it is chosen"),
    "pictures_alone": (ROWS, {"observation": [], "picture": ["s"]}, "pictures alone are not learned from; there are"),
    "two_rewards": (ROWS, {"reward": "-r", "earned": "r"}, "reward and columns.reward both say"),
    "last": (ROWS, {"reward": "last", "earned": None}, "name its flag by columns.success"),
    "gap": (ROWS, {"gap": 1}, "name its column by columns.time"),
    "missing": (change(1, "s", None), CUT, r"line 3 of log.csv: observation 's' is missing; missing=drop-episode"),
    "infinite": (change(1, "s", "inf"), CUT, r"line 3 of log.csv: observation 's' is inf; leave its row out"),
    "no_action_there": (change(1, "a", None), CUT, r"line 3 of log.csv: action 'a' is missing"),
    "no_reward": (change(1, "r", None), CUT, "line 3 of log.csv: the reward is missing; .*no reward is made up"),
    "none_before": (change(3, "s", None), {**CUT, "missing": "forward-fill"}, "there is none before it in its episode"),
    "interleaved": (change(1, "run", "a"), CUT, "line 4 of log.csv: episode 'b' comes back after another.*sort=true"),
    "no_episode": (change(3, "run", None), CUT, "line 5 of log.csv is of no episode: write its name"),
    "twice": (change(4, "t", 9), {**CUT, "time": "t"}, "line 6 of log.csv has the time of the row before"),
    "backwards": (change(4, "t", 8), {**CUT, "time": "t"}, "line 6 of log.csv is earlier than the row before"),
    "no_time": (change(4, "t", None), {**CUT, "time": "t"}, "line 6 of log.csv has no time; write one"),
    "over_early": (change(0, "over", 1), {**CUT, "terminated": "over"}, "line 2 of log.csv is flagged as terminated"),
    "no_flag": (change(0, "over", "x"), {**CUT, "terminated": "over"}, "line 2 of log.csv: 'x' in 'over' is neither"),
    "bounds": (ROWS, {"action_bounds": [0, 0.25]}, r"line 4 of log.csv: action 'a' is 0.3, outside action_bounds"),
    "bounds_3": (ROWS, {"action_bounds": [[0, 0], [1, 1]]}, r"action_bounds must be data or \[low,high\], each"),
    "low_high": (ROWS, {"action_bounds": [1, 0]}, "must have no low above its high"),
    "no_index": (ROWS, {"action_kind": "discrete"}, "line 2 of log.csv has the action 0.1, no whole number"),
    "one_row": (ROWS, {"episode": "t"}, "each has a single row"),
    "all_missing": ([[*row[:1], None, *row[2:]] for row in ROWS], {**CUT, "missing": "drop-episode"}, "all of them"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_contradicts_is_one_line_with_its_place(take, table, store, name) -> None:
    rows, settings, says = MISTAKES[name]
    with pytest.raises(AgentsError, match=says) as refusal:
        take(table(HEADER, rows), **{**USES, **settings})
    assert "\n" not in str(refusal.value) and not [*store.glob("*")]


@pytest.mark.parametrize(
    ("episode", "says"),
    [
        (
            {"observation": np.zeros((4, 2)), "action": np.zeros((2, 1))},
            "4 observations for 2 actions; an episode has as",
        ),
        (
            {"observation": np.zeros((3, 3)), "action": np.zeros((2, 1))},
            r"observations of shape \[3\], in the episodes",
        ),
        (
            {"observation": np.zeros((3, 2)), "action": np.zeros((2, 1)), "reward": np.zeros(1)},
            "1 rewards for 2 actions",
        ),
        ({"observation": np.zeros((3, 2)), "actions": np.zeros((2, 1))}, "episode 1 has observation, actions, those"),
        ({"observation": np.zeros((3, 2))}, "episode 1 has observation, those before observation, action"),
        ([1, 2], "episode 1 is a list; give dictionaries of arrays"),
        ({"observation": [[1], [2, 3]], "action": np.zeros(1)}, "episode 1 has lists of different lengths"),
    ],
)
def test_episodes_that_do_not_fit_are_refused(take, episode, says) -> None:
    first = {"observation": np.zeros((3, 2)), "action": np.zeros((2, 1))}
    if isinstance(episode, dict) and "reward" in episode:
        first["reward"] = np.zeros(2)
    with pytest.raises(AgentsError, match=says):
        take([first, episode])


def test_a_choice_that_is_none_is_refused(take, table) -> None:
    with pytest.raises(ConfigError, match="unknown missing 'ignore'; choose from refuse, drop-episode, forward-fill"):
        take(table(HEADER, ROWS), **USES, missing="ignore")


def test_bounds_are_those_of_the_actions_type(take, episodes) -> None:
    """Of single precision, 0.3 is more than 0.3."""
    actions = np.array([[0.3], [-0.3], [0.1]], np.float32)
    take([{"observation": np.zeros((3, 1)), "action": actions}], action_bounds=[-0.3, 0.3])
    assert np.array_equal(episodes()[0].actions, actions[:2])


def test_episodes_without_a_row_are_left_out(take, episodes) -> None:
    lengths = (0, 3, 0)
    take([{"observation": np.zeros((length, 1)), "action": np.full((length, 1), 0.5)} for length in lengths])
    assert [len(episode.rewards) for episode in episodes()] == [2]
