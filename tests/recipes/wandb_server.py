"""A W&B server on loopback, as far as the client needs one to believe in it; it keeps everything that it is sent.

GraphQL is answered by the operation's name. What is uploaded can be fetched again.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "lab"


class Server(ThreadingHTTPServer):
    """The server, while it is used as a context manager.

    Attributes:
        asked: name and variables of every GraphQL operation, in order.
        received: every body, in order.
        files: what was uploaded, by path.
        answers: replaces or adds answers, a function of the variables by operation.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.received: list[bytes] = []
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.runs: list[tuple[dict[str, Any], dict[str, Any]]] = []  # settings and summary of those in a project
        self.refuse: int | None = None  # answer everything by this status
        self.silent = threading.Event()  # set: answer nothing any more
        self.silent_after: str | None = None  # an operation: the last one that is answered
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a client use it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0123456789" * 4}

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """Variables of an operation, each time that it was asked."""
        return [variables for name, variables in self.asked if name == operation]

    def lines(self, file: str) -> list[dict[str, Any]]:
        """The rows that a run streamed to a file."""
        streamed = [json.loads(body)["files"] for body in self.received if body.startswith(b'{"files"')]
        return [json.loads(line) for files in streamed if file in files for line in files[file]["content"]]

    def finished(self) -> list[int]:
        """Exit codes of the runs that said how they ended."""
        streamed = [json.loads(body) for body in self.received if body.startswith(b"{") and b'"complete":true' in body]
        return [body["exitcode"] for body in streamed if body.get("complete")]

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""

    def answer(self, operation: str, variables: dict[str, Any]) -> Any:
        if operation in self.answers:
            return self.answers[operation](variables)
        return ANSWERS.get(operation, lambda server, variables: {})(self, variables)

    def upload(self, name: str) -> dict[str, Any]:
        return {"name": name, "uploadUrl": f"{self.url}/storage/{name}", "uploadHeaders": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.body()
        if self.server.silent.is_set():
            self.server.closing.wait(60.0)
            return
        if self.server.refuse is not None:
            self.reply({"errors": [{"message": "invalid API key"}]}, self.server.refuse)
        elif self.path == "/graphql":
            request = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
            variables = request.get("variables") or {}
            self.server.asked.append((operation, variables))
            if operation == self.server.silent_after:
                self.server.silent.set()
            self.reply({"data": self.server.answer(operation, variables)})
        else:
            self.reply({"exitcode": None, "limits": {}})

    def do_PUT(self) -> None:
        self.server.files[self.path.removeprefix("/storage/")] = self.body()
        self.reply({})

    def do_GET(self) -> None:
        name = self.path.removeprefix("/storage/")
        self.reply(self.server.files.get(name, b"{}"), 200 if name in self.server.files else 404)

    def body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.received.append(body)
        return body

    def reply(self, content: Any, status: int = 200) -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *message: Any) -> None:
        """Prints nothing."""


def upsert_bucket(server: Server, variables: dict[str, Any]) -> Any:
    project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": variables["entity"] or ENTITY}}
    known = {"id": "run", "name": variables["name"], "displayName": variables["displayName"], "project": project}
    return {"upsertBucket": {"bucket": {**known, "config": "{}", "historyLineCount": 0}, "inserted": True}}


def create_artifact(server: Server, variables: dict[str, Any]) -> Any:
    artifact = {"id": "artifact", "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
    return {"createArtifact": {"artifact": artifact}}


def artifact_by_id(server: Server, variables: dict[str, Any]) -> Any:
    project = {"id": "p", "internalId": "1", "name": "grasp", "entity": {"name": ENTITY}}
    unknown = dict.fromkeys(("description", "metadata", "historyStep", "updatedAt", "commitHash"))
    return {
        "artifact": {
            **unknown,
            "__typename": "Artifact",
            "id": variables["id"],
            "artifactSequence": {"__typename": "ArtifactSequence", "name": "data", "project": project},
            "versionIndex": 0,
            "artifactType": {"name": "dataset"},
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "state": "COMMITTED",
            "size": 0,
            "digest": "d",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "aliases": [],
        }
    }


def manifest(operation: str) -> Callable[[Server, dict[str, Any]], Any]:
    def answer(server: Server, variables: dict[str, Any]) -> Any:
        file = {"id": "file", **server.upload(f"manifests/{len(server.asked)}")}
        return {operation: {"artifactManifest": {"id": "manifest", "file": file}}}

    return answer


def create_artifact_files(server: Server, variables: dict[str, Any]) -> Any:
    nodes = [
        {
            **server.upload(f"artifacts/{file['name']}"),
            "storagePath": file["name"],
            "uploadMultipartUrls": None,
            "artifact": {"id": "artifact"},
        }
        for file in variables["input"]["artifactFiles"]
    ]
    return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}


