"""Rollouts of a policy and what they measured: scores, films, statistics over runs."""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "rollouts": "evaluate random_policy",
        "result": "EvalResult",
        "video": "check_rendering film record_video",
    },
)
