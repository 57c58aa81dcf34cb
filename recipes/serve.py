"""Serve a policy to programs elsewhere: by WebSocket with msgpack, and by HTTP with JSON.

For example:

    offline-agents serve policy=runs/iql/demo/pen/mixed-v1/seed0/policy.onnx
    offline-agents serve checkpoint=runs/iql/demo/pen/mixed-v1/seed0 host=0.0.0.0 token=a-long-secret
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("serve")  # help, and mistakes in settings, before all else is imported

import ipaddress
import os
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from agents.deployment.formats import load
from agents.deployment.policy import DeployedPolicy
from agents.errors import ConfigError, optional_package
from recipes.settings.composition import build
from recipes.settings.deployment import ServeConfig

TOKEN = "OFFLINE_AGENTS_TOKEN"  # environment variable: a setting is there for all to see in the list of processes


def serve(cfg: DictConfig) -> None:
    config: ServeConfig = build(cfg, "serve")
    with optional_package("serve", "serve"):
        from aiohttp import web

        from agents.deployment.server import PolicyServer
    policy = _read(config)
    token = config.token or os.environ.get(TOKEN)
    if token is None and not _is_loopback(config.host):
        print(
            f"warning: {config.host} is open to others, and there is no token: whoever comes is served", file=sys.stderr
        )
    limits = {name: getattr(config, name) for name in ("max_message", "max_rate", "max_clients")}
    server = PolicyServer(policy, token=token, **limits)
    address = f"{config.host}:{config.port}"
    print(
        f"{policy.contract.algorithm} at step {policy.contract.step}: ws://{address}/ and http://{address}/act",
        flush=True,
    )
    try:
        web.run_app(server.application(), host=config.host, port=config.port, print=None, access_log=None)
    except OSError as error:
        raise ConfigError(f"cannot serve at {address}: {error.strerror}; name another by host= or port=") from error


def _read(config: ServeConfig) -> DeployedPolicy:
    if config.policy is None:
        return _of_checkpoint(str(config.checkpoint))
    return load(config.policy, trust=config.trust_policy)


def _of_checkpoint(name: str) -> DeployedPolicy:
    """The policy of a checkpoint, by way of a file of torch's."""
    from agents.deployment.exporting import export_policy
    from recipes.evaluate import read_checkpoint, tell_of_change
    from recipes.runs.datasets import dataset_of
    from recipes.runs.folder import RunFolder

    checkpoint = read_checkpoint(name)
    tell_of_change(checkpoint, "the server")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "policy.pt2")
        dataset = dataset_of(checkpoint, RunFolder(checkpoint.path.parent.parent))
        export_policy(checkpoint, dataset, path, format="pt2")
        return load(path, trust=True)  # made here


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main() -> None:
    command_line.main("serve", serve)


if __name__ == "__main__":
    main()
