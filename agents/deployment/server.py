"""A policy server: WebSocket with msgpack, and HTTP with JSON.

=====================  ================================================================================================
``GET /`` (WebSocket)  the contract comes first; then an answer for each message, a map of what is sent to ``/act``. A
                       connection is a session: its memory ends with it.
``POST /reset``        begins an episode, in the session that is named or a new one: ``{"session": ...}``
``POST /act``          ``{"observation": ..., "reward": ..., "session": ...}`` to ``{"action": ..., "outside": ...}``
``GET /contract``      what the policy takes and gives
``GET /health``        ``ok``
``GET /metrics``       requests, errors, latency and the share of observations outside the data, as Prometheus reads it
=====================  ================================================================================================

A policy that remembers acts only in a session whose episode has begun by a reset: a server that was started anew knows
none, and says so. What is wrong with a message is its answer, ``{"error": ...}``, and concerns nobody else.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from agents.deployment.observing import arrays_of
from agents.deployment.policy import DeployedPolicy
from agents.deployment.traffic import Allowance, Traffic
from agents.deployment.wire import pack, unpack
from agents.errors import PolicyError, printable

MOST_SESSIONS = 10_000  # of HTTP; the one that has been silent the longest goes first
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Session:
    """The memory of one client."""

    def __init__(self, policy: DeployedPolicy, rate: float) -> None:
        self.policy, self.allowance, self.begun = policy, Allowance(rate), False


class PolicyServer:
    """Answers the requests for one policy.

    Args:
        max_message: bytes of a message, >= 1.
        max_rate: requests a second of one session, >= 1.
        max_clients: connections by WebSocket at once, >= 1.
        token: that clients have to send as ``Authorization: Bearer <token>``; None: none.
    """

    def __init__(
        self,
        policy: DeployedPolicy,
        *,
        max_message: int = 1 << 20,
        max_rate: float = 1000.0,
        max_clients: int = 256,
        token: str | None = None,
    ) -> None:
        self.traffic = Traffic(policy.contract)
        self._policy, self._max_message, self._max_rate, self._token = policy, max_message, max_rate, token
        self._max_clients = max_clients
        self._contract = json.loads(policy.contract.to_json())
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._allowances: OrderedDict[str, Allowance] = OrderedDict()  # of addresses, for requests without a session

    def application(self) -> web.Application:
        app = web.Application(client_max_size=self._max_message, middlewares=[self._check])
        app.add_routes(
            [
                web.get("/", self._websocket),
                web.get("/contract", self._send_contract),
                web.get("/health", self._send_health),
                web.get("/metrics", self._send_metrics),
                web.post("/act", self._act),
                web.post("/reset", self._reset),
            ]
        )
        return app

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._token is not None and request.path != "/health":
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(errors="surrogateescape"), f"Bearer {self._token}".encode()):
                return _error(401, "send the server's token as Authorization: Bearer <token>")
        origin = request.headers.get("Origin")
        if self._token is None and origin is not None and origin.rpartition("//")[2] != request.host:
            return _error(403, "pages of other sites are not served without a token")  # a browser is on this machine
        try:
            return await handler(request)
        except PolicyError as error:
            self.traffic.errors += 1
            return _error(400, str(error))
        except web.HTTPRequestEntityTooLarge:
            self.traffic.errors += 1
            return _error(413, f"a request may have {self._max_message} bytes")

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.traffic.sessions >= self._max_clients:
            self.traffic.errors += 1
            return _error(503, f"{self._max_clients} clients are connected, and no more are taken: try again later")
        socket = web.WebSocketResponse(max_msg_size=self._max_message, heartbeat=30.0, compress=False)
        session = self._new_session()
        self.traffic.sessions += 1
        try:
            await socket.prepare(request)
            await socket.send_bytes(pack(self._contract))
            async for message in socket:
                if message.type is not WSMsgType.BINARY:
                    await socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"messages are msgpack, binary")
                    break
                await socket.send_bytes(pack(self._answer_message(session, message.data)))
        except (ConnectionError, RuntimeError):  # the client has gone while it was answered
            pass
        finally:
            self.traffic.sessions -= 1
        return socket

    def _answer_message(self, session: Session, message: bytes) -> dict[str, Any]:
        try:
            self._take(session.allowance)
            return self._answer(session, unpack(message))
        except (PolicyError, ValueError) as error:
            self.traffic.errors += 1
            return {"error": printable(str(error))}

    def _answer(self, session: Session, request: Any) -> dict[str, Any]:
        """The answer to a request; a PolicyError where there is none."""
        if not isinstance(request, dict):
            raise PolicyError(f"a request is a map with an observation, this is a {type(request).__name__}")
        if unknown := [*map(str, request.keys() - {"observation", "reward", "reset", "session"})]:
            raise PolicyError(f"a request has observation, reward and reset, and no {unknown[0]!r}")
        if request.get("reset"):
            session.policy.reset()
            session.begun = True
            if "observation" not in request:
                return {"reset": True}
        if session.policy.contract.memory and not session.begun:
            raise PolicyError(
                "no episode has begun in this session, or the server was started anew: send a reset first"
            )
        return self._action(session.policy, request)

    def _action(self, policy: DeployedPolicy, request: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        if "observation" not in request:
            raise PolicyError("a request to act needs an observation")
        arrays = arrays_of(policy.contract, request["observation"], batch=False)
        reward = request.get("reward")
        if isinstance(reward, np.ndarray) and reward.size == 1:
            reward = reward.item()
        if reward is not None and not isinstance(reward, (int, float)):
            raise PolicyError(f"the reward must be a number, got {reward!r}")
        action = policy.act(arrays, reward)
        self.traffic.add(time.perf_counter() - start, arrays)
        return {"action": action} if policy.outside is None else {"action": action, "outside": policy.outside}

    async def _reset(self, request: web.Request) -> web.Response:
        values = await self._json(request)
        self._take(self._allowance_of(request.remote or ""))
        name, given = secrets.token_urlsafe(16), values.get("session")
        if isinstance(given, str) and given in self._sessions:
            name, session = given, self._sessions[given]
        else:
            session = self._new_session()
            self._sessions[name] = session
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(name)
        session.begun = True
        session.policy.reset()
        return web.json_response({"session": name})

    async def _act(self, request: web.Request) -> web.Response:
        values = await self._json(request)
        name = values.get("session")
        if name is None:
            session = self._new_session()
            session.allowance = self._allowance_of(request.remote or "")
        elif not isinstance(name, str) or name not in self._sessions:
            self.traffic.errors += 1
            return _error(409, "this session is not known, or the server was started anew: begin one by POST /reset")
        else:
            session = self._sessions[name]
            self._sessions.move_to_end(name)
        self._take(session.allowance)
        answer = self._answer(session, values)
        return web.json_response({key: np.asarray(value).tolist() for key, value in answer.items()})

    async def _json(self, request: web.Request) -> dict[str, Any]:
        try:
            values = json.loads(await request.read() or b"{}")
        except (ValueError, RecursionError) as error:
            raise PolicyError(f"the request is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise PolicyError("a request is an object of JSON")
        return values

    async def _send_contract(self, request: web.Request) -> web.Response:
        return web.json_response(self._contract)

    async def _send_health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _send_metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.traffic.text())

    def _take(self, allowance: Allowance) -> None:
        if not allowance.take():
            raise PolicyError(f"more than {self._max_rate:g} requests a second: slow down")

    def _new_session(self) -> Session:
        return Session(self._policy.another(), self._max_rate)

    def _allowance_of(self, address: str) -> Allowance:
        if address not in self._allowances:
            self._allowances[address] = Allowance(self._max_rate)
            if len(self._allowances) > MOST_SESSIONS:
                self._allowances.popitem(last=False)
        return self._allowances[address]


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": printable(text)}, status=status)
