"""A tiny dataset on Pendulum-v1, and the recipes as processes that take half a second."""

from __future__ import annotations

import csv
import functools
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import matplotlib
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer

import agents
from tests.recipes.wandb_server import Server

REPOSITORY = Path(agents.__file__).parents[1]
DATASET = "test/pendulum-v0"
RUN = f"runs/iql/{DATASET}/seed0"
EPISODE_STEPS = 25
QUICK = (
    f"dataset={DATASET}",
    "gradient_steps=20",
    "batch_size=16",
    "eval_every=10",
    "num_eval_episodes=2",
    "num_eval_envs=1",
    "log_every=5",
    "device=cpu",
    "compile=off",
    "matmul_precision=highest",  # unasked, it is measured
    "logger=none",
    "wandb.mode=offline",
)
NO_PLOT = """
from recipes.runs import figures, plots
plots.Plots.draw = lambda *_, **__: None
figures.plot_episodes = lambda path, *_, **__: path.touch()
"""  # they take as long as all else

# runs are forks of this process, which has everything imported already
FORKED = """
import atexit, os, signal, sys, traceback
from recipes import train
from recipes.many import executors, pool
from recipes.runs import plots
from hydra.core.global_hydra import GlobalHydra
class Forked:
    code = None
    def __init__(self, job):
        output = os.open(pool.begin_output(job), os.O_WRONLY | os.O_APPEND)
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid: return os.close(output)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (1, 2): os.dup2(output, number)
        GlobalHydra.instance().clear()
        plots.Plots.draw = lambda *_, **__: None
        sys.argv = [train.__file__, *job.arguments()]
        code = 1
        try: train.main(); code = 0
        except SystemExit as exit: code = exit.code or 0
        except BaseException: traceback.print_exc()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid: self.code = os.waitstatus_to_exitcode(status)
        return self.code
    def send_signal(self, number): os.kill(self.pid, number)
executors.start_process = Forked
pool.LOOK_EVERY = 0.01
"""


# evaluations have all that an Adroit task would give
AS_ADROIT = """
import agents, dataclasses
from agents.environments.adroit import ADROIT_TASKS
evaluate = agents.evaluate
def as_adroit(policy, env, num_episodes=20, **options):
    result = evaluate(policy, env, num_episodes, **options)
    solved = result.returns > result.returns.mean()
    goals = {"success": solved, "protocol_success": {"d4rl": solved}, "success_last": ~solved}
    returns = {"d4rl": 2 * result.returns, **result.protocol_returns}
    scores = {"d4rl": ADROIT_TASKS["pen"].d4rl_reference.score(returns["d4rl"]), **result.scores}
    return dataclasses.replace(result, scores=scores, protocol_returns=returns, **goals)
agents.evaluate = as_adroit
"""


@dataclass(frozen=True)
class Finished:
    """A recipe that has run."""

    code: int  # negative: killed by that signal
    out: str
    err: str

    def refusal(self) -> str:
        """The one line that a mistake of the user's ends in."""
        assert self.code == 2, self.err
        assert "Traceback" not in self.err + self.out
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and self.err.endswith(errors[0] + "\n"), self.err
        return errors[0].removeprefix("error: ")


Recipe = Callable[..., Finished]


def small(algorithm: str) -> list[str]:
    """Overrides that give every network of an algorithm one layer of eight units."""

    def sizes(config: Any, prefix: str) -> Iterator[str]:
        for entry in fields(config):
            value = getattr(config, entry.name)
            if entry.name == "hidden_sizes":
                yield f"{prefix}{entry.name}=[8]"
            elif is_dataclass(value):
                yield from sizes(value, f"{prefix}{entry.name}.")

    owner = {"dqn": "discrete_cql"}.get(algorithm, algorithm)
    known = [name for name in agents.ALGORITHMS if f"{owner}_".startswith(f"{name}_")]  # presets add to the name
    return [f"algorithm={algorithm}", *sizes(agents.ALGORITHMS[max(known, key=len)](), "algorithm.")]


