"""A W&B run that waits for its server at its start and its end only, and there not longer than it was told."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torchrl.record.loggers.wandb import WandbLogger

from agents.errors import one_line


class PatientLogger(WandbLogger):
    """TorchRL's logger of a W&B run, whose trouble with the server is a line on stderr and nothing else.

    What is logged goes to W&B's own process, which writes it to a file and uploads it when it can.
    """

    def __init__(self, *args: Any, patience: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._patience = patience  # seconds
        self._is_gone = False

    def tell(self, call: Callable[[], Any]) -> None:
        """Log something; once W&B's process has gone, nothing happens any more."""
        if self._is_gone:
            return
        try:
            call()
        except ConnectionError as error:
            self._is_gone = True
            self._warn(f"W&B's own process has gone ({one_line(error)}); the CSV files go on")

    def log_table(self, key: str, columns: Sequence[str], rows: Iterable[Sequence], step: int | None = None) -> None:
        """A table, as a file of the run."""
        import wandb

        table = wandb.Table(columns=[*columns], data=[[*row] for row in rows])
        # W&B would log a table that is not bound yet as an artifact too: it asks the server first, and waits for the
        # answer, and what it uploads names a folder in the user's home
        table.bind_to_run(self.experiment, key, self.experiment.step)
        steps = {} if step is None else {f"{key.split('/')[0]}/step": step}
        self.experiment.log({key: table, **steps})

    def ask(self, call: Callable[[], Any], subject: str) -> None:
        """Do what needs answers of the server; after some time without one, let it be."""

        def work() -> None:
            try:
                call()
            except Exception as error:  # whatever it is, it is no reason to end a run
                self._warn(f"W&B did not take {subject} ({one_line(error)})")

        worker = threading.Thread(target=work, daemon=True)  # no exit waits for it
        worker.start()
        worker.join(self._patience)
        if worker.is_alive():
            self._warn(f"W&B does not answer: {subject} may not be logged")

    def finish(self, exit_code: int) -> None:
        """End the run; what is not uploaded in time stays on this machine, and a line says how to upload it."""
        try:
            self.tell(lambda: self.experiment.finish(exit_code=exit_code))
        except TimeoutError:
            self._warn(f"W&B has not taken everything in time; upload the rest by: {self.sync_command}")

    @property
    def folder(self) -> Path:
        """Where W&B keeps the run on this machine, relative to the current folder."""
        return Path(os.path.relpath(Path(self.experiment.dir).parent))

    @property
    def sync_command(self) -> str:
        return f"wandb sync {shlex.quote(str(self.folder))}"

    def _warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr)
