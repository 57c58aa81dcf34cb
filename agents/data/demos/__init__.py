"""The built-in datasets, for machines without a network: each is made on first use, the same everywhere.

``making`` lists them, ``adroit`` rolls out policies that ship with the package, and ``pointmaze``, ``taxi`` and
``mountain_car`` record pieces (``pieces``) that have to be put together. Each is an ordinary Minari dataset in the
local store afterwards.
"""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.data.demos.making import dataset_ids as dataset_ids
    from agents.data.demos.making import make as make

resolve_lazily(__name__)
