"""The list of mutants is up to date; whether each is caught, ``make mutate`` says, which takes minutes."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.mutants import MUTANTS

ROOT = Path(__file__).parents[1]


def test_what_a_mutant_replaces_occurs_once() -> None:
    texts = {mutant.file: (ROOT / mutant.file).read_text() for mutant in MUTANTS}
    assert [mutant for mutant in MUTANTS if texts[mutant.file].count(mutant.old) != 1] == []


def test_a_mutant_has_tests_and_is_listed_once() -> None:
    words = {word.partition("::")[0] for mutant in MUTANTS for word in shlex.split(mutant.tests)}
    assert [word for word in words if word.startswith("tests") and not (ROOT / word).exists()] == []
    assert len({mutant[:3] for mutant in MUTANTS}) == len(MUTANTS)
