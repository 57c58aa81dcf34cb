"""Settings: a mistake is one line that names the way out, exit code 2, nothing written; ``--help`` knows them all."""

from __future__ import annotations

import argparse
import errno
import importlib.machinery
import os
import re
import shlex
import sys
import types
import warnings
from dataclasses import replace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import agents
from agents.training.adam import AdamConfig
from recipes.settings import checks, command_line, composition, overrides, schema
from recipes.settings.help import help_text
from recipes.settings.schema import CONF

FILES = {path.removesuffix(".yaml") for path in os.listdir(CONF / "algorithm")}
PRESETS = sorted(FILES | agents.ALGORITHMS.keys())
OWNERS = {  # the algorithm of each preset
    name: max((known for known in agents.ALGORITHMS if f"{name}_".startswith(f"{known}_")), key=len, default="")
    for name in PRESETS
} | {"dqn": "discrete_cql", "sac_n": "edac"}
CHOICE = f"choose from {', '.join(PRESETS)}"

# what is typed, and what the line has to say
MISTAKES = {
    "gradient_step=3": r"unknown setting 'gradient_step' \(did you mean gradient_steps\?\); --help lists all settings",
    "wandb.projct=x": r"unknown setting 'wandb.projct' \(did you mean wandb.project\?\); --help .*",
    "algorithm.expectle=0.9": r".*did you mean algorithm.expectile\?\); --help lists those of each algorithm",
    "algorithm.actor.hiden_sizes=[8]": r".*did you mean algorithm.actor.hidden_sizes\?.*",
    "algorithm.qvalu.hidden_sizes=[8]": r".*did you mean algorithm.qvalue.hidden_sizes\?.*",
    "algorithm.optim=x": r"unknown setting 'algorithm.optim'; --help lists .*",  # not algorithm.eta
    "lr=0.1": r".*did you mean algorithm.actor_optimizer.lr\?.*",
    "expectile=0.8": r"unknown setting 'expectile' \(did you mean algorithm.expectile\?\); --help .*",
    "algorithm=bc algorithm.expectile=0.9": r"'algorithm.expectile' is a setting of .*iql, not of the algorithm.*",
    "hydra.foo=1": r"unknown setting 'hydra.foo'; --help .*",
    "hydra.run.dir=elsewhere": r"unknown setting 'hydra.run.dir'.*",
    "seeds.0=1": r"unknown setting 'seeds.0' \(did you mean seeds\?\); --help .*",
    "wandb={projct:x}": r"unknown setting 'wandb.projct' \(did you mean wandb.project\?\); --help .*",
    "algorithm=ilq": rf"unknown algorithm 'ilq' \(did you mean iql\?\); {CHOICE}",
    "algorithm=": rf"unknown algorithm ''; {CHOICE}",
    "algorithm=null": rf"unknown algorithm ''; {CHOICE}",
    "algorithm=[iql]": r"algorithm=\[iql\] is no name: one algorithm is needed, as in algorithm=iql; -m takes several",
    "algorithm@seed=iql": r"unknown setting 'algorithm@seed'.*",
    "algorithm=iql_tuned": r"algorithm.expectile: no tuned settings for 'demo/pen/mixed-v1'; there are some for .*",
    "batch_size=1.5": r"batch_size: '1.5' is not a whole number; --help .*",
    "algorithm.expectile=high": r"algorithm.expectile: 'high' is not a number; --help .*",
    "overwrite=perhaps": r"overwrite: 'perhaps' is neither true nor false; --help .*",
    "wandb.tags=first": r"wandb.tags: a list is needed, as in \[a,b\]; --help .*",
    "algorithm.actor.hidden_sizes=[a]": r"algorithm.actor.hidden_sizes\[0\]: 'a' is not a whole number.*",
    "wandb=mine": r"wandb: this holds settings of its own, which are set one by one; --help .*",
    "seed=null": r"seed: null is not allowed; --help .*",
    "batch_size=0": r"batch_size must be at least 1, got 0",
    "batch_size=${seed}": r"batch_size must be at least 1, got 0",
    "batch_size=${batch}": r"batch_size: in \$\{batch\}, 'batch' not found; --help .*",
    "batch_size=${dataset}": r"batch_size: in \$\{dataset\}, 'demo/pen/mixed-v1' is not a whole number; --help .*",
    "batch_size=${oc.env:NOWHERE}": r"batch_size: .* stands for nothing: .*NOWHERE.*; --help .*",
    "batch_size=${batch_size}": r"batch_size: \$\{batch_size\} stands for nothing; --help .*",
    "dataset=[a]": r"dataset: '\['a'\]' is not a text; --help .*",
    "seeds=[]": r"seeds must be different ones, at least one, got \[\]",
    "seeds=[0,a]": r"seeds\[1\]: 'a' is not a whole number; --help .*",
    "num_eval_envs=0": r"num_eval_envs must be at least 1, got 0",
    "seed=-1": r"seed must be at least 0 and below 2\^63, got -1",
    "seed=9223372036854775808": r"seed must be at least 0 and below 2\^63, got 9223372036854775808",
    "algorithm.actor.dropout=1": r"dropout must lie in \[0, 1\), got 1.0",
    "algorithm.actor_optimizer.lr=0": r"lr must be positive, got 0.0",
    "algorithm.actor.activation=selu": r"unknown activation 'selu'; choose from elu, gelu, mish, relu, silu, tanh",
    "storage=disk": r"unknown storage 'disk'; choose from memory, memmap",
    "logger=mlflow": r"unknown logger 'mlflow'; choose from wandb, csv, tensorboard, none",
    "wandb.mode=on": r"unknown wandb.mode 'on'; choose from auto, online, offline",
    "+foo=1": r"\+foo=1: settings can be changed, not added or removed; unknown setting 'foo'; --help .*",
    "++seed=1": r"\+\+seed=1: settings can be changed, not added or removed; write seed=1",
    "~wandb.mode": r"~wandb.mode: settings can be changed, not added or removed; write wandb.mode=<value>",
    "seeds=0,1": r"seeds=0,1 has several values: seeds=\[0,1\] is a list",
    "=": r"=: write name=value",
    "seed=0,1": r"seed=0,1 has several values: add -m to run one after the other",
    "wandb.tags=a,b": r"wandb.tags=a,b has several values: wandb.tags=\[a,b\] is a list",
    "seed": r"'seed' has no = \(did you mean seed=<value>\?\); settings are written name=value, --help lists them",
    "iql": r"'iql' has no = \(did you mean algorithm=iql\?\); .*",
    "gamma_iql": r"'gamma_iql' has no =; settings are .*",
    "demo/pen/mixed-v1": r"'demo/pen/mixed-v1' has no = \(did you mean dataset=demo/pen/mixed-v1\?\); .*",
    "gama=0.9": r"unknown setting 'gama' \(did you mean algorithm.gamma\?\); --help lists all settings",
    "wandb.tags=[a": r"cannot read 'wandb.tags=\[a': write name=value, .*",
    "--seed 3": r"unknown option '--seed'; settings are written without dashes; options: .*",
    "--info": r"unknown option '--info'; .*; options: -m, --multirun, --cfg, --resolve, --help",
    "--cfg": r"--cfg shows the settings of a run: write --cfg job",
    "--cfg all": r"--cfg shows the settings of a run: write --cfg job",
    "-m seed=0,x": r"seed: 'x' is not a whole number; --help .*",
    "-m seed=0,1 seed=2": r"seed=2: seed is given twice",
    "-m seed=2 seed=0,1": r"seed=0,1: seed is given twice",
    "-m batch_size=8,16": r"-m: several of these runs would have the folder runs/iql/demo/pen/mixed-v1/seed0; put .*",
    "-m batch_size=8,0": r"batch_size must be at least 1, got 0",
    "-m algorithm.expectile=interval(0,1)": r".*: -m takes lists, as in seed=0,1, choice\(...\) and range\(...\)",
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
    "checkpont=x": r"unknown setting 'checkpont' \(did you mean checkpoint\?\); --help .*",
    "runs/r0": r"'runs/r0' has no = \(did you mean checkpoint=runs/r0\?\); .*",
    "": r"checkpoint: a value has to be given; --help .*",
    "policy=nowhere checkpoint=nowhere": r"checkpoint must be left out beside policy, got 'nowhere'",
    "policy=nowhere eval_videos=true": r"eval_videos must be false with policy, .*, got True",
    "checkpoint=nowhere num_episodes=0": r"num_episodes must be at least 1, got 0",
    "checkpoint=nowhere num_envs=0": r"num_envs must be at least 1, got 0",
    "checkpoint=nowhere seed=-1": r"seed must be at least 0 and below 2\^63, got -1",
    "checkpoint=nowhere logger=csv": r"unknown logger 'csv'; choose from wandb, none",
    "checkpoint=nowhere algorithm.expectile=0.9": r"unknown setting 'algorithm.expectile'; --help .*",
}
NO_NETWORK = "import socket\ndef no_network(*_): raise OSError\nsocket.getaddrinfo = no_network\n"


