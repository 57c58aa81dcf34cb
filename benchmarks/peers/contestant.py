"""The process of a contestant: python contestant.py MODULE SOURCE DATA THREADS UPDATES [SETTING ...].

Needs the standard library, numpy and what the module needs, whose ``updates`` takes the transitions, the number of
updates in a round and the settings, and returns a function that makes a round of them and waits for its end.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from unittest.mock import MagicMock

NOT_NEEDED = ("d4rl", "gym", "pyrallis", "tyro", "wandb")  # by an update


def main() -> None:
    module, source, data, threads, number, *settings = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a peer prints is no answer
    sys.argv[1:] = []
    own = importlib.import_module(module)
    sys.path[0] = source
    if module != "ours":
        sys.modules.update({name: MagicMock() for name in NOT_NEEDED})
    import numpy as np

    with np.load(data) as file:
        run = own.updates(dict(file), int(number), *settings)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        run()
        print(time.perf_counter() - wall, time.process_time() - processor, file=answers, flush=True)


if __name__ == "__main__":
    main()
