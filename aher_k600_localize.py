"""Find actions in untrimmed videos with one snapshot, and show them (docs/localize.md).

Takes the features of videos in any form that training takes. Writes detections.json (results in ActivityNet's form),
detections.csv, and for each video a picture, and subtitles if asked for. From Python:

    from aher_k600_localize import Localizer
    with Localizer('models/demo') as localizer:
        detections = localizer(features, seconds=162.0)  # [{'segment': [start, end], 'label': …, 'score': …}, …]
"""
import argparse
import os
from typing import NamedTuple

from runtime.errors import InputError, counted, exit_on_ctrl_c, printable, run_and_exit

with exit_on_ctrl_c():
    import numpy as np

    import aher_model as aher
    import config as settings
    from data_loader import read_untrimmed
    from dataset import trained_on
    from dataset.samples import covering_windows
    from dataset.tables import read_class_names
    from evaluation.results import try_figure
    from localization.files import file_names, write_results, write_subtitles
    from localization.pictures import draw_video
    from localization.videos import Timing, annotated_of, array_video, open_videos
    from ops.detections import VideosOfWindows, action_curve, results_of
    from runtime import snapshots
    from runtime.files import read_json
    from runtime.progress import track
    from runtime.session import announce_device, open_session, tf

# Settings that may differ from those of the training
CHANGEABLE = ('score_by', 'nms_tiou', 'max_detections', 'labels_per_video', 'label_by', 'window_seconds',
              'window_stride_seconds')
PICTURES, SUBTITLES = 'pictures', 'subtitles'


# From Python

class Found(NamedTuple):
    """What was found in a video."""

    detections: list  # of {'segment': [start, end] in seconds, 'label': class name, 'score': number}, best first
    curve: tuple      # the action probability over time, as ops.detections.action_curve gives it


class Localizer:
    """Finds actions in videos with one snapshot. Each has a graph and a session of its own; use it as a context.

    Args:
      snapshot: a folder of snapshots, whose newest undamaged one is taken, or the path of one of a snapshot's files.
      config: preset or .json whose settings are taken in place of the snapshot's; needed for checkpoints without
        .json, such as the authors'.
      class_names: the target classes, in order; None: those that the snapshot was trained with.
      threads, device, tf32: as the settings of these names.
      changes: other settings of CHANGEABLE, such as label_by='both'.
    Raises InputError, a ValueError, where the snapshot or a setting cannot be used.
    """

    def __init__(self, snapshot, config=None, class_names=None, threads=0, device='auto', tf32=False, **changes):
        unknown = sorted(set(changes) - set(CHANGEABLE))
        if unknown:
            raise InputError('no setting of a Localizer is called %s; expected one of %s'
                             % (', '.join(unknown), ', '.join(CHANGEABLE)))
        self.prefix = _find_snapshot(snapshot)
        record = _record_of(self.prefix)
        self.class_names = class_names or trained_on.class_names(record, 'target')
        if not self.class_names:
            raise InputError('%s: does not say its class names; give their list' % self.prefix)
        self.rows_known = record.get('rows', {}).get('target', {})  # what is known of when rows are
        self.config = settings.check(settings.override(
            _settings_of(self.prefix, record, config), target_classes=len(self.class_names), **changes))
        with tf.Graph().as_default() as graph:
            model = self.config.model
            self._features = tf.placeholder(tf.float32, [None, model.untrimmed_steps, model.feature_width])
            self._seconds = tf.placeholder(tf.float32, [None])
            detector = aher.detector(self._features, self._seconds, self.config)
            action = tf.reduce_max(tf.nn.softmax(detector.prediction.proposal_logits)[..., 1], axis=2)
            self._kind, self._fetches = type(detector.found), (tuple(detector.found), action)
            part = snapshots.part_of(detector.variables)
        self._session = open_session(threads, device, tf32, graph)
        try:
            snapshots.restore(self._session, self.prefix, part)
            self._session.run(detector.transfer)
        except BaseException:
            self.close()
            raise

    def __call__(self, features, seconds=None, row_seconds=None, first_row_second=None):
        """The detections in one video: a list of {segment, label, score}, best first; pandas.DataFrame takes it.

        Args:
          features: [n, C] numbers, a row for each time.
          seconds: duration of the video; with it alone, the rows are spread evenly over the video.
          row_seconds: time from one row to the next.
          first_row_second: centre of the first row; None: half of row_seconds.
        Without any of these, rows are as those of the training videos, if the snapshot says when these are. Raises
        InputError where the features or the times cannot be used.
        """
        timing = Timing(seconds=seconds)
        if row_seconds is not None:  # in frames of one second
            window = row_seconds if first_row_second is None else 2 * first_row_second
            timing = Timing(row_seconds, window, 1.0, seconds)
        return self.find(array_video(features, self.config.model.feature_width, timing, self.rows_known)).detections

    def find(self, item):
        """What is Found in a localization.videos.Item; raises InputError where its features cannot be read."""
        config, windows = self.config, covering_windows(item.video, self.config.data)
        joined, actions, done = VideosOfWindows(windows, self._kind, config.test), [], None
        size = config.test.test_batch_size
        for first in range(0, len(windows), size):
            batch = windows[first:first + size]
            found, action = self._session.run(self._fetches, {
                self._features: np.stack([read_untrimmed(item.store, window, config) for window in batch]),
                self._seconds: [window.span for window in batch]})
            actions.extend(action)
            for number, values in enumerate(zip(*found), start=first):
                done = joined.add(number, number, values)
        detections = results_of(item.video.seconds, done[1], self.class_names, config.test)
        return Found(sorted(detections, key=lambda found: -found['score']),
                     action_curve(windows, actions, aher.level_positions(config.model)))

    def close(self):
        """Free the session and its memory."""
        self._session.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _find_snapshot(place):
    """The path of a snapshot without the ends of its files: that at `place`, or the newest undamaged one there."""
    if not os.path.isdir(place):
        return snapshots.without_end(place)
    steps = snapshots.steps_in(place)
    if not steps:
        raise InputError('%s: found no snapshots %s*; train first, or name another folder'
                         % (place, snapshots.PREFIX))
    for step in reversed(steps):
        prefix = snapshots.path(place, step)
        try:
            if os.path.lexists(prefix + '.json'):
                snapshots.verify(prefix, 'files', 'model')
            return prefix
        except snapshots.Damaged as error:
            print('skipped: %s' % error, flush=True)
    raise snapshots.Damaged('%s: of %s here, none can be used; train again' % (
        place, counted(len(steps), 'snapshot')))


