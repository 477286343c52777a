"""Error analysis of detections, as of DETAD: kinds of errors, what each costs, and which segments are missed.

    python3 evaluation/analyze.py GROUND_TRUTH RESULTS
    python3 evaluation/analyze.py GROUND_TRUTH RESULTS --json OUT.json --figure OUT.png
    python3 evaluation/analyze.py GROUND_TRUTH RESULTS --subset Test --bins thumos14 --tiou_thresholds 0.5

evaluation/error_analysis.py and evaluation/characteristics.py define all numbers, and say where they differ from
DETAD's. docs/evaluation.md explains the tables.
"""
import os
import sys

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import InputError, counted, exit_on_ctrl_c, exit_status, printable

with exit_on_ctrl_c():
    import numpy as np

    from evaluation import analysis_figure, characteristics, command_line, error_analysis, selection
    from evaluation import get_detection_performance as detection
    from evaluation import results as shared
    from evaluation.error_analysis import KINDS, TENTHS, profile_shares

NAME_WIDTH = 28           # characters of a class name in the tables
TITLES = {'coverage': 'coverage (length / duration of the video)', 'length': 'length (seconds)',
          'instances': 'instances (of the class in the video)'}
DROPPED = ('dropped_unknown_video', 'dropped_unknown_label', *command_line.DROPPED)  # printed if not 0


# Tables


def format_tables(args, truth, analysis, sensitivities, first_box):
    """All tables as one text; arguments: parsed flags, GroundTruth, ErrorAnalysis, [Sensitivity], FirstBox."""
    parts = [format_head(args, analysis), format_profile(analysis), format_gains(analysis)]
    parts += [format_sensitivities(analysis, sensitivities), format_first_box(analysis, first_box)]
    return '\n\n'.join(parts + [format_confusions(analysis, args.rows), format_classes(truth, analysis, args.rows)])


def format_head(args, analysis):
    """What was analyzed, over how many videos, and mAP as the evaluator prints it."""
    counts, thresholds = analysis.performance.counts, analysis.tiou_thresholds
    texts = {key: detection.COUNTS[key] for key in DROPPED if counts.get(key)}
    return '\n'.join([
        'Errors on "%s", policy %s: %s, %s, %s scored' % (
            printable(args.subset), args.policy, counted(counts['videos'], 'video'),
            counted(counts['ground_truth'], 'segment'), counted(counts['predictions'], 'result')),
        *command_line.format_counts(counts, texts),
        '  ' + shared.format_coverage(counts['videos'], counts['videos_without_results']),
        '  mAP %.2f %% at tIoU %.4g' % (100 * analysis.performance.mAP[analysis.at], thresholds[analysis.at])
        + ('; %.2f %% as the mean over tIoU %s' % (
            100 * analysis.performance.average_mAP, thresholds_text(thresholds)) if len(thresholds) > 1 else '')])


def thresholds_text(thresholds):
    """Such as "0.5 to 0.95 (10 thresholds)" or "0.5"."""
    if len(thresholds) == 1:
        return '%.4g' % thresholds[0]
    return '%.4g to %.4g (%d thresholds)' % (thresholds.min(), thresholds.max(), len(thresholds))


def over_text(thresholds):
    """Such as "mean over tIoU 0.5 to 0.95 (10 thresholds)" or "at tIoU 0.5"."""
    return ('mean over tIoU ' if len(thresholds) > 1 else 'at tIoU ') + thresholds_text(thresholds)


def format_profile(analysis):
    """Shares of the kinds among the top 1 G … 10 G, means over the thresholds as in DETAD."""
    shares = profile_shares(analysis.profile)
    lines = ['False positives: % of results, ' + over_text(analysis.tiou_thresholds),
             '  (k G: for each class, the results of rank (k - 1) G + 1 to k G, with G its number of segments)',
             '  top   ' + '  '.join(['   results', *('%8s' % kind for kind in KINDS)])]
    for name, number, row in zip(profile_names(), profile_numbers(analysis), shares):
        lines.append('  %-6s' % name + '  '.join(['%10s' % '{:,}'.format(number), *(
            '%*s' % (max(8, len(kind)), percent(share)) for kind, share in zip(KINDS, row))]))
    return '\n'.join(lines)