@pytest.fixture
def in_another_language(monkeypatch) -> None:
    """Hydra and OmegaConf as of a version that words everything differently."""

    def everyone(cls: type) -> set[type]:
        return {cls}.union(*map(everyone, cls.__subclasses__()))

    for cls in everyone(HydraException) | everyone(OmegaConfBaseException):
        monkeypatch.setattr(cls, "__str__", lambda self: "出错了")


@pytest.fixture
def refusal(monkeypatch, capsys, tmp_path):
    """The line in which a recipe that is called in this process ends; nothing is run or written."""
    monkeypatch.chdir(tmp_path)

    def never(*_: object) -> None:
        raise AssertionError("it was run")

    def refused(recipe: str, *typed: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"offline-agents {recipe}", *typed])
        with pytest.raises(SystemExit) as ended:
            command_line.main(recipe, never)
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (2, "") and os.listdir(tmp_path) == []
        (line,) = printed.err.splitlines()
        return line.removeprefix("error: ")

    return refused


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_refused_in_one_line(typed, refusal, in_another_language) -> None:
    assert re.fullmatch(MISTAKES[typed], refusal("train", *typed.split()))


def test_a_warning_for_the_user_is_a_line_without_code(monkeypatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["offline-agents train"])
    command_line.main("train", lambda cfg: None)
    shown = [warnings.formatwarning(kind("two\nlines"), kind, "a.py", 3) for kind in (UserWarning, DeprecationWarning)]
    assert shown[0] == "warning: two lines\n" and shown[1].startswith("a.py:3: DeprecationWarning: two")
    with pytest.warns(UserWarning, match="^two$") as warned:
        command_line.main("train", lambda cfg: [warnings.warn(text, stacklevel=2) for text in (WITHOUT_HINTS, "two")])
    assert len(warned) == 1


