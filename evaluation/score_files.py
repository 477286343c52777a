"""Files with class scores of whole videos, read into arrays.

    {"results": {video: [{"label": name, "score": number}]}}              # ActivityNet's classification results
    {"results": {video: [one number for each class]}, "class": [names]}   # as CUHK's scores are shared
    CSV with a header: a row for each video and a column for each class, or the columns video, label and score
    npy [videos, classes], as UntrimmedNet's of THUMOS14: the row is the number at the end of a video's id, minus 1
    npz with an array for each video, named as the video; or with the arrays videos, scores and, if at hand, classes

Nothing here loads a pickle. Legend: K classes that have a name, C columns of an array of scores.
"""
import contextlib
import csv
import io
import os
import re
import reprlib
import zipfile
from typing import List, NamedTuple, Optional

import numpy as np

from evaluation.results import finite_numbers, flatten, index_names, load, quoted
from runtime.errors import InputError, counted, one_line
from runtime.files import MAX_BYTES, file_size, read_text

FORMS = ('a JSON file in ActivityNet\'s form or CUHK\'s, a CSV file with a header, an npy file [videos, classes], or '
         'an npz file (docs/evaluation.md)')
LONG_COLUMNS = ('video', 'label', 'score')              # of a CSV with a row for each video and class
DELIMITERS = ',;\t'                                     # of a CSV
NUMBER = re.compile(r'[0-9]{1,18}\Z')                   # at the end of a video's id
NUMBERED_NAME = re.compile(r'([0-9]{1,9})\s+(\S.*)\Z')  # a column, counted from 1, and the name of its class


class ScoreClasses(NamedTuple):
    """The class names of the columns of an array of scores."""

    source: str                    # name of the file, for messages
    names: List[str]               # [K]
    columns: Optional[List[int]]   # [K], from 0; None: every column has a name, in their order


class Scores(NamedTuple):
    """Scores of videos, in the order of their file."""

    source: str               # name of the file, for messages
    videos: List[str]
    video: np.ndarray         # [n] int, into videos
    labels: List[str]         # distinct labels
    label_index: np.ndarray   # [n] int, into labels
    scores: np.ndarray        # [n] float64
    has_own_ids: bool = True  # False: `videos` are ids of proposals, because the file has none


def read_scores(source, classes=None, videos=()):
    """Read all Scores of a file, or of loaded JSON, in one of the forms above.

    classes: ScoreClasses of a file that has no class names; None otherwise.
    videos: ids of the videos with proposals, which name the rows of an npy file; other forms have ids of their own.
    Raises InputError if the file cannot be read or has no known form, an entry is malformed, class names are missing
    or are there twice, a video has two scores of a class, or one of `videos` has no row of its own.
    """
    form = _form_of(source) if isinstance(source, (str, os.PathLike)) else 'json'
    if form == 'npy':
        found = _read_npy(source, classes, videos)
    elif form == 'npz':
        found = _read_npz(source, classes)
    elif form == 'csv':
        found = _read_csv(source, classes)
    else:
        found = _read_json(source, classes)
    key = found.video * len(found.labels) + found.label_index
    order = np.argsort(key, kind='stable')
    again = order[1:][np.diff(key[order]) == 0]
    if len(again):
        raise InputError('%s: the video %s has two scores of the class %s, expected one; remove one of them' % (
            found.source, quoted(found.videos[found.video[again[0]]]),
            quoted(found.labels[found.label_index[again[0]]])))
    return found


def _form_of(path):
    """'npy', 'npz', 'csv' or 'json', by how the file begins; raises InputError if it is none of them."""
    file_size(path)
    with open(path, 'rb') as file:
        start = file.read(6)
    if start == b'\x93NUMPY':
        return 'npy'
    if start[:4] == b'PK\x03\x04':
        return 'npz'
    try:
        first = read_text(path).lstrip()
    except InputError as error:
        raise InputError('%s, or give class scores of videos as %s' % (error, FORMS)) from None
    if first[:1] in ('{', '['):
        return 'json'
    if any(delimiter in first.split('\n')[0] for delimiter in DELIMITERS):
        return 'csv'
    raise InputError('%s: found a file of another form, expected class scores of videos as %s; convert the file' % (
        path, FORMS))


# Class names from elsewhere


