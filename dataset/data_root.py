"""data.json: what a data root says of itself, so that no path flag and no count has to be repeated.

`prepare_data.py import` and `split` write it; config.py reads its settings. It is a JSON object:

    {"settings": {NAME: VALUE, …},    settings of config.py that belong to the data: paths, widths, numbers of classes
     "source": {…}, "target": {…}}    what each side was made of, for people and for messages
"""
import os

from runtime.errors import InputError
from runtime.files import read_json, write_json

NAME = 'data.json'
PARTS = ('settings', 'source', 'target')
OF_ROWS = ('stride', 'window', 'fps', 'row_seconds')  # what a side says of when its rows are


def read(data_root):
    """The content of the data.json in `data_root`; its parts are empty where there is none, or they are absent.

    Raises InputError where the file cannot be read, or has another form.
    """
    path, content = os.path.join(data_root, NAME), {}
    if os.path.lexists(path):
        content = read_json(path)
        if not isinstance(content, dict) or not all(isinstance(content.get(part, {}), dict) for part in PARTS):
            raise InputError('%s: expected an object of objects %s; import the data again' % (path, ', '.join(PARTS)))
    return dict({part: {} for part in PARTS}, **content)


def why_missing(data_root, names):
    """What to do where files of these fields of DataConfig are missing; '' where no import has made `data_root`.

    Raises InputError as `read` does.
    """
    content = read(data_root)
    made = [side for side in PARTS[1:] if content[side]]
    for side in PARTS[1:]:
        if made and side not in made and any(name.startswith(side) for name in names):
            return '%s has no %s side yet; import it: python3 prepare_data.py import --side %s --data_root %s …' % (
                os.path.join(data_root, NAME), side, side, data_root)
    if made and 'target_features' in names and 'target_features' not in content['settings']:
        return '%s has no target videos to be searched; import the target side again, with --untrimmed' % (
            os.path.join(data_root, NAME))
    return ''


def is_for_testing(data_root):
    """Whether imports have made nothing but target videos to be searched; raises InputError as `read` does."""
    content = read(data_root)
    videos = content['target'].get('videos')
    return not content['source'] and isinstance(videos, dict) and not videos.get('training')


def rows_of(data_root):
    """{side: what its data.json says of when the rows of features are}, for the record of a snapshot."""
    content = read(data_root)
    return {side: {name: content[side][name] for name in OF_ROWS if content[side].get(name) is not None}
            for side in PARTS[1:]}


def write(data_root, content):
    """Write the data.json of `data_root`, whose `content` is as `read` gives it."""
    write_json(os.path.join(data_root, NAME), content)
