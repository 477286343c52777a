"""Does a data set give the same figures, in whatever form it comes? The demo's world in four forms, imported again.

    python3 experiments/forms.py --out data/forms [--forms stride_16,hdf5_groups] [--seeds 3] [--max_steps 600]

The features of the world are written as other programs write them: at 30 frames per second, with another stride and
window, axis order or file (FORMS). The annotation is a JSON in ActivityNet's form for the source and the moments, and
the text annotation for the validation videos. `prepare_data.py import` makes a data root of each form. The preset
demo is trained and tested on these and on the original, in a process with one thread each. A row of OUT/forms.csv is
written when its run is done; the same command continues with the runs that have no row yet. OUT/forms.md has the mean
and the standard deviation over the seeds, in percent.
"""
import argparse
import collections
import os
import sys
from typing import NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import exit_on_ctrl_c, run_and_exit
from runtime.files import file_lock, make_folder, write_json

with exit_on_ctrl_c():
    import h5py
    import numpy as np
    from tqdm import tqdm

    from aher_k600_test import RESULTS_NAME
    from dataset import data_root
    from dataset.row_times import rows_of
    from experiments import runs as shared
    from experiments.runs import MEASURES, call
    from preparation import demo, demo_world
    from preparation.demo_world import CLIP_FRAMES, Settings

HEAD = ('form', 'seeds')  # of the first two columns of forms.md
ORIGINAL = 'original'     # in place of a form: the data set as `prepare_data.py demo` writes it
FPS = 30                  # at which the features of all forms are made
WORLD_SEED = 0
STORES = {('source', 'training'): 'source', ('source', 'validation'): 'source', ('target', 'training'): 'moments',
          ('target', 'validation'): 'validation'}  # side and subset of videos → folder or file of their features


class Form(NamedTuple):
    """How features are written."""

    title: str
    stride: int  # frames from one row to the next
    window: int  # frames of a row, a multiple of CLIP_FRAMES
    store: str   # tc: npy files [T, C]; ct: npy files [C, T]; hdf5: a group for each video


FORMS = collections.OrderedDict([
    ('stride_16', Form('stride 16, window 16', 16, 16, 'tc')), ('stride_4', Form('stride 4, window 16', 4, 16, 'tc')),
    ('columns_first', Form('[C, T], stride 8', 8, 8, 'ct')),
    ('hdf5_groups', Form('HDF5 groups, stride 8', 8, 8, 'hdf5'))])


class Key(NamedTuple):
    """What tells the runs apart; the first columns of forms.csv."""

    source_videos: int      # of the world
    moments_per_class: int
    form: str               # of FORMS, or ORIGINAL
    seed: int               # of the network
    steps: int              # of training

    def settings(self):
        """Settings of the world."""
        return Settings(source_videos=self.source_videos, moments_per_class=self.moments_per_class)

    def folder(self, out):
        """Folder of the world, its forms and their runs."""
        return os.path.join(out, 'videos-%d_moments-%d' % self[:2])

    def data(self, out):
        """The data root."""
        return os.path.join(self.folder(out), self.form, 'data')


# Writing a form

