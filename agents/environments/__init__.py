"""What an environment is, which one is meant, how an episode in it is scored, and rendering without a display."""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "environment": "EvaluationEnv",
        "spec": "find_spec read_spec register_robotics spec_from_file",
        "protocols": "Reference",
        "adroit": "ADROIT_TASKS AdroitTask d4rl_return success_held",
        "headless": "choose_gl_backend gl_backend",
    },
)
