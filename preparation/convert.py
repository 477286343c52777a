"""Convert features, in any form, to the form that is read fastest: VIDEO.npy files or one HDF5 file.

Each video is read and checked as training reads it, written completely, read again and compared. Several threads work
at once. After an interruption, the same command continues: what is converted already is not converted again.

    python3 prepare_data.py features --data_root data/x
    python3 prepare_data.py features feats/c3d --layout ct --out feats/c3d_npy
    python3 prepare_data.py features feats/c3d --out feats/c3d_512 --rows 512 \\
        --durations data/x/source_annotation.json
"""
import contextlib
import os
import sys
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import h5py
import numpy as np

from config import MAX_NUMBER, MAX_THREADS, of_data_root
from dataset.conversion_record import RECORD, has_changed
from dataset.feature_files import FORMS
from dataset.features import MAX_ROWS, FeatureStore, interpolate, names_in
from dataset.side import annotation_rules
from dataset.tables import read_durations, read_entries
from preparation.converted import Record, Stamp, hdf5_file, npy_folder
from runtime.errors import InputError, counted, one_line, printable
from runtime.files import refuse_to_overwrite
from runtime.machine import usable_cores
from runtime.progress import Progress

NAME = 'features'
STORES = ('', '.h5', '.hdf5')  # what follows a path in the names of features
FIELDS = ('source_features', 'source_clips', 'target_clips', 'target_features')  # of DataConfig
SIDES = ('source', 'target')
MAX_NAME = 230  # bytes of a video's name: a file name may have 255, and that of an unfinished file is longer
MAX_SHOWN = 20  # videos that could not be converted and whose errors are printed
REMEDIES = {    # where the features have a fast form already
    'HDF5': 'for npy files give --out FOLDER; to change type, rows or layout give --form hdf5 --out OTHER.h5',
    'npy': 'for an HDF5 file give --form hdf5; to change type, rows or layout give --out FOLDER'}


class Conversion(NamedTuple):
    """What is converted, and to what."""

    source: str              # folder or HDF5 file
    out: str                 # folder of npy files, or HDF5 file
    width: int               # columns
    dtype: str               # float32 or float16
    rows: int = 0            # that every video is interpolated to; 0: it keeps its rows
    durations: dict = {}     # video → (seconds, frames), to interpolate it
    clips: dict = {}         # video → rows that it must have; those not named may have any number
    cut_lines: bool = False  # whether a CSV may lack the line end at its end
    skip_bad: bool = False   # whether the result is finished without the videos that cannot be converted
    layout: str = 'tc'       # of the source, as in a FeatureStore; the result is always tc
    key: str = ''            # name of the array in an npz file or HDF5 group of the source
    folders: tuple = ()      # folders just below the source whose files are converted, too


class Said(NamedTuple):
    """What a data root says of the features at a path."""

    layout: str
    key: str
    clips: dict    # name of a video's features → its rows
    folders: tuple  # folders in names of features, such as those of classes
    is_known: bool = False  # whether they are features of the data root


class Result(NamedTuple):
    """What a conversion did."""

    converted: int     # videos
    there: int         # videos that were there before
    unrecorded: int    # of these, those that have no record
    gone: int          # videos that are kept and have no source any more
    ignored: int       # files of features whose names begin with a dot
    errors: list       # messages about videos that cannot be converted
    is_finished: bool  # whether everything is in its place


# The subcommand

