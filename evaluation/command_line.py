"""The command line of both evaluation scripts: flags, reading what they name, counts, warnings, output files."""
import argparse
import contextlib
import sys

import numpy as np

from evaluation import results as shared
from evaluation import selection
from runtime.errors import InputError, printable
from runtime.files import read_json, read_text, refuse_to_overwrite, write_json

MAX_THRESHOLDS = 1000  # of --tiou_thresholds
DROPPED = {            # counts of what flags drop before the evaluation, as the tables name them
    'videos_not_in_list': 'dropped: videos not in --videos',
    'results_not_in_list': 'dropped: results of videos not in --videos',
    'proposals_without_class_scores': 'dropped: proposals without class scores',
    'ignored_segments': 'dropped: segments of an ignored label',
    'ignored_results': 'dropped: results of an ignored label',
    'duplicate_segments': 'dropped: repeated segments'}
GROUND_TRUTH_HELP = ('JSON file {"database": {video: {"subset": name, "annotations": [{"segment": [start, end], '
                     '"label": name}]}}}, in seconds')
RESULTS_HELP = ('JSON file {"results": {video: [{"score": number, "segment": [start, end], "label": name}]}}, in '
                'seconds')


# Flags


def parse_tiou_thresholds(text):
    """[S] thresholds of the text '0.5:0.95:0.05' (start:stop:step, with the stop) or '0.5,0.75'."""
    try:
        if ':' in text:
            start, stop, step = map(float, text.split(':'))
            steps = int(round((stop - start) / step))
            if not 0 <= steps < MAX_THRESHOLDS or abs(start + steps * step - stop) > 1e-9:
                raise ValueError
            return shared.check_tiou_thresholds(np.linspace(start, stop, steps + 1))
        return shared.check_tiou_thresholds([float(part) for part in text.split(',')])
    except (InputError, ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(
            '"%s": expected START:STOP:STEP, where STOP is a whole number of steps from START, or numbers separated '
            'by commas; at most %d thresholds, each above 0 and at most 1' % (text, MAX_THRESHOLDS)) from None


def build_parser(description, policy_help, figure):
    """The parser of either script; `figure` is what --figure draws."""
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False,
        epilog='docs/evaluation.md has an example of each flag. The evaluators of ActivityNet\'s toolkit and of '
        'OpenTAD read the same two files. To compare with the toolkit\'s numbers, use --policy official.')
    parser.add_argument('ground_truth', help=GROUND_TRUTH_HELP)
    parser.add_argument('results', help=RESULTS_HELP)
    add_choice_flags(parser, policy_help)
    parser.add_argument('--json', metavar='OUT.json', help='also write the numbers to this JSON file')
    parser.add_argument('--figure', metavar='OUT.png', help='also draw %s to this file (png, pdf or svg)' % figure)
    return parser


def add_choice_flags(parser, policy_help):
    """Add the flags that say which subset, videos, labels and segments count, and how."""
    parser.add_argument('--subset', default='validation',
                        help='subset of the ground truth to evaluate on (default: %(default)s)')
    parser.add_argument('--tiou_thresholds', type=parse_tiou_thresholds, default='0.5:0.95:0.05',
                        metavar='START:STOP:STEP',
                        help='STOP is one of them; or numbers separated by commas: 0.5,0.75 (default: %(default)s)')
    parser.add_argument('--policy', choices=shared.POLICIES, default='authors', help=policy_help)
    parser.add_argument('--strip_prefix', default='', metavar='PREFIX',
                        help='remove this prefix, such as v_, from the video ids of all files where it is there')
    parser.add_argument('--videos', metavar='LIST',
                        help='evaluate only on the videos of this file: one id per line, or a JSON list of ids')
    parser.add_argument('--ignore_label', action='append', default=[], metavar='NAME',
                        help='drop the segments and the results of this label, such as Ambiguous of THUMOS14; may be '
                        'repeated')
    parser.add_argument('--drop_duplicates', action='store_true',
                        help='drop repeated ground-truth segments: same video and label, and start and end equal to '
                        '%g s, as OpenTAD does' % selection.SAME_SECONDS)


