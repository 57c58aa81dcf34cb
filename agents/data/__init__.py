"""Datasets: from a Minari id to batches of transitions, and what is in them."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.data.contents import Inspection as Inspection
    from agents.data.dataset import OfflineDataset as OfflineDataset
    from agents.data.dataset_statistics import DatasetStatistics as DatasetStatistics
    from agents.data.infos import read_infos as read_infos
    from agents.data.inspection import inspect_dataset as inspect_dataset
    from agents.data.loading import load_dataset as load_dataset
    from agents.data.rewards import LearnerRewards as LearnerRewards
    from agents.data.rewards import learner_rewards as learner_rewards
    from agents.data.settings import RewardsConfig as RewardsConfig
    from agents.data.specs import Specs as Specs

resolve_lazily(__name__)
