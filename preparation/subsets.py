"""Which videos of an annotation are for training, validation and testing.

Subsets that are called train, Training, val … map by themselves; --subsets names others.
"""
import argparse
import collections

from runtime.errors import InputError, counted

TRAINING, VALIDATION, TESTING = 'training', 'validation', 'testing'
NAMES = {  # of people's annotations, in small letters
    TRAINING: ('training', 'train', 'trn'), VALIDATION: ('validation', 'val', 'valid', 'validate', 'dev'),
    TESTING: ('testing', 'test', 'tst')}
NONE = 'none'  # what --subsets and messages call the subset of videos that have none
EXAMPLE = 'training=%s,validation=%s'


def subsets_flag(text):
    """The argparse type of --subsets: {subset: [name of the annotation]} of training=A+B,validation=C."""
    found = collections.OrderedDict()
    for part in text.split(','):
        subset, _, names = [piece.strip() for piece in part.partition('=')]
        if subset not in NAMES or subset in found or not all(name.strip() for name in names.split('+')):
            raise argparse.ArgumentTypeError('%r: expected SUBSET=NAME, separated by commas, each of %s once, such '
                                             'as %s' % (text, ', '.join(NAMES), EXAMPLE % ('train+val', 'test')))
        found[subset] = [name.strip() for name in names.split('+')]
    return found


class Subsets:
    """The subsets of an annotation, and what each is used as."""

    def __init__(self, videos, given, place):
        """Args: `videos`, list of Annotated; `given`, what subsets_flag gives, or None; `place`, for messages."""
        self.counts = collections.Counter(video.subset or NONE for video in videos)
        self._place = place
        self.of = {}  # subset of the annotation → one of NAMES
        for subset, names in (given or {}).items():
            for name in names:
                self.of[self._known(name)] = subset
        for subset in set(NAMES).difference(given or {}):
            fitting = [name for name in self.counts if name not in self.of and name.lower() in NAMES[subset]]
            if len(fitting) > 1:
                raise self.error('found %s, which could all be %s' % (' and '.join(sorted(fitting)), subset))
            self.of.update(dict.fromkeys(fitting, subset))

    def _known(self, name):
        fitting = [found for found in self.counts if found == name] or [
            found for found in self.counts if found.lower() == name.lower()]
        if len(fitting) != 1:
            raise self.error('--subsets: found no subset %s' % name)
        if fitting[0] in self.of:
            raise self.error('--subsets: found subset %s twice' % name)
        return fitting[0]

    def error(self, fault):
        """An InputError that lists the subsets and shows how to name them."""
        there = sorted(self.counts, key=self.counts.get, reverse=True)
        # such as THUMOS14's, which has no training videos: its Validation trains, and its Test validates
        likely = [name for subset in (TRAINING, VALIDATION, TESTING) for name in there
                  if name.lower() in NAMES[subset]] + there
        example = EXAMPLE % (likely[0], likely[1]) if len(there) > 1 else 'training=' + there[0]
        known = ', '.join('%s (%s)' % (name, counted(self.counts[name], 'video')) for name in there)
        return InputError('%s: %s; the subsets there are %s; say what they are, such as --subsets %s' % (
            self._place, fault, known, example))

    def names(self):
        """{one of NAMES: names of the annotation}, of those that are used."""
        return {subset: sorted(name for name, used_as in self.of.items() if used_as == subset)
                for subset in NAMES if subset in self.of.values()}


def assign(videos, side, given, place):
    """({subset: its names in the annotation}, list of Annotated with our subset names, Counter of videos left out).

    Without any subset in the annotation, all videos of a source are for training; of a target, those with a segment
    or a class are, and the others are validation videos: to be searched. Raises InputError where none is for
    training, unless --subsets says what all are.
    """
    subsets = Subsets(videos, given, place)
    if set(subsets.counts) == {NONE} and not given:
        found = [video._replace(subset=VALIDATION if side == 'target' and not is_annotated(video) else TRAINING)
                 for video in videos]
        return {}, found, collections.Counter()
    needs_training = side == 'source' or not given or TRAINING in given
    if needs_training and TRAINING not in subsets.of.values():
        raise subsets.error('found no subset for training')
    return _with_subsets(videos, subsets)


def assign_searched(videos, given, place):
    """The same of the annotation of videos to be searched: one subset alone, or none, is validation."""
    given = {subset: names for subset, names in (given or {}).items() if subset != TRAINING}
    counts = collections.Counter(video.subset or NONE for video in videos)
    if len(counts) == 1:
        return {VALIDATION: list(counts)}, [video._replace(subset=VALIDATION) for video in videos], (
            collections.Counter())
    there = {name.lower() for name in counts}
    given = {subset: names for subset, names in given.items() if {name.lower() for name in names} <= there}
    subsets = Subsets(videos, given, place)
    if not {VALIDATION, TESTING}.intersection(subsets.of.values()):
        raise subsets.error('found no subset for validation')
    subsets.of = {name: subset for name, subset in subsets.of.items() if subset != TRAINING}
    return _with_subsets(videos, subsets)


def _with_subsets(videos, subsets):
    used = [video for video in videos if (video.subset or NONE) in subsets.of]
    left_out = collections.Counter('videos of subset %s' % (video.subset or NONE) for video in videos
                                   if (video.subset or NONE) not in subsets.of)
    return subsets.names(), [video._replace(subset=subsets.of[video.subset or NONE]) for video in used], left_out


def is_annotated(video):
    """Whether an Annotated has a segment, or is a trimmed clip of a known class."""
    return bool(video.segments or video.clip_label)
