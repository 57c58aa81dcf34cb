"""Published scores on the twelve Adroit datasets of D4RL, to stand beside one's own; D4RL's protocol, last evaluation.

CORL's are means of 4 seeds after 1,000,000 updates, Decision Transformer's after 100,000 (Tarasov et al. 2023, arXiv
2210.07105; github.com/corl-team/CORL at eeeeef2, with AWAC as corrected there on 2023-08-16); IQL with settings tuned
for each dataset is a mean of 10 seeds (ReBRAC paper, Tarasov et al. 2023, arXiv 2305.09836).
"""

from __future__ import annotations

PROTOCOL = "d4rl"
COLUMNS: tuple[str, ...] = ("bc", "td3_bc", "awac", "cql", "iql", "rebrac", "dt", "iql_tuned")
SAME = {"iql_corl": "iql", "rebrac_tuned": "rebrac"}  # presets that a column was made with
CORL = "CORL, 4 seeds, 1M updates"
SOURCES = {  # by algorithm or preset, with what its own settings differ in from those of the score
    **dict.fromkeys((*COLUMNS, *SAME), CORL),
    "bc": f"{CORL} (bc: by the squared error)",
    "iql": f"{CORL} (iql: by the settings of iql_corl)",
    "rebrac": f"{CORL} (rebrac: by the penalties of rebrac_tuned)",
    "dt": "CORL, 4 seeds, 100k updates (dt: in batches of 4096, by unscaled returns)",
    "iql_tuned": "ReBRAC paper, 10 seeds, 1M updates",
}
SCORES = {
    "D4RL/pen/human-v2": (71.0, -3.9, 76.7, 13.7, 78.5, 103.2, 67.7, 81.5),
    "D4RL/pen/cloned-v2": (51.9, 5.1, 85.7, 1.0, 83.4, 102.8, 64.4, 77.2),
    "D4RL/pen/expert-v2": (109.7, 122.5, 159.9, -1.4, 128.1, 152.2, 116.4, 133.6),
    "D4RL/door/human-v2": (2.3, -0.3, 2.4, 5.5, 3.3, -0.1, 4.4, 3.1),
    "D4RL/door/cloned-v2": (-0.1, -0.3, 0.0, -0.3, 3.1, 0.1, 7.6, 0.8),
    "D4RL/door/expert-v2": (105.4, -0.3, 104.6, -0.3, 106.7, 106.4, 104.9, 105.3),
    "D4RL/hammer/human-v2": (3.0, 1.0, 1.0, 0.1, 1.8, 0.2, 1.3, 2.5),
    "D4RL/hammer/cloned-v2": (0.6, 0.3, 1.3, 0.3, 1.5, 5.0, 1.8, 1.1),
    "D4RL/hammer/expert-v2": (126.8, 3.1, 127.1, 0.3, 128.7, 133.6, 117.5, 129.6),
    "D4RL/relocate/human-v2": (0.0, -0.3, 0.5, 0.1, 0.1, 0.2, 0.1, 0.1),
    "D4RL/relocate/cloned-v2": (-0.1, -0.3, 0.0, -0.3, 0.0, 1.7, 0.2, 0.2),
    "D4RL/relocate/expert-v2": (107.6, -1.7, 109.5, -0.3, 106.1, 107.5, 104.3, 106.5),
}


def published(protocol: str, dataset: str, algorithm: str) -> float | None:
    """The published score of an algorithm on a dataset under a protocol; None where there is none."""
    scores = SCORES.get(dataset, ()) if protocol == PROTOCOL else ()
    return dict(zip(COLUMNS, scores)).get(SAME.get(algorithm, algorithm))