WITHOUT_HINTS = "The name target_actor_network_params wasn't part of the annotations (['__call__'])"


def test_a_mistake_ends_a_process_as_it_should(train_as_is, tmp_path) -> None:
    assert train_as_is("batch_size=0").refusal() == "batch_size must be at least 1, got 0"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("typed", MISTAKES_SEEN_WITH_THE_DATA)
def test_a_mistake_that_shows_with_the_data_is_refused_in_one_line(typed, train, tmp_path) -> None:
    assert re.fullmatch(MISTAKES_SEEN_WITH_THE_DATA[typed], train(*typed.split(), before=NO_NETWORK).refusal())
    assert os.listdir(tmp_path) == []


def test_an_algorithm_for_other_actions_is_refused_with_those_for_them(train, tmp_path) -> None:
    message = train(algorithm="dqn", before=NO_NETWORK).refusal()
    kinds = "dqn learns from discrete actions, the data have continuous ones"  # a preset of discrete_cql
    assert re.fullmatch(f"{kinds}; choose from .*iql.*", message)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("typed", MISTAKES_IN_EVALUATING)
def test_a_mistake_in_evaluating_is_refused_in_one_line(typed, refusal, in_another_language) -> None:
    assert re.fullmatch(MISTAKES_IN_EVALUATING[typed], refusal("evaluate", *typed.split()))


