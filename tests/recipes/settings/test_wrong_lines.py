"""Wrong command lines over all commands, each of every kind of mistake for every setting: one line, exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import pytest

from recipes.settings import command_line, schema
from recipes.settings.overrides import PATHS

NEEDED = {
    **dict.fromkeys(("evaluate", "estimate", "export", "finetune", "serve"), (f"checkpoint={__file__}",)),
    "sweep": ("sweep=iql",),
}  # of a line that is right
WORDS = (
    "storage",
    "compile",
    "precision",
    "matmul_precision",
    "logger",
    "executor",
    "method",
    "wandb.mode",
    "rewards.scale",
)
SIGNED = ("rewards.shift",)
REFERENCES = "${nowhere}", "${oc.env:NOWHERE_AT_ALL}"


def settings(config: object, prefix: str = "") -> Iterator[tuple[str, str, object]]:
    """Name, type and default of each setting."""
    for entry in fields(config):  # type: ignore[arg-type]
        value = getattr(config, entry.name)
        yield prefix + entry.name, str(entry.type), value
        if is_dataclass(value):
            yield from settings(value, f"{prefix}{entry.name}.")


def wrong_values(name: str, kind: str, default: object) -> Iterator[str]:
    """Values that the setting cannot have."""
    if is_dataclass(default):
        yield from ("mine", "[]", "3")
    elif kind.startswith("int"):
        yield from ("many", "1.5", "1e3", "-1", "[1]", "{a:1}", "", "true", REFERENCES[0])
    elif kind.startswith("float"):
        yield from ("high", *([] if name in SIGNED else ["-1"]), "[1]", "nan", "inf", "")
    elif kind.startswith("bool"):
        yield from ("perhaps", "[true]", "")
    elif kind.startswith("list"):
        yield from ("{a:1}", "[[1]", "")
    elif name in WORDS:
        yield from ("nonsense", "", "[]", REFERENCES[1])
    elif name == "dataset":
        yield from ("", "/a/log.csv", "~/log.csv", "../log.csv", "./log.csv", "[a]", "a,b", "/a b/[1]=ü.csv")
    elif kind.startswith("str") and name not in PATHS:
        yield from ("", "[a]", "{a:1}")
    else:
        yield ""
    if "None" not in kind and not is_dataclass(default) and kind != "Any":
        yield "null"


def wrong_lines(recipe: str) -> Iterator[tuple[str, ...]]:
    needed = NEEDED.get(recipe, ())
    for name, kind, default in settings(schema.RECIPES[recipe]()):
        yield from ((*needed, f"{name}={value}") for value in wrong_values(name, kind, default))
        yield from ((*needed, line) for line in (f"{name}x=1", f"--{name}=1", f"+{name}=1", f"~{name}", name))
    yield from (
        (*needed, line) for line in ("=", "=1", "a=b=c", "'", "a.b.c=1", "hydra.run.dir=x", "--cfg", "--help=1")
    )


def of_sizes() -> Iterator[tuple[str, ...]]:
    """Settings that no machine has the memory for."""
    huge = "99999999999"
    yield (f"batch_size={huge}",)
    yield ("batch_size=2000000000", "algorithm.actor.hidden_sizes=[4096]")
    yield (f"algorithm.actor.hidden_sizes=[{huge}]",)
    yield ("algorithm.actor.hidden_sizes=[1000000,1000000]",)
    yield (f"algorithm.qvalue.num_nets={huge}",)
    yield ("algorithm=dt", f"algorithm.actor.num_layers={huge}")
    yield ("algorithm=dt", f"algorithm.actor.width={huge}")
    yield ("algorithm=dt", f"algorithm.context_length={huge}")
    yield ("algorithm=dt", f"algorithm.max_episode_steps={huge}")
    yield ("algorithm=dt", "batch_size=4096", "algorithm.context_length=20000")
    yield ("algorithm=diffusion_bc", f"algorithm.actor.num_steps={huge}")
    yield ("algorithm.extraction.kind=argmax", f"algorithm.extraction.num_candidates={huge}")
    yield (f"num_eval_episodes={huge}",)


@pytest.fixture
def answer(monkeypatch, capsys, tmp_path) -> Callable[..., str | None]:
    """What is wrong with the answer to a wrong line; None: nothing."""
    monkeypatch.chdir(tmp_path)

    def never(*_: object) -> None:
        raise AssertionError("it was run")

    def answered(recipe: str, *typed: str, saying: str = "") -> str | None:
        monkeypatch.setattr(sys, "argv", [f"offline-agents {recipe}", *typed])
        try:
            command_line.main(recipe, never)
        except SystemExit as ended:
            printed = capsys.readouterr()
            lines = printed.err.splitlines()
            told = len(lines) <= 3 and printed.err.startswith("error: ") and len(printed.err) > 20
            told = told and saying in printed.err
            return None if ended.code == 2 and told and not printed.out else f"{ended.code}: {printed.err}"
        except BaseException as error:  # noqa: BLE001
            return repr(error)
        return "taken"

    return answered


@pytest.mark.parametrize("step", [pytest.param(11, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", [*schema.RECIPES])
def test_each_kind_of_mistake_in_each_setting_is_refused_in_a_line(recipe, step, answer) -> None:
    lines = [*wrong_lines(recipe)][::step]
    wrong = {line: problem for line in lines if (problem := answer(recipe, *line))}
    assert not wrong and os.listdir() == []


@pytest.mark.parametrize("recipe", ["evaluate", "estimate", "export", "finetune", "serve"])
def test_a_checkpoint_that_is_nowhere_is_refused_before_all_else_is_imported(recipe, answer) -> None:
    assert answer(recipe, "checkpoint=nowhere", saying="no checkpoint at nowhere") is None
    assert answer(recipe, "checkpoint=null", saying="checkpoint") is None


@pytest.mark.parametrize("typed", [*of_sizes()], ids=" ".join)
def test_a_size_that_no_machine_can_hold_is_refused_before_it_is_tried(typed, answer) -> None:
    assert answer("train", *typed, saying="of memory, and this machine has") is None


@pytest.mark.parametrize("typed", [("-m", "seed=range(99999999999)"), ("seeds=range(99999999999)",)], ids=" ".join)
def test_more_runs_than_can_be_counted_are_refused(typed, answer) -> None:
    assert answer("train", *typed) is None


@pytest.mark.parametrize(
    "failure", [MemoryError("Unable to allocate 745 GiB"), RuntimeError("DefaultCPUAllocator: no")]
)
def test_an_allocation_that_fails_all_the_same_is_a_line(failure, monkeypatch, capsys, tmp_path) -> None:
    def run(cfg: object) -> None:
        raise failure

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["offline-agents train"])
    with pytest.raises(SystemExit, match="2"):
        command_line.main("train", run)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: out of memory ({failure}); choose a smaller batch_size")


def test_settings_that_are_shown_are_in_range(answer) -> None:
    assert answer("train", "--cfg", "job", "batch_size=0", saying="batch_size must be at least 1") is None
    assert answer("train", "--cfg", "job", "algorithm.expectile=2", saying="expectile must lie in") is None
