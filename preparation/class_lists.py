"""Which classes are source classes, and which target classes: lists of names, folders of such lists, or a draw.

A name of a list and a class of the annotation match if they differ only by case, spaces, underscores and hyphens:
published lists often have another spelling than the annotation.
"""
import collections
import difflib
import os
import re

import numpy as np

from dataset.tables import read_class_names, spelling_free
from runtime.errors import InputError

WORDS = (('source', 'target'), ('train', 'test'), ('seen', 'unseen'), ('base', 'novel'))  # in names of list files
ENDINGS = ('.txt', '.list')


def listed_classes(source_path, target_path, known, annotation):
    """(source names, target names), as `known` spells them, of two files with one name per line.

    Args:
      source_path, target_path: the files.
      known: names of the classes of the data set.
      annotation: the file that they are of, for messages.
    Raises InputError where a name is none of `known`, or matches two of them, and where a class is listed twice.
    """
    by_key, first_place, names = collections.defaultdict(list), {}, []
    for name in sorted(known):
        by_key[spelling_free(name)].append(name)
    for path in (source_path, target_path):
        names.append([])
        for line, name in enumerate(read_class_names(path), start=1):
            place = '%s, line %d' % (path, line)
            found = _only_match(name, by_key, place, annotation)
            if found in first_place:
                raise InputError('%s: found %s, which %s has already; remove it from one of them'
                                 % (place, name, first_place[found]))
            first_place[found] = place
            names[-1].append(found)
    return names


def _only_match(name, by_key, place, annotation):
    """The class that `name` matches, of `by_key`: {spelling_free name: [name]}; raises InputError at none or two."""
    found = by_key.get(spelling_free(name), [])
    if len(found) > 1:
        raise InputError('%s: found %s, which could be each of the classes %s in %s; give them one name there'
                         % (place, name, ', '.join(found), annotation))
    if not found:
        names = {known.casefold(): known for matches in by_key.values() for known in matches}
        close = [names[key] for key in difflib.get_close_matches(name.casefold(), sorted(names))]
        raise InputError('%s: found %s, which is no class of a segment in %s; %s' % (
            place, name, annotation,
            'similar names: ' + ', '.join(close) if close else 'it has no class with a similar name'))
    return found[0]


def lists_in(folder):
    """{name of a split: (path of its source list, path of its target list)} of the files in `folder`, in order.

    The files of the split N are source_N.txt and target_N.txt, or source/N.txt and target/N.txt, where other WORDS
    may stand for source and target, and .list for .txt. Raises InputError where there is none, or one of two lists.
    """
    if not os.path.isdir(folder):
        raise InputError('--splits %s: found no such folder, expected one with the files source_N.txt and '
                         'target_N.txt of each split N' % folder)
    for words in WORDS:
        source, target = [_lists_of(folder, word) for word in words]
        alone = sorted(set(source).symmetric_difference(target))
        if source and target and not alone:
            return {name: (source[name], target[name]) for name in sorted(source, key=_natural)}
        if source and target:
            raise InputError('--splits %s: split %s: found one of its two lists, %s; add the other one' % (
                folder, alone[0], dict(source, **target)[alone[0]]))
    raise InputError('--splits %s: found no lists of classes, expected files source_N.txt and target_N.txt for each '
                     'split N; or give --source_list and --target_list' % folder)


def _lists_of(folder, word):
    """{name of a split: path} of the lists of one side in `folder`."""
    found = {}
    for place, start in ((folder, word + '[_-]?'), (os.path.join(folder, word), '')):
        for name in os.listdir(place) if os.path.isdir(place) else ():
            stem, ending = os.path.splitext(name)
            match = re.match(start + r'(\w[\w-]*)$', stem)  # a split's name becomes that of a folder
            if match and ending in ENDINGS:
                found[match.group(1)] = os.path.join(place, name)
    return found


def _natural(name):
    """A key that sorts names by the numbers in them: split 2 before split 10."""
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'([0-9]+)', name)]


def drawn_classes(known, count, seed):
    """(source names, target names), both sorted: `count` names of `known`, drawn by the seed, and the others."""
    if not 0 < count < len(known):
        raise InputError('%d source classes: expected 1 to %d, because the annotation has %d classes'
                         % (count, len(known) - 1, len(known)))
    names = sorted(known)
    order = np.random.RandomState(seed).permutation(len(names))
    return [[names[index] for index in sorted(chosen)] for chosen in (order[:count], order[count:])]