def test_an_algorithm_of_a_script_whose_build_takes_no_device_is_left_out_in_a_line(monkeypatch, capsys) -> None:
    class TightConfig(agents.BCConfig):
        def build(self, specs): ...

    monkeypatch.setitem(agents.ALGORITHMS, "tight", TightConfig)
    command_line.register("train")
    says = "its class must have build(specs, *, device), got 'TightConfig'"
    assert capsys.readouterr().err == f"warning: the algorithm 'tight' is left out: {says}\n"
    assert "tight" not in agents.ALGORITHMS


def test_a_checkpoint_that_is_nowhere_is_refused_in_one_line(evaluate, tmp_path) -> None:
    assert re.fullmatch(r"no checkpoint at nowhere", evaluate("checkpoint=nowhere").refusal())
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


def raw(cfg: DictConfig, key: str) -> Any:
    """The value of a setting with its references as they stand."""
    *parents, name = key.split(".")
    values: Any = OmegaConf.to_container(cfg, resolve=False)
    for parent in parents:
        values = values[parent]
    return values[name]


def leaves(settings: object, prefix: str = "") -> set[str]:
    """Keys that hold a value, not settings of their own."""
    keys = {*overrides.key_names(settings, prefix)}
    return {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}


def shown_in(page: str) -> dict[str, str]:
    """The settings of a page of help, with their defaults."""
    lines = re.findall(r"^  (\w.*)$", page.partition("Settings, as NAME=VALUE:")[2], re.MULTILINE)
    settings = (word for line in lines for word in line.split("  ") if re.match(r"[\w.]+(=|$)", word))
    return {name: default for name, _, default in (setting.partition("=") for setting in settings)}


@pytest.mark.parametrize("recipe", [*schema.RECIPES])
def test_help_lists_every_setting_with_its_default_and_a_comment(recipe) -> None:
    page = help_text(recipe)
    assert f"    offline-agents {recipe.partition('_')[0]} " in page
    keys = leaves(schema.RECIPES[recipe]()) | (leaves(agents.IQLConfig(), "algorithm.") if recipe == "train" else set())
    assert shown_in(page).keys() == keys
    if recipe not in ("import_data", "export", "serve", "estimate", "select_policy"):  # which log nothing
        assert shown_in(page)["project" if recipe == "dashboard" else "wandb.project"] == "offline-agents"
    alone = re.findall(r"^  [\w.]+(?:=\S*)?$", page, re.MULTILINE)  # explained above, and the last of such
    assert alone in ([], ["  algorithm.value.init=orthogonal"])


@pytest.mark.parametrize("algorithm", PRESETS)
def test_help_of_an_algorithm_fits_on_two_screens_and_shows_its_preset(algorithm) -> None:
    page = help_text("train", algorithm)
    lines = page.splitlines()
    assert len(lines) < 110 and max(map(len, lines)) <= 120
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"algorithm={algorithm}"])
    shown = shown_in(page)
    for key in leaves(agents.ALGORITHMS[OWNERS[algorithm]](), "algorithm."):
        assert shown[key] == overrides.as_typed(raw(cfg, key)), key
    assert int(shown["batch_size"]) == cfg.batch_size
    assert {*PRESETS} <= {*re.findall(r"\w+", page.partition("Values of algorithm=")[2])}


def test_help_is_of_the_algorithm_that_is_typed(monkeypatch, capsys) -> None:
    for typed, expectile in (((), "0.7"), (("algorithm=bc", "seed=1", "algorithm=iql_corl"), "0.8")):
        monkeypatch.setattr(sys, "argv", ["offline-agents train", *typed, "--help"])
        with pytest.raises(SystemExit) as ended:
            command_line.main("train", lambda cfg: None)
        assert not ended.value.code
        assert shown_in(capsys.readouterr().out)["algorithm.expectile"] == expectile


def test_defaults_in_help_can_be_typed_as_they_stand() -> None:
    derived = {"run_dir", "wandb.group"}
    shown = shown_in(help_text("train", "iql_corl"))
    typed = [f"{name}={shlex.split(value)[0]}" for name, value in shown.items() if name not in derived]
    assert len(typed) > 60
    cfgs = [composition.compose("train", settings) for settings in (typed, ["algorithm=iql_corl"])]
    assert composition.in_force(cfgs[0]) == composition.in_force(cfgs[1])


