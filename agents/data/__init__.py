"""Datasets: from a Minari id to batches of transitions, and what is in them."""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "dataset": "OfflineDataset load_dataset",
        "dataset_statistics": "DatasetStatistics",
        "specs": "Specs",
        "layout": "DEFAULT_KEYS Layout",
        "source": "Source open_source",
        "store": "is_here",
        "inspection": "Inspection inspect_dataset",
    },
)
