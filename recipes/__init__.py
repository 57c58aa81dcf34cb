"""The recipes: ``offline-agents train``, ``python -m recipes.train`` or ``python recipes/train.py``."""

import os
import sys

# A script's folder comes first on the path: what others call settings or evaluate would be found in this one.
if os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    del sys.path[0]

# Torch's OpenMP threads wait for each other by spinning, by default for so long that beside other busy processes an
# update takes ten times as long; this many turns cost nothing on an idle machine. The library reads it when it loads.
if "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "30000"
