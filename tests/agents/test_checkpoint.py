"""Checkpoints: every bit comes back, a kill at any moment leaves a whole one, and no file is ever executed."""

from __future__ import annotations

import copy
import dataclasses
import errno
import functools
import io
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from safetensors.torch import save_file
from tensordict import TensorDict
from torch import Tensor

import agents
from agents import checkpoint, files
from agents.checkpoint import CheckpointFolder, load, load_policy, save
from agents.errors import AgentsError, CheckpointError, WriteError
from agents.evaluation.offline.policy import policy_of
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.networks.layers import Dropout
from agents.seal import WITHOUT_CHECKSUM, read_header
from agents.training.adam import AdamConfig

SMALL = {"hidden_sizes": [8]}


def make_config(**settings) -> agents.IQLConfig:
    return agents.IQLConfig(
        actor=ActorConfig(dropout=0.1, **SMALL), qvalue=QValueConfig(**SMALL), value=ValueConfig(**SMALL), **settings
    )


@pytest.fixture
def config() -> agents.IQLConfig:
    return make_config()


@pytest.fixture
def agent(config: agents.IQLConfig, specs: agents.Specs, batches: Callable[[int], TensorDict]) -> agents.Agent:
    """Trained for three updates."""
    torch.manual_seed(0)
    agent = config.build(specs)
    for seed in range(3):
        agent.update(batches(seed))
    return agent


def flat(tree: dict, prefix: str = "") -> dict[str, object]:
    leaves = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return leaves


def assert_same_state(first: agents.Agent, second: agents.Agent) -> None:
    ours, theirs = flat(first.state_dict()), flat(second.state_dict())
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0.0, atol=0.0, msg=name)


