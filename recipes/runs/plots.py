"""Plots of a run, drawn anew now and then: its evaluations and its training."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from agents.data.dataset import OfflineDataset
from agents.evaluation.rollouts import EvalResult
from agents.files import write_atomically
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import read_csv


@dataclass
class Plots:
    """``returns.png``, average episode reward over gradient steps, beside a random policy and the dataset's mean,
    ``estimates.png``, what the data say of the policy's worth, and ``training.png``, all that an update reports.
    """

    folder: RunFolder
    algorithm: str
    dataset: OfflineDataset
    random: EvalResult | None  # the random policy's on the same episodes; None: no evaluations, and no returns
    show_mean: bool = field(default=True, kw_only=True)  # the dataset's: if its environment is that of the evaluations
    own_return: float | None = field(default=None, kw_only=True)  # discounted, of the data that estimates are from
    last_drawing: float = field(default=-math.inf, init=False)  # seconds

    def draw(self, *, at_most_every: float = 0.0) -> None:
        """Draw what the CSV files hold, unless that was done less than ``at_most_every`` seconds ago."""
        now = time.monotonic()
        if now - self.last_drawing < at_most_every:
            return
        from recipes.runs import figures  # matplotlib is not waited for before the first update

        evaluations, training = read_csv(self.folder.evaluations_file), read_csv(self.folder.metrics_file)
        estimates = [row for row in evaluations if row.get("estimate/fqe")]
        if estimates and self.own_return is not None:
            names = {"algorithm": self.algorithm, "title": self.dataset.id}
            write_atomically(
                self.folder.estimates_plot_file, figures.estimates_page(estimates, self.own_return, **names)
            )
        evaluations = [row for row in evaluations if row.get("eval/return")]
        if evaluations and self.random is not None:
            data_mean = self.dataset.statistics.horizon_returns.mean() if self.show_mean else None
            names = {"algorithm": self.algorithm, "title": self.dataset.id}
            page = figures.returns_page(evaluations, self.random.returns, data_mean, **names)
            write_atomically(self.folder.plot_file, page)
        if training:
            title = f"{self.algorithm} on {self.dataset.id}"
            write_atomically(self.folder.training_plot_file, figures.training_page(training, title))
        self.last_drawing = now
