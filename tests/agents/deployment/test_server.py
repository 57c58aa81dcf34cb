"""The policy server answers each client for itself, whatever others send."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from agents.deployment.contract import Contract, Memory
from agents.deployment.policy import DeployedPolicy
from tests.agents.deployment.test_loading import ACTION, vector

pytest.importorskip("aiohttp", reason="aiohttp is not installed")
pytest.importorskip("msgpack", reason="msgpack is not installed")

from aiohttp import WSServerHandshakeError  # noqa: E402
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from agents.deployment import server  # noqa: E402
from agents.deployment.server import PolicyServer  # noqa: E402
from agents.deployment.traffic import Allowance  # noqa: E402
from agents.deployment.wire import pack, unpack  # noqa: E402

CONTRACT = Contract((vector(),), ACTION, (Memory("memory.steps", "int64", (1,), 0),), algorithm="sums")


def steps(arrays: dict[str, Any]) -> dict[str, Any]:
    """The sum of an observation and the number of the step."""
    number = arrays["memory.steps"]
    return {"action": arrays["observation"].sum(-1, keepdims=True) + number, "memory.steps.next": number + 1}


@contextlib.asynccontextmanager
async def client_of(**options: Any) -> AsyncIterator[TestClient]:
    application = PolicyServer(DeployedPolicy(CONTRACT, steps), **options).application()
    async with TestClient(TestServer(application)) as client:
        yield client


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30.0))


class Robot:
    """A client by WebSocket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def ask(self, message: Any) -> Any:
        await self.socket.send_bytes(message if isinstance(message, bytes) else pack(message))
        return unpack(await self.socket.receive_bytes())


@contextlib.asynccontextmanager
async def robot_of(client: TestClient, **options: Any) -> AsyncIterator[Robot]:
    async with client.ws_connect("/", **options) as socket:
        assert unpack(await socket.receive_bytes())["algorithm"] == "sums"
        yield Robot(socket)


async def metric(client: TestClient, name: str) -> float:
    text = await (await client.get("/metrics")).text()
    return float(next(line for line in text.splitlines() if line.startswith(f"offline_agents_{name} ")).split()[1])


def test_what_is_sent_arrives_and_nothing_else_does() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    there = unpack(pack({"a": array, "b": np.int64(3), "c": [1.5, "x", None]}))
    np.testing.assert_array_equal(there["a"], array)
    assert (there["b"], there["c"], there["a"].dtype) == (3, [1.5, "x", None], np.float32)
    with pytest.raises(TypeError, match="a set cannot be sent"):
        pack({1})
    whole = {b"__ndarray__": True, b"data": b"12345678", b"dtype": "<f8", b"shape": [1]}
    for change in (
        *({b"dtype": dtype} for dtype in ("|O", "<M8[s]", "(,)f8")),
        *({b"shape": [size]} for size in (2**40, -1)),
        {b"data": b"1"},
    ):
        with pytest.raises(ValueError):
            unpack(pack({**whole, **change}))


def test_each_client_has_a_memory_of_its_own_that_ends_with_its_connection() -> None:
    async def test() -> None:
        async with client_of() as client:
            async with robot_of(client) as one, robot_of(client) as other:
                step = {"observation": np.array([0.5, 2.0])}
                lost = (await one.ask(step))["error"]
                assert lost.startswith("no episode has begun in this session, or the server was started anew")
                assert await one.ask({"reset": True}) == {"reset": True}
                assert [(await one.ask(step))["action"][0] for _ in range(3)] == [2.5, 3.5, 4.5]
                assert (await other.ask({**step, "reset": True}))["action"] == [2.5]
                assert (await one.ask({**step, "observation": [1, 1]}))["action"] == [5.0]
                assert (await one.ask({**step, "reset": True}))["action"] == [2.5]
                assert await metric(client, "sessions") == 2
            async with robot_of(client) as again:
                assert "no episode has begun" in (await again.ask(step))["error"]
            assert await metric(client, "actions_total") == 6
            assert await metric(client, "errors_total") == 2
            assert await metric(client, "outside_data_share") == 0.0

    run(test)


def test_a_session_of_http_goes_on_until_the_server_ends() -> None:
    async def test() -> None:
        async with client_of() as client:
            session = (await (await client.post("/reset")).json())["session"]
            step = {"session": session, "observation": {"speed": 1.5, "load": 99.0}}
            for expected in (100.5, 101.5):
                assert await (await client.post("/act", json=step)).json() == {"action": [expected]}
            await client.post("/reset", json={"session": session})
            assert await (await client.post("/act", json=step)).json() == {"action": [100.5]}
            assert await metric(client, "outside_data_share") == 1.0
            assert await (await client.get("/health")).text() == "ok\n"
            assert (await (await client.get("/contract")).json())["algorithm"] == "sums"
        async with client_of() as client:  # the server of afterwards
            answer = await client.post("/act", json=step)
            assert answer.status == 409 and "this session is not known" in (await answer.json())["error"]

    run(test)


def test_who_has_no_token_is_not_served() -> None:
    async def test() -> None:
        async with client_of(token="secret") as client:
            assert (await client.get("/health")).status == 200
            for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer sécret"}):
                assert (await client.post("/reset", headers=headers)).status == 401
            reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
            writer.write(b"GET /contract HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n")  # no UTF-8
            assert b" 401 " in await reader.readline()
            writer.close()
            headers = {"Authorization": "Bearer secret"}
            assert (await client.post("/reset", headers=headers)).status == 200
            async with robot_of(client, headers=headers) as robot:
                assert await robot.ask({"reset": True}) == {"reset": True}

    run(test)


