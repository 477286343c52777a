"""Cores that a process may use, of a job or a container, not of the whole machine."""
import os

import pytest

from runtime import machine

TWO, ONE = '0::/a/b', '3:memory:/m\n2:cpu,cpuacct:/a'  # the two versions of control groups


@pytest.mark.parametrize('groups, files, cores', [
    (None, {}, 6),
    (TWO, {}, 6),
    (TWO, {'cpu.max': 'max 100000'}, 6),
    (TWO, {'cpu.max': '150000 100000'}, 2),      # one and a half
    (TWO, {'cpu.max': '1000 100000'}, 1),
    (TWO, {'cpu.max': '900000 100000'}, 6),
    (TWO, {'a/cpu.max': '400000 100000', 'a/b/cpu.max': 'max 100000'}, 4),  # of the group above
    (TWO, {'c/cpu.max': '100000 100000'}, 6),                               # of another group
    (ONE, {'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000'}, 6),
    (ONE, {'cpu/a/cpu.cfs_quota_us': '300000', 'cpu/a/cpu.cfs_period_us': '100000'}, 3)])
def test_usable_cores(monkeypatch, groups, files, cores):
    found = {os.path.join('/sys/fs/cgroup', name): text + '\n' for name, text in files.items()}
    found['/proc/self/cgroup'] = groups
    monkeypatch.setattr(os, 'cpu_count', lambda: 64)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: set(range(6)))
    monkeypatch.setattr(machine, '_read', found.get)
    assert machine.usable_cores() == cores
