"""A report page: one HTML file with the numbers, the errors and the timelines of one or several results files.

    python3 evaluation/report.py GROUND_TRUTH RESULTS --out report/
    python3 evaluation/report.py GROUND_TRUTH ours=OURS.json OpenTAD=THEIRS.json --out report/

The page opens from disk in any browser, without a network. docs/evaluation.md explains it. Its parts are in
evaluation/report_page/; evaluation/report_numbers.py and evaluation/report_figures.py compute what they show.
"""
import argparse
import collections
import os
import sys
from typing import Dict, List, NamedTuple

if not __package__:  # run as a script, from any folder
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runtime.errors import InputError, counted, exit_on_ctrl_c, exit_status, printable

with exit_on_ctrl_c():
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from evaluation import characteristics, command_line, error_analysis, report_figures, report_numbers, selection
    from evaluation import results as shared
    from evaluation.analysis_figure import KIND_COLORS
    from evaluation.analyze import over_text
    from runtime.files import atomic_write, refuse_to_overwrite
    from runtime.progress import track

PAGE_NAME = 'index.html'
PARTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'report_page')
MARK = '<!DOCTYPE html>\n<html lang="en" data-made-by="evaluation/report.py">'  # how a page begins
EVEN_WINDOWS = 'evenly spread windows'
CONFUSIONS = 15  # pairs of labels that the page lists for each file
KIND_TEXTS = {   # of the legend, at one tIoU threshold
    'true': 'takes a segment of its label', 'double detection': 'another result has taken the segment',
    'wrong label': 'on a segment of another class', 'localization': 'right label, overlap too small',
    'confusion': 'another class, overlap too small', 'background': 'overlap below 0.1, or none'}


class Page(NamedTuple):
    """What a report page is of."""

    truth: shared.GroundTruth
    durations: Dict[str, float]             # seconds of the videos, where they are known
    files: List[report_numbers.Reported]    # in the order of the page; at least one is analyzed
    policy: str                             # as of evaluate_detections

    @property
    def analyzed(self):
        """Those of the files that all parts of the page show."""
        return [file for file in self.files if file.analyzed]


# Page


def render(page, per_video=None):
    """The HTML of a Page; per_video: results of a video and file on the timelines, None: as many as fit."""
    per_video = per_video or report_numbers.results_per_video(page.truth, page.analyzed)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True)
    environment.filters['percent'] = lambda share: '%.2f' % (100 * share)
    environment.filters['number'] = '{:,}'.format
    return MARK + '\n' + environment.get_template('page.html').render(
        dict(_tables(page), page=page, truth=page.truth, files=page.files, analyzed=page.analyzed, counted=counted,
             part=_read_part, plotly=Markup(get_plotlyjs()), drawn_text=_drawn_text(page, per_video),
             content=_content(page, per_video)))


def _tables(page):
    """What the template writes into texts, tables and legends."""
    errors, colors = page.analyzed[0].analyzed.errors, report_figures.colors_of(page.files)
    return {
        'errors': errors, 'tiou': '%.4g' % errors.tiou_thresholds[errors.at],
        'over': over_text(errors.tiou_thresholds), 'even_windows': EVEN_WINDOWS, 'colors': colors,
        'analyzed_colors': [color for file, color in zip(page.files, colors) if file.analyzed],
        'shown': report_numbers.shown_thresholds(errors.tiou_thresholds),
        'kinds': list(zip(error_analysis.KINDS, KIND_COLORS, map(KIND_TEXTS.get, error_analysis.KINDS))),
        'classes': report_numbers.class_table(page.truth, page.analyzed),
        'confusion_rows': lambda file: report_numbers.confusion_rows(file, CONFUSIONS),
        'characteristics': [found.characteristic for found in page.analyzed[0].analyzed.in_bins]}


def _content(page, per_video):
    """What the scripts of the page draw, for JSON."""
    edges = [edge if edge < characteristics.INF else None for edge in characteristics.FIRST_BOX_EDGES]
    return dict(
        report_numbers.timelines(page.truth, page.analyzed, page.durations, per_video),
        figures=report_figures.figures_of(page.files), classes=page.truth.classes, kinds=list(error_analysis.KINDS),
        kind_colors=list(KIND_COLORS), names=[file.name for file in page.analyzed],
        lengths=list(zip(edges[:-1], edges[1:])))


def _drawn_text(page, per_video):
    """A sentence that says which results are on the timelines."""
    if report_numbers.most_results(page.truth, page.analyzed) <= per_video:
        return 'All results of these videos are drawn.'
    return 'The best %s of each video%s are drawn.' % (
        counted(per_video, 'result'), ' and results file' if len(page.analyzed) > 1 else '')


def _read_part(name):
    """A file of PARTS as it is, for the template: scripts and styles."""
    with open(os.path.join(PARTS, name), encoding='utf-8') as file:
        return Markup(file.read())


def even_windows(file, truth, durations, thresholds=shared.TIOU_THRESHOLDS, policy='authors'):
    """[The Reported of report_numbers.even_windows] with the labels of an analyzed file; [] where there is none."""
    windows = report_numbers.even_windows(truth, file.analyzed.results, durations)
    return [] if windows is None else [
        report_numbers.evaluated(EVEN_WINDOWS, truth, windows, thresholds, policy)]


