"""Settings: a mistake is one line that names the way out, exit code 2, nothing written; ``--help`` knows them all."""

from __future__ import annotations

import importlib.machinery
import os
import re
import sys
import types
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import agents
from agents.training.adam import AdamConfig
from recipes.settings import command_line, overrides, schema
from recipes.settings.schema import CONF

FILES = {path.removesuffix(".yaml") for path in os.listdir(CONF / "algorithm")}
PRESETS = sorted(FILES | agents.ALGORITHMS.keys())
CHOICE = f"choose from {', '.join(PRESETS)}"

# what is typed, and what the line has to say
MISTAKES = {
    "gradient_step=3": r"unknown setting 'gradient_step' \(did you mean gradient_steps\?\); valid are .*, seed, .*",
    "wandb.projct=x": r"unknown setting 'wandb.projct' \(did you mean wandb.project\?\); valid are .*",
    "algorithm.expectle=0.9": r".*did you mean algorithm.expectile\?\); --help lists those of each algorithm",
    "algorithm.actor.hiden_sizes=[8]": r".*did you mean algorithm.actor.hidden_sizes\?.*",
    "algorithm=bc algorithm.expectile=0.9": r"'algorithm.expectile' is a setting of .*iql, not of the algorithm.*",
    "hydra.foo=1": r"unknown setting 'hydra.foo'; valid are .*",
    "algorithm=ilq": rf"unknown algorithm 'ilq' \(did you mean iql\?\); {CHOICE}",
    "algorithm=": rf"unknown algorithm ''; {CHOICE}",
    "algorithm=null": rf"unknown algorithm ''; {CHOICE}",
    "algorithm=iql_tuned": r"algorithm.expectile: no tuned settings for 'demo/pen/mixed-v0'; there are some for .*",
    "batch_size=1.5": r"batch_size: '1.5' is not a whole number; --help .*",
    "algorithm.expectile=high": r"algorithm.expectile: 'high' is not a number; --help .*",
    "overwrite=perhaps": r"overwrite: 'perhaps' is neither true nor false; --help .*",
    "wandb.tags=first": r"wandb.tags: a list is needed, as in \[a,b\]; --help .*",
    "algorithm.actor.hidden_sizes=[a]": r"algorithm.actor.hidden_sizes\[0\]: 'a' is not a whole number.*",
    "wandb=mine": r"wandb: this holds settings of its own, which are set one by one; --help .*",
    "seed=null": r"seed: null is not allowed; --help .*",
    "batch_size=0": r"batch_size must be at least 1, got 0",
    "batch_size=${seed}": r"batch_size must be at least 1, got 0",
    "batch_size=${batch}": r"batch_size: .*'batch' not found; --help .*",
    "num_eval_envs=0": r"num_eval_envs must be at least 1, got 0",
    "seed=-1": r"seed must be at least 0 and below 2\^63, got -1",
    "seed=9223372036854775808": r"seed must be at least 0 and below 2\^63, got 9223372036854775808",
    "algorithm.actor.dropout=1": r"dropout must lie in \[0, 1\), got 1.0",
    "algorithm.actor_optimizer.lr=0": r"lr must be positive, got 0.0",
    "algorithm.actor.activation=selu": r"unknown activation 'selu'; choose from elu, gelu, relu, silu, tanh",
    "storage=disk": r"unknown storage 'disk'; choose from memory, memmap",
    "logger=mlflow": r"unknown logger 'mlflow'; choose from wandb, csv, tensorboard, none",
    "wandb.mode=on": r"unknown wandb.mode 'on'; choose from auto, online, offline",
    "+foo=1": r"\+foo=1: settings can be changed, not added or removed; unknown setting 'foo'; valid are .*",
    "++seed=1": r"\+\+seed=1: settings can be changed, not added or removed; write seed=1",
    "~wandb.mode": r"~wandb.mode: settings can be changed, not added or removed; write wandb.mode=<value>",
    "seed=0,1": r"seed=0,1 has several values: add -m to run one after the other",
    "seed": r"cannot read 'seed': write name=value, lists as \[1,2\], special characters in quotes",
    "wandb.tags=[a": r"cannot read 'wandb.tags=\[a': write name=value, .*",
    "--seed 3": r"unknown option '--seed'; settings are written without dashes; options: .*",
    "--cfg": r"--cfg shows job, hydra, all: write --cfg job for the settings of a run",
    "-m seed=0,x": r"seed: 'x' is not a whole number; --help .*",
}
MISTAKES_SEEN_WITH_THE_DATA = {
    "algorithm.expectile=2": r"expectile must lie in \(0, 1\), got 2.0",
    "device=tpu": r"unknown device 'tpu'; choose from auto, cpu, cuda, cuda:<n>",
    "device=mps": r"unsupported device 'mps'; choose from auto, cpu, cuda, cuda:<n>",
    "device=cuda:99": r"device=cuda:99, but torch sees \d+ CUDA devices; use device=cpu or auto",
    "dataset=test/pendulm-v0": r"dataset 'test/pendulm-v0' is not in .*; did you mean test/pendulum-v0.*",
    "dataset=test/cartpole-v0": r"iql learns from continuous actions, the data have discrete ones; choose from .*_iql",
    "eval_env=Pendulm-v1": r"unknown environment 'Pendulm-v1': .*",
    "eval_env=.foo:bar": r"unknown environment '.foo:bar': .*",
    "eval_env=CartPole-v1": r"environment 'CartPole-v1' has .*; pass one that fits as eval_env=ID",
}
MISTAKES_IN_EVALUATING = {
    "checkpont=x": r"unknown setting 'checkpont' \(did you mean checkpoint\?\); valid are .*",
    "": r"checkpoint: a value has to be given; --help .*",
    "checkpoint=nowhere": r"no checkpoint at nowhere",
    "checkpoint=nowhere num_episodes=0": r"num_episodes must be at least 1, got 0",
    "checkpoint=nowhere num_envs=0": r"num_envs must be at least 1, got 0",
    "checkpoint=nowhere seed=-1": r"seed must be at least 0 and below 2\^63, got -1",
    "checkpoint=nowhere logger=csv": r"unknown logger 'csv'; choose from wandb, none",
    "checkpoint=nowhere algorithm.expectile=0.9": r"unknown setting 'algorithm.expectile'; valid are checkpoint, .*",
}
NO_NETWORK = "import socket\ndef no_network(*_): raise OSError\nsocket.getaddrinfo = no_network\n"


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_refused_in_one_line(typed, train_as_is, tmp_path) -> None:
    assert re.fullmatch(MISTAKES[typed], train_as_is(*typed.split()).refusal())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("typed", MISTAKES_SEEN_WITH_THE_DATA)
