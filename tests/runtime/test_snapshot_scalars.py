"""Figures of tested snapshots in TensorBoard's files."""
import os

from runtime.session import tf
from runtime.snapshot_scalars import FOLDER, SnapshotScalars


def shown(folder):
    """[(step, tag, value)] in the order in which they were written; TensorBoard's START is (step, 'START', None)."""
    found, folder = [], os.path.join(str(folder), FOLDER)
    for name in sorted(os.listdir(folder)):
        for event in tf.train.summary_iterator(os.path.join(folder, name)):
            if event.session_log.status == tf.SessionLog.START:
                found.append((event.step, 'START', None))
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def write(folder, *rows):
    """Write these (step, value of test/AUC) as one run; its file gets the name of an earlier second."""
    with SnapshotScalars(str(folder)) as scalars:
        for step, value in rows:
            scalars.add(step, {'test/AUC': value})
    folder = os.path.join(str(folder), FOLDER)
    for name in os.listdir(folder):
        if name.startswith('events'):
            os.rename(os.path.join(folder, name), os.path.join(folder, 'run%d.%s' % (len(os.listdir(folder)), name)))


def test_a_snapshot_is_written_once(tmp_path):
    write(tmp_path, (200, 10.0), (400, 12.1))
    write(tmp_path, (200, 10.0), (400, 12.1), (600, 11.5))  # the same test started again
    assert [(step, round(value, 4)) for step, _, value in shown(tmp_path)] == [(200, 10.0), (400, 12.1), (600, 11.5)]


def test_points_of_removed_snapshots_stay(tmp_path):
    write(tmp_path, (200, 10.0), (400, 12.0))
    write(tmp_path, (400, 12.0), (600, 11.0))
    assert [step for step, _, _ in shown(tmp_path)] == [200, 400, 600]


def test_other_figures_replace_those_of_earlier_tests(tmp_path):
    write(tmp_path, (200, 10.0), (400, 12.0), (600, 11.0))
    write(tmp_path, (200, 10.0), (400, 13.0), (600, 11.0))
    write(tmp_path, (200, 10.0), (400, 13.0), (600, 11.0))
    assert shown(tmp_path)[3:] == [(400, 'START', None), (400, 'test/AUC', 13.0), (600, 'test/AUC', 11.0)]


def test_a_file_that_a_killed_run_left_is_read_as_far_as_it_goes(tmp_path):
    write(tmp_path, (200, 10.0), (400, 12.0))
    name, = os.listdir(str(tmp_path / FOLDER))
    with open(str(tmp_path / FOLDER / name), 'r+b') as file:
        file.truncate(os.path.getsize(file.name) - 3)
    with SnapshotScalars(str(tmp_path)) as scalars:
        assert scalars._written == {200: {'test/AUC': 10.0}}
