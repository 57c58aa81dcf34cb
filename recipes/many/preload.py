"""What a run imports when it first needs it, for the process that the runs of a pool are forked from.

It may start no thread: a fork has the one that forked alone, and would wait forever for what the others have locked.
W&B is left to the runs: its import makes a temporary folder, which the first of them to end would remove.
"""

from __future__ import annotations

import gc

import h5py  # noqa: F401
import imageio.v2  # noqa: F401
import torch._inductor.compile_fx  # noqa: F401
from torch._inductor.cpu_vec_isa import pick_vec_isa

from agents.environments.spec import register_robotics

register_robotics()
pick_vec_isa()  # tries in processes of their own, and remembers, which vector instructions the compiler can use
gc.freeze()  # a collection in a run would go through, and so copy, all that was imported