def resample(clips, video, form):
    """Clip features [n, C] of a DemoVideo → its rows in a Form [T, C], as they are extracted at FPS.

    A row is the mean of the clips of CLIP_FRAMES frames that its window has; between two clips of the video, the
    features are interpolated. As in most programs, the last row is that of the last complete window.
    """
    rows = rows_of(video.seconds, form.stride, form.window, FPS)
    parts = CLIP_FRAMES * (0.5 + np.arange(form.window // CLIP_FRAMES))
    seconds = (form.stride * np.arange(rows)[:, np.newaxis] + parts) / FPS  # [T, parts]
    at = np.interp(seconds, video.times, np.arange(video.clips))
    below = np.minimum(at.astype(int), max(video.clips - 2, 0))
    share = (at - below)[..., np.newaxis]
    above = np.minimum(below + 1, video.clips - 1)
    return ((1 - share) * clips[below] + share * clips[above]).mean(axis=1).astype(np.float32)


def write_store(path, videos, form, features):
    """Write the features of `videos`, (classes, DemoVideo), to a new folder or HDF5 file at `path`."""
    if form.store != 'hdf5':
        make_folder(path)
        for classes, video in tqdm(videos, unit='video', disable=None):
            rows = resample(features(video, classes), video, form)
            np.save(os.path.join(path, 'v_%s.npy' % video.name), rows if form.store == 'tc' else rows.T)
        return
    with h5py.File(path, 'w') as file:
        for classes, video in tqdm(videos, unit='video', disable=None):
            file['%s/c3d_features' % video.name] = resample(features(video, classes), video, form)


def annotation_of(videos, names):
    """The annotation of DemoVideos in ActivityNet's form; `names`: class names."""
    return {'version': 'VERSION 1.3', 'taxonomy': [], 'database': {video.name: {
        'subset': video.subset, 'duration': video.seconds, 'annotations': [
            {'segment': [start, end], 'label': names[label]} for start, end, label in video.segments]}
        for video in videos}}


def make_form(key, out):
    """Write the world in a form, and import it; nothing where that is done."""
    if data_root.read(key.data(out))['target'].get('features'):
        return
    form, folder, log = FORMS[key.form], os.path.dirname(key.data(out)), os.path.join(key.folder(out), 'log.txt')
    make_folder(folder)
    settings, world = key.settings(), world_of(key, out)
    sets = demo.plan(settings, demo.ANNOTATION, demo.DATA._replace(data_root=world), WORLD_SEED)
    features = demo_world.feature_maker(settings, len(sets[1].names), WORLD_SEED)
    stores = collections.defaultdict(list)
    for video_set in sets:
        for video in video_set.videos:
            stores[STORES[video_set.side, video.subset]].append((video_set.classes, video))
    paths = {name: os.path.join(folder, name + ('.hdf5' if form.store == 'hdf5' else '')) for name in stores}
    for name, videos in stores.items():
        write_store(paths[name], videos, form, features)
    for name, video_set in (('source', sets[0]), ('moments', sets[1])):
        write_json(os.path.join(folder, name + '.json'),
                   annotation_of([video for _, video in stores[name]], video_set.names))
    times = dict(stride=form.stride, window=form.window, fps=FPS, data_root=key.data(out))
    call(log, 'prepare_data.py', 'import', side='source', annotation=os.path.join(folder, 'source.json'),
         features=paths['source'], **times)
    call(log, 'prepare_data.py', 'import', side='target', annotation=os.path.join(folder, 'moments.json'),
         features=paths['moments'], untrimmed=paths['validation'],
         untrimmed_annotation=os.path.join(world, demo.COPY), categories=demo.DATA._replace(
             data_root=world).path('target_categories'), **times)


def world_of(key, out):
    """Folder of the world as `prepare_data.py demo` writes it."""
    return key._replace(form=ORIGINAL).data(out)


# Runs

def run(key, out):
    """Train and test on the data root of a Key → [its row of forms.csv]."""
    folder = os.path.join(os.path.dirname(key.data(out)), 'seed-%d_steps-%d' % key[3:])
    models, results, log = [os.path.join(folder, name) for name in ('models', 'results', 'log.txt')]
    flags = dict(config='demo', data_root=key.data(out), model_dir=models, threads=1, workers=1)
    call(log, 'aher_k600_train.py', **flags, max_steps=key.steps, snapshot_step=max(1, key.steps), seed=key.seed)
    call(log, 'aher_k600_test.py', **flags, results_dir=results, steps=key.steps)
    truth = demo.DATA._replace(data_root=world_of(key, out)).path('ground_truth')
    return [key + shared.evaluate(os.path.join(results, RESULTS_NAME % key.steps), truth)]


def key_of(row):
    """Key of a row of forms.csv."""
    return Key(*[kind(row[name]) for name, kind in Key.__annotations__.items()])


def format_table(rows):
    """Rows of forms.csv → Markdown: mean ± standard deviation over the seeds, one line for each form."""
    titles = dict([(ORIGINAL, ORIGINAL)] + [(name, form.title) for name, form in FORMS.items()])
    lines = [(title, shared.percents_of([row for row in rows if row['form'] == name]))
             for name, title in titles.items() if any(row['form'] == name for row in rows)]
    return '\n'.join(shared.percents_table(*HEAD, lines)) + '\n'


def parse_forms(text):
    """The names of FORMS in a text such as 'stride_16,hdf5_groups'."""
    names = text.split(',')
    for name in names:
        if name not in FORMS:
            raise argparse.ArgumentTypeError('"%s": expected names of %s' % (name, ', '.join(FORMS)))
    return names


def build_parser():
    """The parser of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--out', default='data/forms', help='folder of the world, its forms and the runs '
                        '(default %(default)s)')
    parser.add_argument('--forms', type=parse_forms, default=','.join(FORMS), metavar='NAME,NAME,…',
                        help='forms besides the original (default %(default)s)')
    parser.add_argument('--seeds', type=int, default=3,
                        help='networks for each form; their seeds count from 0 (default %(default)s)')
    shared.add_flags(parser)
    for name in ('source_videos', 'moments_per_class'):
        parser.add_argument('--' + name, type=int, default=getattr(Settings(), name),
                            help='of the demo world (default %(default)s)')
    return parser


def main(argv=None):
    """Make the forms and the runs that are missing, and print the table."""
    arguments = build_parser().parse_args(argv)
    out, path = arguments.out, os.path.join(arguments.out, 'forms.csv')
    columns = Key._fields + MEASURES
    shared.refuse_files_of_others([os.path.join(out, 'forms.md')], '| %s | %s |' % HEAD)
    wanted = [Key(arguments.source_videos, arguments.moments_per_class, form, seed, arguments.max_steps)
              for seed in range(arguments.seeds) for form in [ORIGINAL] + arguments.forms]
    with file_lock(os.path.join(out, '.lock')):
        left = shared.missing_runs(wanted, key_of, path, columns)
        if left:
            world, log = world_of(left[0], out), os.path.join(left[0].folder(out), 'log.txt')
            call(log, 'prepare_data.py', 'demo', out=world, seed=WORLD_SEED, source_videos=arguments.source_videos,
                 moments_per_class=arguments.moments_per_class)
            call(log, 'prepare_data.py', 'annotation', data_root=world)
            for form in arguments.forms:
                make_form(left[0]._replace(form=form), out)
        shared.run_all(left, lambda key: run(key, out), path, arguments.processes)
        shared.write_and_print_table(wanted, key_of, format_table, path, columns)


if __name__ == '__main__':
    run_and_exit(main)
