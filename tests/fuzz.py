"""Fuzz a parser: for any bytes it must return a result or raise an InputError.

    python tests/fuzz.py --parser npy --seconds 30

Searches with atheris (pip install atheris; Python >= 3.10), which the project does not require; test_fuzz.py tries
the same parsers without it. Prints how many inputs were tried. It stops at an input that raises another exception,
takes too long or too much memory, and writes it to crash-….
"""
import argparse
import collections
import io
import json
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

WIDTH = 4
ENTRY = {'duration_second': 32.0, 'duration_frame': 512, 'feature_frame': 512,
         'annotations': [{'segment': [8, 24.5], 'label': 'a'}]}
TRUTH = {'database': {'v': {'subset': 'validation', 'annotations': [{'segment': [0, 4], 'label': 'a'}]}}}
RESULTS = {'results': {'v': [{'segment': [0, 3.5], 'score': 0.5, 'label': 'a'}], 'w': []}}
FILES = collections.OrderedDict([
    ('info', 'info.csv'), ('labels', 'labels.txt'), ('names', 'names.txt'), ('annotation', 'annotation.txt'),
    ('entries', 'entries.json'), ('ground_truth', 'truth.json'), ('results', 'results.json'),
    ('npy', 'v.npy'), ('npz', 'v.npz'), ('csv', 'v.csv'), ('h5', 'store.h5'), ('id', 'id.txt'),
    ('settings', 'aher_adv_model_checkpoint-step_1.json'), ('progress', 'training_state-step_1.json')])


def seed(parser):
    """Bytes that the parser reads."""
    import h5py
    import numpy as np
    numbers = np.arange(3 * WIDTH, dtype=np.float32).reshape(3, WIDTH)
    texts = {'info': 'video,subset\nv,training\nw,validation\n', 'labels': 'v 0 1\nw 0 2\n', 'names': 'a\nb\n',
             'annotation': 'v\t0.5\t2\t1\nw\t0\t3\t0\n', 'entries': json.dumps({'v': ENTRY}), 'id': 'é v',
             'ground_truth': json.dumps(TRUTH), 'results': json.dumps(RESULTS),
             'csv': 'a,b,c,d\n1,2,3,4\n5,6,7,8e-1\n'}
    if parser in texts:
        return texts[parser].encode()
    if parser == 'settings':
        import config
        return json.dumps(dict(config.to_dict(config.PRESETS['demo']), files={})).encode()
    if parser == 'progress':
        window = {'sums': {'a': 0.5}, 'steps': 1, 'skips': 0, 'all_skips': 0}
        return json.dumps({'files': {}, 'progress': {'window': window}}).encode()
    file = io.BytesIO()
    if parser == 'h5':
        with h5py.File(file, 'w') as store:
            store['v'] = numbers
    else:
        {'npy': np.save, 'npz': np.savez_compressed}[parser](file, numbers)
    return file.getvalue()


def parse(parser, path):
    """Read the file at `path` with the parser; AssertionError if the result is not what the parser promises."""
    import numpy as np

    from dataset import features, tables
    from evaluation import get_detection_performance, get_proposal_performance
    from evaluation import results as evaluation

    def read_features(path):
        with features.FeatureStore(path if parser == 'h5' else os.path.dirname(path), WIDTH) as store:
            found = store.read('v')
        assert found.dtype == np.float32 and found.shape[1:] == (WIDTH,) and np.isfinite(found).all()

    def read_entries(path):
        for video in tables.read_videos(['v'], path, {}, tables.AnnotationRules(), collections.Counter()):
            assert video.clips > 0 and ((0 <= video.segments) & (video.segments <= 1)).all()

    def evaluate(path):
        found = evaluation.read_results(path)
        truth = evaluation.read_ground_truth(TRUTH)
        for share in (get_detection_performance.evaluate_detections(truth, found).average_mAP,
                      get_proposal_performance.evaluate_proposals(truth, found).average_recall_percent / 100):
            assert 0 <= share <= 1

    def check_video_id(path):
        with open(path, 'rb') as file:
            name = file.read().decode('utf-8', 'surrogateescape')
        tables.check_video_id(name)
        assert os.path.dirname(os.path.normpath(os.path.join('/a/b', name + '.npy'))) == '/a/b'

    def find_start(path):
        import config
        from runtime import snapshots, training_log
        folder = os.path.dirname(path)
        for beside in ('settings', 'progress'):
            prefix = os.path.join(folder, FILES[beside][:-len('.json')])
            open(prefix + '.index', 'w').close()
            if beside != parser:
                with open(prefix + '.json', 'wb') as file:
                    file.write(seed(beside))
        snapshots.find_start(
            folder, snapshots.path(folder, 1),
            lambda saved: config.differences(saved, config.PRESETS['demo'], snapshots.SETTINGS),
            check_progress=training_log.check_progress)

    return {'settings': find_start, 'progress': find_start, 'info': lambda path: tables.read_info(path, 'training'),
            'labels': lambda path: tables.read_labels(path, 3),
            'names': tables.read_class_names, 'annotation': lambda path: tables.read_annotation(path, 3),
            'entries': read_entries, 'ground_truth': evaluation.read_ground_truth, 'results': evaluate,
            'id': check_video_id}.get(parser, read_features)(path)


def is_read(parser, data, folder):
    """True if `parser` reads the bytes `data`, False if it raises an InputError; any other exception is a bug."""
    from runtime.errors import InputError
    path = os.path.join(folder, FILES[parser])
    with open(path, 'wb') as file:
        file.write(data)
    try:
        parse(parser, path)
    except InputError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 5000, message
        return False
    return True


def main():
    """Fuzz one parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parser', choices=FILES, required=True)
    parser.add_argument('--seconds', type=int, default=30)
    args = parser.parse_args()
    import atheris
    with atheris.instrument_imports(include=['dataset', 'runtime', 'evaluation', 'config', 'zipfile', 'json']):
        if args.parser in ('settings', 'progress'):  # here: importing TensorFlow takes longer than one input may
            from runtime import snapshots, training_log  # noqa: F401
        import evaluation.get_detection_performance
        import evaluation.get_proposal_performance  # noqa: F401
        from dataset import tables  # noqa: F401
    with tempfile.TemporaryDirectory() as folder:
        corpus = os.path.join(folder, 'corpus')
        os.mkdir(corpus)
        with open(os.path.join(corpus, 'seed'), 'wb') as file:
            file.write(seed(args.parser))
        atheris.Setup([sys.argv[0], '-max_total_time=%d' % args.seconds, '-print_final_stats=1', '-max_len=20000',
                       '-rss_limit_mb=1500', '-timeout=10', '-seed=1', '-verbosity=0', corpus],
                      lambda data: is_read(args.parser, data, folder))
        atheris.Fuzz()


if __name__ == '__main__':
    main()