def profile_names():
    """Names of the rows of profile_shares: "1 G" … "10 G", and "all" of them."""
    return ['%d G' % (tenth + 1) for tenth in range(TENTHS)] + ['all']


def profile_numbers(analysis):
    """Number of results of each row of profile_shares → [TENTHS + 1]."""
    numbers = analysis.profile[0].sum(axis=1)
    return np.append(numbers, numbers.sum())


def percent(share):
    """The share, 0…1, as a text in percent; "-" for NaN."""
    return '-' if np.isnan(share) else '%.1f' % (100 * share)


def format_gains(analysis):
    """What mAP_N would gain without the results of each kind, at one threshold and on average."""
    at, tiou = analysis.at, '%.4g' % analysis.tiou_thresholds[analysis.at]
    one, mean = profile_shares(analysis.profile[[at]])[-1], profile_shares(analysis.profile)[-1]
    lines = ['What mAP_N gains without the results of a kind, among the top 10 G (% and points)',
             '  %-20s%16s%16s%16s%16s' % ('', 'share, mean', 'gain, mean', 'share @' + tiou, 'gain @' + tiou)]
    for kind, name in enumerate(KINDS):
        gains = ('', '') if kind == error_analysis.TRUE else (
            '%+.2f' % (100 * analysis.gains[:, kind].mean()), '%+.2f' % (100 * analysis.gains[at, kind]))
        lines.append('  %-20s%16s%16s%16s%16s' % (name, percent(mean[kind]), gains[0], percent(one[kind]), gains[1]))
    for name, values in (('top 10 G', analysis.top_mAP_N), ('all results', analysis.mAP_N)):
        lines.append('  %-20s%32.2f%32.2f' % ('mAP_N, ' + name, 100 * values.mean(), 100 * values[at]))
    return '\n'.join(lines)


def format_sensitivities(analysis, sensitivities):
    """mAP_N, recall and false negatives in each bin, means over the thresholds."""
    lines = ['By characteristic of the segments: %, ' + over_text(analysis.tiou_thresholds),
             '  (false negative: not found at a normalized precision above 5 %)']
    for found in sensitivities:
        title = TITLES[found.characteristic] if found.bins != 'quartiles' else found.characteristic + ', quartiles'
        lines.append('  %-44s%10s%9s%9s%16s' % (title, 'segments', 'mAP_N', 'recall', 'false negative'))
        lines += ['    %-42s%10s%9s%9s%16s' % (name, '{:,}'.format(number), *map(percent, values))
                  for name, number, *values in sensitivity_rows(found)]
    if not any(found.characteristic == 'coverage' for found in sensitivities):
        lines.append('  coverage: not known, because no video of the ground truth has a "duration"')
    lines.append('  %-44s%10s%9s%9s%16s' % (
        'all', '{:,}'.format(analysis.performance.counts['ground_truth']), percent(analysis.mAP_N.mean()),
        percent((analysis.segments.taken_by >= 0).mean()), percent(analysis.segments.is_missed.mean())))
    return '\n'.join(lines)


def sensitivity_rows(found):
    """(name, number of segments, mAP_N, recall, share of false negatives) of each bin, means over the thresholds."""
    names = characteristics.bin_names(found.edges, is_whole=found.characteristic == 'instances')
    return list(zip(names, found.segments, found.mAP_N.mean(axis=1), found.recall.mean(axis=1),
                    found.missed.mean(axis=1)))


def format_first_box(analysis, found):
    """Which share of the segments the first box of their video finds, by length."""
    lines = ['First box: %% of segments that their video\'s result with the highest score finds at tIoU %.4g' % (
        analysis.tiou_thresholds[analysis.at]),
        '  %-14s%10s%12s%14s%14s%18s%14s' % (
            'length (s)', 'segments', 'any label', 'its label', 'by any result', 'videos with one', 'first box')]
    for name, number, first, with_label, by_any, alone, found_alone in first_box_rows(found):
        lines.append('  %-14s%10s%12s%14s%14s%18s%14s' % (
            name, '{:,}'.format(number), percent(first), percent(with_label), percent(by_any),
            '{:,}'.format(alone), percent(found_alone)))
    return '\n'.join(lines)


