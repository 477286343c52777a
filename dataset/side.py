"""The tables of one side, source or target, as the settings say that they are read. Needs no TensorFlow."""
import os

from dataset import data_root
from dataset.features import FeatureStore
from dataset.row_times import check_coverage, text_of
from dataset.tables import AnnotationRules, RowTimes, read_class_names, read_info, read_labels, read_videos
from runtime.errors import InputError

WITHOUT_NAME = 'of a class without a name'  # why a segment is unusable


def annotation_rules(data, side, class_names=None):
    """AnnotationRules of a side; `class_names` (None: unknown) give each segment the class of its own label."""
    row_seconds, first = [getattr(data, side + end) for end in ('_row_seconds', '_first_row_second')]
    times = RowTimes(row_seconds, first or row_seconds / 2) if row_seconds else None
    return AnnotationRules(data.clip_frames, times, class_names and tuple(class_names))


def known_class_names(data, side):
    """Class names of a side, or [] where their list is absent. Raises InputError where it must be there or is faulty.

    The labels of segments need it; where videos have the labels, it only makes reports more readable.
    """
    path = data.path(side + '_categories')
    if os.path.lexists(path) or data.labels == 'segment':
        return read_class_names(path)
    return []


def with_own_labels(videos, data, unusable):
    """`videos` as --labels segment uses them: without segments of unknown classes, and each with a label.

    A video that the label table does not have has the label of its first segment.

    Args:
      videos: list of dataset.tables.Video, read with class names.
      data: a DataConfig; where its labels are those of videos, `videos` are returned as they are.
      unusable: a Counter; segments whose label is no class name are added to it.
    """
    return [_with_own_labels(video, unusable) for video in videos] if data.labels == 'segment' else videos


def _with_own_labels(video, unusable):
    known = video.segment_labels >= 0
    unusable[WITHOUT_NAME] += int((~known).sum())
    labels = video.segment_labels[known]
    return video._replace(
        segments=video.segments[known], segment_labels=labels,
        first_usable=video.first_usable and bool(known[0]),
        label=int(labels[0]) if video.label < 0 and len(labels) else video.label)


def read_side(config, side, subset, bad, unusable):
    """Videos of one side ('source' or 'target') and subset: a list of dataset.tables.Video.

    With --labels segment a label table is not needed; nor is it in a subset other than training.

    Args:
      config: a Config.
      side, subset: see above.
      bad: a dataset.bad_data.BadData, which says what happens at faulty rows.
      unusable: a Counter; unusable segments are added to it, by reason.
    Raises InputError where a table cannot be used, or no video is left.
    """
    data, faults = config.data, []
    # to test, names need not be there: the snapshot has them
    by_segment = data.labels == 'segment' and (
        subset == 'training' or os.path.lexists(data.path(side + '_categories')))
    info, label, annotation = [bad.table_error_handler(side + table, faults)
                               for table in ('_info', '_labels', '_annotation')]
    names = read_info(data.path(side + '_info'), subset, info)
    faulty_info_rows = len(faults)
    labels_path, needs_label = data.path(side + '_labels'), subset == 'training' and not by_segment
    if not needs_label and not os.path.lexists(labels_path):
        labels = {}  # results can be written without knowing the answers
    else:
        labels = read_labels(labels_path, getattr(config.model, side + '_classes'), label)
    known = [name for name in names if name in labels] if needs_label else names
    unlabelled = [name for name in names if name not in labels] if needs_label else []
    for name in unlabelled:
        label(InputError('%s: no row of video %s, which %s names (%d such videos)' % (
            labels_path, name, data.path(side + '_info'), len(unlabelled))))
    rules = annotation_rules(data, side, known_class_names(data, side) if by_segment else None)
    videos = read_videos(known, data.path(side + '_annotation'), labels, rules, unusable, annotation)
    if faults:
        bad.check_share('tables of the %s videos' % side, faulty_info_rows + len(names) - len(videos),
                        faulty_info_rows + len(names), faults[-1])
    if not videos:
        raise InputError('%s: no %s video is left' % (data.path(side + '_info'), subset))
    return with_own_labels(videos, data, unusable)


def feature_store(config, field, on_suspect=None):
    """The FeatureStore of a field of DataConfig, such as source_clips, as the settings of its side say."""
    side = field.split('_')[0]
    return FeatureStore(config.data.path(field), config.model.feature_width, on_suspect=on_suspect,
                        layout=getattr(config.data, side + '_layout'), key=getattr(config.data, side + '_key'))


def coverage_warnings(data, side, videos):
    """dataset.row_times.check_coverage of the videos of a side, with what its data root says of the rows."""
    record = data_root.read(data.data_root)[side]
    stated = text_of(record.get('stride'), record.get('fps'))
    return check_coverage(videos, data.path(side + '_annotation'), data.clip_frames, stated)
