"""The share of a default run that its evaluations take."""

from __future__ import annotations

import pytest

from evaluating import row


def test_the_share_is_of_the_default_settings() -> None:
    times = {"update": [[0.01]] * 3, "ours": [[9.0, 1.0], [9.0, 4.0], [9.0, 2.0]], "bare": [[1.0, 1.0]] * 3}
    result = row("env", 2, 1, times, num_steps=100, num_episodes=10)
    assert result["steps_per_second"] == pytest.approx(50.0)
    assert result["times_bare"] == pytest.approx([0.5, 0.25, 1.0])
    assert result["share"] == pytest.approx([4 / 29, 2 / 27, 8 / 33])  # 20 episodes after 2,500 updates
