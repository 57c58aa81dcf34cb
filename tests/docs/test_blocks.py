"""The README and the pages of docs/: every block of code runs, or says why it cannot; links lead somewhere.

A page's blocks run in their order, in a folder of their own: ``sh`` by bash, ``python`` by one interpreter. ``text`` is
what something prints. A comment before a block says what else becomes of it:

    <!-- not run: needs an account -->              or the network, or whatever a test has not
    <!-- run by: tests/recipes/test_something.py -->
    <!-- file: huber_bc.py -->                      written into the folder, for the blocks that follow

One on its own, ``<!-- needs: highway-env -->``, names a package without which the page's blocks are skipped.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *(page for page in sorted(ROOT.glob("docs/**/*.md")) if "_build" not in page.parts)]
EXECUTED, PRINTED = ("sh", "python"), ("text",)
NEEDS = re.compile(r"<!-- needs: (\S+) -->")
MARK = re.compile(r"<!-- (not run|run by|file): (.+?) -->")

# what a block says of these is replaced, and what it does not say is added
TRAINING = {"gradient_steps": 20, "eval_every": 20, "num_eval_episodes": 1, "log_every": 10, "batch_size": 16}
SHORT = {
    "train": {**TRAINING, "compile": "off"},
    "compare": {**TRAINING, "compile": "off", "num_resamples": 50, "seeds": "0,1"},
    "sweep": {**TRAINING, "compile": "off", "num_trials": 2},
    "finetune": {"online_steps": 20, "eval_every": 10, "log_every": 10, "compile": "off"},
    "evaluate": {"num_episodes": 1},
}
SHORT_PYTHON = {
    r"num_episodes=\d+": "num_episodes=2",
    r"(?m)^(NUM_\w+) = [\d_]+": r"\1 = 12",
    r"range\(50\)": "range(2)",
}
COMMAND = re.compile(r"offline-agents (?P<recipe>\w+)|python \w+\.py")

FONTS = {"MPLCONFIGDIR": matplotlib.get_cachedir()}  # whose list takes seconds to make
INTERPRETER = """
import json, sys, traceback
sys.path.insert(0, "")
blocks, sys.stdin = sys.stdin, None
namespace = {"__name__": "__main__"}
for line in blocks:
    exec(compile(json.loads(line), "<block>", "exec"), namespace)
    print("<done>", flush=True)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    mark: str | None  # one of those above
    remark: str | None  # what is said behind it

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> Iterator[Block]:
    mark = None
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            kind, remark = mark.groups() if mark else (None, None)
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, kind, remark)
        mark = MARK.fullmatch(token.content.strip()) if token.type == "html_block" else None


def is_directive(block: Block) -> bool:
    """Sphinx's own, such as a table of contents; not code by another name."""
    return block.language.startswith("{") and not re.match(r"\{(code|sourcecode|literalinclude)", block.language)


def shortened(script: str) -> str:
    """A block of shell commands whose runs take a second each."""
    return "\n".join(map(_shorten, script.replace("\\\n", " ").splitlines()))


def _shorten(command: str) -> str:
    match = COMMAND.match(command)
    if match is None or "--help" in command:
        return command
    if "resume=" in command:  # which takes the run's own settings
        return re.sub(r"(?<=\s)gradient_steps=\S+", f"gradient_steps={2 * TRAINING['gradient_steps']}", command)
    for name, value in SHORT.get(match["recipe"] or "train", {}).items():
        command, there = re.subn(rf"(?<=\s){name}=\S+", f"{name}={value}", command)
        command += "" if there else f" {name}={value}"
    return re.sub(r"(?<=\s)online_steps=\S+", "online_steps=20", command)


def shortened_python(code: str) -> str:
    """A block of Python whose loops take a second each."""
    for long, short in SHORT_PYTHON.items():
        code = re.sub(long, short, code)
    return code


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a user who has neither account nor data, with the project on the path."""
    base, programs = tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("bin")
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "home"  # workers make a dataset once
    home.mkdir(exist_ok=True)
    python = shlex.quote(sys.executable)
    for name, command in {"python": python, "offline-agents": f"{python} -m recipes"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "MINARI_"))}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1", **FONTS}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_in_their_order(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    for package in NEEDS.findall(page.read_text()):
        if next(importlib.metadata.distributions(name=package), None) is None:
            pytest.skip(f"{page.name} needs {package}")
    with subprocess.Popen(
        [sys.executable, "-c", INTERPRETER],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as interpreter:
        for block in read_blocks(page):
            if block.mark == "file":
                (tmp_path / str(block.remark)).write_text(shortened_python(block.text))
            elif block.mark is None and block.language == "sh":
                script = ["bash", "-euxo", "pipefail", "-c", shortened(block.text)]
                done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True)
                assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            elif block.mark is None and block.language == "python":
                run_python(interpreter, block)


def run_python(interpreter: subprocess.Popen[str], block: Block) -> None:
    assert interpreter.stdin is not None and interpreter.stdout is not None
    print(json.dumps(shortened_python(block.text)), file=interpreter.stdin, flush=True)
    printed = []
    while (line := interpreter.stdout.readline()) != "<done>\n":
        printed.append(line)
        assert line, f"{block}\n{''.join(printed)}"


def test_a_mark_is_that_of_the_block_right_behind_it(tmp_path: Path) -> None:
    mark = "<!-- not run: needs an account -->\n\n"
    (tmp_path / "page.md").write_text(f"{mark}```sh\na\n```\n{mark}Text.\n\n```sh\nb\n```\n\n* item\n\n      c\n")
    blocks = [(block.language, block.text, block.mark) for block in read_blocks(tmp_path / "page.md")]
    assert blocks == [("sh", "a\n", "not run"), ("sh", "b\n", None), ("", "c\n", None)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in read_blocks(page):
        if block.mark is None:
            assert is_directive(block) or block.language in (*EXECUTED, *PRINTED), f"{block}: {block.language or 'no'}"
        if block.mark == "run by":
            test = ROOT / str(block.remark)
            assert test.is_file() and page.name in test.read_text(), f"{block}: it does not read {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for token in MarkdownIt().parse(page.read_text()):
        for child in token.children or ():
            link = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if not link or "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.relative_to(ROOT)}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.relative_to(ROOT)}: {link}"


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    tokens = MarkdownIt().parse(page.read_text())
    titles = [after.content for token, after in zip(tokens, tokens[1:]) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) < 12_000