def add_arguments(parser):
    """Add the flags of this subcommand."""
    parser.add_argument('path', nargs='*', help='folder of VIDEO.csv, .npz or .npy, or HDF5 file '
                        '(default: the four folders of the data root, as far as they are there)')
    parser.add_argument('--data_root', default='data', help='folder of the data (default: %(default)s)')
    parser.add_argument('--form', choices=('npy', 'hdf5'), default='npy', help='form to write (default: %(default)s)')
    parser.add_argument('--dtype', choices=('float32', 'float16'), default='float32',
                        help='type to write; float16 takes half the disk space (default: %(default)s)')
    parser.add_argument('--out', help='folder or HDF5 file to write (default: npy files beside the source files, or '
                        'PATH.h5; training prefers both to the source files)')
    parser.add_argument('--feature_width', type=int, help='columns of a feature file (default: those of the data '
                        'root, or of the first file elsewhere)')
    parser.add_argument('--layout', choices=('tc', 'ct'), help='axes of the arrays that are read. tc: time, then '
                        'columns; ct: columns, then time; the result is always tc (default: what data.json says of '
                        'the path, otherwise tc)')
    parser.add_argument('--key', help='name of the array that is read, where an npz file or an HDF5 group has '
                        'several (default: what data.json says)')
    parser.add_argument('--rows', type=int, help='interpolate every video to this number of rows, such as 512')
    parser.add_argument('--durations', metavar='JSON', help='annotation JSON that has the durations, for --rows')
    parser.add_argument('--skip_bad', action='store_true', help='list videos that cannot be converted, and finish '
                        'without them (default: exit status 2, and no HDF5 file until all its videos are converted)')
    parser.add_argument('--accept_unfinished_lines', action='store_true', help='also convert a CSV that has no line '
                        'end at its end (default: refused, because it may be cut short inside a number)')
    parser.add_argument('--workers', type=int, default=0,
                        help='threads that read and convert; 0: one for each core (default: %(default)s)')


def run(args):
    """Convert each path and print a line about it; raises InputError where a video could not be converted."""
    if not args.data_root:
        raise InputError('found an empty path; name a folder or an HDF5 file')
    config, failures = of_data_root(args.data_root), []
    paths = list(map(_plain, args.path)) or _paths_of(config.data)
    _check_arguments(args, paths, config.data)
    durations = _durations(args.durations, config.data) if args.rows else {}
    for path in paths:
        try:
            failures += _convert_path(path, args, config, durations)
        except InputError as error:
            if len(paths) == 1:
                raise
            failures.append(str(error))
    for failure in failures[:MAX_SHOWN]:
        print('error: %s' % failure, file=sys.stderr)
    if failures:
        raise InputError(
            'could not convert some videos or folders: %d (%d shown); correct their files, move them away, or skip '
            'bad videos with --skip_bad, and run the same command again: converted videos are kept'
            % (len(failures), min(MAX_SHOWN, len(failures))))


def _paths_of(data):
    """Paths of the features of a data root that are there, each place once: sides and fields may share features."""
    paths = {os.path.realpath(path): path for path in reversed(list(map(data.path, FIELDS))) if _exists(path)}
    return list(paths.values())[::-1]


def _durations(path, data):
    """read_durations of an annotation JSON; the settings say when rows are where an annotation of `data` does not."""
    times = [annotation_rules(data, side).times for side in SIDES
             if os.path.realpath(path) == os.path.realpath(data.path(side + '_annotation'))]
    return read_durations(path, *times[:1])


def _exists(path):
    """Whether the features `path` of a data root are there, in a folder or only in an HDF5 file."""
    return any(os.path.exists(path + end) for end in STORES)


def _plain(path):
    """`path` such that PATH.h5 lies beside it: without slashes at its end, and not . or .. there."""
    path = path.rstrip(os.sep) or path[:1]
    return os.path.realpath(path) if os.path.basename(path) in ('.', '..') else path


def _check_arguments(args, paths, data):
    if '' in [args.out] + paths:
        raise InputError('found an empty path; name a folder or an HDF5 file')
    if not paths:
        raise InputError('%s: found none of %s; name a folder or an HDF5 file'
                         % (args.data_root, ', '.join(getattr(data, field) for field in FIELDS)))
    if args.out and len(paths) > 1:
        raise InputError('--out %s: can hold the features of one path, found %d paths; name one path'
                         % (args.out, len(paths)))
    for name, low, high in (('workers', 0, MAX_THREADS), ('feature_width', 1, MAX_NUMBER), ('rows', 1, MAX_ROWS)):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise InputError('--%s %s: expected %d to %d' % (name, value, low, high))
    if args.rows and not (args.out and args.durations):
        raise InputError('--rows %d: give also --durations, a JSON file with the durations, and --out, because '
                         'the features of clips must keep their rows' % args.rows)


