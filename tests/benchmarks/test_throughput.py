from __future__ import annotations

import json
import multiprocessing
import pickle
import threading

import pytest
import torch

import agents
import contestants
import throughput
from contestants import Contestant, Setup
from throughput import Row, measure, summarise


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and little warming up."""
    monkeypatch.setattr(contestants, "NUM_ROWS", 1000)
    monkeypatch.setattr(contestants, "in_own_process", lambda make, setup: make(setup))
    monkeypatch.setattr(throughput, "WARM_UP", 1)


def test_contestants_take_turns_with_their_own_precision() -> None:
    calls = []

    def contestant(name: str, precision: str) -> Contestant:
        def run(num_updates: int) -> dict[str, float]:
            calls.append((name, num_updates, torch.get_float32_matmul_precision()))
            return {name: float(len(calls))}

        return Contestant(run, precision)

    before = torch.get_float32_matmul_precision()
    rows = measure([contestant("a", "highest"), contestant("b", "medium")], rounds=3, updates=7)
    assert [name for name, _, _ in calls] == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert [updates for _, updates, _ in calls] == [1, 1] + [7] * 6
    assert {(name, precision) for name, _, precision in calls} == {("a", "highest"), ("b", "medium")}
    assert rows == {"a": Row("highest", [3.0, 6.0, 7.0]), "b": Row("medium", [4.0, 5.0, 8.0])}
    assert torch.get_float32_matmul_precision() == before


def test_another_process_measures_until_nobody_asks() -> None:
    """In a thread, not in the process that it would be: to start one takes seconds."""

    def make(setup: Setup) -> Contestant:
        return Contestant(lambda num_updates: {"row": num_updates / setup.num_threads}, "high")

    setup = Setup(torch.device("cpu"), num_threads=torch.get_num_threads(), num_envs=1, precision="highest")
    assert pickle.loads(pickle.dumps((contestants.torchrl, setup))) == (contestants.torchrl, setup)
    here, there = multiprocessing.Pipe()
    thread = threading.Thread(target=contestants.serve, args=(there, make, setup))
    thread.start()
    assert here.recv() == "high"
    for num_updates in (6, 3):
        here.send(num_updates)
        assert here.recv() == {"row": num_updates / setup.num_threads}
    here.close()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_ratios_are_those_of_the_same_round() -> None:
    seconds = {"plain": [1.0, 10.0, 100.0], "iql": [0.5, 2.0, 100.0], "iql/loss": [0.1, 0.1, 0.1]}
    rows = summarise({name: Row("highest", values) for name, values in seconds.items()})
    assert rows["iql"]["times_plain"] == {"median": 2.0, "min": 1.0, "max": 5.0}
    assert rows["iql"]["median_ms"] == 2000.0 and rows["iql"]["per_second"] == 0.5
    assert not [key for name in ("plain", "iql/loss") for key in rows[name] if key.startswith("times")]


@pytest.mark.slow
def test_every_row_is_measured_and_written(tmp_path, capsys, monkeypatch) -> None:
    """Those of two algorithms, in the place of all."""
    measured = ("bc", "iql")
    assert agents.ALGORITHMS.keys() <= throughput.known_contestants().keys()
    others = [name for name in agents.ALGORITHMS if name not in measured]
    left_out = {"evaluate", *others, *(f"{name}_compiled" for name in others)}
    left_out |= set() if throughput.has_d3rlpy() else {"d3rlpy"}
    names = [name for name in throughput.known_contestants() if name not in left_out]
    output = tmp_path / "throughput.json"
    monkeypatch.setattr(throughput, "WARM_UP", 1)
    settings = ["--rounds", "1", "--updates", "1", "--device", "cpu", "--compile", "trace"]
    throughput.main([*settings, "--only", *names, "--output", str(output)])
    report = json.loads(output.read_text())
    assert {"date", "commit", "versions", "cpu", "cores", "threads", "rounds", "updates"} <= report.keys()
    compiled = {f"{name}_compiled" for name in measured}
    assert {"plain", "torchrl", *measured, *compiled, "iql_seeds", "iql/sample", "iql/log"} <= report["rows"].keys()
    assert report["rows"]["iql"]["times_torchrl"]["median"] > 0.0
    printed = capsys.readouterr().out
    assert "| TorchRL's own recipe | high |" in printed and "| backward |" in printed


def test_an_evaluation_is_compared_with_a_bare_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants, "EPISODES_PER_ENV", 1)
    setup = Setup(torch.device("cpu"), num_threads=1, num_envs=1, precision="highest")
    rows = summarise(measure([contestants.evaluation(setup)], rounds=1, updates=1))
    assert rows["evaluate"]["unit"] == rows["bare_loop"]["unit"] == "environment step"
    assert rows["evaluate"]["times_bare_loop"]["median"] > 0.0


def test_profile_names_operators_and_bounds_what_python_takes(capsys: pytest.CaptureFixture[str]) -> None:
    throughput.main(["--profile", "--updates", "2", "--device", "cpu", "--compile", "trace"])
    printed = capsys.readouterr().out
    assert "aten::bmm" in printed and "mostly in Python: between" in printed


def test_compiled_updates_end_where_eager_ones_do() -> None:
    setup = Setup(torch.device("cpu"), num_threads=1, num_envs=1, precision="highest", compile="trace")
    assert 0.0 <= contestants.difference("bc", setup, num_updates=10) < 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds: must be a whole number of at least 1, got '0'"),
        (["--only", "ilq"], "invalid choice: 'ilq'"),
        (["--device", "gpu"], "unknown device 'gpu'; choose from"),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, message, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        throughput.main(arguments)
    line = capsys.readouterr().err
    assert message in line and line.startswith("error: ") and line.count("\n") == 1
    assert stopped.value.code == 2
