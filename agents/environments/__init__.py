"""Environments: which one is meant, recording and scoring their episodes, and rendering without a display."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.environments.adapter import Spaces as Spaces
    from agents.environments.environment import EvaluationEnv as EvaluationEnv
    from agents.environments.headless import gl_backend as gl_backend
    from agents.environments.parts import Actions as Actions
    from agents.environments.parts import Observations as Observations
    from agents.environments.parts import Part as Part
    from agents.environments.protocols import PROTOCOLS as PROTOCOLS
    from agents.environments.protocols import scorings as scorings
    from agents.environments.scoring import Reference as Reference
    from agents.environments.scoring import ScoreProtocol as ScoreProtocol
    from agents.environments.scoring import Scoring as Scoring
    from agents.environments.spec import find_spec as find_spec
    from agents.environments.spec import spec_from_file as spec_from_file

resolve_lazily(__name__)