def parse_arguments(parser, argv, key):
    """The parsed flags of either script; `key` is in its JSON output and in no other file.

    Raises InputError where an output is an input or the other output, or would replace a file of another kind.
    """
    args = parser.parse_args(argv)
    refuse_to_overwrite({'--json': args.json, '--figure': args.figure},
                        [args.ground_truth, args.results, args.videos, getattr(args, 'video_scores', None),
                         getattr(args, 'score_classes', None)])
    if args.json and shared.has_content(args.json):
        try:
            found = read_json(args.json)
        except InputError:
            found = None
        if not isinstance(found, dict) or key not in found:
            raise InputError('--json %s: found another file there, expected none or an earlier output, which has the '
                             'key "%s"; name another file, or remove it' % (args.json, key))
    if args.figure:
        shared.figure_format(args.figure)
    return args


# Reading


def read_inputs(args, with_labels=True):
    """Read both files as the parsed `args` say, and choose the videos → (GroundTruth, Results, counts).

    with_labels: as of shared.read_results. counts: {key of DROPPED: number}. Prints warnings.
    Raises InputError if a file cannot be read, is malformed, or has no video in common with the other.
    """
    truth = shared.read_ground_truth(args.ground_truth, args.subset)
    results = shared.read_results(args.results, with_labels)
    if args.strip_prefix:
        truth, results = selection.strip_prefix(truth, results, args.strip_prefix)
    selection.check_common_videos(truth, results)
    warn(selection.unknown_videos_warnings(truth, results))
    if not args.videos:
        return truth, results, {}
    names = selection.without_prefix(read_list(args.videos), args.strip_prefix, args.videos)
    selected = selection.select_videos(truth, results, names, '--videos ' + args.videos)
    warn(selected.warnings)
    return selected.truth, selected.results, selected.counts


def drop_segments(args, truth, results):
    """Drop what --ignore_label and --drop_duplicates say → (GroundTruth, Results, counts as of read_inputs)."""
    counts = {}
    if args.ignore_label:
        truth, results, counts, warnings = selection.ignore_labels(truth, results, args.ignore_label)
        warn(warnings)
    if args.drop_duplicates:
        truth, counts['duplicate_segments'] = selection.drop_duplicates(truth)
    return truth, results, counts


def read_list(path):
    """The distinct ids of a file with one per line, or with a JSON list of ids, in the file's order.

    Raises InputError if it cannot be read, or has no id.
    """
    text = read_text(path)
    names = [line.strip() for line in text.split('\n')]
    if text.lstrip()[:1] in ('[', '{'):
        names = read_json(path)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError('%s: found JSON that is no list of texts, expected ["VIDEO", ...] or one id per line; '
                             'correct the file' % path)
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise InputError('%s: found no video id, expected one per line, or a JSON list of ids; correct the file'
                         % path)
    return names


# Output


def warn(lines):
    """Print each of the lines to standard error as a warning."""
    with contextlib.suppress(OSError):  # of a terminal that is closed
        for line in lines:
            print('warning: ' + printable(line), file=sys.stderr)


def format_counts(counts, texts):
    """Aligned lines: for each of `texts`, {key: text}, that `counts` has, the text and the number."""
    return ['  %-44s %9s' % (text, '{:,}'.format(counts[key])) for key, text in texts.items() if key in counts]


def write_outputs(args, content, draw):
    """Write what --json and --figure of the parsed `args` name: `content`, and the figure that draw() returns.

    The JSON comes first. Raises InputError where one of them cannot be written.
    """
    if args.json:
        write_json(args.json, content)
    fault = args.figure and shared.try_figure(args.figure, draw)
    if fault:
        raise InputError('%s; the numbers are complete: run without --figure, or remove the cause' % fault)
