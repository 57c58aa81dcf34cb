"""The command that serves a policy: what it refuses, and that a client of ten lines gets the policy's actions."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import agents
from agents.deployment.contract import Contract
from agents.deployment.formats import load
from tests.agents.deployment.test_loading import ACTION, onnx_file, vector

REPOSITORY = Path(agents.__file__).parents[1]


def test_what_cannot_be_served_is_refused_in_one_line(run_recipe, tmp_path) -> None:
    def refusal(*settings: str) -> str:
        return run_recipe("serve", *settings, cwd=tmp_path).refusal()

    assert refusal().startswith("checkpoint: a value has to be given; ")
    assert refusal("policy=x.onnx", "checkpoint=y") == "checkpoint must be left out beside policy, got 'y'"
    assert refusal("policy=x.onnx", "port=70000") == "port must lie between 1 and 65535, got 70000"


@pytest.mark.parametrize("command", ["evaluate", "serve"])
def test_a_file_that_can_run_code_is_not_opened_unasked(command, run_recipe, tmp_path) -> None:
    if command == "serve":
        pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    with zipfile.ZipFile(tmp_path / "policy.pt2", "w") as archive:
        archive.writestr("policy/data/aotinductor/model/code.so", "")
    refusal = run_recipe(command, "policy=policy.pt2", cwd=tmp_path).refusal()
    assert refusal.startswith("policy.pt2 is a file of torch's, and can run any code when it is opened: if you trust")
    trusting = run_recipe(command, "policy=policy.pt2", "trust_policy=true", cwd=tmp_path).refusal()
    assert trusting.startswith("policy.pt2 is damaged")


@pytest.mark.slow
def test_a_client_of_ten_lines_gets_the_actions_of_a_policy(environment, tmp_path) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    contract = Contract((vector(low=(0.25, 3.0)),), ACTION)
    onnx_file(tmp_path / "policy.onnx", contract.to_json())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "recipes", "serve", "policy=policy.onnx", f"port={port}"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().endswith(f"ws://127.0.0.1:{port}/ and http://127.0.0.1:{port}/act\n")
        client = [sys.executable, str(REPOSITORY / "examples/client.py"), f"http://127.0.0.1:{port}"]
        for _ in range(100):  # it says so a moment before it listens
            done = subprocess.run(client, capture_output=True, text=True)
            if "Connection refused" not in done.stderr:
                break
        assert json.loads(done.stdout) == load(tmp_path / "policy.onnx")([0.25, 3.0]).tolist() == [3.25], done.stderr
        busy = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (busy.returncode, busy.stderr.count("\n")) == (
            2,
            1,
        ) and f"cannot serve at 127.0.0.1:{port}" in busy.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
