"""What this process may use of the machine."""
import os

GROUPS = '/sys/fs/cgroup'  # where Linux shows the control groups, which jobs and containers use


def usable_cores():
    """Processor cores that this process may use: of a job of SLURM, or of a container, not of the whole machine."""
    return max(1, min([len(os.sched_getaffinity(0))] + list(_limits())))


def _limits():
    """Limits, in cores, of the control groups that this process is in; none where there are none."""
    for line in (_read('/proc/self/cgroup') or '').splitlines():
        _, controllers, path = line.split(':', 2)
        if not controllers:                      # version 2: one file has both numbers
            root, files = GROUPS, ['cpu.max']
        elif 'cpu' in controllers.split(','):    # version 1: two files
            root, files = os.path.join(GROUPS, 'cpu'), ['cpu.cfs_quota_us', 'cpu.cfs_period_us']
        else:
            continue
        parts = [part for part in path.split('/') if part]
        for depth in range(len(parts) + 1):      # a group has the limits of those above it, too
            numbers = ' '.join(_read(os.path.join(root, *parts[:depth], name)) or '' for name in files).split()
            if len(numbers) == 2 and numbers[0].isdigit() and int(numbers[0]) > 0:  # not -1 or max: no limit
                yield -(-int(numbers[0]) // int(numbers[1]))


def _read(path):
    """The text of a file, or None where there is none."""
    try:
        with open(path) as text:
            return text.read()
    except OSError:
        return None
