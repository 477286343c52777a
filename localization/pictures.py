"""A picture of a video: its ground truth, what was found, and the action probability over time."""
import numpy as np

from evaluation.results import new_figure
from runtime.errors import printable

MAX_DRAWN = 12  # detections in a picture
MAX_LABEL = 40  # characters of a label
WIDTH = 9.0     # inches


def draw_video(name, seconds, detections, curve, segments=None):
    """The figure of a video of `seconds`.

    Args:
      name: of the video.
      seconds: its duration.
      detections: list of {segment, label, score}, best first.
      curve: (edges [n + 1] in seconds, probabilities [n]), as ops.detections.action_curve gives them.
      segments: list of (start, end, label): the ground truth; None: not known.
    """
    drawn = detections[:MAX_DRAWN]
    labels = [label for _, _, label in segments or ()] + [found['label'] for found in drawn]
    colours = colours_of(labels)
    truth_rows = [] if segments is None else sorted(dict.fromkeys(label for _, _, label in segments)) or ['']
    lines = len(truth_rows) + max(1, len(drawn))
    height = 1.6 + 0.24 * lines
    figure = new_figure((WIDTH, height))
    axes = figure.subplots(2, 1, sharex=True, gridspec_kw={'height_ratios': [lines * 0.24, 0.9]})
    _draw_truth(axes[0], truth_rows, segments, colours)
    _draw_detections(axes[0], drawn, len(truth_rows), colours, seconds)
    axes[0].set(ylim=(lines - 0.4, -0.6), xlim=(0, seconds))
    axes[0].set_title('%s: best %d of %d detections' % (_text(name), len(drawn), len(detections)), fontsize=10)
    axes[0].tick_params(labelsize=8)
    _draw_curve(axes[1], curve)
    figure.subplots_adjust(left=0.16, right=0.83, hspace=0.08)
    return figure


def colours_of(labels):
    """{label: colour}: the most frequent labels have colours of their own."""
    from matplotlib import cm  # imported late, as in evaluation.results.new_figure
    ordered = sorted(dict.fromkeys(labels), key=lambda label: (-labels.count(label), label))
    return {label: cm.tab10(number % 10) for number, label in enumerate(ordered)}


def _text(text):
    """Text that matplotlib does not take for a formula."""
    text = printable(text)
    return (text if len(text) <= MAX_LABEL else text[:MAX_LABEL - 1] + '…').replace('$', '\\$')


def _draw_truth(axes, rows, segments, colours):
    for row, label in enumerate(rows):
        for start, end, other in segments:
            if other == label:
                axes.barh(row, end - start, left=start, height=0.7, color=colours[label])
        axes.text(-0.01, row, 'truth: %s' % _text(label) if label else 'truth: none', fontsize=8, ha='right',
                  va='center', transform=axes.get_yaxis_transform())
    if rows:
        axes.axhline(len(rows) - 0.5, color='black', linewidth=0.8)


def _draw_detections(axes, drawn, first, colours, seconds):
    best = max([found['score'] for found in drawn], default=1) or 1
    for row, found in enumerate(drawn, start=first):
        start, end = found['segment']
        axes.barh(row, end - start, left=start, height=0.6, color=colours[found['label']],
                  alpha=0.25 + 0.75 * found['score'] / best)
        axes.text(1.01, row, '%.2f  %s' % (found['score'], _text(found['label'])), fontsize=8, va='center',
                  transform=axes.get_yaxis_transform())
    if not drawn:
        axes.text(seconds / 2, first, 'nothing found', fontsize=8, ha='center', va='center')
    axes.set_yticks([])
    axes.grid(axis='x', alpha=0.3)


def _draw_curve(axes, curve):
    edges, probabilities = curve
    axes.fill_between(np.repeat(edges, 2)[1:-1], np.repeat(probabilities, 2), color='#888888', linewidth=0)
    axes.set(ylim=(0, 1), yticks=(0, 0.5, 1))
    axes.set_ylabel('action\nprobability', fontsize=8)
    axes.set_xlabel('seconds', fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