def read_score_classes(path):
    """Read the class names of an array's columns → ScoreClasses.

    The file has a name for each column, one per line; or each line has the number of a column, counted from 1, before
    the name, and columns without a name are ignored. THUMOS14's detclasslist.txt is of the second form.
    Raises InputError if it cannot be read, has no name, or has a name or number twice.
    """
    lines = [line.strip() for line in read_text(path).split('\n') if line.strip()]
    if not lines:
        raise InputError('%s: found no class name, expected one per line; correct the file' % path)
    numbered = [NUMBERED_NAME.match(line) for line in lines]
    if not all(numbered):
        _refuse_twice(path, 'class', lines)
        return ScoreClasses(path, lines, None)
    names, numbers = [line.group(2) for line in numbered], [int(line.group(1)) for line in numbered]
    _refuse_twice(path, 'class', names)
    _refuse_twice(path, 'column', numbers)
    if min(numbers) < 1:
        raise InputError('%s: found the number 0 before a class name, expected the column of the class, counted from '
                         '1; add 1 to each' % path)
    return ScoreClasses(path, names, [number - 1 for number in numbers])


def _refuse_twice(source, what, values):
    """Raise InputError if one of the values, video ids, class names or columns, is there twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise InputError('%s: found the %s %s twice, expected it once; remove one of them' % (
                source, what, quoted(value)))
        seen.add(value)


def _refuse_names(source, classes):
    """Raise InputError if class names are given for a file that has its own."""
    if classes is not None:
        raise InputError('%s: found class names in this file, and --score_classes %s, expected one of them; leave '
                         'out the flag' % (source, classes.source))


def _named_columns(source, scores, classes):
    """(scores [videos, K], K class names) of scores [videos, C] and ScoreClasses.

    Raises InputError if there are no names, or if they do not fit the columns.
    """
    columns = scores.shape[1]
    if classes is None:
        raise InputError('%s: found scores without the names of their classes, expected --score_classes FILE, with '
                         'one name per line in the order of the %s; add the flag' % (
                             source, counted(columns, 'column')))
    if classes.columns is None:
        if len(classes.names) != columns:
            raise InputError('%s: found %s of scores, and %s in %s, expected a name for each column, or lines such '
                             'as "7 BaseballPitch", with the column counted from 1; correct the names' % (
                                 source, counted(columns, 'column'), counted(len(classes.names), 'class name'),
                                 classes.source))
        return scores, classes.names
    if max(classes.columns) >= columns:
        raise InputError('%s: found %s of scores, and the column %d in %s, expected %d at most; correct the names' % (
            source, counted(columns, 'column'), max(classes.columns) + 1, classes.source, columns))
    return scores[:, classes.columns], classes.names


# The forms of files; each reader returns Scores


def _read_json(source, classes):
    """Both forms of JSON."""
    name, content = load(source, 'class scores', 'results')
    by_video = content['results']
    is_by_class = any(not isinstance(entry, dict) for entries in by_video.values()
                      if isinstance(entries, list) for entry in entries[:1])
    if is_by_class:
        return _read_by_class(name, by_video, content.get('class', content.get('classes')), classes)
    _refuse_names(name, classes)
    video, label_names, scores = flatten((name + ': results[', ']'), by_video, ('label', 'score'))
    return Scores(name, list(by_video), video, *index_names(label_names), scores)


def _read_by_class(name, by_video, own, classes):
    """Of {video: one number for each class, or none}; own: the file's value of "class"; classes: ScoreClasses."""
    if own is not None:
        _refuse_names(name, classes)
        if not isinstance(own, list) or not all(isinstance(label, str) for label in own):
            raise InputError('%s: "class" is %s; expected a list of names in the order of the scores; correct the '
                             'file' % (name, reprlib.repr(own)))
        _refuse_twice(name, 'class', own)
        classes = ScoreClasses('"class"', own, None)
    elif classes is None:
        raise InputError('%s: found scores without the names of their classes, expected the key "class" with a list '
                         'of names in the order of the scores; add it, or give the names with --score_classes FILE'
                         % name)
    lists = [scores if isinstance(scores, list) else None for scores in by_video.values()]
    width = next(len(scores) for scores in lists if scores) if own is None else len(own)
    with_scores = [video for video, scores in enumerate(lists) if scores != []]
    rows = []
    for video in with_scores:
        try:
            rows.append(finite_numbers(lists[video]))
        except (TypeError, ValueError, OverflowError):
            rows.append(())
        if len(rows[-1]) != width:
            video = list(by_video)[video]
            raise InputError('%s: results[%s] is %s; expected a list of %s, one for each class; correct the file' % (
                name, quoted(video), reprlib.repr(by_video[video]), counted(width, 'finite number')))
    return _of_rows(name, list(by_video), with_scores, *_named_columns(name, np.array(rows), classes))


