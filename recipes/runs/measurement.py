"""What is measured of a run's policy as it learns: on held-out steps, in its environment, by the data alone."""

from __future__ import annotations

import agents
from agents import metrics
from recipes.runs import console
from recipes.runs.training import Training
from recipes.runs.validation import Validation


class Measurement:
    """The measures of one run's policy at its steps; of a step that is asked about again, the same ones."""

    def __init__(self, run: Training) -> None:
        self._run, self._validation = run, None
        self._result: agents.EvalResult | None = None  # of the last evaluation
        self._evaluated_at = 0
        if run.held_out is not None:
            self._validation = Validation(run.agent, run.dataset.specs, run.held_out, log_every=run.config.log_every)

    def validation(self, step: int) -> dict[str, float]:
        """``validation/*`` of the agent as it is; nothing where nothing is held out."""
        return {} if self._validation is None else self._validation.at(step)

    def estimate(self, step: int) -> dict[str, float]:
        """``estimate/*`` of the policy as it is, where that is due."""
        value = self._run.estimate(step)
        return {} if value is None else metrics.estimate(value)

    def at_log_point(self, step: int) -> dict[str, float]:
        """Both, as far as they are due beside the losses of an update."""
        is_due = self._validation is not None and self._validation.due(step)
        return (self.validation(step) if is_due else {}) | self.estimate(step)

    def evaluation(self, step: int) -> agents.EvalResult | None:
        """Of the policy as it is, in its environment; None without one."""
        if (env := self._run.env) is None:
            return None
        self._result = agents.evaluate(self._run.agent.policy, env, self._run.config.num_eval_episodes)
        self._evaluated_at = step
        return self._result

    def forget(self) -> None:
        """Let the last evaluation be none of the policy that the run ends with."""
        self._result = None

    def last_evaluation(self) -> agents.EvalResult | None:
        """That of the policy that the run ends with, if need be made now."""
        return self._result or self.evaluation(self._run.agent.num_updates)

    def merit(self) -> float | None:
        """How good the policy of this moment is: its mean return or, without an environment, its estimate.

        None: that has not been measured, or means nothing.
        """
        step = self._run.agent.num_updates
        if self._run.env is not None:
            return self._result.returns.mean().item() if self._result and self._evaluated_at == step else None
        value = self._run.estimate(step)
        return None if value is None or value.refutations else value.value

    def headline(self, step: int, result: agents.EvalResult | None) -> str:
        """An evaluation, and what else is known of this step, in one line."""
        return console.headline(result, self.validation(step), self._run.estimate(step))
