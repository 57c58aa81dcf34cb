"""The algorithms, one file each, and the registry of their names."""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "registry": "ALGORITHMS check_actions tuned",
    },
)
