"""The command that serves a policy: what it refuses, and that a client of ten lines gets the policy's actions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import agents
from agents.deployment.contract import Contract, Memory
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


@pytest.mark.slow
def test_a_server_that_was_killed_tells_its_clients_that_their_episodes_are_lost(environment, tmp_path) -> None:
    aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from agents.deployment.wire import pack, unpack

    contract = Contract((vector(),), ACTION, (Memory("memory.steps", "int64", (1,), 0),))
    onnx_file(tmp_path / "policy.onnx", contract.to_json(), counts=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "recipes", "serve", "policy=policy.onnx", f"port={port}"]
    step = {"observation": [0.5, 2.0]}

    async def talk(http: Any, session: str | None) -> str:
        """A step in a session, by HTTP and by WebSocket; a new one where there is none."""
        async with http.post("/reset") as answer:
            session = session or (await answer.json())["session"]
        async with http.post("/act", json={**step, "session": session}) as answer:
            said = await answer.json()
        async with http.ws_connect("/") as robot:
            await robot.receive_bytes()
            lost, *rest = [await ask(robot, message) for message in (step, {**step, "reset": True}, step)]
        assert lost["error"].startswith("no episode has begun in this session, or the server was started anew")
        assert all(answer["action"] == [2.5] for answer in rest)
        return session if said == {"action": [2.5]} else said["error"]

    async def ask(robot: Any, message: Any) -> Any:
        await robot.send_bytes(pack(message))
        return unpack(await robot.receive_bytes())

    async def once_it_listens(session: str | None) -> str:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            for _ in range(100):
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    return await talk(http, session)
                await asyncio.sleep(0.1)
        raise AssertionError("it does not listen")

    session = None
    for _ in range(2):
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None and server.stdout.readline()
            session = asyncio.run(once_it_listens(session))
            server.kill()
    assert session == "this session is not known, or the server was started anew: begin one by POST /reset"
