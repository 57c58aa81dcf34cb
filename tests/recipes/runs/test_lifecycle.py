"""The parts of a run: its logs on disk, signals, the stopwatch and the device."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import agents
from agents.training import compilation, trace
from recipes.runs import lifecycle, process
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import CsvLog, read_csv
from recipes.runs.process import Stopwatch
from recipes.runs.speed import speed_up
from recipes.settings.interrupt import Interrupt
from recipes.settings.schema import TrainConfig


def test_a_log_has_a_row_per_step(tmp_path) -> None:
    log = CsvLog(tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text() == ""
    log.write(5, {"a": 0.1, "b": 2})
    log.write(10, {"b": 1e-300, "a": 3})
    assert (tmp_path / "log.csv").read_text() == "step,a,b\n5,0.1,2\n10,3,1e-300\n"


@pytest.mark.parametrize("torn", ["", "1", "15,7", "15,7,8"])  # "1": of 15
def test_a_log_goes_on_after_its_last_whole_row_of_a_saved_step(torn, tmp_path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,a,b\n5,0.10,2\n10,3,4\n12,5,6\n" + torn)
    log = CsvLog(path, last_step=10)
    assert path.read_text() == "step,a,b\n5,0.10,2\n10,3,4\n"  # as they were written
    log.write(12, {"a": 5, "b": 6})
    assert [row["step"] for row in read_csv(path)] == ["5", "10", "12"]


def test_a_row_may_bring_another_column_or_lack_one(tmp_path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,a\n5,0.10\n10,3\n")
    log = CsvLog(path, last_step=10)
    log.write(15, {"a": 1, "b": 2})
    assert path.read_text() == "step,a,b\n5,0.10,\n10,3,\n15,1,2\n"
    log.write(20, {"a": 1})
    log.write(25, {"b": 2, "c": 3, "a": 1})
    assert path.read_text() == "step,a,b,c\n5,0.10,,\n10,3,,\n15,1,2,\n20,1,,\n25,1,2,3\n"


@pytest.mark.parametrize("text", ["", "step", "step,a,b\n", "step,a,b\n5,1"])
def test_a_log_without_a_whole_row_begins_anew(text, tmp_path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    assert read_csv(path) == []
    CsvLog(path, last_step=5).write(6, {"c": 1})
    assert path.read_text() == "step,c\n6,1\n"


def test_the_first_signal_is_noted_and_the_second_one_stops() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        assert interrupt.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interrupt.signal, interrupt.exit_code) == (signal.SIGTERM, 143)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_stopwatch_adds_up_per_stage_and_starts_again_when_read(monkeypatch) -> None:
    now = iter([0.0, 1.0, 5.0, 7.0, 10.0, 10.5])
    monkeypatch.setattr(process.time, "perf_counter", lambda: next(now))
    clock = Stopwatch("update", "evaluation")
    for stage in ("update", "evaluation", "update"):
        with clock(stage):
            pass
    assert clock.read() == {"update": 1.5, "evaluation": 2.0}
    assert clock.read() == {"update": 0.0, "evaluation": 0.0}


def test_in_a_log_file_the_progress_is_lines(monkeypatch, capsys) -> None:
    now = iter([0.0, 1.0, 30.0, 30.0, 40.0])
    monkeypatch.setattr(process.time, "monotonic", lambda: next(now))
    with process.progress_bar(100, 200) as progress:
        progress.update(1)
        progress.set_postfix_str("return 3.0")
        progress.update(59)
    said = capsys.readouterr()
    lines = [
        "step 160 of 200, 2 updates/s, 00:20 left, return 3.0",
        "step 160 of 200, 2 updates/s, 00:26 left, return 3.0",
    ]
    assert said.err.split("\n") == [*lines, ""] and said.out == ""


@pytest.mark.parametrize(
    ("name", "num_devices", "device"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 1, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_is_the_one_named_or_cuda_where_there_is_one(name, num_devices, device, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_devices)
    assert process.resolve_device(name) == torch.device(device)


@pytest.mark.parametrize(("name", "num_devices"), [("cuda", 0), ("cuda:1", 1), ("tpu", 1), ("mps", 1), ("", 1)])
def test_a_device_that_is_not_there_is_refused(name, num_devices, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_devices)
    with pytest.raises(agents.ConfigError, match="cpu"):
        process.resolve_device(name)


def test_information_is_added_to_what_is_known(tmp_path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.add_info(algorithm="iql")
    folder.add_info(wandb_id="abc")
    assert folder.info == {"algorithm": "iql", "wandb_id": "abc"}
    assert [path.name for path in Path(folder.path).iterdir()] == ["run.json"]


def test_a_run_has_one_process_at_a_time(tmp_path) -> None:
    folder = RunFolder(tmp_path)
    lock = lifecycle.claim(folder)
    with pytest.raises(agents.ConfigError, match=r"another process is at work in .*; wait for it, or stop it first"):
        lifecycle.claim(RunFolder(tmp_path))
    lock.release()
    lifecycle.claim(folder).release()


def test_a_run_whose_overwriting_was_killed_comes_back(tmp_path) -> None:
    (tmp_path / ".run.overwritten").mkdir()
    (tmp_path / ".run.overwritten" / "config.yaml").write_text("old")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("begun")
    lifecycle.undo_overwrite(RunFolder(tmp_path / "run"))
    assert (tmp_path / "run" / "config.yaml").read_text() == "old"
    assert not (tmp_path / ".run.overwritten").exists()


# How updates are computed ---------------------------------------------------------------------------------------------


def speed(agent, batch, capsys, *, before: dict[str, object], **settings: str) -> tuple[dict[str, object], str]:
    """What was chosen, and what was said about it."""
    precision = torch.get_float32_matmul_precision()
    try:
        chosen = speed_up(agent, batch, TrainConfig(**settings), before=before)
    finally:
        torch.set_float32_matmul_precision(precision)
    said = capsys.readouterr()
    return chosen, said.out + said.err


def test_a_resumed_run_computes_as_before(specs, batch, capsys) -> None:
    agent = agents.BCConfig().build(specs)
    before = {"compile": "trace", "matmul_precision": "high", "num_threads": torch.get_num_threads()}
    chosen, said = speed(agent, batch, capsys, before=before)
    assert chosen == before
    assert said == "compile=trace, float32, matmul_precision=high\n"
    chosen, _ = speed(agent, batch, capsys, before=before, compile="off", matmul_precision="highest")
    assert chosen == {**before, "compile": "off", "matmul_precision": "highest"}


def test_what_is_chosen_is_what_is_measured_to_be_fastest(specs, batch, capsys, monkeypatch) -> None:
    monkeypatch.setattr(trace.Trace, "compile", lambda self, batch: self)
    monkeypatch.setattr(compilation, "_milliseconds", lambda functions, batch: dict(zip(functions, (3.0, 1.0, 2.0))))
    chosen, said = speed(agents.BCConfig().build(specs), batch, capsys, before={}, matmul_precision="highest")
    assert (chosen["compile"], chosen["matmul_precision"]) == ("trace", "highest")
    assert said.startswith("compile=trace (off 3.0 ms, trace 1.0 ms, inductor 2.0 ms), float32")


def test_a_way_that_is_gone_is_replaced_with_a_warning_unless_it_was_asked_for(
    specs, batch, capsys, monkeypatch
) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(trace.Trace, "compile", missing)
    agent = agents.BCConfig().build(specs)
    chosen, said = speed(agent, batch, capsys, before={"compile": "inductor", "matmul_precision": "highest"})
    assert chosen["compile"] in ("off", "trace")
    assert "warning: compile=inductor cannot be had here" in said and "other rounding" in said
    with pytest.raises(agents.ConfigError, match="no C"):
        speed(agent, batch, capsys, before={}, compile="inductor")


def test_a_stage_inside_another_stops_the_outer(monkeypatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr(process.time, "perf_counter", lambda: float(next(times)))
    clock = Stopwatch("outer", "inner")
    inner = clock("inner")(lambda: "result")
    with clock("outer"):  # at 0
        assert inner() == "result"  # from 1 to 2
        inner()  # from 3 to 4
    assert clock.read() == {"outer": 3.0, "inner": 2.0}  # until 5
    assert clock.read() == {"outer": 0.0, "inner": 0.0}


# Two processes that begin the same run --------------------------------------------------------------------------------


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """``begin(seed, pid)`` begins ``run`` as the process of that number; while it writes, another one may come."""

    def describe(new: RunFolder, cfg, config, dataset, speed, algorithm) -> None:
        new.info_file.write_text("{}")
        new.config_file.write_text(f"seed: {cfg.seed}")
        speed.pop("meanwhile", lambda: None)()

    def begun(seed: int, pid: int, *, overwrite: bool = False, **speed) -> RunFolder:
        folder, cfg = RunFolder(tmp_path / "run"), SimpleNamespace(seed=seed, overwrite=overwrite)
        with monkeypatch.context() as patch:
            patch.setattr(lifecycle, "temporary_path", lambda path: path.with_name(f".{path.name}.{pid}.tmp"))
            with lifecycle.begin(folder, cfg, None, None, speed):
                lifecycle.claim(folder)
        return folder

    monkeypatch.setattr(lifecycle, "_describe", describe)
    return begun


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_processes_that_begin_a_run_one_has_it_whole(exists, begin, tmp_path) -> None:
    if exists:
        (tmp_path / "run").mkdir()
    faster = []
    with pytest.raises(agents.ConfigError, match="another process"):
        begin(111, os.getpid(), meanwhile=lambda: faster.append(begin(222, 1)))
    assert (tmp_path / "run" / "config.yaml").read_text() == "seed: 222"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(agents.ConfigError, match="another process is at work"):  # from its first moment on
        lifecycle.claim(RunFolder(tmp_path / "run"))


def test_a_run_is_not_overwritten_while_another_goes_on_from_it_inside(begin, tmp_path) -> None:
    begin(1, os.getpid())
    online = RunFolder(tmp_path / "run" / "online")
    online.path.mkdir()
    lock = lifecycle.claim(online)
    with pytest.raises(agents.ConfigError, match="another process is at work in .*online"):
        begin(2, os.getpid(), overwrite=True)
    assert online.path.exists()
    lock.release()


def test_what_killed_processes_left_goes_at_the_next_start(begin, tmp_path, dead_pid) -> None:
    (tmp_path / f".run.{dead_pid}.tmp").mkdir()
    (tmp_path / ".run.1.tmp").mkdir()  # of a living process
    begin(0, os.getpid())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.1.tmp", "run"]


def test_a_temporary_file_of_a_killed_process_goes_when_the_file_is_written_again(tmp_path, dead_pid) -> None:
    for pid in (dead_pid, 1):
        (tmp_path / f".run.json.{pid}.tmp").write_text("half")
    RunFolder(tmp_path).add_info(algorithm="iql")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.json.1.tmp", "run.json"]