def _of_rows(name, videos, row_video, scores, labels):
    """Scores of scores [rows, K], where row_video [rows] is the index of their video."""
    return Scores(name, videos, np.repeat(row_video, len(labels)), labels,
                   np.tile(np.arange(len(labels)), len(row_video)), scores.ravel())


def _read_csv(path, classes):
    """Both forms of CSV: a column for each class, or the columns video, label and score."""
    _refuse_names(path, classes)
    header, rows = _csv_rows(path)
    plain = [cell.strip().lower() for cell in header]
    if set(LONG_COLUMNS) <= set(plain):
        places = [plain.index(column) for column in LONG_COLUMNS]
        names, labels = ([row[place].strip() for _, row in rows] for place in places[:2])
        videos, video = index_names(names)
        scores = np.array([_csv_scores(path, line, [row[places[2]]])[0] for line, row in rows])
        return Scores(path, videos, video, *index_names(labels), scores)
    labels, videos = [cell.strip() for cell in header[1:]], [row[0].strip() for _, row in rows]
    _refuse_twice(path, 'class', labels)
    _refuse_twice(path, 'video', videos)
    scores = np.array([_csv_scores(path, line, row[1:]) for line, row in rows])
    return _of_rows(path, videos, np.arange(len(videos)), scores, labels)


def _csv_rows(path):
    """(header, [(number of the line, row)]) of a CSV, without blank rows.

    Raises InputError if it is not CSV, has no header or no other row, or a row has not as many cells as the header.
    """
    text = read_text(path)
    delimiter = max(DELIMITERS, key=text.lstrip().split('\n')[0].count)
    reader, rows = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, strict=True), []
    try:
        rows = [(reader.line_num, row) for row in reader if ''.join(row).strip()]
    except csv.Error as error:
        raise InputError('%s: line %d: not CSV: %s; correct the line' % (path, reader.line_num, error)) from None
    if len(rows) < 2:
        raise InputError('%s: found %s, expected a header and rows with scores; check that this is the class scores '
                         'file' % (path, counted(len(rows), 'row')))
    line, header = rows[0]
    if all(_is_number(cell) for cell in header[1:]):
        raise InputError('%s: line %d: found numbers, expected a header: video and the class names, or video, label '
                         'and score; add it' % (path, line))
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError('%s: line %d: found %s, expected %d, as in the header; correct the line' % (
                path, line, counted(len(row), 'cell'), len(header)))
    return header, rows[1:]


def _is_number(text):
    try:
        return np.isfinite(finite_numbers([text])).all()
    except (TypeError, ValueError, OverflowError):
        return False


def _csv_scores(path, line, cells):
    """Cells of one line as [len(cells)] float64; raises InputError if one is not a finite number."""
    try:
        return finite_numbers(cells)
    except (TypeError, ValueError, OverflowError):
        wrong = next(cell for cell in cells if not _is_number(cell))
        raise InputError('%s: line %d: found %s as a score, expected a finite number; correct the line' % (
            path, line, quoted(wrong))) from None


