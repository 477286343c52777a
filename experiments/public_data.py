"""Try import on real annotations of public data sets, with features made up to the real lengths.

    python3 experiments/public_data.py --annotations FOLDER --out data/public_data

FOLDER holds those of the files FILES that you have; a trial whose files are not there is skipped. The numbers of the
features are random, with few columns: what is tried is the way from annotations and features to training and results,
not what a network learns. Each trial imports, checks, trains some steps of a small network and tests it. OUT/NAME has
its data root, and OUT/NAME.log all that the scripts print. A table comes last: docs/data.md, "Public data sets", has
it.
"""
import argparse
import os
import sys
import time
from typing import Callable, NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import exit_on_ctrl_c, printable, run_and_exit
from runtime.files import make_folder

with exit_on_ctrl_c():
    import h5py
    import numpy as np
    import pandas as pd

    from dataset import data_root
    from dataset.row_times import rows_of
    from dataset.tables import read_annotation, read_class_names
    from experiments.runs import call
    from runtime.files import read_json

FILES = ('anet_anno_action.json', 'video_info_new.csv', 'thumos14.json', 'thumos14_i3d_rows.json',
         'k600_val_annotation.txt', 'k600_category.txt')
WIDTH = 8           # columns of the features
CLIP_SECONDS = 10   # of a Kinetics clip
NETWORK = ['stem_widths=8,8', 'level_widths=8,8,8,8,8,8,8,8', 'context_width=8']
STEPS = 4


class Features(NamedTuple):
    """How the rows of made-up features lie in time."""

    stride: int   # frames
    window: int   # frames
    fps: float

    def flags(self):
        """The flags of import that say so."""
        return dict(stride=self.stride, window=self.window, fps=self.fps)

    def rows(self, seconds):
        """Rows of a video of `seconds`."""
        return rows_of(seconds, self.stride, self.window, self.fps)


TSP, I3D = Features(16, 16, 15), Features(4, 16, 30)
NETWORK_FLAGS = [part for setting in NETWORK for part in ('--set', setting)]


class Trial(NamedTuple):
    """One data root: which files of FILES it needs, and the function that imports it."""

    title: str
    needs: tuple
    make: Callable  # (folder of the annotations, folder to work in, import as a function)
    preset: str = 'k600'


def write_features(path, rows_of, seed=0):
    """Write an HDF5 file with made-up features: {video: rows}; nothing where the file is there."""
    if os.path.exists(path):
        return
    random = np.random.RandomState(seed)
    make_folder(os.path.dirname(path))
    with h5py.File(path + '.new', 'w') as file:
        for video, rows in rows_of.items():
            file[video] = random.randn(rows, WIDTH).astype(np.float16)
    os.rename(path + '.new', path)


def anet_seconds(folder):
    """{video: seconds} of ActivityNet v1.3."""
    return {video: entry['duration_second']
            for video, entry in read_json(os.path.join(folder, 'anet_anno_action.json')).items()}


def import_anet(folder, work, import_side, side, features):
    """ActivityNet v1.3 by BMN's pair of tables, with features of the real lengths."""
    path = os.path.join(work, 'features', 'anet_%d_%d_%d.h5' % features)
    write_features(path, {video: features.rows(seconds) for video, seconds in anet_seconds(folder).items()})
    pair = [os.path.join(folder, name) for name in FILES[:2]]
    import_side(side, annotation=pair, features=path, **features.flags())


def import_k600(folder, work, import_side):
    """Kinetics-600: two clips a class made up, and the untrimmed validation videos of the authors' annotation."""
    names = read_class_names(os.path.join(folder, 'k600_category.txt'))
    clips, ends, paths = [], {}, [os.path.join(work, 'features', name) for name in ('k600_clips.h5', 'k600_val.h5')]
    for label in names:
        clips += [(label, 'clip%04d' % len(clips), 0, CLIP_SECONDS, 'train') for _ in range(2)]
    for segment in read_annotation(os.path.join(folder, 'k600_val_annotation.txt'), len(names)):
        ends[segment.video] = max(ends.get(segment.video, 0), segment.end + 1)
    write_features(paths[0], {'%s_%06d_%06d' % clip[1:4]: TSP.rows(CLIP_SECONDS) for clip in clips})
    write_features(paths[1], {video: TSP.rows(end) for video, end in ends.items()})
    table = os.path.join(work, 'features', 'k600_train.csv')
    pd.DataFrame(clips, columns=('label', 'youtube_id', 'time_start', 'time_end', 'split')).to_csv(table, index=False)
    import_side('target', annotation=[table], features=paths[0], untrimmed=paths[1],
                untrimmed_annotation=os.path.join(folder, 'k600_val_annotation.txt'),
                categories=os.path.join(folder, 'k600_category.txt'), **TSP.flags())


