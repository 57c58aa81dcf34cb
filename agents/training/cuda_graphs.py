"""Several updates as one CUDA graph: on a GPU an update is some sixty small kernels, and launching them is its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator

from agents.training.agent import Agent
from agents.training.stack import AgentStack

WARM_UP = 3  # updates before the capture, at least, in which kernels are chosen


class GraphedUpdates:
    """Advances an agent by any number of updates, most of them as replays of one CUDA graph.

    Batches are drawn inside the graph. The results are those of ``agent.update(sample())``.

    Args:
        agent: on a CUDA device.
        sample: draws a batch on that device without reading a value back.
        generators: on that device, from which ``sample`` and stacked agents draw; torch's default one needs no naming.
        size: updates per graph, rounded up to whole periods of the agent.

    Attributes:
        problem: why no graph could be captured, in a line; the updates then run one by one.
    """

    def __init__(
        self,
        agent: Agent | AgentStack,
        sample: Callable[[], TensorDictBase],
        *,
        generators: Sequence[Generator] = (),
        size: int = 10,
    ) -> None:
        self.rule = agent.rule
        self.sample = sample
        self.size = math.ceil(size / self.rule.period) * self.rule.period
        self.problem: str | None = None
        self._generators = generators
        self._rates = torch.zeros(self.size, len(self.rule.rates(0)), device=self.rule.device)  # [updates, groups]
        self._replay: Callable[[], None] | None = None
        self._captured_at = 0
        settled_after = max(config.after for _, config in self.rule.groups.values())
        # Adam's moments have to be there: a graph in which they appear would set them back to zero at every replay
        self._capture_at = max(self.rule.num_updates, settled_after) + max(WARM_UP, self.rule.period)

    def __call__(self, num_updates: int) -> TensorDict:
        """Make ``num_updates`` >= 1 updates; returns what the last one returned."""
        end, statistics = self.rule.num_updates + num_updates, TensorDict()
        while (done := self.rule.num_updates) < end:
            fits = end - done >= self.size
            if fits and self._replay is None and self.problem is None and done >= self._capture_at:
                self._capture()
            in_phase = (done - self._captured_at) % self.rule.period == 0
            replay = self._replay if fits and in_phase else None
            statistics = self.rule.update(self.sample()) if replay is None else self._statistics_of(replay)
        return statistics

    def _statistics_of(self, replay: Callable[[], None]) -> TensorDict:
        done = self.rule.num_updates
        self._rates.copy_(torch.tensor([self.rule.rates(done + i) for i in range(self.size)]))
        replay()
        self.rule.count(done + self.size)
        return self._statistics.clone()  # the next replay writes over them

    def _capture(self) -> None:
        done = self.rule.num_updates
        try:
            self._replay = capture(self._updates, self._generators)
        except RuntimeError as error:
            self.problem = f"no CUDA graph of this update ({str(error).splitlines()[0]})"
        self.rule.count(done)
        self._captured_at = done

    def _updates(self) -> None:
        for rates in self._rates:
            self._statistics = self.rule.update_at(list(rates), self.sample())


def capture(function: Callable[[], None], generators: Sequence[Generator]) -> Callable[[], None]:
    """Record the kernels that a function launches, without running them; returns what runs them.

    Raises:
        RuntimeError: if the function waits for the device.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