def test_several_values_are_a_job_for_each_combination_in_order(monkeypatch, capsys) -> None:
    seen = []
    typed = ["-m", "dataset=choice(a/b-v0,c/d-v0)", "seed=range(2)", "batch_size=8", "wandb.tags=[x,y]"]
    monkeypatch.setattr(sys, "argv", ["offline-agents train", *typed])
    command_line.main("train", lambda cfg: seen.append((cfg.dataset, cfg.seed, cfg.batch_size, cfg.run_dir)))
    assert seen == [(name, seed, 8, f"runs/iql/{name}/seed{seed}") for name in ("a/b-v0", "c/d-v0") for seed in (0, 1)]
    first, *_ = lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and first == "#1 of 4: dataset=a/b-v0 seed=0 batch_size=8 'wandb.tags=[x,y]'"


def test_settings_are_shown_as_they_are_and_as_what_they_stand_for(monkeypatch, capsys) -> None:
    for options, run_dir in (
        (["--cfg", "job"], "runs/${hydra:runtime.choices.algorithm}/${dataset}/seed${seed}"),
        (["--cfg", "job", "--resolve"], "runs/bc/a/b-v0/seed7"),
    ):
        monkeypatch.setattr(sys, "argv", ["offline-agents train", "seed=7", *options, "algorithm=bc", "dataset=a/b-v0"])
        with pytest.raises(SystemExit) as ended:
            command_line.main("train", lambda cfg: None)
        assert not ended.value.code
        shown = OmegaConf.create(capsys.readouterr().out)
        assert raw(shown, "run_dir") == run_dir and shown.seed == 7 and "hydra" not in shown


def test_a_script_that_uses_hydra_itself_keeps_what_it_has_set_up() -> None:
    command_line.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert composition.compose("train", ["seed=3"]).seed == 3
        own = compose("train", ["seed=4"], return_hydra_config=True)
        assert own.seed == 4 and own.hydra.job_logging.root.handlers == ["console", "file"]


@pytest.fixture
def argparse_of_python_3_14(monkeypatch) -> None:
    """It formats the help of an argument as soon as that is added, as Python 3.14 does."""
    add_argument = argparse._ActionsContainer.add_argument

    def checked(self: argparse._ActionsContainer, *names: str, **options: Any) -> argparse.Action:
        action = add_argument(self, *names, **options)
        try:
            if action.help and "%" in action.help:
                action.help % {**vars(action), "prog": "x"}
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError("badly formed help string") from error
        return action

    monkeypatch.setattr(argparse._ActionsContainer, "add_argument", checked)


def test_python_3_14_checks_help_more_strictly_than_hydras_own_command_line_can_bear(
    argparse_of_python_3_14, monkeypatch
) -> None:
    with pytest.raises(ValueError, match="badly formed help string"):
        get_args_parser()
    seeds = []
    monkeypatch.setattr(sys, "argv", ["offline-agents train", "-m", "seed=0,1"])
    command_line.main("train", lambda cfg: seeds.append(cfg.seed))
    assert seeds == [0, 1]


def test_several_runs_of_settings_that_have_one_value_each_are_said_to_be_one(monkeypatch, capsys) -> None:
    for typed, says_so in ((["-m", "seed=0"], True), (["-m", "seed=0,1"], False), (["seed=0"], False)):
        monkeypatch.setattr(sys, "argv", ["offline-agents train", *typed])
        command_line.main("train", lambda cfg: None)
        assert ("-m: no setting has several values" in capsys.readouterr().err) == says_so


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
    assert presets["cql_lagrange"] == agents.CQLConfig(lagrange_threshold=5.0)
    assert presets["sac_n"] == agents.EDACConfig(
        eta=0.0,
        qvalue=replace(agents.EDACConfig().qvalue, num_nets=100),
        actor_optimizer=AdamConfig(lr=3e-4),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=3e-4),
    )