def import_thumos14(folder, work, import_side, side):
    """THUMOS14, with the rows of public I3D features, which were made at the frame rate of each video."""
    path = os.path.join(work, 'features', 'thumos14.h5')
    rows = read_json(os.path.join(folder, 'thumos14_i3d_rows.json'))
    write_features(path, {video: entry['feature_length'] for video, entry in rows.items()})
    import_side(side, annotation=[os.path.join(folder, 'thumos14.json')], features=path,
                subsets='training=Validation,validation=Test', stride=I3D.stride, window=I3D.window)


def anet_to_k600(folder, work, import_side):
    """ActivityNet, TSP → Kinetics-600."""
    import_anet(folder, work, import_side, 'source', TSP)
    import_k600(folder, work, import_side)


def thumos14_to_anet(folder, work, import_side):
    """THUMOS14, I3D → ActivityNet, I3D."""
    import_thumos14(folder, work, import_side, 'source')
    import_anet(folder, work, import_side, 'target', I3D)


def anet_to_thumos14(folder, work, import_side):
    """ActivityNet, I3D → THUMOS14, I3D."""
    import_anet(folder, work, import_side, 'source', I3D)
    import_thumos14(folder, work, import_side, 'target')


TRIALS = {
    'anet_k600': Trial('ActivityNet TSP → Kinetics-600 clips', FILES[:2] + FILES[4:], anet_to_k600),
    'thumos14_anet': Trial('THUMOS14 I3D → ActivityNet I3D', FILES[:4], thumos14_to_anet, 'thumos14_anet'),
    'anet_thumos14': Trial('ActivityNet I3D → THUMOS14 I3D', FILES[:4], anet_to_thumos14)}


def run(name, trial, annotations, out):
    """Do a trial; return the cells of its row in the table, or None where its annotations are not there."""
    if not all(os.path.exists(os.path.join(annotations, file)) for file in trial.needs):
        return None
    folder, log, start = os.path.join(out, name), os.path.join(out, name + '.log'), time.monotonic()

    def import_side(side, annotation, **flags):
        call(log, 'prepare_data.py', 'import', '--annotation', *annotation, side=side, data_root=folder, **flags)

    def script(path, *arguments, **flags):
        call(log, path, *arguments, data_root=folder, config=trial.preset, **flags)

    trial.make(annotations, out, import_side)
    imported = time.monotonic() - start
    script('prepare_data.py', 'check')
    models = dict(model_dir=os.path.join(out, name + '_models'))
    script('aher_k600_train.py', *NETWORK_FLAGS, max_steps=STEPS, batch_size=4, log_step=1, **models)
    script('aher_k600_test.py', *NETWORK_FLAGS[:4], results_dir=os.path.join(out, name + '_results'), **models)
    return [trial.title, '%.0f' % imported, '%.0f' % (time.monotonic() - start)] + [
        cell(data_root.read(folder)['settings'].get(setting)) for setting in (
            'source_classes', 'target_classes', 'foreground_clips', 'moment_clips', 'max_segments', 'window_seconds')]


def cell(value):
    """A setting as the table shows it."""
    return '-' if value is None else '%g' % value


def main(argv=None):
    """Run the trials whose annotations are there, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--annotations', required=True, metavar='FOLDER', help='folder of the annotations: '
                        + ', '.join(FILES))
    parser.add_argument('--out', default='data/public_data', help='folder to work in (default: %(default)s)')
    parser.add_argument('--trials', default=','.join(TRIALS), help='trials to run (default: %(default)s)')
    args = parser.parse_args(argv)
    print('| trial | import, s | all, s | source classes | target classes | foreground rows | moment rows | segments '
          'a video | window, s |\n|' + '---|' * 9, flush=True)
    for name in args.trials.split(','):
        cells = run(name, TRIALS[name], args.annotations, args.out)
        print(printable('| %s |' % ' | '.join(cells) if cells else '%s: skipped, its annotations are not in %s' % (
            name, args.annotations)), flush=True)


if __name__ == '__main__':
    run_and_exit(main)
