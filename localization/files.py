"""Detections → files that other programs read: results JSON, a table, subtitles."""
import csv
import html
import io
import os
import re

from runtime.errors import printable
from runtime.files import write_json, write_text

JSON_NAME, CSV_NAME = 'detections.json', 'detections.csv'
MAX_CUES = 20        # actions that the subtitles of a video show
MAX_FILE_NAME = 100  # characters of a video's name in the name of a file


def file_names(videos):
    """{name of a video: what its files are called}: no folder, no character that a file system may refuse."""
    names, used = {}, set()
    for video in videos:
        plain = re.sub(r'[^\w.-]', '_', video)[:MAX_FILE_NAME].lstrip('.') or 'video'
        name, number = plain, 2
        while name.lower() in used:
            name, number = '%s_%d' % (plain, number), number + 1
        used.add(name.lower())
        names[video] = name
    return names


def write_results(folder, detections):
    """Write detections.json, results in ActivityNet's form, and detections.csv; return their paths.

    `detections`: {video: list of {segment, label, score}}. Raises InputError where a file cannot be written.
    """
    path, table_path = os.path.join(folder, JSON_NAME), os.path.join(folder, CSV_NAME)
    write_json(path, {'version': 'VERSION 1.3', 'results': detections, 'external_data': {}}, indent=None)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow(['video', 'start', 'end', 'label', 'score'])
    writer.writerows([video, *found['segment'], found['label'], found['score']]
                     for video, list_of_video in detections.items() for found in list_of_video)
    write_text(table_path, table.getvalue())
    return path, table_path


def write_subtitles(path, detections):
    """Write the best actions of a video as WebVTT. Of overlapping ones with one label, only the best is shown."""
    shown = []
    for found in sorted(detections, key=lambda found: -found['score']):
        start, end = found['segment']
        if not any(other['label'] == found['label'] and start < other['segment'][1] and other['segment'][0] < end
                   for other in shown):
            shown.append(found)
    cues = ['%s --> %s\n%s (%.2f)\n' % (
        _clock(found['segment'][0]), _clock(found['segment'][1]), html.escape(printable(found['label']), quote=False),
        found['score']) for found in sorted(shown[:MAX_CUES], key=lambda found: found['segment'])]
    write_text(path, '\n'.join(['WEBVTT\n'] + cues))


def _clock(seconds):
    """`01:02:03.456`."""
    milliseconds = int(round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60000)
    return '%02d:%02d:%02d.%03d' % (*divmod(minutes, 60), *divmod(milliseconds, 1000))
