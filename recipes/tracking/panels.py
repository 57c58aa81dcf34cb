"""The panels of a dashboard: every key of the project in a section, with its unit; no panel without data.

Knows neither W&B nor its workspaces; :mod:`wandb_workspace` and :mod:`wandb_report` draw what is arranged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from agents.environments.protocols import PROTOCOLS

NUMBER = "number"  # kind of a key; the others are W&B's own names: histogram, table-file, video-file, image-file
PREFIXES = {
    "train": "Learning",
    "validation": "Validation",
    "eval": "Behaviour",
    "estimate": "Estimates",
    "online": "Online",
    "data": "Data",
    "time": "Speed",
}  # where other keys go


@dataclass(frozen=True)
class Panel:
    """Keys that are drawn together, since they share a unit."""

    title: str
    keys: tuple[str, ...]
    unit: str = ""
    form: str = "curves"  # over gradient steps, shares stacked to a whole, or bars of the last value: for numbers alone
    kind: str = NUMBER


Row = tuple[str, ...]  # a panel's title, keys, unit and form


LEARNING: tuple[Row, ...] = (
    ("Actor's loss", "train/loss_actor"),
    ("Cloning loss", "train/loss_bc", "nats"),
    ("Denoising loss", "train/loss_diffusion_bc", "squared noise"),
    ("Distance to the data's actions (TD3+BC)", "train/bc_loss", "action²"),
    ("Bellman error", "train/loss_qvalue", "(scaled return)²"),
    ("Value's expectile loss", "train/loss_value", "(scaled return)²"),
    ("Conservative penalty", "train/loss_cql", "scaled return"),
    ("Agreement of the critics' gradients", "train/loss_diversity"),
    ("Loss of the entropy's weight", "train/loss_alpha", "nats"),
    ("Loss of the penalty's weight", "train/loss_alpha_prime", "scaled return"),
    ("Q of the data's actions", "train/qvalue train/pred_value", "discounted return"),
    ("Q of the best actions", "train/qvalue_greedy", "discounted return"),
    ("Q of the policy's actions", "train/state_action_value_actor", "discounted return"),
    ("What the critics are trained to give", "train/target_value train/next_state_value", "discounted return"),
    ("Disagreement of the critics", "train/qvalue_std", "discounted return"),
    ("State value", "train/state_value", "discounted return"),
    ("Q between what the rewards allow at least and at most", "train/qvalue_position", "0 to 1; beyond, it diverges"),
    ("Advantage", "train/advantage", "discounted return"),
    ("Weight of a transition", "train/weight"),
    ("Share of clipped weights", "train/clip_fraction", "share of the batch"),
    ("Effective sample size of the weights", "train/effective_sample_size", "share of the batch"),
    ("Scale of the advantages", "train/advantage_scale", "discounted return"),
    ("Expectile", "train/expectile"),
    ("Log-likelihood of the data's actions", "train/log_prob", "nats"),
    ("Entropy", "train/entropy", "nats"),
    ("Share of best actions among the data's", "train/greedy_share", "share of the batch"),
    ("Distance of the policy's actions", "train/action_distance train/next_action_distance", "half ranges²"),
    ("Weight of the entropy", "train/alpha", "scaled return / nat"),
    ("Weight of the penalty", "train/alpha_prime"),
    ("Weight of Q in the actor's loss", "train/lmbd", "1 / scaled return"),
    ("Factor of the pull to the data", "train/penalty_factor"),
    ("Actions valued below the data's return", "train/calibrated_share", "share of the sampled ones"),
    ("Learning rates", "train/lr_actor train/lr_critic train/lr_value train/lr_alpha train/lr_alpha_prime"),
    ("Gradient norm before clipping", "train/grad_norm"),
)
VALIDATION: tuple[Row, ...] = (
    ("Log-likelihood of held-out actions", "validation/log_prob", "nats"),
    ("Distance to held-out actions", "validation/action_error", "share of the range"),
    ("Accuracy on held-out actions", "validation/accuracy", "share of the steps"),
    ("Bellman error, held out", "validation/loss_qvalue", "(scaled return)²"),
    ("Actor's loss, held out", "validation/loss_actor"),
    ("Value's expectile loss, held out", "validation/loss_value", "(scaled return)²"),
    ("Cloning loss, held out", "validation/loss_bc", "nats"),
    ("Denoising loss, held out", "validation/loss_diffusion_bc", "squared noise"),
    ("Conservative penalty, held out", "validation/loss_cql", "scaled return"),
    ("Agreement of the critics' gradients, held out", "validation/loss_diversity"),
    ("Loss of the entropy's weight, held out", "validation/loss_alpha", "nats"),
    ("Loss of the penalty's weight, held out", "validation/loss_alpha_prime", "scaled return"),
)
ESTIMATES: tuple[Row, ...] = (
    (
        "Value by the data alone, its interval, and that of the data's own policy",
        "estimate/fqe estimate/fqe_low estimate/fqe_high estimate/own_value",
        "discounted return, estimated: no score",
    ),
    ("Actions unlike any in the data", "estimate/outside_support", "share of the policy's actions"),
    ("Whether the estimate means nothing", "estimate/means_nothing", "1: it means nothing"),
)
ONLINE: tuple[Row, ...] = (
    ("Return of the episodes that are collected", "online/episode_return", "return of the environment"),
    ("Steps in the environment", "online/env_step", "steps"),
    ("Length of the episodes that are collected", "online/episode_length", "steps"),
    ("Episodes that are collected", "online/num_episodes", "episodes"),
    ("Share of the data in a batch", "online/offline_share", "share of the batch"),
    ("Fall at the switch, and gain at the end", "online/drop online/gain", "score, else return", "bars"),
    ("Steps in the environment to make the fall up", "online/steps_to_recover", "steps", "bars"),
    ("Regret", "online/regret", "share of what could be had", "bars"),
)
SPEED: tuple[Row, ...] = (
    ("Updates per second", "time/updates_per_second", "1/s"),
    (
        "Where the time goes",
        "time/update_share time/sample_share time/evaluation_share time/logging_share time/checkpoint_share "
        "time/collection_share",
        "share of the time",
        "shares",
    ),
    ("Memory", "time/memory", "GB"),
    ("Memory on the GPU", "time/gpu_memory", "GB"),
)


def sections() -> dict[str, tuple[Panel, ...]]:
    """All panels by section."""
    rows = {
        "Scores": _scores(),
        "Learning": LEARNING,
        "Validation": VALIDATION,
        "Data": _data(),
        "Behaviour": _behaviour(),
        "Estimates": ESTIMATES,
        "Online": ONLINE,
        "Speed": SPEED,
    }
    return {
        section: tuple(Panel(title, tuple(keys.split()), *form) for title, keys, *form in own)
        for section, own in rows.items()
    }


def _scores() -> Iterator[Row]:
    for protocol in PROTOCOLS:
        yield protocol.title, f"eval/{protocol.score_key}", f"{protocol.definition}, 0-100"
        if protocol.return_key:
            yield f"{protocol.label} return", f"eval/{protocol.return_key}", f"return under {protocol.definition}"
    yield "Return", "eval/return", "return of the environment"
    yield "Return, standard deviation over episodes", "eval/return_std", "return of the environment"


def _data() -> tuple[Row, ...]:
    return (
        ("Returns of the dataset's episodes", "data/returns", "return"),
        ("Mean return of the dataset", "data/return", "return of the environment", "bars"),
        ("Saturated actions in the data", "data/saturated_actions", "share of action components", "bars"),
        ("Success in the data", "data/success", "share of episodes", "bars"),
        *(
            (f"{each.title} of the data", f"data/{each.score_key}", f"{each.definition}, 0-100", "bars")
            for each in PROTOCOLS
        ),
        ("Length of the data's episodes", "data/length", "steps", "bars"),
        ("Episodes in the data", "data/num_episodes", "episodes", "bars"),
        ("Steps in the data", "data/num_steps", "steps", "bars"),
    )


def _behaviour() -> tuple[Row, ...]:
    criteria = [f"eval/{protocol.success_key}" for protocol in PROTOCOLS if protocol.success_key]
    return (
        ("Episodes on film", "eval/video_best eval/video_median eval/video_worst eval/video"),
        ("Success", " ".join(("eval/success", *criteria, "eval/success_last")), "share of episodes"),
        ("Length of an episode", "eval/length", "steps"),
        ("Returns of the evaluations' episodes", "eval/returns", "return of the environment"),
        ("Episodes of the last evaluation", "eval/episodes"),
    )


WITHOUT_PANEL = {  # or keys that begin like this
    "train/step": "the x-axis of train/*",
    "validation/step": "the x-axis of validation/*",
    "eval/step": "the x-axis of eval/*",
    "estimate/step": "the x-axis of estimate/*",
    "online/step": "the x-axis of online/*",
    "time/step": "the x-axis of time/*",
    "data/step": "data/* is logged once, before the first update",
    "final/": "the last evaluation: columns of the run table, the axes of Compare, the tables of the report",
}


def reason(key: str) -> str | None:
    """Why a key has no panel of its own; None: it has one."""
    return WITHOUT_PANEL.get(key) or WITHOUT_PANEL.get(key.partition("/")[0] + "/")


def arrange(keys: Mapping[str, str]) -> dict[str, list[Panel]]:
    """The panels by section, of the logged keys, each with its kind, and no others; unknown ones end a section."""
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