def test_a_mistake_that_shows_with_the_data_is_refused_in_one_line(typed, train, tmp_path) -> None:
    assert re.fullmatch(MISTAKES_SEEN_WITH_THE_DATA[typed], train(*typed.split(), before=NO_NETWORK).refusal())
    assert os.listdir(tmp_path) == []


def test_an_algorithm_for_other_actions_is_refused_with_those_for_them(train, tmp_path) -> None:
    message = train(algorithm="dqn", before=NO_NETWORK).refusal()
    kinds = "discrete_cql learns from discrete actions, the data have continuous ones"  # whose preset dqn is
    assert re.fullmatch(f"{kinds}; choose from .*iql.*", message)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("typed", MISTAKES_IN_EVALUATING)
def test_a_mistake_in_evaluating_is_refused_in_one_line(typed, evaluate, tmp_path) -> None:
    assert re.fullmatch(MISTAKES_IN_EVALUATING[typed], evaluate(*typed.split()).refusal())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("script", "module", "typed", "started"),
    [
        ("offline-agents train", None, "offline-agents train", ()),
        ("{recipes}/train.py", None, "python {recipes}/train.py", ()),
        ("{recipes}/train.py", "recipes.train", "python -m recipes.train", ()),
        ("{mine}/my script.py", None, "python '{mine}/my script.py'", ("{mine}/my script.py",)),
        ("{mine}/my script.py", "mine.script", "python -m mine.script", ("-m", "mine.script")),
        ("{mine}/mine/__main__.py", "mine.__main__", "python -m mine", ()),  # a file that has gone
    ],
)
def test_a_recipe_knows_how_it_was_called(script, module, typed, started, tmp_path, monkeypatch) -> None:
    (tmp_path / "my script.py").touch()
    places = {"recipes": CONF.parent, "mine": tmp_path}
    main = types.ModuleType("__main__")
    main.__file__, main.__spec__ = script.format(**places), module and importlib.machinery.ModuleSpec(module, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [script.format(**places), "seed=1"])
    assert command_line.invocation() == typed.format(**places)
    assert command_line.user_script() == tuple(word.format(**places) for word in started)