def create_run_files(server: Server, variables: dict[str, Any]) -> Any:
    files = [server.upload(name) for name in variables["files"]]
    return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}


def upsert_view(server: Server, variables: dict[str, Any]) -> Any:
    number = sum(1 for name, _ in server.asked if name.lower().startswith("upsertview"))
    view = {
        "id": variables.get("id") or f"view{number}",
        "type": variables["type"],
        "name": variables["name"],
        "displayName": variables["displayName"],
        "description": variables["description"],
        "project": {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]},
        "spec": variables["spec"],
        "updatedAt": "2026-01-01T00:00:00",
    }
    return {"upsertView": {"view": view, "inserted": not variables.get("id")}}


def runs(server: Server, variables: dict[str, Any]) -> Any:
    nodes = [
        {
            "id": f"run{index}",
            "projectId": "1",
            "name": f"run{index}",
            "displayName": f"run{index}",
            "state": "finished",
            "config": json.dumps({name: {"value": value} for name, value in settings.items()}),
            "summaryMetrics": json.dumps(summary),
            "createdAt": "2026-01-01T00:00:00Z",
            "heartbeatAt": "2026-01-01T00:00:00Z",
            **dict.fromkeys(("sweepName", "group", "jobType", "commit", "description", "notes", "systemMetrics")),
            **{
                "tags": [],
                "readOnly": False,
                "historyLineCount": 0,
                "historyKeys": None,
                "user": {"name": "u", "username": "u"},
            },
        }
        for index, (settings, summary) in enumerate(server.runs)
    ]
    page = {"edges": [{"node": node, "cursor": "c"} for node in nodes], "pageInfo": NO_MORE}
    return {"project": {"internalId": "1", "runCount": len(nodes), "readOnly": False, "runs": page} if nodes else None}


NO_MORE = {"endCursor": None, "hasNextPage": False}
VIEWER = {"id": "u", "entity": ENTITY, "username": "u", "email": "", "flags": "{}", "teams": {"edges": []}}
ANSWERS: dict[str, Callable[[Server, dict[str, Any]], Any]] = {
    "Viewer": lambda *_: {"viewer": VIEWER},
    "GetDefaultEntity": lambda *_: {"viewer": VIEWER},
    "RunResumeStatus": lambda *_: {"model": None},
    "ServerFeaturesQuery": lambda *_: {"serverInfo": {"features": []}},
    "UpsertBucket": upsert_bucket,
    "CreateRunFiles": create_run_files,
    "ArtifactType": lambda *_: {"project": None},
    "CreateArtifact": create_artifact,
    "ArtifactByID": artifact_by_id,
    "UseArtifact": lambda *_: {"useArtifact": {"artifact": {"id": "artifact"}}},
    "CreateArtifactManifest": manifest("createArtifactManifest"),
    "UpdateArtifactManifest": manifest("updateArtifactManifest"),
    "CreateArtifactFiles": create_artifact_files,
    "CommitArtifact": lambda *_: {"commitArtifact": {"artifact": {"id": "artifact", "digest": "d"}}},
    "Runs": runs,
    "UpsertView2": upsert_view,
    "upsertView": upsert_view,
    "GetProjects": lambda server, _: {"models": {"edges": [], "pageInfo": {**NO_MORE, "__typename": "PageInfo"}}},
    "UpsertModel": lambda *_: {"upsertModel": {"model": {"id": "p"}, "project": {"id": "p"}, "inserted": True}},
    "ProjectInternalId": lambda *_: {"project": {"id": "p", "internalId": "1"}},
}
