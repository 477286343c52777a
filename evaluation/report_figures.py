"""The figures of the report page, made with Plotly: AR@AN, mAP by tIoU, and the error analysis.

Legend: evaluation/results.py and evaluation/error_analysis.py.
"""
import html
import itertools

import numpy as np
import plotly.graph_objects as go

from evaluation import characteristics
from evaluation.analysis_figure import KIND_COLORS
from evaluation.error_analysis import KINDS, TRUE, profile_shares

FILE_COLORS = ('#1f5a92', '#d0702a', '#2f7d4f', '#8e5fa8', '#a8892a', '#4f8f9d')
COMPARED_COLORS = ('#8a8f96', '#b9bdc3', '#6d7178')  # of files that are only compared with
TITLES = {'coverage': 'length of the segment / duration of the video', 'length': 'length (s)',
          'instances': 'segments of the class in the video'}
GRID = '#e6e8eb'
BIN_TICKS = {'tickangle': 0, 'tickfont': {'size': 10}}


def plain(name):
    """A name as Plotly's texts take it: they read some of HTML."""
    return html.escape(name)


def colors_of(files):
    """The color of each Reported."""
    palettes = {True: itertools.cycle(FILE_COLORS), False: itertools.cycle(COMPARED_COLORS)}
    return [next(palettes[file.analyzed is not None]) for file in files]


def figures_of(files):
    """{id on the page: figure as Plotly's JSON, in Python's types}; files: [Reported], at least one is analyzed."""
    figures = {'ar_an': draw_ar_an(files), 'map_tiou': draw_map(files)}
    analyzed = [(file, color) for file, color in zip(files, colors_of(files)) if file.analyzed]
    for number, (file, _) in enumerate(analyzed):
        figures['profile_%d' % number] = draw_profile(file)
    figures['gains'] = draw_gains(analyzed)
    figures['first_box'] = draw_first_box(analyzed)
    for found in analyzed[0][0].analyzed.in_bins:
        name = found.characteristic
        figures['map_n_' + name] = draw_bins(analyzed, name, 'mAP_N', 'mAP<sub>N</sub> (%)')
        figures['missed_' + name] = draw_bins(analyzed, name, 'missed', 'false negatives (%)')
    return {name: figure.to_plotly_json() for name, figure in figures.items()}


def _figure(traces, x, y, **layout):
    """A figure with the page's style; x, y: settings of its axes."""
    axes = {name: dict({'gridcolor': GRID, 'zerolinecolor': GRID, 'automargin': True}, **axis)
            for name, axis in (('xaxis', x), ('yaxis', y))}
    style = {'margin': {'l': 48, 'r': 12, 't': 12, 'b': 44}, 'height': 320, 'paper_bgcolor': 'white',
             'plot_bgcolor': 'white', 'font': {'family': 'inherit', 'size': 12, 'color': '#23282d'},
             'legend': {'orientation': 'h', 'y': 1.02, 'yanchor': 'bottom', 'x': 0},
             'showlegend': len(traces) > 1, 'template': None}
    return go.Figure(traces, go.Layout(**dict(style, **axes, **layout)))


def _line(file, color, x, y, hover):
    return go.Scatter(x=_numbers(x), y=_numbers(y), name=plain(file.name), mode='lines', hovertemplate=hover,
                      line={'color': color, 'width': 2, 'dash': 'solid' if file.analyzed else 'dot'})


def _numbers(values):
    """Numbers for JSON: rounded, and None for NaN."""
    return [None if not np.isfinite(value) else round(float(value), 4) for value in values]


def draw_ar_an(files):
    """Average recall against the average number of proposals, a line for each file."""
    traces = [_line(file, color, file.proposals.proposals_per_video, 100 * file.proposals.average_recall,
                    'AN %{x:.0f}: AR %{y:.1f} %') for file, color in zip(files, colors_of(files))]
    return _figure(traces, {'title': 'average number of proposals per video', 'rangemode': 'tozero'},
                   {'title': 'average recall (%)', 'rangemode': 'tozero'})


def draw_map(files):
    """MAP at each tIoU threshold, a line for each file."""
    traces = [_line(file, color, file.detections.tiou_thresholds, 100 * file.detections.mAP,
                    'tIoU %{x}: mAP %{y:.2f} %').update(mode='lines+markers')
              for file, color in zip(files, colors_of(files))]
    return _figure(traces, {'title': 'tIoU'}, {'title': 'mAP (%)', 'rangemode': 'tozero'})


def draw_profile(file):
    """Shares of the kinds of results among the top 1 G … 10 G of one file, on top of each other."""
    shares = 100 * profile_shares(file.analyzed.errors.profile)[:-1]
    names = ['%d G' % (place + 1) for place in range(len(shares))]
    traces = [go.Bar(x=names, y=_numbers(shares[:, kind]), name=name, marker={'color': color},
                     hovertemplate='top %{x}: %{y:.1f} %')
              for kind, (name, color) in enumerate(zip(KINDS, KIND_COLORS))]
    return _figure(traces, {'title': 'rank of the results in their class'},
                   {'title': '% of results', 'range': [0, 100]}, barmode='stack', bargap=0.12, showlegend=False)


def draw_gains(analyzed):
    """What mAP_N gains without the results of a kind, mean over the thresholds, a bar for each file."""
    kinds = [kind for kind in range(len(KINDS)) if kind != TRUE]
    names = [KINDS[kind].replace(' ', '<br>') for kind in kinds]
    traces = [go.Bar(x=names, y=_numbers(
        100 * file.analyzed.errors.gains[:, kinds].mean(axis=0)), name=plain(file.name), marker={'color': color},
        hovertemplate='%{y:+.2f} points') for file, color in analyzed]
    return _figure(traces, BIN_TICKS, {'title': 'gain of mAP<sub>N</sub> (points)'}, barmode='group')


def draw_first_box(analyzed):
    """Share of segments, by length, that the first box of their video finds, and that any result finds."""
    traces = []
    for file, color in analyzed:
        found = file.analyzed.first_box
        names = _bin_labels(found.edges, found.segments)
        traces += [
            go.Bar(x=names, y=_numbers(100 * found.found), name='first box, ' + plain(file.name),
                   marker={'color': color}, hovertemplate='%{x}: %{y:.1f} %'),
            go.Bar(x=names, y=_numbers(100 * found.found_by_any), name='any result, ' + plain(file.name),
                   marker={'color': color, 'opacity': 0.35}, hovertemplate='%{x}: %{y:.1f} %')]
    return _figure(traces, dict(BIN_TICKS, title='length (s)'),
                   {'title': '% of segments found', 'range': [0, 100]}, barmode='group')


def draw_bins(analyzed, characteristic, field, title):
    """One number of each bin of a characteristic, mean over the thresholds, a bar for each file."""
    traces = []
    for file, color in analyzed:
        found = next(found for found in file.analyzed.in_bins if found.characteristic == characteristic)
        names = _bin_labels(found.edges, found.segments, characteristic == 'instances')
        traces.append(go.Bar(x=names, y=_numbers(100 * getattr(found, field).mean(axis=1)), name=plain(file.name),
                             marker={'color': color}, hovertemplate='%{x}: %{y:.1f} %'))
    return _figure(traces, dict(BIN_TICKS, title=TITLES[characteristic]), {'title': title, 'range': [0, 100]},
                   barmode='group', height=280)


def _bin_labels(edges, segments, is_whole=False):
    """Names of the bins, with the number of segments below."""
    return ['%s<br>(%s)' % (name, '{:,}'.format(number))
            for name, number in zip(characteristics.bin_names(edges, is_whole), segments)]