def leaves(settings: object, prefix: str = "") -> set[str]:
    """Keys that hold a value, not settings of their own."""
    keys = {*overrides.key_names(settings, prefix)}
    return {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}


@pytest.mark.parametrize("recipe", [*schema.RECIPES])
def test_help_lists_every_setting_with_its_default_and_a_comment(recipe, run_recipe, tmp_path) -> None:
    shown = run_recipe(recipe, "--help", cwd=tmp_path)
    assert shown.code == 0
    assert f"    offline-agents {recipe.removesuffix('_dataset')} " in shown.out
    lines = re.findall(r"^  ([\w.]+)(=\S*)?  +(\S.+)$", shown.out, re.MULTILINE)
    keys = leaves(schema.RECIPES[recipe]())
    if recipe == "train":
        keys = keys.union(*(leaves(algorithm(), "algorithm.") for algorithm in agents.ALGORITHMS.values()))
    assert {name for name, _, _ in lines} == keys
    defaults = {name: default for name, default, _ in lines}
    assert defaults["project" if recipe == "dashboard" else "wandb.mode"] in ("=auto", "=offline-agents")
    assert os.listdir(tmp_path) == []


def test_defaults_in_help_can_be_typed_as_they_stand(train_as_is) -> None:
    shown, *of_algorithms = train_as_is("--help").out.split("\nSettings of algorithm=")
    (of_iql,) = (text for text in of_algorithms if text.startswith("iql:"))
    typed = re.findall(r"^  ([\w.]+=\S*)  ", shown + of_iql, re.MULTILINE)
    derived = {"algorithm", "run_dir", "wandb.group"}
    assert {setting.partition("=")[0] for setting in typed} == leaves(schema.TrainConfig()) - derived | leaves(
        agents.IQLConfig(), "algorithm."
    )
    typed.remove("algorithm.actor_optimizer.decay_steps=null")  # of the dataclass; the preset derives it
    assert train_as_is(*typed, "--cfg", "job").out == train_as_is("--cfg", "job").out


def test_every_preset_belongs_to_an_algorithm_and_bc_shares_iqls_schedule() -> None:
    command_line.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        presets = {
            name: OmegaConf.to_object(
                compose("train", [f"algorithm={name}", "dataset=D4RL/pen/human-v2", "gradient_steps=7"]).algorithm
            )
            for name in PRESETS
        }
    assert {type(preset) for preset in presets.values()} == set(agents.ALGORITHMS.values())
    assert presets["bc"] == agents.BCConfig(actor_optimizer=AdamConfig(lr=3e-4, decay_steps=7))
    decayed = {
        name for name, preset in presets.items() if vars(preset).get("actor_optimizer") == AdamConfig(decay_steps=7)
    }
    assert {"bc", "discrete_iql", "iql", "iql_corl", "iql_tuned"} <= decayed
    assert presets["bc_top"] == replace(presets["bc"], best_episodes=0.1)
    for name in ("cql", "discrete_cql", "edac", "sac", "td3_bc"):  # whose sources have constant rates
        assert presets[name] == agents.ALGORITHMS[name]()
    assert presets["dqn"] == agents.DiscreteCQLConfig(alpha=None)
    assert presets["sac_n"] == replace(
        agents.EDACConfig(eta=0.0), qvalue=replace(agents.EDACConfig().qvalue, num_nets=100)
    )
