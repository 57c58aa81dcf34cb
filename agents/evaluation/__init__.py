"""How good a policy is: rollouts and their scores, films, statistics over runs, and what held-out steps say."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.evaluation.held_out import HeldOut as HeldOut
    from agents.evaluation.held_out import held_out_steps as held_out_steps
    from agents.evaluation.rollouts import EvalResult as EvalResult
    from agents.evaluation.rollouts import evaluate as evaluate
    from agents.evaluation.rollouts import random_policy as random_policy
    from agents.evaluation.video import record_video as record_video

resolve_lazily(__name__)
