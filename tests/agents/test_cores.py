"""Cores that a process may use, by affinity and by the files of Linux's control groups."""

import math
import os
import subprocess
import sys

import pytest

from agents import cores

V2 = "0::/job/step\n"
V1 = "9:name=systemd:/job\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n"


def quota_of(tmp_path, line, files):
    groups = tmp_path / "cgroup"
    groups.write_text(line)
    for name, text in files.items():
        file = tmp_path / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return cores.quota(groups, tmp_path / "mount")


@pytest.mark.parametrize(
    ("line", "files", "share"),
    [
        (V2, {}, math.inf),
        (V2, {"job/step/cpu.max": "max 100000\n"}, math.inf),
        (V2, {"job/step/cpu.max": "150000 100000\n"}, 1.5),
        (
            V2,
            {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "300000 100000\n"},
            3.0,
        ),  # the job's, of all its steps
        (V2, {"job/step/cpu.max": "400000 100000\n", "cpu.max": "200000 100000\n"}, 2.0),  # a container's own root
        (V2, {"unified/job/cpu.max": "50000 100000\n"}, 0.5),  # both versions are mounted
        (V2, {"elsewhere/cpu.max": "100000 100000\n"}, math.inf),
        (V1, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),  # the path is the host's
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "-1\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"}, math.inf),
        (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "1\n", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "2"}, 0.5),
        ("nonsense\n", {"cpu.max": "100000 100000\n"}, math.inf),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(line, files, share, tmp_path):
    assert quota_of(tmp_path, line, files) == share


def test_where_there_are_no_control_groups_nothing_is_limited(tmp_path):
    assert cores.quota(tmp_path / "none", tmp_path) == math.inf


@pytest.mark.parametrize(("share", "number"), [(math.inf, 8), (2.5, 3), (0.2, 1), (16.0, 8)])
def test_a_part_of_a_core_counts_as_one_and_no_quota_gives_more_than_are_there(share, number, monkeypatch):
    monkeypatch.setattr(cores, "quota", lambda: share)
    monkeypatch.setattr(cores, "bound_cores", lambda: 8)
    assert cores.usable_cores() == number


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts():
    core = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{core}}}); from agents.cores import usable_cores; print(usable_cores())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "1\n"


@pytest.mark.parametrize(("own", "threads"), [({}, "3"), ({"OMP_NUM_THREADS": "5"}, "5")])
def test_the_recipes_give_torch_no_more_threads_than_a_quota_pays_for(own, threads):
    code = (
        "from agents import cores; cores.bound_cores = lambda: 64; cores.quota = lambda: 2.5\n"
        "import recipes, os; print(os.environ['OMP_NUM_THREADS'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | own
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=environment) == f"{threads}\n"
