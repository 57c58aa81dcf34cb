"""Files of a run's folder that are not what a run wrote: one line that names the file, or says what is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from agents.errors import ConfigError
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import read_csv, tell_of_lost_rows
from recipes.runs.resume import read_settings

WHOLE = Path(__file__).with_name("resumable") / "iql"
RUN = "runs/iql/test/pendulum-v0/seed0"


def changed(**values: object) -> Callable[[bytes], bytes]:
    """Other values in run.json; None leaves one out."""
    return lambda whole: json.dumps({**json.loads(whole), **values}).encode()


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda whole: json.dumps({key: value for key, value in json.loads(whole).items() if key != name}).encode()


def in_row(values: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole.split(b"\n")[0] + b"\n" + values + b"," * whole.split(b"\n")[0].count(b",") + b"\n"


ANY_FILE: dict[str, Callable[[bytes], bytes]] = {
    "not UTF-8": lambda whole: whole[:40] + b"\xff\xfe" + whole[40:],
    "zeros": lambda whole: bytes(len(whole) - 1) + b"\n",
    "another text": lambda _: b"[1, 2\n,x\n",
}
OF_RUN_JSON = {
    "emptied": lambda _: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "a list": lambda _: b"[]",
    "nested without end": lambda _: b"[" * 100_000,
    "versions are null": changed(versions=None),
    "a version is a number": changed(versions={"torch": 2}),
    "cost is text": changed(cost="much"),
    "minutes are a list": changed(cost={"minutes": []}),
    "the data's return is text": changed(data={"data/return": "high"}),
    "the algorithm is a number": changed(algorithm=3),
    "the config is a list": changed(algorithm_config=["IQLConfig"]),
    **{f"no {name}": without(name) for name in ("algorithm", "algorithm_config", "wandb_id")},
}
OF_CONFIG_YAML = {
    "emptied": lambda _: b"",
    "text": lambda whole: whole.replace(b"gradient_steps: ", b"gradient_steps: many"),
    "out of range": lambda whole: whole.replace(b"gradient_steps: ", b"gradient_steps: -"),
    "a target": lambda whole: whole + b"_target_: os.mkdir\n",
    "an object": lambda whole: whole + b"x: !!python/object/apply:os.mkdir [x]\n",
    "a resolver": lambda whole: whole.replace(b"dataset: ", b"dataset: ${oc.env:SECRET}"),
}
OF_A_LOG = {
    "text for a number": in_row(b"10,high"),
    "a step in another script": in_row("²".encode()),
    "a negative step": in_row(b"-1"),
    "no step": in_row(b""),
    "a longer row": in_row(b"10,,,,"),
    "a shorter row": lambda whole: whole + b"10\n",
}
CASES = [
    *(("run.json", name, damage) for name, damage in {**ANY_FILE, **OF_RUN_JSON}.items()),
    *(("config.yaml", name, damage) for name, damage in {**ANY_FILE, **OF_CONFIG_YAML}.items()),
    *(("metrics.csv", name, damage) for name, damage in {**ANY_FILE, **OF_A_LOG}.items()),
    *(("evaluations.csv", name, damage) for name, damage in {**ANY_FILE, **OF_A_LOG}.items()),
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(WHOLE, tmp_path / "run"))


def read(folder: RunFolder) -> None:
    """All that a command reads of a run, but for its checkpoints."""
    read_settings(folder)
    for file in (folder.metrics_file, folder.evaluations_file):
        assert read_csv(file)


def test_a_whole_folder_is_read(folder) -> None:
    read(folder)


@pytest.mark.parametrize(("name", "damage"), [case[::2] for case in CASES], ids=[f"{a}: {b}" for a, b, _ in CASES])
def test_a_damaged_file_is_named_in_one_line(name, damage, folder, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "of mine")
    file = folder.path / name
    file.write_bytes(damaged := damage(file.read_bytes()))
    with pytest.raises(ConfigError) as error:
        read(folder)
    message = str(error.value)
    assert message.startswith(f"{file} is damaged") and "mend it" in message
    assert "\n" not in message and message.isprintable() and "of mine" not in message and len(message) < 600
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("name", ["seed", "dataset", "gradient_steps", "batch_size", "algorithm"])
def test_a_line_that_every_version_wrote_is_missed(name, folder) -> None:
    lines = OmegaConf.load(folder.config_file)
    del lines[name]
    folder.config_file.write_text(OmegaConf.to_yaml(lines))
    with pytest.raises(ConfigError, match=f"it lacks {name}"):
        read_settings(folder)


def test_an_emptied_config_yaml_lacks_what_every_run_says(folder) -> None:
    folder.config_file.write_text("")
    with pytest.raises(ConfigError, match="it lacks run_dir"):
        read_settings(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: None, ""),
        (lambda file: file.unlink(), "it is missing; the values of 2 steps from 5 to 10 are lost"),
        (lambda file: file.write_text(""), "it is empty; the values of 2 steps from 5 to 10 are lost"),
        (lambda file: file.write_text("step,loss\n5,1.0\n"), "it lacks rows; the values of step 10 are lost"),
    ],
)
def test_rows_that_are_lost_are_said(damage, said, tmp_path, capsys) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,loss\n5,1.0\n10,2.0\n")
    damage(file)
    tell_of_lost_rows(file, range(5, 11, 5))
    lines = capsys.readouterr().err
    assert lines.count("\n") == bool(said) and (not said or lines.startswith(f"warning: {file}: {said}"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.csv", "evaluations.csv"])
def test_a_resume_says_which_rows_are_lost(name, run, train_as_is) -> None:
    (run / name).write_text("")
    resumed = train_as_is(f"resume={RUN}", "gradient_steps=25")
    assert resumed.code == 0, resumed.err
    (warning,) = [line for line in resumed.err.splitlines() if name in line]
    assert warning.startswith(f"warning: {RUN}/{name}: it is empty; the values of ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.csv", "evaluations.csv", "run.json", "config.yaml"])
def test_a_command_names_the_damaged_file(name, run, train_as_is) -> None:
    (run / name).write_bytes(b"\xff\xfe\n")
    assert f"{RUN}/{name} is damaged" in train_as_is(f"resume={RUN}").refusal()
