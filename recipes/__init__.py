"""The recipes: ``offline-agents train``, ``python -m recipes.train`` or ``python recipes/train.py``."""

import os
import sys

from agents.cores import bound_cores, usable_cores
from recipes.settings import interrupt

# A script's folder comes first on the path: what others call settings or evaluate would be found in this one.
_is_script = os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__))
if _is_script:
    del sys.path[0]

# A signal ends a command with one line also while it is being imported.
if _is_script or os.path.basename(sys.argv[0]) in ("offline-agents", "-m"):
    interrupt.install()

# Torch's OpenMP threads wait for each other by spinning, by default for so long that beside other busy processes an
# update takes ten times as long; this many turns cost nothing on an idle machine. The library reads it when it loads.
if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "30000"

# Without a word, torch has a thread for each core that the process is bound to. Where a container's quota is smaller,
# these use up their time together and stand still for the rest of each period.
if "torch" not in sys.modules and "OMP_NUM_THREADS" not in os.environ and usable_cores() < bound_cores():
    os.environ["OMP_NUM_THREADS"] = str(usable_cores())