def write_dataset(dataset_id: str, *, named: bool = True, scale: float = 1.0, seed: int = 0) -> None:
    """Eight episodes of random actions in Pendulum-v1, truncated after 25 steps, as a Minari dataset.

    Args:
        named: the metadata say which environment it was.
        scale: of the actions; above 1 some are outside the bounds.
    """
    env = gym.make("Pendulum-v1", max_episode_steps=EPISODE_STEPS)
    episodes = []
    for index in range(8):
        rng = np.random.default_rng((seed, index))
        observations, actions, rewards = [env.reset(seed=1000 * seed + index)[0]], [], []
        for _ in range(EPISODE_STEPS):
            actions.append(scale * rng.uniform(-2.0, 2.0, 1).astype(np.float32))
            observation, reward, *_ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
        ends = np.arange(EPISODE_STEPS) == EPISODE_STEPS - 1
        episodes.append(
            EpisodeBuffer(
                observations=np.array(observations),
                actions=np.array(actions),
                rewards=rewards,
                terminations=ends & False,
                truncations=ends,
            )
        )
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    metadata = {"env": env.spec if named else None, "ref_min_score": -300.0, "ref_max_score": -50.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no author and no code is named
        minari.create_dataset_from_buffers(dataset_id, episodes, **spaces, **metadata)


@pytest.fixture(scope="session")
def environment(write_cartpole: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables for a process without an account, with everything it touches in a temporary folder."""
    home = tmp_path_factory.mktemp("home")
    variables = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "MINARI_DATASETS_PATH": str(home / "minari"),
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # its list of fonts takes seconds to make
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("WANDB_"):
                patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        write_dataset(DATASET)
        write_dataset("test/other-v0", seed=1)
        write_dataset("test/no-env-v0", named=False)
        write_dataset("test/outside-v0", scale=1.5)
        write_cartpole("test/cartpole-v0")
        return dict(os.environ)


@pytest.fixture(autouse=True)
def same_environment_in_process(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def forkserver(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("forkserver.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as server:
        yield server
        server.stdin.close()


@pytest.fixture(scope="session")
def run_recipe(forkserver: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """``run_recipe("train", *arguments, cwd=...)`` is ``python recipes/train.py *arguments`` in that folder."""
    output = tmp_path_factory.mktemp("output")

    def run(recipe: str, *arguments: str, cwd: Path, before: str = "", **variables: str) -> Finished:
        request = {"arguments": arguments, "cwd": str(cwd), "before": before, "output": str(output)}
        print(json.dumps({"recipe": recipe, "environment": variables, **request}), file=forkserver.stdin, flush=True)
        code = int(forkserver.stdout.readline())
        return Finished(code, *((output / name).read_text() for name in ("stdout", "stderr")))

    return run


@pytest.fixture(scope="session")
def forked() -> str:
    """Code to run before a recipe that makes several runs: each is a fork, and so ready at once."""
    return FORKED


@pytest.fixture(scope="session")
def quick_train(run_recipe: Recipe) -> Recipe:
    """The training recipe with small networks and quick settings, without the plot."""

    def run(*overrides: str, algorithm: str = "iql", before: str = "", plot: bool = False, **options: Any) -> Finished:
        before = before if plot else NO_PLOT + before
        return run_recipe("train", *QUICK, *small(algorithm), *overrides, before=before, **options)

    return run


@pytest.fixture
def train(quick_train: Recipe, tmp_path: Path) -> Recipe:
    """The training recipe in the test's own folder, with small networks and quick settings."""
    return functools.partial(quick_train, cwd=tmp_path)


@pytest.fixture
def train_as_is(run_recipe: Recipe, tmp_path: Path) -> Recipe:
    """The same with no settings but those given."""
    return functools.partial(run_recipe, "train", cwd=tmp_path, before=NO_PLOT)


@pytest.fixture
def evaluate(run_recipe: Recipe, tmp_path: Path) -> Recipe:
    """The evaluation recipe in the test's own folder, without the plot."""

    def run(*overrides: str, before: str = "", **options: Any) -> Finished:
        return run_recipe("evaluate", *overrides, before=NO_PLOT + before, cwd=tmp_path, **options)

    return run


@pytest.fixture(scope="session")
def usual(quick_train: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with quick settings; not to be changed."""
    folder = tmp_path_factory.mktemp("usual")
    assert quick_train(cwd=folder).code == 0
    return folder / RUN


@pytest.fixture
def run(usual: Path, tmp_path: Path) -> Path:
    """The same as a copy below the test's own folder, in the place where a quick run goes."""
    return Path(shutil.copytree(usual, tmp_path / RUN))


@pytest.fixture(scope="module")
def module_wandb_server() -> Iterator[Server]:
    """The same for tests that look at one run together."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def as_adroit() -> str:
    """Code to run before a recipe: Pendulum's evaluations have the scores and successes of an Adroit task."""
    return AS_ADROIT


@pytest.fixture
def wandb_server() -> Iterator[Server]:
    """A stand-in for W&B's server on loopback."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def read_wandb() -> Callable[[Path], list[dict[str, Any]]]:
    """All records of an offline W&B run, as the client itself reads them."""

    def read(folder: Path) -> list[dict[str, Any]]:
        (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
        command = [sys.executable, "-m", "wandb", "leet", "inspect", str(path), "--json"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [json.loads(line) for line in printed.splitlines()]

    return read


@pytest.fixture(scope="session")
def read_csv() -> Callable[[Path], list[dict[str, str]]]:
    """Rows of a CSV log."""

    def read(path: Path) -> list[dict[str, str]]:
        with open(path, newline="") as file:
            return [*csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def read_log(read_csv: Callable[[Path], list[dict[str, str]]]) -> Callable[[Path], list[dict[str, str]]]:
    """The same without what depends on the clock."""
    return lambda path: [
        {key: value for key, value in row.items() if not key.startswith("time/")} for row in read_csv(path)
    ]
