"""The place of the hand-made datasets, and processes that are killed."""

from __future__ import annotations

import os
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty dataset folder, an empty user cache, and no network."""

    def no_network(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    for name in ("MINARI_REMOTE", "HF_ENDPOINT", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "minari"


@pytest.fixture(scope="session")
def run_in_fork() -> Callable[..., str]:
    """Code run in a process that has all imports of this one, and so begins at once; what it printed."""

    def run(code: str, *arguments: str) -> str:
        reading, writing = os.pipe()
        with warnings.catch_warnings():  # that this process has threads, whose locks nobody frees: they are xdist's
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _execute(code, arguments, writing)
        os.close(writing)
        with open(reading) as output:
            printed = output.read()
        assert os.waitpid(child, 0)[1] == 0, printed
        return printed

    return run


def _execute(code: str, arguments: tuple[str, ...], output: int) -> None:
    status = 1
    try:
        for number in (1, 2):
            os.dup2(output, number)
        sys.stdout = sys.stderr = os.fdopen(output, "w", buffering=1)
        sys.argv[1:] = arguments
        torch.set_num_threads(1)  # others did not come along
        exec(code, {"__name__": "__main__"})
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
