"""The load that ``offline-agents serve`` bears: actions a second and latency over loopback, by 1, 4 and 16 clients.

    python benchmarks/serving.py
    python benchmarks/serving.py runs/iql/demo/pen/mixed-v1/seed0/policy.onnx

Without a file, IQL's policy for the pen after 20 updates, whose size is that of one that has learnt. Clients are
coroutines of this process, each of which sends an observation by WebSocket as soon as it has the action before: on two
cores the server has one, and its clients the other.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import numpy as np

from agents.deployment.formats import load
from agents.deployment.wire import pack, unpack

HOST, PORT = "127.0.0.1", 8763
CLIENTS = (1, 4, 16)
SECONDS = 5.0  # of each load
TRAIN = ("gradient_steps=20", "eval_every=20", "num_eval_episodes=1", "compile=off", "device=cpu", "logger=none")
RECIPES = (sys.executable, "-m", "recipes")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        policy = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else _export(Path(name))
        observation = np.concatenate([np.reshape(part.low, -1) for part in load(policy).contract.observations])
        with _server(policy):
            print("clients  actions/s  p50 ms  p99 ms")
            for number in CLIENTS:
                seconds = np.array(asyncio.run(_load(number, observation)))
                p50, p99 = 1e3 * np.quantile(seconds, (0.5, 0.99))
                print(f"{number:7}  {len(seconds) / SECONDS:9,.0f}  {p50:6.2f}  {p99:6.2f}", flush=True)


def _export(folder: Path) -> Path:
    run, policy = folder / "run", folder / "policy.onnx"
    settings = (f"output={policy}", "num_episodes=null", "num_observations=100")
    for command in (("train", f"run_dir={run}", *TRAIN), ("export", f"checkpoint={run}", *settings)):
        subprocess.run([*RECIPES, *command], check=True, stdout=subprocess.DEVNULL)
    return policy


@contextmanager
def _server(policy: Path) -> Iterator[None]:
    settings = (f"policy={policy}", f"port={PORT}", "max_rate=1e9")
    with subprocess.Popen([*RECIPES, "serve", *settings], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        print(process.stdout.readline(), end="")
        try:
            yield
        finally:
            process.terminate()


async def _load(number: int, observation: np.ndarray) -> list[float]:
    """The seconds that each action took of all clients."""
    async with aiohttp.ClientSession() as http:
        await _wait(http)
        end = time.perf_counter() + SECONDS
        clients = (_client(http, observation.astype(np.float32), end) for _ in range(number))
        return [seconds for each in await asyncio.gather(*clients) for seconds in each]


async def _wait(http: aiohttp.ClientSession) -> None:
    """Until the server listens, which it does a moment after it has said so."""
    for _ in range(100):
        try:
            async with http.get(f"http://{HOST}:{PORT}/health"):
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the server does not answer")


async def _client(http: aiohttp.ClientSession, observation: np.ndarray, end: float) -> list[float]:
    seconds, message = [], pack({"observation": observation, "reward": 0.0})
    async with http.ws_connect(f"http://{HOST}:{PORT}/") as socket:
        await socket.receive_bytes()  # the contract
        await socket.send_bytes(pack({"reset": True}))
        await socket.receive_bytes()
        while time.perf_counter() < end:
            start = time.perf_counter()
            await socket.send_bytes(message)
            answer = unpack(await socket.receive_bytes())
            seconds.append(time.perf_counter() - start)
            if "error" in answer:
                raise RuntimeError(answer["error"])
    return seconds


if __name__ == "__main__":
    main()