def first_box_rows(found):
    """(name, and the fields of FirstBox after its edges) of each bin, and of all segments."""
    by_bin = list(zip(characteristics.bin_names(found.edges), *found[1:]))
    segments, alone = found.segments, found.alone
    means = [weighted_mean(values, segments) for values in (found.found, found.found_with_label, found.found_by_any)]
    return by_bin + [('all', segments.sum(), *means, alone.sum(), weighted_mean(found.found_alone, alone))]


def weighted_mean(shares, numbers):
    """The share in all bins, of the shares and numbers of segments of each; NaN without segments."""
    return np.nansum(shares * numbers) / numbers.sum() if numbers.any() else np.nan


def format_confusions(analysis, rows):
    """The most frequent confusions of labels among the top 10 G."""
    title = 'Confused labels among the top 10 G at tIoU %.4g (kinds wrong label and confusion)' % (
        analysis.tiou_thresholds[analysis.at])
    if not analysis.confusions:
        return title + ': none'
    classes = analysis.performance.classes
    shown = [(short(classes[pair.actual]), short(classes[pair.predicted]), '{:,}'.format(pair.results),
              '{:,}'.format(pair.videos)) for pair in analysis.confusions[:rows]]
    layout = '  %-{0}s%-{0}s%10s%10s'.format(NAME_WIDTH + 2)
    return '\n'.join([title, layout % ('segments of', 'found as', 'results', 'videos')] + [
        layout % row for row in shown] + more_line(len(analysis.confusions) - rows, 'pair'))


def more_line(number, noun):
    """[A line that says how many rows are not printed]; [] if there is none."""
    return ['  and %s (--rows, --json)' % counted(number, 'more ' + noun)] if number > 0 else []


def format_classes(truth, analysis, rows):
    """The classes with the lowest AP, with what goes wrong most often."""
    tiou = '%.4g' % analysis.tiou_thresholds[analysis.at]
    layout = '  %-{0}s%9s%7s%9s%7s  %-24s%s'.format(NAME_WIDTH + 1)
    lines = ['Classes with the lowest AP at tIoU %s (%%; and what AP_N of the class gains without the kind)' % tiou,
             layout % ('class', 'segments', 'AP', 'AP mean', 'found', 'costliest kind', 'most often found as')]
    table = class_rows(truth, analysis)
    for row in table[:rows]:
        lines.append(layout % (short(row['class']), '{:,}'.format(row['segments']), percent(row['ap']),
                               percent(row['average_ap']), percent(row['found']), '%s %+.1f' % (
                                   row['costliest_kind'], 100 * row['its_gain']) if row['costliest_kind'] else '-',
                               short(row['most_confused_with'] or '-')))
    return '\n'.join(lines + more_line(len(table) - rows, 'class'))


def class_rows(truth, analysis):
    """[dict] of each class, the lowest AP at the threshold analysis.at first; found: share of its segments."""
    performance, at = analysis.performance, analysis.at
    average, segments = performance.ap.mean(axis=1), np.bincount(truth.class_index)
    found = np.bincount(truth.class_index, analysis.segments.taken_by[at] >= 0) / segments
    rows = []
    for k in np.lexsort((-segments, average, performance.ap[:, at])):
        gains, confused = analysis.class_gains[k], analysis.most_confused[k]
        rows.append({
            'class': truth.classes[k], 'segments': int(segments[k]), 'ap': float(performance.ap[k, at]),
            'average_ap': float(average[k]), 'found': float(found[k]),
            'costliest_kind': KINDS[gains.argmax()] if gains.max() > 0 else None, 'its_gain': float(gains.max()),
            'most_confused_with': truth.classes[confused] if confused >= 0 else None})
    return rows


def short(name):
    """A class name as the tables print it."""
    name = printable(name)
    return name if len(name) <= NAME_WIDTH else name[:NAME_WIDTH - 1] + '…'


# JSON


