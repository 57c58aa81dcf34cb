"""Artifacts: dataset and checkpoints are logged only when that is asked for, and a checkpoint comes back whole."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

import agents
from agents import checkpoint, metrics
from recipes.runs import artifacts

RUN = "runs/iql/test/pendulum-v0/seed0"
ONLINE = ("logger=wandb", "wandb.mode=auto", "wandb.artifacts=true")
# W&B's answer to a reference: a checkpoint as it is, or with a byte changed on the way
FETCH = """
import shutil, types
from recipes.tracking import loggers
from pathlib import Path
class Artifact:
    version = "v3"
    def download(self, root):
        Path(root).mkdir(parents=True)
        data = bytearray(Path({source!r}).read_bytes())
        data[-1] ^= {change}
        Path(root, "checkpoint.safetensors").write_bytes(data)
        print("probe download")
    def verify(self, root):
        if {change}: raise ValueError("Digest mismatch for file: checkpoint.safetensors")
def artifact(name):
    if {refusal!r}: raise client.errors.CommError({refusal!r})
    print("probe asked for", name)
    return Artifact()
client = loggers.wandb_client()
client.login = lambda **_: {account}
client.Api = lambda **_: types.SimpleNamespace(artifact=artifact)
"""


@pytest.fixture(scope="module")
def online(quick_train, module_wandb_server, tmp_path_factory) -> tuple[Any, Path]:
    """The server after a run that was asked for artifacts, and the run's folder."""
    folder = tmp_path_factory.mktemp("online")
    # the best checkpoint is not the last one
    done = quick_train(
        *ONLINE, "algorithm.actor_optimizer.lr=0.1", "seed=1", cwd=folder, **module_wandb_server.environment
    )
    assert done.code == 0 and "warning" not in done.err, done.err
    told = re.search(r"^W&B checkpoint: wandb:lab/offline-agents/(\S+):latest \(or :best\)$", done.out, re.MULTILINE)
    assert {sent["artifactCollectionName"] for sent in created(module_wandb_server, "model")} == {told[1]}
    return module_wandb_server, folder / RUN.replace("seed0", "seed1")


def created(server: Any, kind: str) -> list[dict[str, Any]]:
    inputs = [sent["input"] for sent in server.sent("CreateArtifact")]
    return [created for created in inputs if created["artifactTypeName"] == kind]


def test_the_dataset_is_a_reference_with_what_identifies_it(online) -> None:
    server, _ = online
    (sent,) = created(server, "dataset")
    dataset = agents.load_dataset("test/pendulum-v0")
    known = json.loads(sent["metadata"])
    assert sent["artifactCollectionName"] == "test-pendulum-v0"
    assert known["fingerprint"] == dataset.fingerprint and known["env"] == "Pendulum-v1"
    ours = {key.removeprefix("data/"): value for key, value in metrics.data(dataset).items()}
    assert {key: known[key] for key in ours} == pytest.approx(ours)
    assert known["return_max"] == pytest.approx(dataset.statistics.returns.max())
    references = [entry for contents in manifests(server) for entry in contents.values() if "ref" in entry]
    assert {entry["ref"] for entry in references} == {f"minari://test/pendulum-v0?fingerprint={dataset.fingerprint}"}


def manifests(server: Any) -> list[dict[str, Any]]:
    return [json.loads(file)["contents"] for name, file in server.files.items() if name.startswith("manifests/")]


def test_the_run_is_linked_to_its_dataset(online) -> None:
    server, _ = online
    assert server.sent("UseArtifact")


def test_the_checkpoints_have_their_aliases_and_are_the_files_of_the_run(online) -> None:
    server, folder = online
    sent = created(server, "model")
    steps = {alias["alias"]: json.loads(one["metadata"])["step"] for one in sent for alias in one["aliases"]}
    last, best = (checkpoint.load(folder / "checkpoints" / f"{name}.safetensors") for name in ("last", "best"))
    assert steps == {
        "latest": 20,
        "best": best.num_updates,
        "step-20": 20,
        f"step-{best.num_updates}": best.num_updates,
    }
    digests = {base64.b64encode(hashlib.md5(one.path.read_bytes()).digest()).decode() for one in (last, best)}
    assert {
        contents[artifacts.FILE]["digest"] for contents in manifests(server) if artifacts.FILE in contents
    } == digests
    assert server.files[f"artifacts/{artifacts.FILE}"] == last.path.read_bytes()  # the last one that was uploaded
    assert {json.loads(one["metadata"])["dataset_fingerprint"] for one in sent} == {last.extra["dataset_fingerprint"]}