def _convert_path(path, args, config, durations):
    """Convert one path and print a line about it; returns messages about the videos that could not be converted."""
    out = _plain(args.out or path + ('.h5' if args.form == 'hdf5' else ''))
    said = _said_of(config.data, path)
    fast = None if args.out and os.path.isfile(path) else _fast_form(path, out, said.folders)
    if fast and not args.path:
        print(printable('%s: nothing to convert, the features are %s already' % (path, fast)))
        return []
    if fast:
        raise InputError('%s: found %s already, which training reads as it is; %s' % (path, fast, REMEDIES[fast]))
    layout, key = [of_data_root if flag is None else flag for flag, of_data_root in (
        (args.layout, said.layout), (args.key, said.key))]
    _check_out(path, out, args, layout)
    width = args.feature_width or (config.model.feature_width if said.is_known else _width_of(
        path, layout, key, config.model.feature_width))
    result = convert(Conversion(path, out, width, args.dtype, args.rows or 0, durations, said.clips,
                                args.accept_unfinished_lines, args.skip_bad, layout, key, said.folders),
                     args.form, args.workers or usable_cores())
    print(printable(_summary(out, args.form, result)))
    if not result.is_finished:
        return result.errors
    for error in result.errors[:MAX_SHOWN]:
        print('skipped: %s' % error, file=sys.stderr)
    return []


def _width_of(path, layout, key, default):
    """Columns of the first features at `path`; `default` where they cannot be read, which the conversion reports."""
    with contextlib.suppress(InputError), FeatureStore(path, 0, layout=layout, key=key) as store:
        for name in names_in(path, key)[:1]:
            return store.shape(name)[1]
    return default


def _fast_form(path, out, folders):
    """'HDF5' or 'npy' where the features at `path` are in this form and would be converted to it; else None."""
    if not os.path.exists(path) and _exists(path):
        return 'HDF5'
    if os.path.isfile(path):
        return 'HDF5' if h5py.is_hdf5(path) else None
    if '.npy' in _forms(path, out) or not os.path.isdir(path):
        return None
    endings = {os.path.splitext(name)[1] for name in _names(path, folders)[0]}
    return 'npy' if endings.intersection(FORMS) == {'.npy'} else None


def _check_out(path, out, args, layout):
    """Raise InputError where `out` is of the other form, or what is read would be overwritten or taken for it."""
    if layout != 'tc' and not args.out:
        raise InputError('%s: found features of layout %s; those that are written have layout tc, so that they need '
                         'another place: give --out OUT, and import the features in OUT' % (path, layout))
    if args.form == 'hdf5':
        if os.path.isdir(out):
            raise InputError('%s: found a folder, expected the path of an HDF5 file (--out)' % out)
        refuse_to_overwrite({'--out': out, 'the unfinished file of --out,': out + '.partial'}, [path, args.durations])
    else:
        if args.out and os.path.isfile(out):
            raise InputError('%s: found a file, expected a folder for npy files (--out); for an HDF5 file give '
                             '--form hdf5' % out)
        refuse_to_overwrite({'the record of --out,': os.path.join(out, RECORD)}, [args.durations])


def _said_of(data, path):
    """What a data root, a DataConfig, Said of the features at `path`. Of other features, it says nothing."""
    said = Said('tc', '', {}, (), is_known=False)
    for side in SIDES:
        here = [end for end in ('_clips', '_features') if os.path.realpath(path) in [
            os.path.realpath(data.path(side + end) + store) for store in STORES]]
        if here:
            clips = _annotated_clips(data, side)
            folders = {os.path.dirname(name) for name in clips if '/' in name}.union(said.folders)
            said = Said(getattr(data, side + '_layout'), getattr(data, side + '_key'),
                        dict(clips, **said.clips) if '_clips' in here else said.clips, tuple(sorted(folders)), True)
    return said


