"""Rollouts of a policy and their results: scores, films, statistics over runs."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.evaluation.rollouts import EvalResult as EvalResult
    from agents.evaluation.rollouts import evaluate as evaluate
    from agents.evaluation.rollouts import random_policy as random_policy
    from agents.evaluation.video import record_video as record_video

resolve_lazily(__name__)
