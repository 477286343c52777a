"""What `prepare_data.py check` finds in the ground truth: entries that cannot be used, or contradict the tables."""
import difflib
import os

from dataset.samples import listed
from dataset.tables import SUBSETS
from evaluation.results import finite_numbers, ground_truth_faults
from runtime.errors import counted
from runtime.files import read_json

OUTSIDE_SECONDS = 1  # by which a segment of the ground truth may end after its video, whose duration is often rounded


def compare_label(video, labels, class_names, table, path, found):
    """Add a defect where the segments of a Video have class names as labels, but not that of its class index."""
    if 0 <= video.label < len(class_names) and class_names[video.label] not in labels and (
            set(labels).intersection(class_names)):
        found.defects.add('labels that differ', '%s: video %s has class %d, %s, but its segments in %s have the '
                          'label %s; correct one of the two' % (table, video.name, video.label, listed(
                              [class_names[video.label]]), path, listed(labels)))


def check_ground_truth(data, videos, class_names, found):
    """Check the ground truth, and compare it with the other tables; `videos`: the validation videos."""
    path = data.path('ground_truth')
    if not os.path.lexists(path):
        found.summary.append('ground truth: not found at %s; results cannot be evaluated' % path)
        return
    with found.defects.of('ground truth') as on_error:
        if [on_error(error) for error in ground_truth_faults(path)]:
            return
        database = read_json(path)['database']
        annotated = {video: entry for video, entry in database.items() if entry['subset'] == 'validation'}
        _check_truth_subsets(path, database, annotated, found)
        known, names = {video.name for video in videos}, set(class_names)
        for video, entry in annotated.items():
            if video not in known:
                on_error('%s: video %s is no validation video of %s, so its segments count as missed' % (
                    path, video, data.path('target_info')))
            for label in sorted({segment['label'] for segment in entry['annotations']} - names):
                on_error('%s: video %s has label %s, expected a line of %s' % (
                    path, video, listed([label]), data.path('target_categories')))
            for start, end, times in _truth_segments(entry):
                if not start < end:
                    on_error('%s: video %s has a segment from %s, expected start < end in seconds; correct or remove '
                             'it' % (path, video, times))
        _check_truth_videos(path, annotated, videos, class_names, data, found)
        found.summary.append('ground truth: %s of %s' % (
            counted(sum(len(entry['annotations']) for entry in annotated.values()), 'segment'),
            counted(len(annotated), 'video')))


def _truth_segments(entry):
    """Yield (start, end, both as the file has them) of an entry of the ground truth, whose numbers may be texts."""
    for segment in entry['annotations']:
        start, end = finite_numbers(segment['segment'])
        yield start, end, '%s to %s' % tuple(segment['segment'])


def _check_truth_subsets(path, database, annotated, found):
    """Check that there are segments to evaluate on, and that no subset is nearly one that is known."""
    subsets = sorted({entry['subset'] for entry in database.values()})
    if not any(entry['annotations'] for entry in annotated.values()):
        found.defects.add('ground truth', '%s: found no segment of subset validation (subsets: %s), so that results '
                          'cannot be evaluated; correct the subset, or evaluate with --subset' % (
                              path, ', '.join(subsets) or 'none'))
    for subset in sorted(set(subsets).difference(SUBSETS)):
        similar = difflib.get_close_matches(subset.strip().lower(), SUBSETS, 1, 0.8)
        if similar:
            found.warnings.add('unusual subsets', '%s: found the subset %r, whose videos are ignored; write %s if it '
                               'is meant' % (path, subset, similar[0]))


def _check_truth_videos(path, annotated, videos, class_names, data, found):
    """Compare the ground truth with each validation video: its class, its duration, and whether it is there."""
    labels_path = data.path('target_labels')
    if data.labels == 'segment' and not os.path.lexists(labels_path):  # a video has the class of its first segment
        labels_path = data.path('target_annotation')
    for video in videos if annotated else ():
        if video.name not in annotated:
            found.warnings.add('validation videos without ground truth', '%s: has no video %s of subset validation, '
                               'which is in %s; its results are ignored, or count as wrong' % (
                                   path, video.name, data.path('target_info')))
            continue
        entry = annotated[video.name]
        if not found.defects.counts.get('class names'):
            labels = sorted({segment['label'] for segment in entry['annotations']})
            compare_label(video, labels, class_names, labels_path, path, found)
        for start, end, times in _truth_segments(entry):
            if start < 0 or start >= video.seconds or end > video.seconds + OUTSIDE_SECONDS:
                found.warnings.add('ground truth outside its video', '%s: video %s has a segment from %s, but lasts '
                                   'from 0 to %s seconds; correct one of the two' % (
                                       path, video.name, times, video.seconds))
