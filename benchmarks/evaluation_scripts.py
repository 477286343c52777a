"""Seconds of evaluating a results file: parsing its JSON, then reading and both evaluators.

    python3 benchmarks/evaluation_scripts.py [--results 517793] [--ground_truth data/k600_val_action.json]

Without --ground_truth, one of the real one's counts is made up: 6,461 videos, 9,638 segments, 600 classes.
Results are made of the ground truth: half of them near a segment with its label, half anywhere.
"""
import argparse
import json
import os
import tempfile
import time

import common
import numpy as np

from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from evaluation.results import read_ground_truth, read_results, write_json


def made_up_ground_truth(random):
    """Ground truth JSON of the real one's counts."""
    counts = common.GROUND_TRUTH
    owner = np.concatenate([np.arange(counts['videos']),
                            random.randint(0, counts['videos'], counts['segments'] - counts['videos'])])
    label = np.concatenate([np.arange(counts['classes']),
                            random.randint(0, counts['classes'], counts['videos'] - counts['classes'])])
    database = {'video %d' % video: {'subset': 'validation', 'annotations': []} for video in range(counts['videos'])}
    for video in owner:
        start, length = random.uniform(0, 100), random.lognormal(3.5, 1)
        database['video %d' % video]['annotations'].append(
            {'segment': [start, start + length], 'label': 'class %d' % label[video]})
    return {'database': database}


def results_for(ground_truth, count, random):
    """`count` results over the videos of a ground truth JSON, as many for each as for the others."""
    database = ground_truth['database']
    videos = [video for video, entry in database.items() if entry['annotations']]
    classes = sorted({row['label'] for video in videos for row in database[video]['annotations']})
    results = {}
    for video, size in zip(videos, np.bincount(np.arange(count) % len(videos), minlength=len(videos))):
        rows = database[video]['annotations']
        chosen = random.randint(0, len(rows), size)
        segments = np.array([rows[row]['segment'] for row in chosen]).reshape(-1, 2)
        lengths = np.maximum(segments[:, 1:] - segments[:, :1], 1)
        spread = np.where(random.rand(size, 1) < 0.5, 0.1, 2) * lengths
        starts = segments[:, :1] + spread * random.standard_normal((size, 1))
        ends = starts + lengths * random.uniform(0.5, 1.5, (size, 1))
        labels = [rows[row]['label'] if hit else classes[other] for row, hit, other in
                  zip(chosen, random.rand(size) < 0.9, random.randint(0, len(classes), size))]
        results[video] = [{'score': score, 'segment': segment, 'label': label} for score, segment, label in
                          zip(random.rand(size).round(6).tolist(),
                              np.concatenate([starts, ends], axis=1).round(6).tolist(), labels)]
    return {'version': 'VERSION 1.3', 'results': results, 'external_data': {}}


def measure(ground_truth, count, folder, random):
    """Seconds of each part, for `count` results."""
    path = os.path.join(folder, 'results.json')
    write_json(path, results_for(ground_truth, count, random), indent=None)
    seconds, start = {}, time.perf_counter()

    def lap(name):
        nonlocal start
        seconds[name] = time.perf_counter() - start
        start = time.perf_counter()

    truth = read_ground_truth(ground_truth)
    lap('ground truth')
    with open(path, encoding='utf-8') as text:
        content = json.load(text)
    lap('parse JSON')
    results = read_results(content)
    lap('read')
    del content
    start = time.perf_counter()
    evaluate_proposals(truth, results)
    lap('proposals')
    evaluate_detections(truth, results)
    lap('detection')
    return seconds, os.path.getsize(path)


def main():
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', type=int, default=517793, help='(default %(default)s)')
    parser.add_argument('--ground_truth', help='ground-truth JSON (default: made up)')
    arguments = parser.parse_args()
    random = np.random.RandomState(0)
    ground_truth = made_up_ground_truth(random)
    if arguments.ground_truth:
        with open(arguments.ground_truth, encoding='utf-8') as text:
            ground_truth = json.load(text)
    with tempfile.TemporaryDirectory() as folder:
        seconds, size = measure(ground_truth, arguments.results, folder, random)
    after = seconds['read'] + seconds['proposals'] + seconds['detection']
    common.report('evaluation', results=arguments.results, ground_truth=arguments.ground_truth or 'made up',
                  seconds=seconds, seconds_after_parsing=after, seconds_in_all=after + seconds['parse JSON'],
                  times_the_parsing=1 + after / seconds['parse JSON'], megabytes=size / 1e6,
                  peak_memory_GB=common.peak_memory() / 1e9)


if __name__ == '__main__':
    main()