def refusal(call: Callable[[], object], error: type[AgentsError] = CheckpointError) -> str:
    """The message of the error that a call ends in, which is one line."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The round trip ------------------------------------------------------------------------------------------------------


def test_parameters_targets_and_moments_come_back_bit_for_bit(agent, config, specs, tmp_path) -> None:
    path = save(tmp_path / "new" / "folder" / "a.safetensors", agent, config=config, specs=specs)
    restored = load(path).build_agent()
    assert restored.num_updates == 3
    assert any("exp_avg_sq" in name for name in flat(restored.state_dict()))
    assert any("target_qvalue" in name for name in flat(restored.state_dict()))
    assert_same_state(agent, restored)


def test_the_config_comes_back_with_its_nested_parts_nones_and_lists(specs, tmp_path, monkeypatch) -> None:
    config = agents.IQLConfig(
        expectile=0.91,
        advantage_clip=None,
        max_grad_norm=2.5,
        actor=ActorConfig(hidden_sizes=[7, 5], distribution="tanh_normal"),
        qvalue=QValueConfig(hidden_sizes=[], num_nets=3, layer_norm=True),
        value=ValueConfig(hidden_sizes=[4], activation="silu"),
        actor_optimizer=AdamConfig(lr=0.1 + 0.2, decay_steps=None),
        critic_optimizer=AdamConfig(decay_steps=17),
    )
    save(tmp_path / "a", config.build(specs), config=config, specs=specs)
    built, build = [], agents.IQLConfig.build
    monkeypatch.setattr(agents.IQLConfig, "build", lambda self, *a, **k: built.append(self) or build(self, *a, **k))
    load(tmp_path / "a").build_agent()
    assert built == [config]


def test_specs_come_back_with_asymmetric_bounds(agent, config, specs, tmp_path) -> None:
    specs = dataclasses.replace(specs, max_return=3076.8331)
    restored = load(save(tmp_path / "a", agent, config=config, specs=specs)).specs()
    assert restored.max_return == specs.max_return
    assert restored.observation == specs.observation
    assert restored.action == specs.action
    assert not torch.equal(restored.action.space.low, -restored.action.space.high)
    assert torch.equal(restored.observation_mean, specs.observation_mean)
    assert torch.equal(restored.observation_std, specs.observation_std)


def test_specs_come_back_with_the_number_of_discrete_actions(discrete_specs, tmp_path) -> None:
    config = agents.DiscreteCQLConfig(qvalue=QValueConfig(**SMALL))
    restored = load(save(tmp_path / "a", config.build(discrete_specs), config=config, specs=discrete_specs)).specs()
    assert restored.discrete and restored.action == discrete_specs.action


def test_generator_states_and_extra_values_come_back(agent, config, specs, tmp_path) -> None:
    own = torch.Generator().manual_seed(5)
    generators = {"torch": torch.get_rng_state(), "buffer": own.get_state()}
    extra = {"dataset": "a/b-v0", "reference": [1.5, None], "nested": {"empty": {}, "yes": True}, "umlaut": "ü\n\x00"}
    restored = load(save(tmp_path / "a", agent, config=config, specs=specs, generators=generators, extra=extra))
    assert restored.extra == extra
    expected = torch.rand(3, generator=own)
    own.set_state(restored.generator_states()["buffer"])
    assert torch.equal(torch.rand(3, generator=own), expected)
    assert torch.equal(restored.generator_states()["torch"], generators["torch"])


def test_an_agent_that_was_never_updated_can_be_saved(config, specs, tmp_path) -> None:
    agent = config.build(specs)
    assert_same_state(agent, load(save(tmp_path / "a", agent, config=config, specs=specs)).build_agent())


def test_building_an_agent_leaves_the_global_generators_alone(agent, config, specs, tmp_path) -> None:
    path = save(tmp_path / "a", agent, config=config, specs=specs)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    load(path).build_agent()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


def test_agents_of_one_checkpoint_share_nothing(agent, config, specs, batch, tmp_path) -> None:
    restored = load(save(tmp_path / "a", agent, config=config, specs=specs))
    first = restored.build_agent()
    torch.manual_seed(1)
    first.update(batch)
    second = restored.build_agent()
    assert_same_state(second, agent)
    torch.manual_seed(1)
    second.update(batch)
    assert_same_state(first, second)


def test_a_loaded_policy_is_in_evaluation_mode_and_equals_the_live_one(agent, config, specs, batch, tmp_path) -> None:
    policy = load_policy(save(tmp_path / "a", agent, config=config, specs=specs))
    modules = list(policy.modules())
    assert any(isinstance(module, Dropout) for module in modules)
    assert not any(module.training for module in modules)
    assert not any(parameter.requires_grad for parameter in policy.parameters())
    expected = agent.policy.eval()(batch.clone())["action"]
    assert torch.equal(policy(batch.clone())["action"], expected)


def test_a_policy_keeps_its_limits_wherever_it_is_loaded(agent, config, specs, batch, tmp_path) -> None:
    middle = agent.policy(batch.clone())["action"].median(0).values
    limited = dataclasses.replace(specs, limits=(middle - 0.01, middle + 0.01))
    path = save(tmp_path / "a", agent, config=config, specs=limited)
    expected = agent.policy.eval()(batch.clone())["action"].clamp(*limited.limits)
    policy = load_policy(path)
    assert torch.equal(policy(batch.clone())["action"], expected)
    for module in (policy, load(path).build_agent().policy):
        estimated = policy_of(module, load(path).specs(), drawn=True)
        torch.testing.assert_close(estimated.act(batch["observation"]), expected)
        drawn = estimated.actions(batch["observation"])
        assert torch.equal(drawn, drawn.clamp(*limited.limits)) and not estimated.has_density


# What does not fit ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class HomeMadeConfig(agents.BCConfig):
    """An algorithm from outside the registry."""


def test_an_unregistered_algorithm_is_named_and_can_be_passed(specs, tmp_path) -> None:
    config = HomeMadeConfig(actor=ActorConfig(**SMALL))
    agent = config.build(specs)
    restored = load(save(tmp_path / "a", agent, config=config, specs=specs))
    message = refusal(restored.build_agent)
    assert "'HomeMadeConfig'" in message and "IQLConfig" in message and "pass its config" in message
    assert "register it in agents.ALGORITHMS" in message
    assert_same_state(agent, restored.build_agent(config))


@pytest.mark.parametrize("algorithm", ["bc_top", "dqn"])
def test_algorithms_of_version_0_1_that_are_presets_now_come_back(algorithm) -> None:
    path = Path(agents.__file__).parents[1] / "tests/recipes/runs/resumable" / algorithm / "finished.safetensors"
    checkpoint = load(path)
    agent, specs = checkpoint.build_agent(), checkpoint.specs()
    assert agent.num_updates == 20 and "loss_cql" not in agent.loss_module.out_keys
    assert agent.sampling["best_episodes"] == checkpoint.metadata["algorithm"]["fields"].get("best_episodes")
    batch = TensorDict({"observation": torch.zeros(1, *specs.observation.shape)}, [1])
    assert specs.action.is_in(load_policy(path)(batch)["action"][0])


@pytest.mark.parametrize("nested", [False, True])
def test_a_setting_that_this_version_does_not_know_is_named(agent, config, specs, tmp_path, nested) -> None:
    restored = load(save(tmp_path / "a", agent, config=config, specs=specs))
    fields = restored.metadata["algorithm"]["fields"]
    (fields["actor"] if nested else fields)["warp_factor"] = 9
    message = refusal(restored.build_agent)
    assert str(tmp_path / "a") in message and "another version" in message and "warp_factor" in message


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (dataclasses.replace(make_config(), actor=ActorConfig(hidden_sizes=[9])), "(8,) there, (9,) here"),
        (dataclasses.replace(make_config(), value=ValueConfig(hidden_sizes=[8, 8])), "(1,) there, (8,) here"),
        (agents.BCConfig(actor=ActorConfig(dropout=0.1, **SMALL)), "there, None here"),
    ],
)
def test_networks_of_another_shape_are_refused_and_left_alone(
    agent, config, specs, batch, tmp_path, other, reason
) -> None:
    restored = load(save(tmp_path / "a", agent, config=config, specs=specs))
    target = other.build(specs)
    target.update(batch)
    before = copy.deepcopy(target.state_dict())
    message = refusal(lambda: restored.restore(target))
    assert str(tmp_path) in message and "does not fit" in message and reason in message
    after = flat(target.state_dict())
    assert all(torch.equal(value, after[name]) for name, value in flat(before).items() if isinstance(value, Tensor))


def broken_files(whole: bytes, folder: Path) -> dict[str, bytes]:
    save_file({"weight": torch.zeros(3)}, folder / "plain")
    torch.save({"weight": torch.zeros(3)}, folder / "torch")
    header_size = 8 + int.from_bytes(whole[:8], "little")
    files = {f"first {size} bytes": whole[:size] for size in (0, 1, 7, 8, header_size - 1, header_size, len(whole) - 1)}
    return {
        **files,
        "too long": whole + b"\0",
        "text": b"epoch,loss\n1,0.5\n",
        "zeros": bytes(1000),
        "endless header": b"\xff" * 1000,
        "plain safetensors": (folder / "plain").read_bytes(),
        "torch pickle": (folder / "torch").read_bytes(),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"num_updates": "3"},
        {"algorithm": "IQLConfig"},
        {"algorithm": {"config": ["IQLConfig"], "fields": {}}},
        {"algorithm": {"config": "IQLConfig", "fields": [1]}},
        {"extra": [1]},
        {"extra": None},
    ],
)
def test_metadata_of_another_kind_are_refused_in_one_line(change, agent, config, specs, tmp_path) -> None:
    path = save(tmp_path / "a", agent, config=config, specs=specs)
    checkpoint = load(path)
    header = {"format": WITHOUT_CHECKSUM, "metadata": json.dumps({**checkpoint.metadata, **change})}
    save_file(checkpoint.tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match="is damaged, truncated or not a checkpoint: ") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_file_without_specs_is_refused_in_one_line(agent, config, specs, tmp_path) -> None:
    path = save(tmp_path / "a", agent, config=config, specs=specs)
    checkpoint = load(path)
    tensors = {name: value for name, value in checkpoint.tensors.items() if name != "specs/action_low"}
    header = {"format": WITHOUT_CHECKSUM, "metadata": json.dumps(checkpoint.metadata)}
    save_file(tensors, path, metadata=header)
    with pytest.raises(CheckpointError, match="lacks action_low of the specs of its data$"):
        load(path).build_agent()


def test_truncated_and_foreign_files_are_refused_in_one_line(agent, config, specs, tmp_path) -> None:
    whole = save(tmp_path / "whole", agent, config=config, specs=specs).read_bytes()
    for kind, content in broken_files(whole, tmp_path).items():
        path = tmp_path / "broken.safetensors"
        path.write_bytes(content)
        message = refusal(functools.partial(load, path))
        assert str(path) in message and "checkpoint" in message, kind
        assert refusal(functools.partial(load_policy, path)) == message, kind


def test_a_text_is_told_from_a_checkpoint_without_the_words_of_a_parser(tmp_path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Offline agents\n\nhow to use them\n")
    assert refusal(functools.partial(load, path)).endswith(": it does not begin as a .safetensors file does")
    path.write_bytes((40).to_bytes(8, "little") + b'{"__metadata__": {"format": "offl')
    assert refusal(functools.partial(load, path)).endswith(": its header cannot be read")


def test_a_file_of_another_format_is_refused(agent, config, specs, tmp_path, monkeypatch) -> None:
    save(tmp_path / "a", agent, config=config, specs=specs)
    monkeypatch.setattr(checkpoint, "FORMAT", "offline-agents/3")
    assert "is not a checkpoint of this project (format 'offline-agents/2')" in refusal(
        functools.partial(load, tmp_path / "a")
    )


def damage(whole: bytes, at: random.Random) -> Iterator[tuple[str, bytes]]:
    """240 files that are not what was written: bits, pages, tails, and well-formed files of other entries."""
    header, data = read_header(whole)
    notes = header.pop("__metadata__")
    tensors = from_bytes(whole)
    for _ in range(120):
        bit = at.randrange(8 * len(whole))
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(changed)
    for _ in range(40):
        start = at.choice([page for page in range(0, len(whole), 512) if any(whole[page : page + 512])])
        page = whole[start : start + 512]
        yield f"page at {start}", whole[:start] + bytes(len(page)) + whole[start + 512 :]
        end = at.randrange(len(whole))
        yield f"tail from {end}", whole[:end]
    for name in at.choices(sorted(tensors), k=20):
        others = {key: value for key, value in tensors.items() if key != name}
        yield f"without {name}", to_bytes(others, metadata=notes)
        yield f"another {name}", to_bytes({**others, name: tensors[name] * 0 + 2}, metadata=notes)


def test_whatever_happens_to_a_file_is_seen_and_the_previous_one_is_taken(folder) -> None:
    folder.save(1)
    folder.save(2)
    whole = folder.last.read_bytes()
    cases = list(damage(whole, random.Random(0)))
    assert len(cases) == 240
    for kind, content in cases:
        folder.last.write_bytes(content)  # the one before is set aside
        latest, warning = folder.load_latest()
        assert latest.num_updates == 1 and warning is not None, kind
        assert str(folder.last) in warning and "\n" not in warning, kind


def test_a_file_without_its_checksum_is_refused(agent, config, specs, tmp_path) -> None:
    path = save(tmp_path / "a", agent, config=config, specs=specs)
    notes = {"format": checkpoint.FORMAT, "metadata": json.dumps(load(path).metadata)}
    save_file(load(path).tensors, path, metadata=notes)
    assert "sha256" in refusal(functools.partial(load, path))


def test_a_file_from_before_checksums_is_read(agent, config, specs, tmp_path) -> None:
    path = save(tmp_path / "a", agent, config=config, specs=specs)
    notes = {"format": WITHOUT_CHECKSUM, "metadata": json.dumps(load(path).metadata)}
    save_file(load(path).tensors, path, metadata=notes)
    load(path).build_agent()


def test_equal_states_are_equal_bytes(agent, config, specs, tmp_path) -> None:
    files = [save(tmp_path / name, agent, config=config, specs=specs).read_bytes() for name in "abcdefgh"]
    assert len(set(files)) == 1


def test_a_missing_file_is_named(tmp_path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        assert refusal(functools.partial(load, path)) == f"no checkpoint at {path}"


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_no_pickle_is_ever_executed(tmp_path) -> None:
    payload = Malicious(tmp_path / "executed")
    zipped = io.BytesIO()
    torch.save(payload, zipped)
    for content in (pickle.dumps(payload), zipped.getvalue()):
        path = tmp_path / "last.safetensors"
        path.write_bytes(content)
        for read in (load, load_policy):
            refusal(functools.partial(read, path))
        refusal(CheckpointFolder(tmp_path).load_latest)
        assert not payload.trace.exists()
        with pytest.raises(FileExistsError):  # the trap is armed
            payload.trace.mkdir()
            torch.load(io.BytesIO(content), weights_only=False) if content[:2] == b"PK" else pickle.loads(content)
        payload.trace.rmdir()


# Writing -------------------------------------------------------------------------------------------------------------


def full_disk(fails: str, code: int) -> Callable[..., io.BufferedWriter]:
    """An ``open`` whose files take half of what is written, or all of it but not for good."""

    class File(io.BufferedWriter):
        def write(self, payload) -> int:
            if fails == "fsync":
                return super().write(payload)
            super().write(payload[: len(payload) // 2])
            self.flush()
            raise OSError(code, os.strerror(code))

        def fileno(self) -> int:
            if fails == "fsync":
                raise OSError(code, os.strerror(code))
            return super().fileno()

    return lambda path, mode: File(io.FileIO(path, mode))


@pytest.mark.parametrize("fails", ["write", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_or_broken_disk_costs_nothing_that_was_saved(
    agent, config, specs, tmp_path, monkeypatch, fails, code
) -> None:
    folder = CheckpointFolder(tmp_path)
    arguments = {"config": config, "specs": specs, "extra": {}}
    for _ in range(2):
        folder.save(agent, is_best=True, **arguments)
    before = contents(tmp_path)
    monkeypatch.setattr(files, "open", full_disk(fails, code), raising=False)
    message = refusal(lambda: folder.save(agent, is_best=True, **arguments), WriteError)
    assert os.strerror(code) in message and str(tmp_path) in message
    assert ("free some space" in message) == (code != errno.EIO)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_named(agent, config, specs, tmp_path) -> None:
    (tmp_path / "file").touch()
    folder = CheckpointFolder(tmp_path / "file" / "checkpoints")
    message = refusal(lambda: folder.save(agent, is_best=False, config=config, specs=specs, extra={}), WriteError)
    assert str(folder.folder) in message


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(params=["hard links", "copies"])
def folder(request, agent, config, specs, tmp_path, monkeypatch) -> CheckpointFolder:
    """Each ``save(step, is_best=...)`` of this folder writes the agent as if after that step."""
    if request.param == "copies":
        monkeypatch.setattr(os, "link", no_links)
    folder = CheckpointFolder(tmp_path / "checkpoints")
    save_agent = folder.save

    def save_step(step: int, *, is_best: bool = False) -> None:
        agent.rule.count(step)
        save_agent(agent, is_best=is_best, config=config, specs=specs, extra={})

    folder.save = save_step
    return folder


def steps(folder: CheckpointFolder) -> dict[str, int]:
    return {path.stem: load(path).num_updates for path in folder.folder.iterdir()}


def test_last_previous_and_best_rotate(folder) -> None:
    seen = []
    for step, is_best in enumerate([True, False, False, True, True, False], start=1):
        folder.save(step, is_best=is_best)
        seen.append(steps(folder))
    assert seen == [
        {"last": 1, "best": 1},
        {"last": 2, "previous": 1, "best": 1},
        {"last": 3, "previous": 2, "best": 1},
        {"last": 4, "previous": 3, "best": 4},
        {"last": 5, "previous": 4, "best": 5},
        {"last": 6, "previous": 5, "best": 5},
    ]


def test_without_hard_links_a_full_disk_is_one_line_too(folder, monkeypatch) -> None:
    folder.save(1, is_best=True)
    before = contents(folder.folder)
    monkeypatch.setattr(os, "link", no_links)
    opens = iter([open, full_disk("write", errno.ENOSPC)])  # the checkpoint itself still fits, its copy does not
    monkeypatch.setattr(files, "open", lambda path, mode: next(opens)(path, mode), raising=False)
    assert "free some space" in refusal(lambda: folder.save(2), WriteError)
    monkeypatch.undo()
    after = contents(folder.folder)
    assert {name: after[name] for name in before} == before
    folder.save(3)
    assert steps(folder) == {"last": 3, "previous": 1, "best": 1}


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_the_previous_checkpoint_stands_in_for_a_broken_one(folder, damage) -> None:
    folder.save(1, is_best=True)
    folder.save(2)
    folder.last.unlink() if damage is None else replace(folder.last, damage)
    latest, warning = folder.load_latest()
    assert latest.num_updates == 1
    assert "\n" not in warning
    assert all(part in warning for part in (str(folder.last), str(folder.previous), "step 1"))
    assert load(folder.previous).num_updates == 1
    folder.save(3)  # a broken file must not take the place of the good one
    assert load(folder.last).num_updates == 3
    assert load(folder.previous).num_updates == 1
    assert folder.load_latest()[1] is None


def replace(path: Path, content: bytes) -> None:
    """Other content under the name; the file's other names keep theirs."""
    path.unlink()
    path.write_bytes(content)


