"""The panels of a dashboard: every key of the project in a section, with its unit; no panel without data.

Knows neither W&B nor its workspaces; :mod:`wandb_workspace` and :mod:`wandb_report` draw what is arranged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from agents.environments.protocols import PROTOCOLS
from agents.environments.scoring import ScoreProtocol

NUMBER = "number"  # kind of a key; the others are W&B's own names: histogram, table-file, video-file, image-file
PREFIXES = {"train": "Learning", "eval": "Behaviour", "data": "Data", "time": "Speed"}  # where other keys go


@dataclass(frozen=True)
class Panel:
    """Keys that are drawn together, since they share a unit."""

    title: str
    keys: tuple[str, ...]
    unit: str = ""
    form: str = "curves"  # over gradient steps, shares stacked to a whole, or bars of the last value: for numbers alone
    kind: str = NUMBER


def _panel(title: str, keys: str, unit: str = "", form: str = "curves") -> Panel:
    return Panel(title, tuple(keys.split()), unit, form)


def _of_protocol(protocol: ScoreProtocol) -> Iterator[Panel]:
    yield _panel(protocol.title, f"eval/{protocol.score_key}", f"{protocol.definition}, 0-100")
    if protocol.return_key:
        yield _panel(f"{protocol.label} return", f"eval/{protocol.return_key}", f"return under {protocol.definition}")


def sections() -> dict[str, tuple[Panel, ...]]:
    """All panels by section."""
    criteria = [f"eval/{protocol.success_key}" for protocol in PROTOCOLS if protocol.success_key]
    return {
        "Scores": (
            *(panel for protocol in PROTOCOLS for panel in _of_protocol(protocol)),
            _panel("Return", "eval/return", "return of the environment"),
            _panel("Return, standard deviation over episodes", "eval/return_std", "return of the environment"),
        ),
        "Learning": (
            _panel("Actor's loss", "train/loss_actor"),
            _panel("Cloning loss", "train/loss_bc", "nats"),
            _panel("Denoising loss", "train/loss_diffusion_bc", "squared noise"),
            _panel("Distance to the data's actions (TD3+BC)", "train/bc_loss", "action²"),
            _panel("Bellman error", "train/loss_qvalue", "return²"),
            _panel("Value's expectile loss", "train/loss_value", "return²"),
            _panel("Conservative penalty", "train/loss_cql", "return"),
            _panel("Agreement of the critics' gradients", "train/loss_diversity"),
            _panel("Loss of the entropy's weight", "train/loss_alpha", "nats"),
            _panel("Loss of the penalty's weight", "train/loss_alpha_prime", "return"),
            _panel("Q of the data's actions", "train/qvalue train/pred_value", "discounted return"),
            _panel("Q of the best actions", "train/qvalue_greedy", "discounted return"),
            _panel("Q of the policy's actions", "train/state_action_value_actor", "discounted return"),
            _panel(
                "What the critics are trained to give", "train/target_value train/next_state_value", "discounted return"
            ),
            _panel("Disagreement of the critics", "train/qvalue_std", "discounted return"),
            _panel("State value", "train/state_value", "discounted return"),
            _panel("Advantage", "train/advantage", "discounted return"),
            _panel("Weight of a transition", "train/weight"),
            _panel("Share of clipped weights", "train/clip_fraction", "share of the batch"),
            _panel("Expectile", "train/expectile"),
            _panel("Log-likelihood of the data's actions", "train/log_prob", "nats"),
            _panel("Entropy", "train/entropy", "nats"),
            _panel("Share of best actions among the data's", "train/greedy_share", "share of the batch"),
            _panel(
                "Distance of the policy's actions", "train/action_distance train/next_action_distance", "half ranges²"
            ),
            _panel("Weight of the entropy", "train/alpha", "return / nat"),
            _panel("Weight of the penalty", "train/alpha_prime"),
            _panel("Weight of Q in the actor's loss", "train/lmbd", "1 / return"),
            _panel(
                "Learning rates", "train/lr_actor train/lr_critic train/lr_value train/lr_alpha train/lr_alpha_prime"
            ),
            _panel("Gradient norm before clipping", "train/grad_norm"),
        ),
        "Data": (
            _panel("Returns of the dataset's episodes", "data/returns", "return"),
            _panel("Mean return of the dataset", "data/return", "return of the environment", "bars"),
            _panel("Saturated actions in the data", "data/saturated_actions", "share of action components", "bars"),
            _panel("Success in the data", "data/success", "share of episodes", "bars"),
            *(
                _panel(f"{each.title} of the data", f"data/{each.score_key}", f"{each.definition}, 0-100", "bars")
                for each in PROTOCOLS
            ),
            _panel("Length of the data's episodes", "data/length", "steps", "bars"),
            _panel("Episodes in the data", "data/num_episodes", "episodes", "bars"),
            _panel("Steps in the data", "data/num_steps", "steps", "bars"),
        ),
        "Behaviour": (
            _panel("Episodes on film", "eval/video_best eval/video_median eval/video_worst eval/video"),
            _panel("Success", " ".join(("eval/success", *criteria, "eval/success_last")), "share of episodes"),
            _panel("Length of an episode", "eval/length", "steps"),
            _panel("Returns of the evaluations' episodes", "eval/returns", "return of the environment"),
            _panel("Episodes of the last evaluation", "eval/episodes"),
        ),
        "Speed": (
            _panel("Updates per second", "time/updates_per_second", "1/s"),
            _panel(
                "Where the time goes",
                "time/update_share time/sample_share time/evaluation_share time/logging_share time/checkpoint_share",
                "share of the time",
                "shares",
            ),
            _panel("Memory", "time/memory", "GB"),
            _panel("Memory on the GPU", "time/gpu_memory", "GB"),
        ),
    }


WITHOUT_PANEL = {  # or keys that begin like this
    "train/step": "the x-axis of train/*",
    "eval/step": "the x-axis of eval/*",
    "time/step": "the x-axis of time/*",
    "data/step": "data/* is logged once, before the first update",
    "final/": "the last evaluation: columns of the run table, the axes of Compare, the tables of the report",
}


def reason(key: str) -> str | None:
    """Why a key has no panel of its own; None: it has one."""
    return next(
        (why for name, why in WITHOUT_PANEL.items() if key == name or name[-1] == "/" and key[:6] == name), None
    )


def arrange(keys: Mapping[str, str]) -> dict[str, list[Panel]]:
    """The panels by section, of what was logged and nothing else; keys that are not known here are at a section's end.

    ``keys`` has the kind of each key.
    """
    left = {key: kind for key, kind in keys.items() if reason(key) is None}
    arranged: dict[str, list[Panel]] = {}
    for section, panels in sections().items():
        known = [(panel, tuple(key for key in panel.keys if key in left)) for panel in panels]
        arranged[section] = [replace(panel, keys=own, kind=left[own[0]]) for panel, own in known if own]
    shown = {key for panels in arranged.values() for panel in panels for key in panel.keys}
    for key in sorted(left.keys() - shown):
        prefix, _, name = key.rpartition("/")
        title = name.replace("_", " ").capitalize()
        arranged.setdefault(PREFIXES.get(prefix, "Others"), []).append(Panel(title, (key,), kind=left[key]))
    return {section: panels for section, panels in arranged.items() if panels}
