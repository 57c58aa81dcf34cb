"""Online after offline: exploration, collection in environments, experience on disk, and batches of both."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.online.batches import MixedBatches as MixedBatches
    from agents.online.batches import joined as joined
    from agents.online.collection import Collection as Collection
    from agents.online.experience import Experience as Experience
    from agents.online.experience import RewardRule as RewardRule
    from agents.online.exploration import Exploration as Exploration

resolve_lazily(__name__)
