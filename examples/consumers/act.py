"""A policy on a robot, with NumPy and onnxruntime alone: ``python act.py policy.onnx episode.json``.

An episode is a list of steps, each with ``observation`` (by the names of the policy's inputs) and ``reward``, that of
the step before. Each action is printed as a line of JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
contract = json.loads(session.get_modelmeta().custom_metadata_map["policy.json"])
outputs = [output.name for output in session.get_outputs()]
memory = {}
for name, kind, shape, reset in ((m["name"], m["type"], m["shape"], m["reset"]) for m in contract["memory"]):
    memory[name] = np.full((1, *shape), reset, kind)  # of the first step of every episode

for step in json.loads(Path(sys.argv[2]).read_text()):
    inputs = {**memory}
    for part in contract["observations"]:
        inputs[part["name"]] = np.array(step["observation"][part["name"]], part["type"]).reshape(1, *part["shape"])
    if contract["takes_reward"]:
        inputs["reward"] = np.array([[step["reward"]]], np.float32)
    results = dict(zip(outputs, session.run(outputs, inputs)))
    memory = {name: results[f"{name}.next"] for name in memory}
    print(json.dumps(results["action"][0].tolist()))
