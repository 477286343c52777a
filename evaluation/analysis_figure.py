"""The figure of evaluation/analyze.py: kinds of errors, what each costs, performance by characteristic, first box."""
import numpy as np

from evaluation import characteristics, error_analysis
from evaluation import results as shared

KIND_COLORS = ('#2f7d4f', '#9dc9a8', '#c9501c', '#2f6fa8', '#8e5fa8', '#b8b8b8')  # in the order of KINDS
BIN_COLORS = {'mAP_N': '#1f5a92', 'recall': '#c6d9ec', 'false negative': '#c9501c'}
FIRST_BOX_COLORS = ('#dddddd', '#9dc9a8', '#2f7d4f')
TITLES = {'coverage': 'coverage', 'length': 'length (s)', 'instances': 'instances'}
SIZE = (14, 11)  # inches
SMALL = 8        # points
LOW_BAR = 7      # percent; a lower bar has no place for its value


def draw_errors(analysis, sensitivities, first_box):
    """The figure of an ErrorAnalysis, of its [Sensitivity] (those in DETAD's bins) and of its FirstBox."""
    figure = shared.new_figure(SIZE)
    figure.subplots_adjust(left=0.05, right=0.98, bottom=0.06, top=0.95, hspace=0.45, wspace=1.2)
    grid = figure.add_gridspec(3, 12)
    in_bins = characteristics.in_named_bins(sensitivities)
    _draw_profile(figure.add_subplot(grid[0, :6]), analysis)
    _draw_gains(figure.add_subplot(grid[0, 6:9]), analysis)
    _draw_first_box(figure.add_subplot(grid[0, 9:]), analysis, first_box)
    _draw_bins(figure.add_subplot(grid[1, :]), in_bins, [
        ('recall', [found.recall for found in in_bins]), ('mAP_N', [found.mAP_N for found in in_bins])],
        'recall and mAP_N by characteristic of the segments', analysis.mAP_N.mean())
    _draw_bins(figure.add_subplot(grid[2, :]), in_bins, [
        ('false negative', [found.missed for found in in_bins])],
        'false negatives by characteristic of the segments', analysis.segments.is_missed.mean())
    return figure


def _style(axes, title, label='%'):
    """What all parts of the figure share."""
    axes.set_title(title, fontsize=10, loc='left')
    axes.set_ylabel(label, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis='y', alpha=0.3)
    axes.set_axisbelow(True)


def _name_places(axes, places, names):
    """Write the names below the places of the bars."""
    axes.set_xticks(places)
    axes.set_xticklabels(names, fontsize=SMALL)


def _draw_profile(axes, analysis):
    """Shares of the kinds among the top 1 G … 10 G, on top of each other."""
    shares = np.nan_to_num(100 * error_analysis.profile_shares(analysis.profile)[:-1])
    below, places = np.zeros(len(shares)), np.arange(len(shares))
    for kind, (name, color) in enumerate(zip(error_analysis.KINDS, KIND_COLORS)):
        axes.bar(places, shares[:, kind], bottom=below, width=0.85, color=color, label=name)
        below = below + shares[:, kind]
    _style(axes, 'kinds of results, by rank in their class (G: its number of segments)', '% of results')
    _name_places(axes, places, ['%d G' % (place + 1) for place in places])
    axes.set(ylim=(0, 100), xlim=(-0.6, len(shares) - 0.4))
    axes.legend(fontsize=SMALL, loc='upper center', bbox_to_anchor=(0.5, -0.09), ncol=len(KIND_COLORS), frameon=False,
                columnspacing=1, handlelength=1.2)