def page_path(out):
    """The file that --out names: itself if it ends in .html, otherwise index.html in that folder."""
    return out if out.lower().endswith(('.html', '.htm')) else os.path.join(out, PAGE_NAME)


def check_page_path(path):
    """Raise InputError where `path` is another file than an earlier page."""
    shared.check_start(path, MARK.encode(), 'an earlier report page; name another place')


def write(page, path, per_video=None):
    """Write the page to `path`; arguments as of render. Raises InputError where that fails."""
    check_page_path(path)
    text = render(page, per_video)
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8', errors='backslashreplace') as file:
        file.write(text)


# Command line


def build_parser():
    """The parser of this script."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0],  # python -OO removes docstrings
        allow_abbrev=False, epilog='docs/evaluation.md says what the page shows. The numbers are those of '
        'get_proposal_performance.py, get_detection_performance.py and analyze.py with the same flags.')
    parser.add_argument('ground_truth', help=command_line.GROUND_TRUTH_HELP)
    parser.add_argument('results', nargs='+', metavar='[NAME=]RESULTS',
                        help=command_line.RESULTS_HELP + '; NAME is what the page calls it (default: the name of the '
                        'file)')
    parser.add_argument('--out', required=True, metavar='FOLDER',
                        help='where to write the page: %s in this folder, or a file that ends in .html' % PAGE_NAME)
    parser.add_argument('--compare', action='append', default=[], metavar='[NAME=]RESULTS',
                        help='another results file for the first table and the curves alone, such as one of an '
                        'untrained network; may be repeated')
    command_line.add_choice_flags(
        parser, 'what happens with results of videos that the ground truth of the subset does not have: official '
        'counts them as false positives, authors drops them (default: %(default)s)')
    parser.add_argument('--unique_segments', action='store_true',
                        help='for AR and AUC, count results of a video with the same start and end once')
    parser.add_argument('--tiou', type=float, metavar='TIOU',
                        help='the one of the --tiou_thresholds for classes, error kinds and timelines (default: the '
                        'lowest)')
    parser.add_argument('--bins', choices=sorted(characteristics.BINS), default='activitynet',
                        help='whose bins of length, coverage and number of instances to use (default: %(default)s)')
    parser.add_argument('--results_per_video', type=int, metavar='N',
                        help='draw only the best N results of each video on its timeline (default: as many as fit in '
                        'a page of 15 MB)')
    return parser


def named_files(texts):
    """[(name, path)] of results files that the command line names as NAME=PATH or PATH.

    Raises InputError where two have the same name.
    """
    pairs = []
    for text in texts:
        name, sign, path = text.partition('=')
        pairs.append((name, path) if sign and name and not os.path.lexists(text) else
                     (os.path.splitext(os.path.basename(text))[0], text))
    name, number = collections.Counter(name for name, _ in pairs).most_common(1)[0]
    if number > 1:
        raise InputError('found %d results files that are called "%s", expected different names; give names such as '
                         'ours=%s' % (number, name, next(path for other, path in pairs if other == name)))
    return pairs


def main(argv=None):
    """Write the page that the command line asks for, and print where it is."""
    args = build_parser().parse_args(argv)
    path = page_path(args.out)
    pairs = named_files(args.results + args.compare)
    refuse_to_overwrite({'--out': path}, [args.ground_truth, args.videos, *(file for _, file in pairs)])
    check_page_path(path)
    if args.results_per_video is not None and args.results_per_video < 1:
        raise InputError('--results_per_video %d: expected a number above 0; correct the flag'
                         % args.results_per_video)
    error_analysis.index_of_tiou(args.tiou_thresholds, args.tiou)
    durations, warnings = characteristics.read_durations(args.ground_truth, args.subset, args.strip_prefix)
    command_line.warn(warnings)
    files = []
    for number, (name, file) in enumerate(track(pairs, 'file', 'reading and analyzing')):
        truth, reported = _reported(args, name, file, durations if number < len(args.results) else None)
        files.append(reported)
    files += even_windows(files[0], truth, durations, args.tiou_thresholds, args.policy)
    page = Page(truth, durations, files, args.policy)
    write(page, path, args.results_per_video)
    print('report page: %s (%.1f MB, %s, %s); open it in a browser' % (
        printable(path), os.path.getsize(path) / 1e6, counted(len(pairs), 'results file'),
        counted(len(truth.videos), 'video')))


def _reported(args, name, path, durations):
    """(GroundTruth, Reported) of one results file; durations None: without error analysis. Prints warnings."""
    args = argparse.Namespace(**dict(vars(args), results=path))
    truth, results, _ = command_line.read_inputs(args)
    truth, results, _ = command_line.drop_segments(args, truth, results)
    command_line.warn(selection.label_warnings(truth, results, args.policy))
    if not args.unique_segments:
        command_line.warn(selection.repeats_warnings(results))
    analysis = None if durations is None else report_numbers.analyzed(
        truth, results, durations, args.tiou_thresholds, args.tiou, args.policy, args.bins)
    return truth, report_numbers.evaluated(
        name, truth, results, args.tiou_thresholds, args.policy, args.unique_segments, analysis)


if __name__ == '__main__':
    sys.exit(exit_status(main))