def test_a_page_of_another_site_is_not_served_in_a_browser_on_this_machine() -> None:
    async def test() -> None:
        async with client_of() as client:
            page = {"Origin": "http://elsewhere.example"}
            assert (await client.post("/reset", headers=page)).status == 403
            with pytest.raises(WSServerHandshakeError, match="403"):
                await client.ws_connect("/", headers=page)
            own = {"Origin": f"http://{client.server.host}:{client.server.port}"}
            assert (await client.post("/reset", headers=own)).status == 200

    run(test)


def test_nobody_takes_more_than_a_share_nor_sends_more_than_the_limit() -> None:
    allowance = Allowance(3.0)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]

    async def test() -> None:
        async with client_of(max_rate=2.0, max_message=2000) as client:
            async with robot_of(client) as greedy, robot_of(client) as other:
                answers = [await greedy.ask({"reset": True}) for _ in range(3)]
                assert answers[:2] == [{"reset": True}] * 2
                assert answers[2] == {"error": "more than 2 requests a second: slow down"}
                assert await greedy.ask(b"garbage") == answers[2]  # before it is read
                assert await other.ask({"reset": True}) == {"reset": True}
                await greedy.socket.send_bytes(bytes(3000))
                assert (await greedy.socket.receive()).data == 1009  # too big
                assert await other.ask({"reset": True}) == {"reset": True}
            answers = [await client.post("/reset") for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 400]
            answer = await client.post("/act", data=bytes(3000))
            assert (answer.status, await answer.json()) == (413, {"error": "a request may have 2000 bytes"})

    run(test)


def test_no_more_clients_are_connected_than_the_limit() -> None:
    async def test() -> None:
        async with client_of(max_clients=2) as client:
            async with robot_of(client) as first, robot_of(client):
                with pytest.raises(WSServerHandshakeError) as refusal:
                    await client.ws_connect("/")
                assert refusal.value.status == 503
                assert await first.ask({"reset": True}) == {"reset": True}
            while await metric(client, "sessions"):
                await asyncio.sleep(0.01)
            async with robot_of(client):
                assert await metric(client, "errors_total") == 1

    run(test)


def test_the_session_that_has_been_silent_the_longest_goes_first(monkeypatch) -> None:
    monkeypatch.setattr(server, "MOST_SESSIONS", 2)

    async def test() -> None:
        async with client_of() as client:
            first, second = [(await (await client.post("/reset")).json())["session"] for _ in range(2)]
            await client.post("/reset", json={"session": first})
            await client.post("/reset")
            step = {"observation": [1.0, 1.0]}
            statuses = [(await client.post("/act", json={**step, "session": each})).status for each in (first, second)]
            assert statuses == [200, 409]

    run(test)


def broken(rng: random.Random) -> Any:
    """A message that no client of good will sends."""
    good = pack({"observation": np.array([0.5, 2.0]), "reset": True})
    place = rng.randrange(len(good))
    odd = [None, [], {}, 3, "x", b"x", {"observation": None}, {"observation": [[]]}, {"a": 1}, {1: 2}, {"reward": "x"}]
    odd += [{"observation": value} for value in ("x", {}, [1], [1, "a"], [1, float("nan")], [2**63, 1], {"speed": {}})]
    odd += [{"observation": [1, 1], "reset": True, "reward": value} for value in ("x", [], float("nan"), {})]
    kinds: list[Callable[[], bytes]] = [
        lambda: rng.randbytes(rng.randrange(200)),
        lambda: good[:place],
        lambda: good[:place] + rng.randbytes(1) + good[place + 1 :],
        lambda: pack(rng.choice(odd)),
        lambda: b"\x91" * 5000,  # lists in lists
        lambda: b"cos\nsystem\n(S'true'\ntR.",  # a pickle
    ]
    return rng.choice(kinds)()


def test_five_hundred_broken_messages_harm_no_good_client() -> None:
    rng = random.Random(0)

    async def test() -> None:
        async with (
            client_of(max_rate=1e6) as client,
            robot_of(client) as good,
            robot_of(client) as bad,
            robot_of(client) as silent,
        ):
            await good.ask({"reset": True})
            for number in range(500):
                if number % 10 == 9:
                    answer = await client.post(rng.choice(["/act", "/reset"]), data=broken(rng))
                    assert answer.status < 500
                else:
                    answer = await bad.ask(broken(rng))
                    assert answer.keys() <= {"error", "action", "reset"} and len(answer) == 1
                if number % 5 == 0:
                    step = {"observation": [float(number), 0.0]}
                    assert (await good.ask(step))["action"] == [number + number // 5]
            half = client.server
            reader, writer = await asyncio.open_connection(half.host, half.port)
            writer.write(b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")  # and goes away
            writer.close()
            await bad.socket.send_str("text")
            assert (await bad.socket.receive()).data == 1003
            assert (await good.ask({"observation": [0.0, 0.0]}))["action"] == [100]
            assert await silent.ask({"reset": True}) == {"reset": True}

    run(test)
