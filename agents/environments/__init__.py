"""What an environment is, which one is meant, how an episode in it is scored, and rendering without a display."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.environments.adroit import ADROIT_TASKS as ADROIT_TASKS
    from agents.environments.adroit import AdroitTask as AdroitTask
    from agents.environments.adroit import d4rl_return as d4rl_return
    from agents.environments.adroit import success_held as success_held
    from agents.environments.environment import EvaluationEnv as EvaluationEnv
    from agents.environments.headless import choose_gl_backend as choose_gl_backend
    from agents.environments.headless import gl_backend as gl_backend
    from agents.environments.protocols import PROTOCOLS as PROTOCOLS
    from agents.environments.protocols import scorings as scorings
    from agents.environments.scoring import Reference as Reference
    from agents.environments.scoring import ScoreProtocol as ScoreProtocol
    from agents.environments.scoring import Scoring as Scoring
    from agents.environments.spec import find_spec as find_spec
    from agents.environments.spec import read_spec as read_spec
    from agents.environments.spec import register_robotics as register_robotics
    from agents.environments.spec import spec_from_file as spec_from_file

resolve_lazily(__name__)