def test_a_good_checkpoint_comes_without_a_warning(folder) -> None:
    folder.save(1)
    folder.save(2)
    latest, warning = folder.load_latest()
    assert (latest.num_updates, warning) == (2, None)


def test_without_any_readable_checkpoint_the_error_names_one(folder) -> None:
    assert str(folder.last) in refusal(folder.load_latest)
    folder.save(1)
    replace(folder.last, b"half")
    assert str(folder.last) in refusal(folder.load_latest)
    folder.save(2)
    folder.save(3)
    replace(folder.last, b"half")
    replace(folder.previous, b"half")
    assert str(folder.previous) in refusal(folder.load_latest)


def test_a_best_that_a_kill_left_unlinked_is_linked_on_loading(folder) -> None:
    folder.save(1, is_best=True)
    folder.best.unlink()
    folder.load_latest()
    assert load(folder.best).num_updates == 1
    names = {path.name for path in folder.folder.iterdir()}
    folder.load_latest()  # best is that file already
    assert {path.name for path in folder.folder.iterdir()} == names == {"last.safetensors", "best.safetensors"}


# Kills ---------------------------------------------------------------------------------------------------------------

# Copies what SIGKILL would leave before each change of the file system, and with half of the bytes written.
KILLED = """
import io, os, shutil, sys
from pathlib import Path
import torch
from torchrl.data import Bounded, Unbounded
import agents
from agents import checkpoint, files
from agents.networks import ActorConfig

root = Path(sys.argv[1])
specs = agents.Specs(Unbounded((2,)), Bounded(-1.0, 1.0, (1,)), torch.zeros(2), torch.ones(2))
config = agents.BCConfig(actor=ActorConfig(hidden_sizes=[4]))
agent = config.build(specs)
link, no_links = os.link, lambda *_: os.open("/no/links", os.O_RDONLY)

def save(step, folder, is_best):
    agent.rule.count(step)
    settings = dict(config=config, specs=specs, generators={"step": torch.tensor([step])})
    if is_best is None:
        checkpoint.save(folder / "file", agent, extra={}, **settings)
    else:
        checkpoint.CheckpointFolder(folder).save(agent, extra={}, is_best=is_best, **settings)

class InHalves(io.BufferedWriter):
    def write(self, payload):
        super().write(payload[: len(payload) // 2])
        self.flush()
        moment("half written")
        return super().write(payload[len(payload) // 2 :])

files.open = lambda path, mode: InHalves(io.FileIO(path, mode))
moments = None

def moment(event, arguments=()):
    global moments
    changes = event in ("os.rename", "os.link", "os.remove", "os.mkdir", "half written")
    if moments is not None and (changes or event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]):
        count, moments = moments, None
        shutil.copytree(root / name / "now", root / name / str(count))
        moments = count + 1

sys.addaudithook(moment)
for name, before, is_best, os.link in [
    ("file", (1, 2), None, link),
    ("first", (), True, link),
    ("ordinary", (1, 2), False, link),
    ("best", (1, 2), True, link),
    ("copied", (1, 2), True, no_links),
]:
    for step in before:
        save(step, root / name / "now", is_best if is_best is None else step == 1)
    (root / name / "now").mkdir(parents=True, exist_ok=True)
    moments = 0
    save(3, root / name / "now", is_best)
    moments = None
    shutil.rmtree(root / name / "now")
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory, run_in_fork) -> Path:
    root = tmp_path_factory.mktemp("killed")
    run_in_fork(KILLED, str(root))
    return root


def survivors(killed: Path, name: str) -> list[Path]:
    return [*(killed / name).iterdir()]


def step_of(path: Path) -> int:
    """The step of a checkpoint that is whole."""
    read = load(path)
    assert read.generator_states()["step"].tolist() == [read.num_updates]
    read.build_agent()
    return read.num_updates


def test_a_kill_while_a_file_is_written_leaves_the_old_one_or_the_new_one(killed) -> None:
    found = [step_of(folder / "file") for folder in survivors(killed, "file")]
    assert len(found) >= 3 and set(found) == {2}  # the rename is the last moment, so no kill comes after it


def test_a_kill_at_the_first_save_leaves_nothing_or_all(killed) -> None:
    found = []
    for path in survivors(killed, "first"):
        folder = CheckpointFolder(path)
        found.append(folder.load_latest()[0].num_updates if folder.last.exists() else None)
        if not folder.last.exists():
            assert f"no checkpoint at {folder.last}" in refusal(folder.load_latest)
            assert not folder.previous.exists() and not folder.best.exists()
    assert set(found) == {None, 3}


@pytest.mark.parametrize("name", ["ordinary", "best", "copied"])
def test_a_kill_between_any_two_steps_of_the_rotation_loses_nothing(killed, name) -> None:
    found = []
    for path in survivors(killed, name):
        folder = CheckpointFolder(path)
        previous = step_of(folder.previous)
        latest, warning = folder.load_latest()
        assert warning is None
        found.append(step_of(folder.last))
        assert latest.num_updates == found[-1]
        assert previous in (1, 2) and previous <= found[-1]
        assert step_of(folder.best) == (3 if name != "ordinary" and found[-1] == 3 else 1)
    assert set(found) == ({2, 3} if name != "ordinary" else {2})


@pytest.mark.parametrize("name", ["first", "ordinary", "best", "copied"])
def test_what_a_killed_process_left_goes_with_the_next_save(killed, agent, config, specs, name) -> None:
    wanted = {"last.safetensors", "previous.safetensors", "best.safetensors"}
    leftovers = set()
    for path in survivors(killed, name):
        leftovers |= {file.name for file in path.iterdir()} - wanted
        for _ in range(2):
            CheckpointFolder(path).save(agent, is_best=True, config=config, specs=specs, extra={})
        assert {file.name for file in path.iterdir()} == wanted
    assert any(file.endswith(".tmp") for file in leftovers)
