"""Limits of control groups, versions 1 and 2, at any level of the hierarchy."""

from onecard.machine.limits import limits

GiB = 1024**3


def write(root, files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_no_control_groups_no_limits(tmp_path):
    assert limits(tmp_path) == (None, None, None)


def test_version_2_with_a_limit_higher_up(tmp_path):
    write(tmp_path, {
        "proc/self/cgroup": "0::/system.slice/job.service\n",
        "sys/fs/cgroup/system.slice/job.service/cpu.max": "max 100000\n",
        "sys/fs/cgroup/system.slice/job.service/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/system.slice/memory.max": f"{4 * GiB}\n",
        "sys/fs/cgroup/system.slice/memory.current": f"{3 * GiB}\n",
        "sys/fs/cgroup/system.slice/memory.stat": f"anon 1\ninactive_file {2 * GiB}\n",
    })  # fmt: skip
    found = limits(tmp_path)
    assert found.cpus == 1.5 and found.memory == 4 * GiB
    assert found.memory_used == 1 * GiB  # file cache can be dropped


def test_a_container_sees_its_own_group_as_the_root(tmp_path):
    """The path in /proc/self/cgroup is the host's view; inside, only the root of the mount is there."""
    write(tmp_path, {
        "proc/self/cgroup": "0::/../../kubepods/pod7/abc\n",
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/memory.max": f"{8 * GiB}\n",
    })  # fmt: skip
    found = limits(tmp_path)
    assert found.cpus == 2 and found.memory == 8 * GiB and found.memory_used is None


def test_version_1_and_its_number_for_no_limit(tmp_path):
    write(tmp_path, {
        "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GiB}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GiB}\n",
        "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    })  # fmt: skip
    found = limits(tmp_path)
    assert found.cpus == 0.5 and found.memory == 2 * GiB and found.memory_used == GiB


def test_garbage_is_no_limit(tmp_path):
    write(
        tmp_path,
        {"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "a b c\n", "sys/fs/cgroup/memory.max": "-\n"},
    )
    assert limits(tmp_path) == (None, None, None)