def test_the_settings_of_several_runs_are_each_its_own(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["offline-agents train", "-m", "algorithm=iql,bc", "--cfg", "job", "--resolve"])
    with pytest.raises(SystemExit):
        command_line.main("train", lambda cfg: None)
    first, second = capsys.readouterr().out.split("---\n")
    assert "run_dir: runs/iql/" in first and "run_dir: runs/bc/" in second


@pytest.mark.parametrize(
    "path", ["a b/[1]", "x=1,2", "übung", "it's", 'a"b', "~/runs", "$HOME/x", "1e3", "true", "007", "a\\b", "(c){d}"]
)
def test_a_path_is_what_is_typed_and_can_be_pasted(path) -> None:
    command_line.register()
    for recipe, name in (("train", "resume"), ("compare", "output"), ("evaluate", "checkpoint")):
        (typed,) = shlex.split(overrides.pasted(name, path))
        assert composition.compose(recipe, [typed])[name] == path
        assert composition.compose(recipe, [f"{name}={overrides.quoted(path)}"])[name] == path


def test_names_may_be_of_any_alphabet_and_lists_without_brackets() -> None:
    command_line.register("import_data")
    typed = ["source=a (b).csv", "dataset=clinic/a-v0", "columns.reward=Überlebt am Tag", "columns.action=Gabe,Öl*"]
    typed += ["columns.observation=[Puls, 'Größe in cm',\"Ärzte\",ω]", "columns.units=['Puls=1/min']"]
    cfg = composition.compose("import_data", overrides.normal(typed, "import_data"))
    assert (cfg.columns.reward, cfg.columns.action) == ("Überlebt am Tag", ["Gabe", "Öl*"])
    assert cfg.columns.observation == ["Puls", "Größe in cm", "Ärzte", "ω"]
    assert cfg.columns.units == ["Puls=1/min"] and cfg.source == "a (b).csv"


def test_a_no_of_yaml_is_the_word_off() -> None:
    command_line.register()
    modes = [composition.compose("train", [f"compile={word}"]).compile for word in ("false", "no", "off", "true")]
    assert modes == ["off", "off", "off", "auto"]


def test_a_place_that_cannot_be_written_is_refused_even_to_root(tmp_path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for folder in ("/proc/x", tmp_path / "loop", tmp_path / "loop/x", tmp_path / "file/x"):
        with pytest.raises(agents.ConfigError, match=r"cannot write to .*; name another place by output="):
            checks.require_place("output", folder)
    checks.require_place("output", tmp_path / "new/folder")
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


def test_a_folder_that_may_only_be_read_is_a_line_before_the_work_and_during_it(monkeypatch, capsys, tmp_path) -> None:
    def read_only(*_: object, dir: object = "runs", **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    with monkeypatch.context() as patch:
        patch.setattr(checks.tempfile, "TemporaryFile", read_only)
        with pytest.raises(agents.ConfigError, match="is no folder that may be written; name another place by output="):
            checks.require_place("output", tmp_path)
    monkeypatch.setattr(sys, "argv", ["offline-agents train"])
    with pytest.raises(SystemExit, match="2"):
        command_line.main("train", read_only)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Read-only file system (runs); make room, mend its rights or name another place")


def test_the_arguments_of_a_class_of_torchs_may_have_any_names() -> None:
    command_line.register()
    setting = "algorithm.critic_optimizer.torch_optimizer"
    cfg = composition.in_force(composition.compose("train", [f"{setting}={{name: SGD, momentum: 0.9}}"]))
    config = composition.build(cfg, "train").algorithm
    assert config.critic_optimizer.torch_optimizer == {"name": "SGD", "momentum": 0.9}
    assert config.actor_optimizer.torch_optimizer == {}
    with pytest.raises(agents.ConfigError, match="torch_optimizer must have a name"):
        composition.build(composition.in_force(composition.compose("train", [f"{setting}={{momentum: 0.9}}"])), "train")


def test_a_reader_that_goes_away_is_no_failure_of_the_program(monkeypatch, capfd) -> None:
    redirections = []
    monkeypatch.setattr(command_line.os, "dup2", lambda *files: redirections.append(files))
    with pytest.raises(SystemExit) as ended, command_line._refusals("inspect_dataset"):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert ended.value.code == 141 and len(redirections) == 1 and not capfd.readouterr().err