def test_the_best_checkpoint_is_one_artifact_with_the_last_where_they_are_the_same(tmp_path) -> None:
    dataset = agents.load_dataset("test/pendulum-v0")
    config = agents.BCConfig(actor=agents.ActorConfig(hidden_sizes=[8]))
    folder = artifacts.RunFolder(tmp_path)
    extra = {"algorithm": "bc", "dataset": dataset.id, "dataset_fingerprint": "f", "best_return": 1.0}
    folder.checkpoints.save(config.build(dataset.specs), is_best=True, config=config, specs=dataset.specs, extra=extra)
    ((_, aliases),) = artifacts.list_checkpoints(folder, tmp_path / "wandb", "run")
    assert sorted(aliases) == ["best", "latest", "step-0"]


def test_unasked_no_artifact_is_logged(train, wandb_server) -> None:
    done = train("logger=wandb", "wandb.mode=auto", **wandb_server.environment)
    assert done.code == 0, done.err
    assert not wandb_server.sent("CreateArtifact") and not any("safetensors" in name for name in wandb_server.files)
    assert any(name.startswith("media/table/eval/episodes") for name in wandb_server.files)


def test_offline_the_checkpoints_are_logged_and_what_cannot_be_is_said_once(train, tmp_path, read_wandb) -> None:
    done = train("logger=wandb", "wandb.artifacts=true", before="import socket; socket.getaddrinfo = None")
    assert done.code == 0, done.err
    assert done.err.count("W&B: offline, so the run is not linked to its dataset") == 1
    records = [record["artifact"] for record in read_wandb(tmp_path / RUN) if record["type"] == "artifact"]
    assert {record["type"] for record in records} == {"model"}
    assert "latest" in {alias for record in records for alias in record["aliases"]}
    copies = [entry["local_path"] for record in records for entry in record["manifest"]["contents"]]
    assert all(
        re.fullmatch(rf"{RUN}/wandb/offline-run-[^/]+/checkpoints/step-\d+\.safetensors", path) for path in copies
    )
    assert all((tmp_path / path).exists() for path in copies)


# Back again ----------------------------------------------------------------------------------------------------------


def fetching(run: Path, *, change: int = 0, refusal: str = "", account: bool = True) -> str:
    source = str(run / "checkpoints" / "best.safetensors")
    return FETCH.format(source=source, change=change, refusal=refusal, account=account)


REFERENCE = "wandb:lab/grasp/iql-seed0:best"


def test_a_checkpoint_is_fetched_once_and_evaluated(evaluate, usual, tmp_path) -> None:
    for downloads in (1, 0):
        done = evaluate(f"checkpoint={REFERENCE}", "num_episodes=1", "num_envs=1", before=fetching(usual))
        assert done.code == 0, done.err
        assert "probe asked for lab/grasp/iql-seed0:best" in done.out and done.out.count("probe download") == downloads
    place = tmp_path / "runs/wandb/lab/grasp/iql-seed0/v3"
    assert (place / "checkpoint.safetensors").read_bytes() == (usual / "checkpoints/best.safetensors").read_bytes()
    assert (place / "evaluation" / "episodes.csv").exists()


def test_a_checkpoint_that_was_changed_on_the_way_is_refused(evaluate, usual) -> None:
    told = evaluate(f"checkpoint={REFERENCE}", before=fetching(usual, change=1)).refusal()
    assert told == (
        "runs/wandb/lab/grasp/iql-seed0/v3/checkpoint.safetensors is not what was logged (Digest mismatch for file: "
        "checkpoint.safetensors); move it away and call again"
    )


def test_what_wandb_refuses_and_who_has_no_account_is_one_line(evaluate, usual) -> None:
    told = evaluate(f"checkpoint={REFERENCE}", before=fetching(usual, refusal="artifact not found")).refusal()
    assert told.startswith("W&B does not answer as hoped: artifact not found; ")
    told = evaluate(f"checkpoint={REFERENCE}", before=fetching(usual, account=False)).refusal()
    assert told.startswith(f"{REFERENCE} is in W&B, and there is no account here: wandb login")
    assert evaluate("checkpoint=wandb:iql-seed0").refusal() == (
        "wandb:iql-seed0 names no checkpoint: write wandb:entity/project/name:alias"
    )
