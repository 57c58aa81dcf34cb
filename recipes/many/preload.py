"""What a run imports when it first needs it, for the process that the runs of a pool are forked from.

It may start no thread: a fork has the one that forked alone, and would wait forever for what the others have locked.
W&B is left to the runs: its import makes a temporary folder, which the first of them to end would remove.
"""

from __future__ import annotations

import contextlib
import gc
import os
from typing import Any

import h5py  # noqa: F401
import imageio.v2  # noqa: F401
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from tqdm import tqdm

from agents.environments.spec import register_robotics
from recipes.runs import figures, versions, videos  # noqa: F401


def compile_something() -> None:
    """Have the compiler loaded, and its trials made: of the processor's vector instructions, of the headers."""
    inductor: Any = torch._inductor
    x = torch.ones(64)
    interval, tqdm.monitor_interval = tqdm.monitor_interval, 0  # else a bar of the compiler's would start a thread
    with inductor.config.patch(compile_threads=1):  # this one
        inductor.standalone_compile(make_fx(lambda x: [x.exp()])(x), [x])
    tqdm.monitor_interval = interval


register_robotics()
versions.versions()  # by git, and of the code that has been loaded
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # of PyArrow, which pandas loads
with contextlib.suppress(ImportError):  # where it is installed, TensorDict loads it at the first call of a module
    import pandas  # noqa: F401
with contextlib.suppress(Exception):  # without a compiler, a run says so itself
    compile_something()
gc.freeze()  # a collection in a run would go through, and so copy, all that was imported
