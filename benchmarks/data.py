"""Benchmarks of what runs without the network: reading features, the checks before training, evaluation."""
import json
import os
import tempfile
import time

import h5py
import numpy as np
import pandas as pd

import config as settings
from benchmarks import measure, random_data
from data_loader import training_stream
from dataset.features import FeatureStore, interpolate
from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals
from evaluation.results import read_ground_truth, read_results, write_json
from runtime.session import tf

INTERPOLATED = ((37, 256), (200, 512))  # clips of a moment and of a segment, and the rows that they become
OTHERS = 10000  # source videos, and validation videos, of the checks


def reading(rows, feature_width):
    """Milliseconds to read one video's features in each form, from the page cache, and to interpolate features."""
    features = np.maximum(np.random.RandomState(0).standard_normal((rows, feature_width)), 0).astype(np.float32)

    def milliseconds(call):
        return 1e3 * np.median(measure.seconds_of(call, repeats=9))

    with tempfile.TemporaryDirectory() as folder:
        stores = _write_forms(folder, features)
        read = {form: milliseconds(lambda path=path: FeatureStore(path, feature_width).read('video'))
                for form, (path, _) in stores.items()}
    interpolated = {'%d to %d rows' % sizes: milliseconds(
        lambda clips=sizes[0], steps=sizes[1]: interpolate(features[:clips], steps, clips / 3.75, clips * 8))
        for sizes in INTERPOLATED}
    copy = 1e3 * features.nbytes / measure.copy_speed()
    measure.report('reading', rows=rows, feature_width=feature_width, milliseconds=read,
                   megabytes={form: size / 1e6 for form, (_, size) in stores.items()},
                   memory_copy_milliseconds=copy, npy_against_copy=read['npy float32'] / copy,
                   interpolation_milliseconds=interpolated)


def _write_forms(folder, features):
    """Write `features` as those of the video 'video' in every form; {form: (path of its store, bytes)}."""
    stores = {}
    for kind in ('float32', 'float16'):
        values = features.astype(kind)
        for form in ('npy', 'npz', 'csv', 'hdf5'):
            store = os.path.join(folder, '%s-%s' % (form, kind))
            os.mkdir(store)
            path = os.path.join(store, 'video.' + form)
            if form == 'npy':
                np.save(path, values)
            elif form == 'npz':
                np.savez(path, values)
            elif form == 'csv':
                pd.DataFrame(values).to_csv(path, index=False)
            else:
                store = path
                with h5py.File(path, 'w') as file:
                    file['video'] = values
            stores['%s %s' % (form, kind)] = store, os.path.getsize(path)
    return stores


def checking(videos):
    """Seconds of what training checks before it starts: tables, which features exist, two videos of each folder.

    Tables and features have just been written, so that they are in the page cache. Nearly all features are links
    to a few narrow ones, for the checks look up names.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = settings.override(settings.PRESETS['demo'], data_root=folder, target_classes=600,
                                   model_dir=os.path.join(folder, 'models'))
        random_data.write_data(config, videos, min(OTHERS, videos))
        seconds = {'npy': _seconds_of_checks(config)}
        for field in ('source_features', 'source_clips', 'target_clips'):
            _write_hdf5(config.data.path(field))
        seconds['hdf5'] = _seconds_of_checks(config)
    measure.report('checking', videos=videos, seconds=seconds)


def _seconds_of_checks(config):
    with tf.Graph().as_default():
        wall, cpu = time.perf_counter(), time.process_time()
        training_stream(config)
        return {'wall': time.perf_counter() - wall, 'CPU': time.process_time() - cpu}


def _write_hdf5(folder):
    """Write an HDF5 file beside `folder`, with a dataset for each of its files; all are links to the first one."""
    names = [os.path.splitext(name)[0] for name in sorted(os.listdir(folder))]
    with h5py.File(folder + '.h5', 'w') as file:
        numbers = file.create_dataset(names[0], data=np.load(os.path.join(folder, names[0] + '.npy')))
        for name in names[1:]:
            file[name] = numbers


def evaluation(results, ground_truth):
    """Seconds to parse and read a results JSON, and of both evaluators; the results follow the ground truth."""
    random = np.random.RandomState(0)
    content = random_data.ground_truth(random)
    if ground_truth:
        with open(ground_truth, encoding='utf-8') as text:
            content = json.load(text)
    seconds = {}

    def timed(name, call, *arguments):
        start = time.perf_counter()
        value = call(*arguments)
        seconds[name] = time.perf_counter() - start
        return value

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'results.json')
        write_json(path, random_data.results_for(content, results, random), indent=None)
        truth = timed('ground truth', read_ground_truth, content)
        with open(path, encoding='utf-8') as text:
            parsed = timed('parse JSON', json.load, text)
        size = os.path.getsize(path)
    found = timed('read', read_results, parsed)
    del parsed
    timed('proposals', evaluate_proposals, truth, found)
    timed('detection', evaluate_detections, truth, found)
    after = seconds['read'] + seconds['proposals'] + seconds['detection']
    measure.report('evaluation', results=results, ground_truth=ground_truth or 'random', seconds=seconds,
                   seconds_after_parsing=after, seconds_in_all=after + seconds['parse JSON'],
                   times_the_parsing=1 + after / seconds['parse JSON'], megabytes=size / 1e6)