def _draw_gains(axes, analysis):
    """What mAP_N gains without the results of each kind."""
    gains = 100 * analysis.gains.mean(axis=0)[1:]
    places = np.arange(len(gains))
    axes.bar(places, gains, color=KIND_COLORS[1:], width=0.8)
    _write_values(axes, places, gains)
    _style(axes, 'gain without a kind (mAP_N of 10 G: %.1f %%)' % (100 * analysis.top_mAP_N.mean()), 'points')
    _name_places(axes, places, [name.replace(' ', '\n').replace('localization', 'locali-\nzation')
                                .replace('background', 'back-\nground') for name in error_analysis.KINDS[1:]])
    axes.set_ylim(0, 1.15 * max(gains.max(), 1))


def _write_values(axes, places, values):
    """Write each value, in percent, above its bar; nothing where it is NaN."""
    for place, value in zip(places, values):
        if not np.isnan(value):
            axes.annotate('%.1f' % value, (place, value), xytext=(0, 1), textcoords='offset points', ha='center',
                          va='bottom', fontsize=SMALL - 1)


def _write_inside(axes, places, values):
    """Write each value, in percent, at the foot of its bar; nothing where it is NaN or the bar is low."""
    for place, value in zip(places, values):
        if value >= LOW_BAR:
            axes.annotate('%.1f' % value, (place, 0), xytext=(0, 3), textcoords='offset points', ha='center',
                          va='bottom', fontsize=SMALL - 1, color='white')


def _draw_bins(axes, sensitivities, series, title, mean):
    """Bars of the bins of all characteristics; series: [(name, [[B, S] of each Sensitivity])]; mean: a line."""
    first, places, names = 0, [], []
    for found in sensitivities:
        own = first + np.arange(len(found.segments))
        axes.annotate(TITLES[found.characteristic], (own.mean(), 1), xycoords=('data', 'axes fraction'), va='top',
                      xytext=(0, -3), textcoords='offset points', ha='center', fontsize=SMALL + 1)
        places.append(own)
        names += ['%s\n(%s)' % (name, '{:,}'.format(number)) for name, number in zip(
            characteristics.bin_names(found.edges, found.characteristic == 'instances'), found.segments)]
        first += len(found.segments) + 1
    places = np.concatenate(places)
    for width, (name, values) in zip((0.85, 0.5), series):
        heights = 100 * np.concatenate(values).mean(axis=1)
        axes.bar(places, np.nan_to_num(heights), width=width, color=BIN_COLORS[name], label=name)
        if name == 'mAP_N':  # recall's values are above its bars
            _write_inside(axes, places, heights)
        else:
            _write_values(axes, places, heights)
    axes.axhline(100 * mean, color='black', linewidth=1, linestyle='--',
                 label='%s of all, %.1f %%' % (series[-1][0], 100 * mean))
    _style(axes, title + ' (number of segments)')
    _name_places(axes, places, names)
    axes.set(ylim=(0, 118), yticks=range(0, 101, 20), xlim=(-0.7, places[-1] + 0.7))
    axes.legend(fontsize=SMALL, loc='lower right', bbox_to_anchor=(1, 1), ncol=3, frameon=False)


def _draw_first_box(axes, analysis, found):
    """Shares of segments that any result finds, the first box, and the first box with the right label."""
    places = np.arange(len(found.segments))
    for width, color, name, values in zip((0.85, 0.65, 0.35), FIRST_BOX_COLORS, (
            'any result', 'first box', 'and its label'), (found.found_by_any, found.found, found.found_with_label)):
        axes.bar(places, np.nan_to_num(100 * values), width=width, color=color, label=name)
    _write_values(axes, places, 100 * found.found)
    _style(axes, 'found at tIoU %.4g, by length (s)' % analysis.tiou_thresholds[analysis.at])
    _name_places(axes, places, ['%s\n(%s)' % (name, '{:,}'.format(number)) for name, number in zip(
        characteristics.bin_names(found.edges), found.segments)])
    axes.set(ylim=(0, 118), yticks=range(0, 101, 20))
    axes.legend(fontsize=SMALL - 1, loc='upper center', ncol=3, frameon=False, columnspacing=1, handlelength=1.2)