def to_json(truth, analysis, sensitivities, first_box):
    """All numbers as a dict for a JSON file; shares, AP and gains in 0…1, lists by tIoU, null where there is none."""
    performance = analysis.performance
    gains = {name: analysis.gains[:, kind].tolist() for kind, name in enumerate(KINDS) if kind != error_analysis.TRUE}
    return dict(
        performance.counts, tiou_thresholds=analysis.tiou_thresholds.tolist(),
        tiou=float(analysis.tiou_thresholds[analysis.at]), mAP=performance.mAP.tolist(),
        average_mAP=performance.average_mAP, mAP_N=analysis.mAP_N.tolist(), top_10G_mAP_N=analysis.top_mAP_N.tolist(),
        false_positives=dict(
            kinds=list(KINDS), counts_by_tiou=analysis.profile.tolist(), rows=profile_names(),
            mean_shares=or_null(profile_shares(analysis.profile)), mAP_N_gains=gains),
        sensitivity=[dict(
            characteristic=found.characteristic, bins=found.bins, edges=or_null(found.edges),
            names=characteristics.bin_names(found.edges, found.characteristic == 'instances'),
            segments=found.segments.tolist(), mAP_N=or_null(found.mAP_N), recall=or_null(found.recall),
            false_negatives=or_null(found.missed)) for found in sensitivities],
        first_box={name: or_null(values) for name, values in first_box._asdict().items()},
        confusions=[dict(pair._asdict(), actual=truth.classes[pair.actual], predicted=truth.classes[pair.predicted])
                    for pair in analysis.confusions],
        classes=class_rows(truth, analysis))


def or_null(values):
    """An array as nested lists, with None for what is not finite, which JSON does not have."""
    values = np.asarray(values)
    return np.where(np.isfinite(values), values.astype(object), None).tolist()


# Command line


def build_parser():
    """The parser of this script."""
    parser = command_line.build_parser(
        (__doc__ or '').split('\n')[0],  # python -OO removes docstrings
        'what happens with results of videos that the ground truth of the subset does not have. official: they are '
        'background, as in DETAD. authors: they are dropped. Either drops results with a label that the ground truth '
        'does not have (default: %(default)s)',
        'kinds of errors, gains, sensitivity and false negatives, and the first box,')
    parser.add_argument('--tiou', type=float, metavar='TIOU',
                        help='the one of the --tiou_thresholds for confused labels, classes and the first box; all '
                        'other numbers are means over the thresholds, as in DETAD (default: the lowest)')
    parser.add_argument('--bins', choices=sorted(characteristics.BINS), default='activitynet',
                        help='whose bins of length, coverage and number of instances to use, as in DETAD; quartiles '
                        'are printed, too (default: %(default)s)')
    parser.add_argument('--rows', type=int, default=10, metavar='N',
                        help='pairs of confused labels, and classes, to print; --json has all (default: %(default)s)')
    detection.add_score_flags(parser)
    return parser


def main(argv=None):
    """Analyze as the command line says: print the tables and warnings, and write the JSON file and the figure."""
    args = command_line.parse_arguments(build_parser(), argv, 'false_positives')
    if args.rows < 1:
        raise InputError('--rows %d: expected a number above 0; correct the flag' % args.rows)
    detection.check_score_flags(args)
    error_analysis.index_of_tiou(args.tiou_thresholds, args.tiou)
    truth, results, counts = detection.read_joined(args)
    truth, results, more_counts = command_line.drop_segments(args, truth, results)
    durations, warnings = characteristics.read_durations(args.ground_truth, args.subset, args.strip_prefix)
    analysis = error_analysis.analyze_errors(truth, results, args.tiou_thresholds, args.tiou, args.policy)
    counts = dict(analysis.performance.counts, **counts, **more_counts)
    analysis = analysis._replace(performance=analysis.performance._replace(counts=counts))
    sensitivities = characteristics.sensitivities(
        truth, analysis, characteristics.characteristics_of(truth, durations), args.bins)
    first_box = characteristics.first_box(truth, analysis)
    print(format_tables(args, truth, analysis, sensitivities, first_box))
    command_line.warn(warnings + selection.label_warnings(truth, results, args.policy))
    command_line.write_outputs(
        args, dict(to_json(truth, analysis, sensitivities, first_box), subset=args.subset, policy=args.policy),
        lambda: analysis_figure.draw_errors(analysis, sensitivities, first_box))


if __name__ == '__main__':
    sys.exit(exit_status(main))
