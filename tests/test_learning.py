"""The method learns: sixty steps on a tiny world lower the losses and find classes far more often than by chance."""
import re

from data_sets import python

import aher_k600_train
from runtime.session import tf
from runtime.training_log import LOG_NAME

CLASSES = 4  # of each side; by chance a quarter of the labels is right
STEPS = 60


def log_lines(folder):
    """{step: {name: value}} of a training log."""
    lines = {}
    for line in (folder / LOG_NAME).read_text().splitlines():
        lines[int(line.split()[1])] = {name: float(value) for name, value in re.findall(r'(\S+/\S+) (\S+)', line)}
    return lines


def test_sixty_steps_learn(tmp_path):
    annotation = tmp_path / 'annotation.txt'
    annotation.write_text(''.join('video_%d\t10.00\t40.00\t%d\n' % (label, label) for label in range(CLASSES)))
    made = python('prepare_data.py', 'demo', '--out', str(tmp_path / 'data'), '--annotation', str(annotation),
                  '--source_videos', '60', '--source_classes', str(CLASSES), '--moments_per_class', '12')
    assert made.returncode == 0, made.stderr
    with tf.Graph().as_default():
        aher_k600_train.main([
            '--config', 'demo', '--data_root', str(tmp_path / 'data'), '--model_dir', str(tmp_path), '--threads', '1',
            '--source_classes', str(CLASSES), '--max_steps', str(STEPS), '--log_step', '10', '--batch_size', '8'])
    lines = log_lines(tmp_path)
    first, last = lines[10], lines[STEPS]
    for name in ('moment/classification', 'foreground/classification', 'untrimmed/proposal', 'untrimmed/localization',
                 'untrimmed/iou', 'untrimmed/classification', 'synthetic/proposal', 'synthetic/iou',
                 'synthetic/classification'):
        assert last[name] < 0.9 * first[name], (name, first[name], last[name])
    for name in ('moment/accuracy', 'foreground/accuracy', 'untrimmed/accuracy', 'synthetic/accuracy'):
        assert last[name] > 2 / CLASSES, (name, last[name])
