"""Code to run before a recipe that kills it, at a moment of its own; ``KILL`` comes first."""

KILL = "import os, signal\ndef die(): os.kill(os.getpid(), signal.SIGKILL)\n"
AFTER_A_ROW = """
from recipes.runs import metrics_log
write = metrics_log.CsvLog.write
def dying_write(self, step, values):
    write(self, step, values)
    if self.path.name == "{name}" and step == {step}: die()
metrics_log.CsvLog.write = dying_write
"""
IN_A_STEP = """
from agents.online import collection
step = collection.Collection.step
def dying_step(self):
    step(self)
    if self.env_step == {step}: die()
collection.Collection.step = dying_step
"""