def _annotated_clips(data, side):
    """{name of a video's features: rows of its clip features} of the annotation JSON of a side, if it is there."""
    rows, path, times = {}, data.path(side + '_annotation'), annotation_rules(data, side).times
    for video, entry in read_entries(path).items() if os.path.exists(path) else ():
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            has_rows = 'rows' in entry and (times or 'row_seconds' in entry)
            rows[entry.get('file') or video] = (
                int(float(entry['rows'])) if has_rows else int(float(entry['feature_frame'])) // data.clip_frames)
    return rows


def _summary(out, form, result):
    """The line about a conversion."""
    text = '%s: %s converted and verified, %d there already' % (
        out, counted(result.converted, 'video'), result.there)
    if result.unrecorded:
        text += ' (%d of them not made by a recorded conversion)' % result.unrecorded
    if result.gone:
        text += ', %d kept whose source is gone' % result.gone
    if result.ignored:
        text += ', ignored for a dot at the beginning of their names: %d' % result.ignored
    if form == 'hdf5' and not result.is_finished:
        text += '; this file %s, because %s could not be converted; the others are in %s.partial' % (
            'stays as it was' if os.path.exists(out) else 'was not made', counted(len(result.errors), 'video'), out)
    return text


# Converting

def convert(conversion, form, workers):
    """Convert every video of conversion.source to `form`, 'npy' or 'hdf5', with `workers` threads; returns a Result.

    Raises InputError where there is no video, where another run writes to the same place, and where a video cannot be
    written, as on a full disk: only a video that cannot be read is left out.
    """
    (stamps, outdated, ignored), open_out = find_sources(conversion), {'npy': npy_folder, 'hdf5': hdf5_file}[form]
    below = [video for video in stamps if '/' in video]
    if form == 'hdf5' and below:
        raise InputError('%s: found features in folders, such as %s, which are converted to npy files alone; leave '
                         '--form hdf5 away' % (conversion.source, below[0]))
    with open_out(conversion.out, stamps) as there, \
            FeatureStore(conversion.source, conversion.width, _forms(conversion.source, conversion.out),
                         complete_lines=not conversion.cut_lines, layout=conversion.layout,
                         key=conversion.key) as store:
        def convert_one(video):
            """The message where the video cannot be used, else None; raises InputError where it cannot be written."""
            try:
                if video in outdated:
                    raise InputError(outdated[video])
                values = _read(conversion, store, video)
            except InputError as error:
                earlier = os.path.join(conversion.out, video + '.npy')
                return str(error) + ('; its earlier %s stays and is read in its place; remove it' % earlier
                                     if form == 'npy' and os.path.exists(earlier) else '')
            there.write(video, values)
            return None

        errors = list(there.faults.values())
        todo = [video for video in stamps
                if not (video in there.current or video in there.unrecorded or video in there.faults)]
        with Progress(len(stamps), 'video', len(stamps) - len(todo),
                      printable(os.path.basename(conversion.source))) as progress:
            pool = ThreadPool(workers)
            try:
                for error in pool.imap_unordered(convert_one, todo):
                    errors += [error] if error else []
                    progress.update()
            except InputError as error:
                raise InputError('%s; correct this and run the same command again: converted videos are kept'
                                 % error) from None
            finally:  # after an interruption, too: each thread finishes its video
                pool.terminate()
                pool.join()
        is_finished = not errors or conversion.skip_bad and len(errors) < len(stamps)
        if is_finished:
            there.finish()
    done = len(todo) + len(there.faults) - len(errors)
    return Result(done, len(stamps) - done - len(errors), len(there.unrecorded), there.gone, ignored, errors,
                  is_finished)


def _forms(source, out):
    """Endings of the files to convert: all of FORMS, but not .npy where .npy files are written to the same folder."""
    same = os.path.exists(out) and os.path.samefile(source, out)
    return tuple(form for form in FORMS if form != '.npy' or not same)


def _names(folder, below=()):
    """The names in a folder, and how many more files of features have names that begin with a dot.

    `below`: folders in it whose names are there, too, as FOLDER/NAME. The system of a Mac puts a file ._VIDEO.csv
    beside VIDEO.csv on other disks.
    """
    names = [os.path.join(place, name) for place in ('',) + tuple(below)
             if os.path.isdir(os.path.join(folder, place)) for name in os.listdir(os.path.join(folder, place))]
    hidden = [name for name in names if os.path.basename(name).startswith('.')]
    return set(names).difference(hidden), sum(name.endswith(FORMS) for name in hidden)


def find_sources(conversion):
    """({video: Stamp} of conversion.source, sorted; {video: message} of those outdated; number of files ignored).

    A video is outdated where another file of it is newer than the one that is read, or where the one that is read was
    made of a file that has changed since. Raises InputError where there is no video.
    """
    source, forms, outdated, ignored = conversion.source, _forms(conversion.source, conversion.out), {}, 0
    if os.path.isfile(source):
        try:
            with h5py.File(source, 'r') as file:
                path_of = dict.fromkeys(file, source)
        except Exception as error:  # h5py raises several types for a damaged file
            raise InputError('%s: not an HDF5 file of features (%s)' % (source, one_line(error))) from None
    elif os.path.isdir(source):
        names, ignored = _names(source, conversion.folders)
        videos = {video for video, form in map(os.path.splitext, names) if form in forms}
        store = FeatureStore(source, conversion.width, forms)
        path_of = {video: store.stored_in(video) for video in videos}
        outdated = _find_outdated(source, forms, names, path_of)
    else:
        raise InputError('%s: found no such folder or HDF5 file' % source)
    if not path_of:
        raise InputError('%s: found no features to convert (looked for %s)' % (source, ', '.join(forms)))
    stamps = {video: _stamp(conversion, video, path_of[video]) for video in sorted(path_of)}
    # no record has this size: what was made of an outdated file is outdated, too
    stamps.update({video: stamps[video]._replace(size=-1) for video in outdated})
    return stamps, outdated, ignored


def _find_outdated(folder, forms, names, path_of):
    """{video: message} of the videos that are outdated, as find_sources says, in a folder with these names."""
    record, outdated = Record(folder) if '.npy' in forms else None, {}
    for video, path in path_of.items():
        others = [other for other in [os.path.join(folder, video + form) for form in forms if video + form in names]
                  if other != path and os.path.exists(other) and os.path.exists(path)]
        made_of = record.find(video, path)[0] if others and path.endswith('.npy') else None
        for other in others:
            is_changed = has_changed(made_of, other)  # None: `path` was not made of this file
            if is_changed or is_changed is None and os.stat(other).st_mtime > os.stat(path).st_mtime:
                found = ('%s: was made of %s, which has changed since' if is_changed else
                         '%s: is read in place of %s, which is newer') % (path, other)
                remedy = 'convert %s to npy files again, or ' % folder if made_of else ''
                outdated[video] = '%s; %smove away what is older' % (found, remedy)
    return outdated


def _stamp(conversion, video, path):
    """The Stamp of a video that is read from the file at `path`."""
    status = os.stat(path) if os.path.exists(path) else os.lstat(path)  # a link to nothing: reading it reports it
    return Stamp(os.path.splitext(path)[1], status.st_size, status.st_mtime_ns, conversion.width, conversion.dtype,
                 conversion.rows, *conversion.durations.get(video, (0, 0)), conversion.layout, conversion.key)


def _read(conversion, store, video):
    """The features of a video as they will be stored; raises InputError where they cannot be used."""
    length = len(os.fsencode(os.path.basename(video)))
    if length > MAX_NAME:
        raise InputError('%s: video %s: found a name of %d bytes, expected %d at most; rename the video'
                         % (conversion.source, video, length, MAX_NAME))
    values = store.read(video, conversion.clips.get(video))
    if conversion.rows and len(values) != conversion.rows:
        if video not in conversion.durations:
            raise InputError('%s: found no durations of video %s in the JSON file (--durations)'
                             % (conversion.source, video))
        values = interpolate(values, conversion.rows, *conversion.durations[video])
    with np.errstate(over='ignore'):
        stored = values.astype(conversion.dtype)
    if not np.isfinite(stored).all():
        raise InputError('%s: video %s: found %g, which is too large for float16; use --dtype float32'
                         % (conversion.source, video, np.abs(values).max()))
    return stored