def _record_of(prefix):
    """What the .json beside a snapshot says; {} where there is none."""
    if not os.path.exists(prefix + '.index'):
        raise InputError('%s: found no snapshot; expected a folder of snapshots, or the path of one' % prefix)
    return read_json(prefix + '.json') if os.path.lexists(prefix + '.json') else {}


def _settings_of(prefix, record, config):
    """The Config of a preset or .json if given, otherwise that of the snapshot."""
    if config is None and not record:
        raise InputError('%s: found no .json with its settings; give the preset it was trained with, as config'
                         % prefix)
    if config in settings.PRESETS:
        return settings.PRESETS[config]
    return settings.from_dict(record if config is None else read_json(config), config or prefix + '.json')


# Script

def build_parser():
    """The parser of this script."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('features', nargs='+', metavar='FEATURES', help='folders or HDF5 files of features, or npy, '
                        'npz and CSV files of single videos')
    parser.add_argument('--snapshot', required=True, metavar='PATH', help='folder of snapshots, of which the newest '
                        'is taken, or one of the files of a snapshot')
    parser.add_argument('--out', default=os.path.join('results', 'found'), metavar='FOLDER', help='where '
                        'detections.json, detections.csv, pictures and subtitles are written (default: %(default)s)')
    time = parser.add_argument_group('when the rows of the features are (default: as those of the training)')
    time.add_argument('--stride', type=float, metavar='N', help='frames from one row to the next')
    time.add_argument('--window', type=float, metavar='N', help='frames that a row is made of (default: the stride)')
    time.add_argument('--fps', type=float, metavar='N', help='frames per second (default: of each video, as the '
                      'annotation says)')
    time.add_argument('--seconds', type=float, metavar='S', help='duration of the video; without --stride, its rows '
                      'are spread evenly over it')
    time.add_argument('--annotation', nargs='+', default=[], metavar='FILE', help='the duration of each video, '
                      'in any form that prepare_data.py import takes')
    stored = parser.add_argument_group('how the features are stored')
    stored.add_argument('--layout', choices=('tc', 'ct'), help='a row for each time (tc), or a column (ct) (default: '
                        'as the width says)')
    stored.add_argument('--key', default='', metavar='NAME', help='name of the array in an npz file or HDF5 group')
    shown = parser.add_argument_group('what is written')
    shown.add_argument('--ground_truth', metavar='FILE', help='segments to draw above what was found, in any form '
                       'that prepare_data.py import takes')
    shown.add_argument('--subtitles', action='store_true', help='write subtitles (WebVTT), which players show over '
                       'the video')
    shown.add_argument('--no_pictures', action='store_true', help='draw no pictures')
    shown.add_argument('--min_score', type=float, default=0.0, metavar='S', help='leave out detections of a lower '
                       'score (default: %(default)s)')
    shown.add_argument('--top', type=int, metavar='K', help='best detections of a video that are kept (default: all)')
    shown.add_argument('--first', type=int, metavar='N', help='take the first N videos alone (default: all)')
    other = parser.add_argument_group('snapshot and detection')
    other.add_argument('--config', metavar='PRESET|JSON', help='settings in place of those of the snapshot')
    other.add_argument('--categories', metavar='FILE', help='class names, one per line (default: the snapshot\'s)')
    settings.add_some_flags(other, CHANGEABLE, 'as the snapshot was trained')
    settings.add_some_flags(parser.add_argument_group('run'), ('threads', 'device', 'tf32'))
    return parser


def main(argv=None):
    """Localize as the command line says."""
    args = build_parser().parse_args(argv)
    for name in ('stride', 'window', 'fps', 'seconds', 'top', 'first'):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise InputError('--%s %g: expected a number above 0' % (name, value))
    given = {name: getattr(args, name) for name in CHANGEABLE if getattr(args, name) is not None}
    run_flags = {'threads': args.threads or 0, 'device': args.device or 'auto', 'tf32': bool(args.tf32)}
    names = read_class_names(args.categories) if args.categories else None
    announce_device(**run_flags)
    with Localizer(args.snapshot, args.config, names, **run_flags, **given) as localizer:
        print(printable('snapshot %s: %s' % (localizer.prefix, counted(len(localizer.class_names), 'class'))))
        items, texts, warnings = open_videos(
            args.features, localizer.config.model.feature_width,
            Timing(args.stride, args.window, args.fps, args.seconds), localizer.rows_known, args.annotation,
            args.layout, args.key, args.first)
        print('\n'.join(map(printable, texts + ['warning: ' + text for text in warnings])), flush=True)
        localize(localizer, items, args)


def localize(localizer, items, args):
    """Find actions in all videos and write what was found, as the parsed `args` say."""
    files, detections, faults = file_names([item.video.name for item in items]), {}, []
    annotated = annotated_of([args.ground_truth] if args.ground_truth else [], list(files))
    truth = {name: [(float(start), float(end), str(label)) for start, end, label in video.segments]
             for name, video in annotated.items()}
    for item in track(items, 'video') if len(items) > 1 else items:
        name, found = item.video.name, localizer.find(item)
        kept = [entry for entry in found.detections if entry['score'] >= args.min_score][:args.top]
        detections[name] = kept
        if args.subtitles:
            write_subtitles(os.path.join(args.out, SUBTITLES, files[name] + '.vtt'), kept)
        if not args.no_pictures:
            faults.append(try_figure(os.path.join(args.out, PICTURES, files[name] + '.png'), lambda: draw_video(
                name, item.video.seconds, kept, found.curve, truth.get(name))))
    paths = write_results(args.out, detections)
    print(printable('%s in %s: %s' % (counted(sum(map(len, detections.values())), 'detection'),
                                      counted(len(items), 'video'), ', '.join(paths))))
    if args.subtitles:
        print(printable('subtitles: %s' % os.path.join(args.out, SUBTITLES)))
    if len(faults) > faults.count(None):
        print('warning: %s' % next(filter(None, faults)))
    elif faults:
        print(printable('pictures: %s' % os.path.join(args.out, PICTURES)))


if __name__ == '__main__':
    run_and_exit(main)