def _read_npy(path, classes, videos):
    """Of an array [rows, C]: the row of each of the `videos` is the number at the end of its id, minus 1."""
    with _array_errors(path), open(path, 'rb') as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.ndim != 2:
        raise InputError('%s: found an array of shape %s, expected [videos, classes]; check that this is the class '
                         'scores file' % (path, list(array.shape)))
    array, labels = _named_columns(path, array, classes)
    rows, of_row = [], {}
    for video in videos:
        number = NUMBER.search(video)
        if not number or not 1 <= int(number.group()) <= len(array):
            raise InputError('%s: the video %s with proposals has %s, expected a number of 1 to %d at the end of its '
                             'id, because its row is this number minus 1; choose the videos with --videos, or write '
                             'an npz file with the arrays videos and scores' % (
                                 path, quoted(video), 'the number %d' % int(number.group()) if number else
                                 'no number', len(array)))
        rows.append(int(number.group()) - 1)
        if of_row.setdefault(rows[-1], video) != video:
            raise InputError('%s: the videos %s and %s with proposals have the same number, expected another row for '
                             'each; choose the videos with --videos' % (
                                 path, quoted(of_row[rows[-1]]), quoted(video)))
    scores = _array_scores(path, list(videos), array[np.array(rows, dtype=np.int64)])
    return _of_rows(path, list(videos), np.arange(len(rows)), scores, labels)._replace(has_own_ids=False)


def _read_npz(path, classes):
    """Of the arrays videos [V], scores [V, C] and perhaps classes [C], or of an array [C] for each video."""
    arrays = _npz_arrays(path)
    if 'scores' in arrays:
        videos, array = _texts(path, arrays, 'videos'), arrays['scores']
        if 'classes' in arrays:
            _refuse_names(path, classes)
            classes = ScoreClasses('the array classes', _texts(path, arrays, 'classes'), None)
        if array.ndim != 2 or len(array) != len(videos):
            raise InputError('%s: found the array scores of shape %s and %s, expected a row for each video; correct '
                             'the file' % (path, list(array.shape), counted(len(videos), 'video')))
        _refuse_twice(path, 'video', videos)
    else:
        videos = list(arrays)
        shapes = {video: arrays[video].shape for video in videos}
        for video, shape in shapes.items():
            if len(shape) != 1 or shape != shapes[videos[0]]:
                raise InputError('%s: found the array %s of shape %s, expected one number for each class, as many as '
                                 'of %s, or the arrays videos and scores; correct the file' % (
                                     path, quoted(video), list(shape), quoted(videos[0])))
        array = np.stack([arrays[video] for video in videos])
    array, labels = _named_columns(path, array, classes)
    _refuse_twice(path, 'class', labels)
    return _of_rows(path, videos, np.arange(len(videos)), _array_scores(path, videos, array), labels)


@contextlib.contextmanager
def _array_errors(path):
    """A context for reading the arrays of an npy or npz file: what numpy and zipfile raise becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file raises those of zipfile, zlib, numpy and ast
        remedy = ('save the scores as an npz file with an array for each video: numpy.savez(PATH, **scores)'
                  if 'allow_pickle' in str(error) else 'write the file again')
        raise InputError('%s: not an array of numbers (%s); %s' % (path, one_line(error), remedy)) from None


def _npz_arrays(path):
    """{name: array} of an npz file; raises InputError if it has none, is damaged, or declares more than MAX_BYTES."""
    with _array_errors(path), zipfile.ZipFile(path) as file:
        entries = file.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > MAX_BYTES:
            raise InputError('%s: found arrays of %d bytes, expected %d at most; is it the right file?' % (
                path, size, MAX_BYTES))
        arrays = {}
        for entry in entries:
            with file.open(entry) as opened:
                arrays[re.sub(r'\.npy$', '', entry.filename)] = np.lib.format.read_array(opened, allow_pickle=False)
    if not arrays:
        raise InputError('%s: found no array, expected one for each video; write the file again' % path)
    return arrays


def _texts(path, arrays, name):
    """The array `name` of an npz file as a list of texts; raises InputError if it has none."""
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.kind != 'U':
        found = 'no array %s' % name if array is None else 'the array %s of shape %s and type %s' % (
            name, list(array.shape), array.dtype)
        raise InputError('%s: found %s, expected an array of texts, one for each of the %s of scores; add it' % (
            path, found, 'rows' if name == 'videos' else 'columns'))
    return array.tolist()


def _array_scores(path, videos, array):
    """[videos, K] as float64; raises InputError if one of them is not a finite number."""
    if array.dtype.kind not in 'fiu':
        raise InputError('%s: found an array of type %s, expected numbers; write the file again' % (
            path, array.dtype))
    scores = array.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(wrong):
        raise InputError('%s: the scores of the video %s are not all finite, expected finite numbers; correct the '
                         'file' % (path, quoted(videos[wrong[0]])))
    return scores
