"""What ``recipes/inspect_dataset.py`` says of the eight built-in datasets of Adroit, as ``results/datasets.md``.

    python benchmarks/datasets.py

Datasets that are not there yet are made first, which takes 10 to 20 seconds each.
"""

from __future__ import annotations

from pathlib import Path

from agents.data.contents import Inspection
from agents.data.demos import dataset_ids
from agents.data.inspection import inspect_dataset
from agents.environments.adroit import ADROIT_TASKS
from agents.files import write_atomically
from recipes.dataset_card.finding import number, percent
from recipes.dataset_card.verdict import Quality, assess, verdict

ROOT = Path(__file__).resolve().parents[1]
GOOD_ABOVE = 0.75  # the recipe's default
HEADER = (
    *("dataset", "good episodes", "success", "return", "best tenth", "best", "d4rl score", "at a bound", "repeated"),
    "distance",
)


def row(found: Inspection, reached: Quality) -> list[str]:
    """One line of the table."""
    return [
        found.source.id,
        f"{reached.good.sum()} of {found.num_episodes}",
        percent(found.success.mean()),
        f"{number(found.returns.mean())} ± {number(found.returns.std())}",
        number(reached.returns[reached.top].mean()),
        number(reached.best),
        f"{reached.scores['d4rl'].mean():.1f}",
        percent(found.actions.saturated),
        percent(found.num_repeated_steps / found.num_steps),
        "".join(f"{remark.value['coefficient']:+.3f}" for remark in found.remarks) or "none",
    ]


def to_markdown(inspections: list[Inspection]) -> str:
    """Table and verdicts."""
    reached = [assess(found, GOOD_ABOVE) for found in inspections]
    lines = [
        "# The built-in datasets",
        "",
        "Made by `python benchmarks/datasets.py`; `python recipes/inspect_dataset.py dataset=ID` says more of each.",
        "",
        "A good episode returns at least 75 % of the way from the return of a random policy to the best episode. "
        "Return is mean ± standard deviation over episodes, success at any step, `at a bound` the share of action "
        "components within 0.1 % of their range, `repeated` the share of transitions that are there twice, `distance` "
        "the fitted coefficient of the palm-to-object distance in the reward (+0.1: gymnasium-robotics 1.2.1 "
        "to 1.4.2; -0.1: D4RL; pen has none).",
        "",
        f"| {' | '.join(HEADER)} |",
        f"|{'---|' * len(HEADER)}",
        *(f"| {' | '.join(row(found, each))} |" for found, each in zip(inspections, reached)),
    ]
    for found in inspections:
        lines += ["", f"## {found.source.id}", ""]
        for finding in verdict(found, GOOD_ABOVE):
            mark = "**Warning.** " if finding.level == "warning" else ""
            advice = f" *Do:* {finding.advice}." if finding.advice else ""
            lines.append(f"- {mark}{finding.says} *From:* {finding.computed_from}.{advice}")
    return "\n".join(lines) + "\n"


def main() -> None:
    names = [name for name in dataset_ids() if name.split("/")[1] in ADROIT_TASKS]  # the others have no D4RL score
    text = to_markdown([inspect_dataset(name) for name in names])
    write_atomically(ROOT / "benchmarks" / "results" / "datasets.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
