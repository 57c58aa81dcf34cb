"""Runs recipes as processes of their own without paying for their imports each time.

It imports everything once, then forks a child per line of standard input, a JSON object with the arguments of ``run``.
The child is a real process with its own exit code, signals and files. The answer is a line with its exit code, negative
for a signal. W&B is left for the children to import: that makes a temporary folder, which the first one would remove.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import multiprocessing.util
import os
import sys
import traceback
import weakref

import h5py  # noqa: F401  (as the next ones: what the recipes import when they first need it)
import imageio.v2  # noqa: F401
import omegaconf._impl  # noqa: F401

from agents.environments.spec import register_robotics
from recipes import (
    compare,
    dashboard,
    estimate,
    evaluate,
    export,
    finetune,
    import_data,
    inspect_dataset,
    select_policy,
    serve,
    sweep,
    train,
)
from recipes.runs.versions import versions
from recipes.settings import command_line

os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")  # of PyArrow, which pandas loads: no thread
with contextlib.suppress(ImportError):  # TensorDict loads it, where it is installed, at the first call of a module
    import pandas  # noqa: F401

RECIPES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        train,
        finetune,
        evaluate,
        export,
        serve,
        compare,
        sweep,
        estimate,
        select_policy,
        inspect_dataset,
        import_data,
        dashboard,
    )  # fmt: skip
}


def run(recipe: str, arguments: list[str], cwd: str, environment: dict[str, str], before: str, output: str) -> None:
    """Run a recipe after the code ``before``, which breaks something; ``output`` is a folder for what it prints."""
    for number, name in enumerate((os.devnull, f"{output}/stdout", f"{output}/stderr")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = [RECIPES[recipe].__file__, *arguments]
    exec(before, {"__name__": "before"})
    RECIPES[recipe].main()


def leave(code: int) -> None:
    """Exit as Python does, but without taking apart what was imported, which takes longer than many a test."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def forget_exit_functions() -> None:
    """Leave to each child what it has registered itself."""
    atexit._clear()
    for finalizer in weakref.finalize._registry:
        finalizer.atexit = False
    for function in (multiprocessing.util._exit_function, weakref.finalize._exitfunc):
        atexit.register(function)


def main() -> None:
    register_robotics()
    command_line.register()
    forget_exit_functions()
    versions()  # the same for all, though somebody commits or edits a file meanwhile
    gc.freeze()  # a collection in a child would go through, and so copy, all that was imported
    gc.set_threshold(20_000, 20, 20)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(**json.loads(line))
            except SystemExit as exit:
                leave(exit.code or 0)
            except BaseException:
                traceback.print_exc()
                leave(1)
            leave(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
