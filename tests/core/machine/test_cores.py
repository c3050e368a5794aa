"""What is read of the processors: affinity, quotas of control groups, and who else computes."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.machine.cores import (
    Usage,
    allowed_cores,
    busy_ticks,
    group_folders,
    others,
    quota_of,
    read_cores,
    read_usage,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it in /proc")

STAT = """\
cpu  600 60 600 9000 90 9 9 9 0 0
cpu0 100 10 1000 5000 70 1 2 3 50 5
cpu1 200 20 2000 5000 70 4 5 6 50 5
cpu10 400 0 0 0 0 0 0 0 0 0
intr 123456
"""


def test_all_but_idle_time_of_the_allowed_processors_counts() -> None:
    assert busy_ticks(STAT, {0}) == 100 + 10 + 1000 + 1 + 2 + 3
    assert busy_ticks(STAT, {0, 1}) == 1116 + 2235
    assert busy_ticks(STAT, {10}) == 400
    assert busy_ticks("", {0, 1}) == 0


def test_columns_that_an_old_system_has_not_count_as_nothing() -> None:
    assert busy_ticks("cpu0 1 2 3 4", {0}) == 6


def test_others_are_all_but_this_process() -> None:
    assert others(Usage(10.0, busy=100.0, own=5.0), Usage(12.0, busy=103.0, own=6.0)) == 1.0
    assert others(Usage(10.0, busy=100.0, own=5.0), Usage(12.0, busy=100.9, own=6.0)) == 0.0
    assert others(Usage(10.0), Usage(10.0, busy=3.0)) == 0.0


V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0
"""


def test_the_folder_of_a_version_1_group_and_those_it_lies_in() -> None:
    found = group_folders(V1, "12:cpuset:/\n4:cpu,cpuacct:/user.slice/one\n1:name=systemd:/x\n")
    mount = Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found == [mount / "user.slice/one", mount / "user.slice", mount]


def test_the_folder_of_a_version_2_group_and_those_it_lies_in() -> None:
    found = group_folders("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n", "0::/user.slice/one\n")
    mount = Path("/sys/fs/cgroup")
    assert found == [mount / "user.slice/one", mount / "user.slice", mount]


def test_a_system_without_control_groups_has_no_folders() -> None:
    assert group_folders("", "") == []
    assert group_folders(V1, "nonsense\n") == []


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.cfs_quota_us": "50000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_group(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert quota_of(tmp_path) == quota


def test_what_is_read_can_be_used_on_every_system() -> None:
    cores = read_cores(0.0)
    assert cores.allowed == len(allowed_cores()) >= 1
    assert cores.quota is None or cores.quota > 0
    assert cores.busy >= 0


@linux
def test_this_process_and_its_threads_are_counted() -> None:
    before = read_usage()
    while sum(range(10_000)) and read_usage().own < before.own + 0.05:
        pass
    after = read_usage()
    ran = {thread: after.threads[thread][0] - before.threads[thread][0] for thread in before.threads}
    assert ran[threading.get_native_id()] >= 0.04


@linux
def test_a_busy_process_is_seen() -> None:
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert read_cores().busy > 0.3
        finally:
            process.kill()
