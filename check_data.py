"""Check all of a data root before a run: every defect is listed, not only the first (prepare_data.py check).

Tables and cross references are read whole; features by sample, or all of them.
"""
import collections
import contextlib
import os
from multiprocessing.pool import ThreadPool

from tqdm import tqdm

from errors import InputError
from evaluation.results import ground_truth_faults
from features import FeatureStore
from files import read_json
from tables import read_class_names, read_entries, read_info, read_labels, read_videos

SHOWN = 10    # defects of a kind that are listed; the others are counted
SAMPLE = 100  # videos of each store whose features are read by default


class Defects:
    """Messages by kind: the first SHOWN, and how many there are."""

    def __init__(self):
        self.counts, self._shown = collections.OrderedDict(), {}

    def add(self, kind, message):
        """One more defect of `kind`; `message` is an InputError or a line."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= SHOWN:
            self._shown.setdefault(kind, []).append(str(InputError('%s' % message)))  # one line, that can be printed

    def report(self, kind):
        """A `report` of tables.py's readers that adds to `kind`."""
        return lambda error: self.add(kind, error)

    @contextlib.contextmanager
    def of(self, kind):
        """InputErrors within are added to `kind`: what is unusable as a whole."""
        try:
            yield
        except InputError as error:
            self.add(kind, error)

    def __str__(self):
        lines = []
        for kind, count in self.counts.items():
            shown = self._shown[kind]
            lines += ['%s: %d' % (kind, count)] + ['  ' + message for message in shown]
            lines += ['  … and %d more' % (count - len(shown))] if count > len(shown) else []
        return '\n'.join(lines)


def check(config, sample=SAMPLE):
    """Defects of all that `config` names, and lines of summary; `sample` features of a store, None: all."""
    data, defects, summary, videos = config.data, Defects(), [], {}
    names = {side: _check_class_names(side, config, defects) for side in ('source', 'target')}
    for side, subset in (('source', 'training'), ('target', 'training'), ('target', 'validation')):
        classes = getattr(config.model, side + '_classes') or len(names[side])
        videos[side, subset] = _check_tables(side, subset, classes, data, defects, summary)
    validation = [video.name for video in videos['target', 'validation']]
    _check_ground_truth(data, validation, names['target'], defects, summary)
    for field, side, subset, by_clip in (
            ('source_features', 'source', 'training', False), ('source_clips', 'source', 'training', True),
            ('target_clips', 'target', 'training', True), ('target_features', 'target', 'validation', False)):
        with defects.of('features'):
            _check_features(field, videos[side, subset], by_clip, config, sample, defects, summary)
    return defects, summary


def _check_class_names(side, config, defects):
    """Class names of one side, as far as they can be used; the source's may be absent where their number is given."""
    path, setting, names = config.data.path(side + '_categories'), side + '_classes', []
    expected = getattr(config.model, setting)
    if side == 'source' and expected and not os.path.exists(path):
        return names
    with defects.of('class names'):
        names = read_class_names(path, defects.report('class names'))
        if expected and expected != len(names):
            defects.add('class names', '%s: found %d class names, expected %d (--%s)' % (
                path, len(names), expected, setting))
    return names


def _check_tables(side, subset, classes, data, defects, summary):
    """Videos of one side and subset, as far as their tables can be used."""
    info, labels, annotation = [data.path(side + end) for end in ('_info', '_labels', '_annotation')]
    names, label_of, videos, unusable = [], {}, [], collections.Counter()
    once = subset == 'training'  # the tables serve both subsets; a fault is counted once

    def report(kind):
        return defects.report(kind) if once else lambda error: None

    with defects.of('info table'):
        names = read_info(info, subset, report('info table'))
    if once or os.path.exists(labels):
        with defects.of('label table') if once else contextlib.suppress(InputError):
            label_of = read_labels(labels, classes, report('label table'))
            if once:
                for name in names:
                    if name not in label_of:
                        defects.add('videos without a label', '%s: no row of video %s, which %s names' % (
                            labels, name, info))
    if once:
        with defects.of('annotation'):
            _check_duplicates(annotation, defects)
    with defects.of('annotation') if once else contextlib.suppress(InputError):
        videos = read_videos(names, annotation, label_of, data.clip_frames, unusable, defects.report('annotation'))
    left_out = ', '.join('%d %s' % (count, why) for why, count in sorted(unusable.items()) if count)
    summary.append('%s %s: %d videos, %d segments; unusable segments: %s' % (
        side, subset, len(videos), sum(len(video.segments) for video in videos), left_out or 'none'))
    return videos


def _check_duplicates(path, defects):
    """A key that an object of the JSON has twice: the later value would silently count."""
    def pairs(found):
        entry = dict(found)
        if len(entry) < len(found):
            for key, count in collections.Counter(key for key, _ in found).items():
                if count > 1:
                    defects.add('repeated keys', '%s: found key %s %d times in one object, expected it once; remove '
                                'the others' % (path, key, count))
        return entry

    read_entries(path, pairs)


def _check_ground_truth(data, validation, class_names, defects, summary):
    path = data.path('ground_truth')
    if not os.path.exists(path):
        summary.append('ground truth: none at %s; results cannot be evaluated' % path)
        return
    faults = 0
    with defects.of('ground truth'):
        _check_duplicates(path, defects)
        for error in ground_truth_faults(path):
            defects.add('ground truth', error)
            faults += 1
        if faults:
            return
        database = read_json(path)['database']
        annotated = {video: entry for video, entry in database.items() if entry['subset'] == 'validation'}
        known, names = set(validation), set(class_names)
        for video, entry in annotated.items():
            if video not in known:
                defects.add('ground truth', '%s: video %s is no validation video of %s: it would never be found' % (
                    path, video, data.path('target_info')))
            for label in sorted({found['label'] for found in entry['annotations']} - names):
                defects.add('ground truth', '%s: video %s has label %s, expected a line of %s' % (
                    path, video, label, data.path('target_categories')))
        summary.append('ground truth: %d segments of %d videos' % (
            sum(len(entry['annotations']) for entry in annotated.values()), len(annotated)))


def _check_features(field, videos, by_clip, config, sample, defects, summary):
    """Presence of all features of a store; form and numbers of a sample, spread over the videos."""
    store = FeatureStore(config.data.path(field), config.model.feature_width)
    if not store.exists():
        raise InputError('%s: not found; --%s names the folder or HDF5 file' % (store.path, field))
    missing = set(store.missing([video.name for video in videos]))
    for video in videos:
        if video.name in missing:
            defects.add('missing features', store.absent(video.name))
    there = [video for video in videos if video.name not in missing]
    step = max(1, len(there) // sample) if sample else 1
    chosen = there[::step][:sample]

    def fault(video):
        try:
            store.read(video.name, video.clips if by_clip else None)
        except InputError as error:
            return error

    with ThreadPool(config.data.workers or os.cpu_count()) as pool:
        for error in tqdm(pool.imap(fault, chosen, chunksize=4), total=len(chosen), desc=field, unit='video'):
            if error:
                defects.add('features', error)
    summary.append('%s: %d of %d videos there, %d read' % (field, len(there), len(videos), len(chosen)))
