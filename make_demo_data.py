"""Make a small world of ActivityNet-and-Kinetics-like data, to rehearse the whole system without a download.

    python3 make_demo_data.py --out data/demo --seed 0
    python3 make_demo_data.py --out data/demo --annotation other.txt   # validation videos of another file
    python3 make_demo_data.py --write_annotation k600_val_annotation.txt --seed 0   # how that file was made
    python3 make_demo_data.py --statistics k600_val_annotation.txt data/k600_val_annotation.txt  # side by side

Source classes come with untrimmed, annotated videos. Target classes come with *moments* for training and with
untrimmed validation videos, made to fit the rows of a validation annotation. Tables and features are laid out
as config.DataConfig names them, below --out.

How a feature row comes about. A clip (8 frames) is a point in a latent space of D dimensions:

    latent(t) = scene(t)·(1 − OCCLUSION·presence(t)) + vigour(t)·presence(t)·phase(t) + wander(t)
                + (1 − presence(t))·(context(t) + fragments(t))
    feature   = max(0, gain·latent(t) @ mixing + offset + noise)

  attributes   a pool of random unit vectors, such as "water", "arm swings", "kneels". A class is a choice of
               CLASS_ATTRIBUTES of them, with weights of its own for each of three phases: what happens at the
               start, in the middle and at the end. Source and target classes choose from the same pool
               (--relatedness), so that what tells action from background on source classes says something
               about target classes.
  presence     0 in the background, 1 inside a segment, with soft edges (--boundary_softness).
  phase        the performed class: its attributes, each a bit stronger or weaker in every performance
               (--variation); vigour swells and sags, so that an action is not equally clear all along.
  context      before a segment and after it, fading with distance: companions of the class's attributes (what
               goes with "water" before and after) and a share of the action itself. It can be foretold from a
               moment, which is what the context generator of the system relies on (--context_strength).
  scene        of each video alone: a mixture of shared scenes and something of its own; changes at cuts,
               which have nothing to do with the action, and drifts (--shot_seconds, --drift).
  wander       smooth noise of a few seconds in all directions of the latent space (--wander).
  fragments    in the background: pieces of other actions, single attributes at full strength, whole actions
               that are weak, or very short ones (--distractors). An attribute alone is not an action.
  gain, noise  gain: of each video; noise: of each clip and column (--noise).
  mixing       a fixed random matrix D → C; with the rectifier no column stands for any one thing.

Everything is a function of the settings, the seed and names. What a validation video shows follows from its
name and its rows of the annotation, so another annotation leaves the videos that both have unchanged.

Legend: C feature width, D latent dimensions, P attributes, K classes, k attributes of a class, n clips of a
video, T = 512 rows of an untrimmed video.
"""
import argparse
import collections
import csv
import io
import json
import os
import shutil
import sys
import time
import zlib
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from config import PRESETS, DataConfig
from errors import InputError, exit_status
from features import interpolate
from files import sha256, write_text
from tables import read_annotation, read_class_names, without_duplicates

HERE = os.path.dirname(os.path.abspath(__file__))
ANNOTATION = os.path.join(HERE, 'k600_val_annotation.txt')
MANIFEST = 'demo_manifest.json'
MAX_CLASSES = 10000  # of an annotation: a larger index is a slip, not a data set

# The knobs of the world: name, default, meaning with unit. Each is a flag and a field of Settings.
KNOBS = (
    ('source_videos', 1000, 'untrimmed, annotated videos of all source classes; every tenth is for validation'),
    ('source_classes', PRESETS['demo'].model.source_classes, 'classes of the source videos: how many kinds of action '
     'localization can be learnt from'),
    ('moments_per_class', 60, 'training moments of each target class: all that is known of it'),
    ('supervised_videos', 0, 'untrimmed, annotated training videos of the target classes, in supervised/: for the '
     'fully supervised bound alone'),
    ('feature_width', PRESETS['demo'].model.feature_width, 'columns of a feature file'),
    ('latent_width', 48, 'dimensions of the latent space; fewer: attributes, scenes and noise overlap more'),
    ('attributes', 16, 'attributes in the pool of the source classes; fewer: classes have more in common'),
    ('relatedness', 0.8, 'probability that a target class\'s attribute is of that pool; 0: nothing shared'),
    ('action_strength', 1.6, 'length of an action in latent space; an attribute is 1 long'),
    ('scenes', 12, 'shared scenes that the backgrounds of videos are mixed of; more: they vary more'),
    ('scene_strength', 1.8, 'length of a scene in latent space: how different the backgrounds of videos are'),
    ('variation', 0.5, 'how differently a class is performed: deviation of the log weight of its attributes'),
    ('context_strength', 0.8, 'length of the context beside a segment; 0: no context'),
    ('context_seconds', 6.0, 'distance from a segment, seconds, at which its context has faded to 1/e'),
    ('tail', 3.0, 'background after a validation video\'s last segment, times ActivityNet\'s; with 1 the '
     'whole video is a right answer (tIoU 0.5) too often'),
    ('boundary_softness', 2.0, 'seconds an action takes to come and to go, on average; 0: sudden'),
    ('distractors', 3.0, 'fragments of other actions a minute of background'),
    ('shot_seconds', 40.0, 'seconds between cuts, on average'),
    ('drift', 0.4, 'deviation of the slow drift of a scene, latent length'),
    ('wander', 0.4, 'deviation of the noise that lasts a few seconds, latent length'),
    ('noise', 0.2, 'deviation of the noise of a single clip and column, feature units'),
)
Settings = collections.namedtuple('Settings', [name for name, _, _ in KNOBS],
                                  defaults=[default for _, default, _ in KNOBS])

CLASS_ATTRIBUTES = 4     # k
SCENES_A_VIDEO = 3       # shared scenes that the background of a video mixes
OCCLUSION = 0.35         # share of the scene that an action hides: it does not raise all features
COMMON = 0.2             # share kept of the attributes' mean, which columns would tell any action by
CONTEXT_LIKENESS = 0.35  # share of the action itself in its context, as of people who prepare
PHASE_SECONDS = 6.0      # the start and the end phase last this long, or a third of a short action
DRIFT_SECONDS = 40.0     # time scales of smooth noise
WANDER_SECONDS = 3.0
VIGOUR_SECONDS = 8.0
CLIP_FRAMES = PRESETS['demo'].data.clip_frames
UNTRIMMED_STEPS = PRESETS['demo'].model.untrimmed_steps  # T
MOMENT_SECONDS = 10.0    # length of a trimmed clip, as Kinetics cuts them
DECIMALS = 3             # of a feature: fewer than versions of numpy differ by; CSV and npy hold the same

TARGET_NAMES = ('bimbling', 'clondering', 'dappering', 'elmering', 'frindling', 'glimbering', 'hopscudding',
                'jinkering', 'kettling_up', 'lollaping', 'mizzling', 'nimbering', 'ombling', 'pindling',
                'quavelling', 'rumpling_over', 'skimbering', 'tramplering', 'umberling', 'wobbelling')


# Statistics of real segments. Rounded summaries, measured on the authors' k600_val_annotation.txt and on the
# training subset of ActivityNet 1.3; segments nested in one another are left out of the gaps.

SHOWN_LEVELS = (1, 25, 50, 75, 99)  # percentiles of --statistics
LEVELS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)  # percentiles of the rows below


class SegmentStatistics(NamedTuple):
    """How many segments a video has, how long they are, and where. Groups: 1, 2, 3, 4, 5 or more segments."""

    counts: tuple     # share of the videos with 1, 2, 3, … segments
    lengths: tuple    # by group: seconds at LEVELS
    alike: tuple      # by group: rank correlation of the lengths in one video
    at_zero: tuple    # by group: share of the videos whose first segment starts with the video
    starts: tuple     # start of the other first segments: seconds at LEVELS
    gaps: tuple       # by group from 2 on: end of a segment to the start of the next, seconds at LEVELS
    longest: float    # seconds: a video's last segment ends before, or its starts and gaps are drawn again


KINETICS = SegmentStatistics(
    counts=(.7307, .1537, .0597, .0289, .0158, .0053, .0026, .0019, .0006, .0002, 0, .0003, .0003),
    lengths=((1.3, 4.4, 12.3, 20.8, 43.0, 71.2, 109.9, 145.4, 164.2, 197.3, 240.0),
             (0.6, 1.5, 3.3, 5.0, 10.4, 23.4, 48.1, 80.2, 102.1, 148.3, 197.4),
             (0.4, 1.3, 2.5, 3.7, 6.6, 14.1, 27.5, 48.3, 65.1, 94.1, 151.3),
             (0.4, 1.3, 2.0, 2.9, 5.0, 10.0, 19.4, 33.0, 45.7, 75.1, 113.6),
             (0.2, 0.8, 1.6, 2.2, 3.5, 6.8, 12.5, 22.2, 30.5, 44.8, 79.7)),
    alike=(0, .15, .35, .4, .45),
    at_zero=(.49, .41, .32, .29, .29),
    starts=(0.1, 0.5, 1.6, 2.9, 5.8, 11.9, 25.0, 47.0, 65.0, 107.0, 150.0),
    gaps=((-10, -5, 0, 2.0, 4.9, 9.9, 20.0, 35.1, 50.0, 84.5, 136.6),
          (-10, -5, 0, 2.0, 4.1, 8.8, 16.6, 25.7, 33.7, 57.1, 93.1),
          (-10, -5, 0.8, 2.1, 4.0, 7.1, 13.1, 22.6, 29.8, 48.4, 93.7),
          (-10, -5, 0.6, 2.1, 3.5, 5.9, 11.5, 19.9, 25.0, 40.1, 61.0)),
    longest=205.0)

ACTIVITYNET = SegmentStatistics(
    counts=(.754, .131, .048, .027, .016, .010, .005, .0035, .002, .0015, .0011, .0004, .0005),
    lengths=((0.2, 2.7, 6.9, 12.0, 29.0, 64.7, 119.2, 165.2, 188.1, 215.9, 230.0),
             (0.3, 1.3, 2.8, 4.3, 9.0, 22.9, 49.2, 85.7, 109.6, 153.4, 221.2),
             (0.2, 1.0, 2.0, 2.9, 5.7, 12.0, 26.1, 48.9, 64.7, 109.9, 213.4),
             (0.3, 0.9, 1.6, 2.3, 4.2, 8.6, 17.7, 35.7, 54.2, 98.8, 200.0),
             (0.2, 0.7, 1.5, 2.0, 3.4, 6.7, 12.8, 23.8, 36.1, 70.0, 100.0)),
    alike=(0, .3, .35, .35, .45),
    at_zero=(.19, .09, .05, .06, .06),
    starts=(0.1, 0.2, 0.3, 0.5, 5.0, 12.5, 28.5, 56.0, 80.0, 125.0, 200.0),
    gaps=((-10, -5, 0.3, 1.7, 5.1, 10.5, 21.3, 37.2, 51.7, 95.2, 160.8),
          (-10, -5, 1.6, 2.9, 5.9, 11.3, 23.4, 39.3, 48.7, 83.8, 133.8),
          (-10, -5, 1.4, 2.5, 5.0, 10.1, 19.0, 32.7, 50.0, 78.2, 100.1),
          (-10, -5, 1.1, 1.9, 3.6, 6.5, 12.4, 22.0, 30.5, 48.6, 100.0)),
    longest=235.0)

# Background after a video's last segment: a share has none, the others' seconds at LEVELS. ActivityNet's, for
# nothing is published of Kinetics; --tail has the reason why validation videos get more.
NO_TAIL = 0.13
TAILS = (0.2, 0.3, 0.5, 1.3, 4.6, 11.5, 25.0, 48.0, 68.0, 110.0, 160.0)


def quantile(row, level):
    """Value in seconds at `level` (0…1, a number or an array) of a row of quantiles at LEVELS."""
    return np.interp(100 * np.asarray(level), LEVELS, row)


def apportion(shares, total):
    """`total` things split by `shares` into whole numbers, largest remainders first."""
    exact = np.asarray(shares) / np.sum(shares) * total
    numbers = np.floor(exact).astype(int)
    most = np.argsort(numbers - exact, kind='stable')[:total - numbers.sum()]
    numbers[most] += 1
    return numbers


def stratified(shape, alike, rng):
    """Levels in 0…1 of shape [videos, segments], evenly spread; in one video they correlate by `alike`."""
    score = np.sqrt(alike) * rng.randn(shape[0], 1) + np.sqrt(1 - alike) * rng.randn(*shape)
    rank = np.argsort(np.argsort(score.ravel()))
    return ((rank + rng.uniform(size=rank.size)) / max(rank.size, 1)).reshape(shape)


def draw_segments(statistics, videos, rng):
    """Segments of `videos` untrimmed videos: a list of [(start, end), …], seconds, by start.

    Lengths follow the quantiles closely, whatever the number of videos; the order of the videos is random.
    """
    drawn = []
    for index, number in enumerate(apportion(statistics.counts, videos)):
        group, count = min(index, 4), index + 1
        levels = stratified((number, count), statistics.alike[group], rng)
        for lengths in quantile(statistics.lengths[group], levels):
            drawn.append(_place(lengths, statistics, group, rng))
    return [drawn[position] for position in rng.permutation(len(drawn))]


def _place(lengths, statistics, group, rng, attempts=50):
    """Starts for segments of these lengths, one after another; as tightly as they fit when they hardly do."""
    for attempt in range(attempts):
        scale = 0.0 if attempt == attempts - 1 else 1.0
        at_zero = rng.uniform() < statistics.at_zero[group]
        at = 0.0 if at_zero else scale * quantile(statistics.starts, rng.uniform())
        segments = []
        for length in lengths:
            segments.append((round(float(at), 2), round(float(at + length), 2)))
            if len(segments) < len(lengths):
                gap = scale * quantile(statistics.gaps[group - 1], rng.uniform())
                at = max(segments[-1][0], segments[-1][1] + gap)
        if max(end for _, end in segments) <= statistics.longest:
            break
    return sorted(segments)


def draw_length(statistics, rng):
    """Length in seconds of one action, as frequent as among all segments."""
    counts = np.asarray(statistics.counts)
    segments = counts * (1 + np.arange(len(counts)))
    group = min(int(np.searchsorted(np.cumsum(segments) / segments.sum(), rng.uniform())), 4)
    return float(quantile(statistics.lengths[group], rng.uniform()))


def draw_tail(rng):
    """Seconds of background after a video's last segment."""
    return rng.uniform(0.05, 0.2) if rng.uniform() < NO_TAIL else float(quantile(TAILS, rng.uniform()))


# The latent world

class World(NamedTuple):
    """What all videos share. Attributes P… are known to target classes only."""

    attributes: np.ndarray  # [2P, D] unit vectors
    before: np.ndarray      # [2P, D] companions of the attributes in the context before an action
    after: np.ndarray       # [2P, D] the same after it
    scenes: np.ndarray      # [scenes, D] unit vectors
    mixing: np.ndarray      # [D, C]
    offset: np.ndarray      # [C]


class ActionClass(NamedTuple):
    """A class, source or target: a few attributes, and how much of each its phases have."""

    attributes: np.ndarray  # [k] rows of World.attributes
    weights: np.ndarray     # [3, k] start, middle, end


class Action(NamedTuple):
    """An action in a video; either end may lie outside of what the video shows."""

    start: float  # seconds
    end: float
    kind: ActionClass


def stream(seed, name):
    """The random numbers of `name`; they do not depend on what else is drawn."""
    return np.random.RandomState([seed, zlib.crc32(name.encode('utf-8'))])


def unit(vectors):
    """[..., D] scaled to length 1."""
    return vectors / np.sqrt((vectors ** 2).sum(axis=-1, keepdims=True))


def make_world(settings, rng):
    """The World of these settings."""
    def directions(number):
        return unit(rng.randn(number, settings.latent_width))

    def attributes():
        drawn = directions(settings.attributes)
        return unit(drawn - (1 - COMMON) * drawn.mean(axis=0))

    pool = 2 * settings.attributes
    return World(attributes=np.concatenate([attributes(), attributes()]),
                 before=directions(pool), after=directions(pool),
                 scenes=directions(settings.scenes),
                 mixing=0.25 * rng.randn(settings.latent_width, settings.feature_width),
                 offset=rng.uniform(0, 0.5, settings.feature_width))


def draw_class(settings, relatedness, rng):
    """A random ActionClass; each attribute is one that source classes use with probability `relatedness`."""
    chosen = rng.permutation(settings.attributes)[:CLASS_ATTRIBUTES]
    foreign = rng.uniform(size=len(chosen)) >= relatedness
    weights = rng.uniform(0.2, 1.0, (3, len(chosen)))
    weights[0, 0] += 1  # each phase has an attribute that leads it, the middle two
    weights[1, 1:3] += 0.7
    weights[2, -1] += 1
    return ActionClass(chosen + settings.attributes * foreign, weights)


def draw_classes(settings, number, relatedness, rng):
    """`number` classes, one after another: fewer are the first of more."""
    return [draw_class(settings, relatedness, rng) for _ in range(number)]


# One video

def clip_features(world, settings, actions, times, rng):
    """Features [n, C], float64, of a video with these actions; `times` [n]: the clips' centres, seconds."""
    presence, performed = perform(world, settings, actions, times, rng)
    aside = (1 - presence) * (context(world, settings, actions, times)
                              + fragments(world, settings, times, rng))
    background = scene(world, settings, times, rng) * (1 - OCCLUSION * presence) + aside
    vigour = 1 + 0.3 * smooth_noise(times, 1, VIGOUR_SECONDS, rng)
    wander = latent_noise(settings, settings.wander, times, WANDER_SECONDS, rng)
    latent = background + settings.action_strength * np.clip(vigour, 0.3, 1.5) * performed + wander
    gain = np.exp(0.2 * rng.randn())
    noise = settings.noise * rng.randn(len(times), settings.feature_width)
    return np.maximum(gain * latent @ world.mixing + world.offset + noise, 0)


def perform(world, settings, actions, times, rng):
    """Presence of any action [n, 1] in 0…1, and the actions as performed [n, D], faded in and out alike."""
    total, performed = np.zeros((len(times), 1)), np.zeros((len(times), settings.latent_width))
    for action in actions:
        softness = settings.boundary_softness * rng.uniform(0.5, 1.5, 2)
        weights = action.kind.weights * np.exp(settings.variation * rng.randn(*action.kind.weights.shape))
        phases = unit(weights @ world.attributes[action.kind.attributes])           # [3, D]
        strength = rng.uniform(0.8, 1.2)
        presence = envelope(times, action.start, action.end, softness)[:, np.newaxis]
        total += presence
        performed += strength * presence * (phase_shares(times, action) @ phases)
    return np.minimum(total, 1), performed / np.maximum(total, 1)  # overlapping actions share the presence


def envelope(times, start, end, softness):
    """1 inside [start, end], 0 outside, with smooth edges of `softness` [2] seconds centred there → [n]."""
    width = np.clip(softness, 1e-3, (end - start) / 2)
    rise = np.clip((times - start) / width[0] + 0.5, 0, 1)
    fall = np.clip((end - times) / width[1] + 0.5, 0, 1)
    inside = np.minimum(rise, fall)
    return inside ** 2 * (3 - 2 * inside)


def phase_shares(times, action):
    """Shares of the start, the middle and the end phase at `times` → [n, 3], rows sum to 1."""
    width = min(PHASE_SECONDS, (action.end - action.start) / 3)
    start = np.clip(1 - (times - action.start) / width, 0, 1)
    end = np.clip(1 - (action.end - times) / width, 0, 1)
    return np.stack([start, 1 - start - end, end], axis=1)


def context(world, settings, actions, times):
    """What surrounds the actions, fading with the distance from them → [n, D]."""
    around = np.zeros((len(times), settings.latent_width))
    for action in actions:
        attributes, weights = action.kind.attributes, action.kind.weights
        for companions, phase, distance in ((world.before, 0, action.start - times),
                                            (world.after, 2, times - action.end)):
            vector = ((1 - CONTEXT_LIKENESS) * unit(weights[phase] @ companions[attributes])
                      + CONTEXT_LIKENESS * unit(weights[phase] @ world.attributes[attributes]))
            near = np.where(distance > -settings.boundary_softness,
                            np.exp(-np.maximum(distance, 0) / settings.context_seconds), 0)
            around += settings.context_strength * near[:, np.newaxis] * vector
    return around


def fragments(world, settings, times, rng):
    """Pieces of other actions, anywhere (they show in the background only) → [n, D].

    A third each: one attribute at full strength, 2 to 8 s; a weak action, 3 to 15 s; a short one, to 1.5 s.
    """
    pieces = np.zeros((len(times), settings.latent_width))
    span = times[-1] + times[0]
    for _ in range(rng.poisson(settings.distractors * span / 60)):
        kind = draw_class(settings, settings.relatedness, rng)
        centre, sort, level = rng.uniform(0, span), rng.randint(3), rng.uniform()
        vector = unit(kind.weights[rng.randint(3)] @ world.attributes[kind.attributes])
        if sort == 0:
            vector = world.attributes[kind.attributes[0]]
            strength, length = 0.6 + 0.5 * level, rng.uniform(2, 8)
        elif sort == 1:
            strength, length = 0.25 + 0.25 * level, rng.uniform(3, 15)
        else:
            strength, length = 0.7 + 0.3 * level, rng.uniform(0.5, 1.5)
        shape = envelope(times, centre - length / 2, centre + length / 2, np.ones(2))
        pieces += settings.action_strength * strength * shape[:, np.newaxis] * vector
    return pieces


def scene(world, settings, times, rng):
    """The video's own background: shots that have much in common, and a slow drift → [n, D]."""
    def mixture():
        shared = rng.permutation(settings.scenes)[:SCENES_A_VIDEO]
        own = 0.5 * unit(rng.randn(settings.latent_width))
        return unit(rng.dirichlet(np.ones(SCENES_A_VIDEO)) @ world.scenes[shared] + own)

    span = times[-1] + times[0]
    cuts = np.sort(rng.uniform(0, span, rng.poisson(span / settings.shot_seconds)))
    place = mixture()
    shots = np.array([unit(place + 0.5 * mixture()) for _ in range(len(cuts) + 1)])
    drift = latent_noise(settings, settings.drift, times, DRIFT_SECONDS, rng)
    return settings.scene_strength * shots[np.searchsorted(cuts, times)] + drift


def latent_noise(settings, length, times, seconds, rng):
    """Smooth noise in all latent directions, of mean square `length`² → [n, D]."""
    width = settings.latent_width
    return length / np.sqrt(width) * smooth_noise(times, width, seconds, rng)


def smooth_noise(times, columns, seconds, rng):
    """Gaussian noise of variance 1 that changes within about `seconds`: a moving mean → [n, columns]."""
    width = max(1, int(seconds / (2 * times[0])))  # 2·times[0]: seconds a clip
    total = np.cumsum(rng.randn(len(times) + width, columns), axis=0)
    return (total[width:] - total[:-width]) / np.sqrt(width)


# The videos of a data set

class Video(NamedTuple):
    """A video to be made, and what the tables say of it."""

    name: str
    subset: str      # training or validation
    label: int       # class index
    fps: int         # frames a second: 25 or 30
    frames: int      # duration
    actions: tuple   # (start s, end s, class index), what happens
    segments: tuple  # (start s, end s, class index), what is annotated

    @property
    def seconds(self):
        """Duration, 2 decimals."""
        return round(self.frames / self.fps, 2)

    @property
    def clips(self):
        """Rows of the clip features."""
        return self.frames // CLIP_FRAMES

    @property
    def times(self):
        """Seconds of the clips' centres [n]."""
        return (np.arange(self.clips) + 0.5) * CLIP_FRAMES / self.fps


def _frames(seconds, rng):
    """Frames a second, and frames that cover `seconds`; at least two clips."""
    fps = 25 if rng.uniform() < 0.25 else 30
    return fps, max(int(np.ceil(seconds * fps)), 2 * CLIP_FRAMES)


def source_videos(settings, seed):
    """The untrimmed source videos: ActivityNet's statistics, one class each."""
    rng = stream(seed, 'source videos')
    labels = rng.permutation(np.arange(settings.source_videos) % settings.source_classes)
    videos = []
    for index, segments in enumerate(draw_segments(ACTIVITYNET, settings.source_videos, rng)):
        rows = tuple(segment + (int(labels[index]),) for segment in segments)
        subset = 'validation' if index % 10 == 9 else 'training'
        videos.append(_untrimmed('demo_src_%04d' % (index + 1), subset, rows, 1.0, seed))
    return videos


def _untrimmed(name, subset, rows, tail, seed):
    rng = stream(seed, 'duration of ' + name)
    fps, frames = _frames(max(end for _, end, _ in rows) + tail * draw_tail(rng), rng)
    return Video(name, subset, rows[0][2], fps, frames, rows, rows)


def validation_videos(settings, annotated, seed):
    """The untrimmed target videos of an annotation {video: [(start, end, class), …]}; row one labels."""
    return [_untrimmed(name, 'validation', tuple(rows), settings.tail, seed)
            for name, rows in annotated.items()]


def supervised_videos(settings, classes, seed):
    """Untrimmed, annotated training videos of the target classes, like the validation videos."""
    rng = stream(seed, 'supervised videos')
    labels = rng.permutation(np.arange(settings.supervised_videos) % classes)
    return [_untrimmed('demo_sup_%04d' % (index + 1), 'training',
                       tuple(segment + (int(labels[index]),) for segment in segments), settings.tail, seed)
            for index, segments in enumerate(draw_segments(KINETICS, settings.supervised_videos, rng))]


def moment_videos(settings, classes, seed):
    """The moments of `classes` target classes: trimmed clips, annotated from end to end, as Kinetics'.

    Of an action that is longer than MOMENT_SECONDS the clip is a part from anywhere inside; a shorter one is
    shown whole, with up to a second of what surrounds it, or more where the clip would not last 3 seconds.
    """
    videos = []
    for index in range(classes * settings.moments_per_class):
        name, label = 'demo_moment_%04d' % (index + 1), index // settings.moments_per_class
        rng = stream(seed, 'duration of ' + name)
        length = draw_length(KINETICS, rng)
        if length > MOMENT_SECONDS:
            seconds, start = MOMENT_SECONDS, -rng.uniform(0, length - MOMENT_SECONDS)
        else:
            start, after = rng.uniform(0, 1, 2) + max(0, 3 - length) / 2
            seconds = start + length + after
        fps, frames = _frames(seconds, rng)
        action = (round(float(start), 2), round(float(start + length), 2), label)
        whole = (0.0, round(frames / fps, 2), label)
        videos.append(Video(name, 'training', label, fps, frames, (action,), (whole,)))
    return videos


# Annotation and class names

def annotation_text(videos, classes, seed):
    """An annotation, in the authors' format, of `videos` made-up videos, equally many of each class."""
    rng = stream(seed, 'validation annotation')
    labels = rng.permutation(np.arange(videos) % classes)
    lines = []
    for index, segments in enumerate(draw_segments(KINETICS, videos, rng)):
        for start, end in segments:
            lines.append('demo_val_%04d\t%.2f\t%.2f\t%d\n' % (index + 1, start, end, labels[index]))
    return ''.join(lines)


def rows_by_video(annotation):
    """Rows of the file `annotation` → {video: [(start s, end s, class index), …]}, each row once."""
    if not os.path.isfile(annotation):
        raise InputError('%s: found no such file; name the annotation with --annotation, or make one with '
                         '--write_annotation' % annotation)
    rows = collections.OrderedDict()
    for video, start, end, label in without_duplicates(read_annotation(annotation, MAX_CLASSES)):
        rows.setdefault(video, []).append((start, end, label))
    return rows


def statistics(annotations):
    """Table of the segments of annotation files, a line each: how many, how many a video, and their lengths."""
    lines = ['%9s %7s %7s %9s   length in seconds, percentile %s  file' % (
        'segments', 'videos', 'classes', 'a video', ' '.join('%6d' % level for level in SHOWN_LEVELS))]
    for path in annotations:
        rows = read_annotation(path, MAX_CLASSES)
        videos, classes = [len({row[column] for row in rows}) for column in (0, 3)]
        lengths = np.percentile([row.end - row.start for row in rows], SHOWN_LEVELS)
        lines.append('%9d %7d %7d %9.2f   %29s %s  %s' % (len(rows), videos, classes, len(rows) / videos, '',
                                                          ' '.join('%6.1f' % length for length in lengths), path))
    return '\n'.join(lines)


def class_count(rows):
    """Target classes of an annotation {video: rows}: the highest class index and those below."""
    return 1 + max(label for video in rows.values() for _, _, label in video)


def target_names(annotation, classes):
    """Names of the target classes: of a list beside `annotation` if it has enough, else made-up ones."""
    beside = os.path.join(os.path.dirname(annotation), PRESETS['demo'].data.target_categories)
    if os.path.isfile(beside):
        names = read_class_names(beside)
        if len(names) >= classes:
            return names[:classes]
    return [TARGET_NAMES[index] if index < len(TARGET_NAMES) else 'demo_action_%03d' % (index + 1)
            for index in range(classes)]


# Files

class Folder(NamedTuple):
    """Where things are written."""

    paths: DataConfig  # its data_root is --out
    format: str        # npy or csv

    def feature_file(self, features, video):
        """Path of a video's features; `features` is the field of DataConfig that names the folder."""
        return os.path.join(self.paths.path(features), '%s.%s' % (video, self.format))


def supervised(folder):
    """The Folder whose source is the target's untrimmed, annotated videos."""
    paths = folder.paths
    return folder._replace(paths=paths._replace(**{
        field: os.path.join('supervised', getattr(paths, field)) for field in paths._fields
        if field.startswith('source_')}))


def write_features(path, features):
    """Features [n, C] as float32 with DECIMALS decimals; CSV with a header row."""
    rounded = np.rint(features * 10 ** DECIMALS) / 10 ** DECIMALS
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if path.endswith('.npy'):
        np.save(path, np.ascontiguousarray(rounded, np.float32))
        return
    row = ','.join(['%%.%df' % DECIMALS] * rounded.shape[1])
    lines = [','.join('f%d' % column for column in range(rounded.shape[1]))]
    write_text(path, '\n'.join(lines + [row % tuple(values) for values in rounded.tolist()]) + '\n')


def write_tables(paths, side, videos, names):
    """Info table, label table, annotation JSON of the `side` 'source' or 'target'; `names` by class index."""
    info, labels, annotation = io.StringIO(), [], {}
    table = csv.writer(info, lineterminator='\n')
    table.writerow(['video', 'numFrame', 'seconds', 'fps', 'rfps', 'subset', 'featureFrame'])
    for video in videos:
        feature_frame = CLIP_FRAMES * video.clips
        table.writerow([video.name, video.frames, '%.2f' % video.seconds, video.fps,
                        '%.4f' % (video.frames / video.seconds), video.subset, feature_frame])
        labels.append('%s %d %d\n' % (video.name, feature_frame, video.label))
        annotation[video.name] = {
            'duration_second': video.seconds, 'duration_frame': video.frames, 'feature_frame': feature_frame,
            'annotations': [{'segment': [start, end], 'label': names[label]}
                            for start, end, label in video.segments]}
    write_text(paths.path(side + '_info'), info.getvalue())
    write_text(paths.path(side + '_labels'), ''.join(labels))
    write_text(paths.path(side + '_annotation'), json.dumps(annotation, indent=1) + '\n')


class DataSet(NamedTuple):
    """All videos to be made, and the names of the classes."""

    source: list        # of Video, untrimmed
    moments: list       # of Video
    validation: list    # of Video, untrimmed
    supervised: list    # of Video, untrimmed: what the fully supervised bound trains on in place of the source
    source_names: list  # class names by index
    target_names: list


def plan(settings, annotation, seed):
    """What the files will be, before any features are made → DataSet."""
    rows = rows_by_video(annotation)
    classes = class_count(rows)
    return DataSet(
        source=source_videos(settings, seed), moments=moment_videos(settings, classes, seed),
        validation=validation_videos(settings, rows, seed),
        supervised=supervised_videos(settings, classes, seed),
        source_names=['demo_source_action_%03d' % (index + 1) for index in range(settings.source_classes)],
        target_names=target_names(annotation, classes))


def feature_jobs(data_set, folder):
    """Every video with the side whose classes it shows, the Folder and its fields that get the features."""
    for videos, side, fields in ((data_set.source, 'source', ('source_clips', 'source_features')),
                                 (data_set.moments, 'target', ('target_clips',)),
                                 (data_set.validation, 'target', ('target_features',))):
        for video in videos:
            yield video, side, folder, fields
    for video in data_set.supervised:
        yield video, 'target', supervised(folder), ('source_clips', 'source_features')


def feature_maker(settings, data_set, seed):
    """The function (video, side) → features of its clips [n, C], in the world of these settings and seed."""
    world = make_world(settings, stream(seed, 'world'))
    classes = {
        'source': draw_classes(settings, len(data_set.source_names), 1.0, stream(seed, 'source classes')),
        'target': draw_classes(settings, len(data_set.target_names), settings.relatedness,
                               stream(seed, 'target classes'))}

    def features(video, side):
        actions = [Action(start, end, classes[side][label]) for start, end, label in video.actions]
        return clip_features(world, settings, actions, video.times, stream(seed, video.name))
    return features


def write_all_features(settings, data_set, folder, seed):
    """Make and write the features of all videos, with a progress bar."""
    features = feature_maker(settings, data_set, seed)
    for video, side, place, fields in tqdm(list(feature_jobs(data_set, folder)), unit='video', disable=None):
        clips = features(video, side)
        for field in fields:
            rows = clips
            if field.endswith('_features'):
                rows = interpolate(clips, UNTRIMMED_STEPS, video.seconds, video.frames, CLIP_FRAMES)
            write_features(place.feature_file(field, video.name), rows)


# What was made

def manifest_of(settings, annotation, folder, seed):
    """All that the files follow from; the same manifest: the same files."""
    names = target_names(annotation, class_count(rows_by_video(annotation)))
    return {'settings': dict(settings._asdict()), 'seed': seed, 'format': folder.format, 'target_names': names,
            'annotation_sha256': sha256(annotation), 'script_sha256': sha256(os.path.abspath(__file__))}


def read_manifest(out):
    """Manifest of the data in `out`; None where this script has made none there."""
    try:
        with open(os.path.join(out, MANIFEST), encoding='utf-8') as file:
            manifest = json.load(file)
        # It may come from elsewhere, and the files that it lists are deleted.
        root = os.path.join(os.path.realpath(out), '')
        folders = {os.path.dirname(os.path.join(out, name)) for name in manifest['files']}
        is_ours = all(os.path.join(os.path.realpath(folder), '').startswith(root) for folder in folders)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return manifest if is_ours else None


def all_there(out, manifest):
    """Are the files there that `manifest` lists? The ground truth is another script's."""
    ground_truth = PRESETS['demo'].data.ground_truth
    return all(name == ground_truth or os.path.exists(os.path.join(out, name)) for name in manifest['files'])


def remove_made(out, manifest):
    """Delete the files that `manifest` lists, and no other."""
    for name in manifest['files']:
        path = os.path.join(out, name)
        if os.path.isfile(path):
            os.remove(path)


def files_of(data_set, folder):
    """Every file that is made of `data_set`, and the ground truth that `prepare_data.py` makes of it."""
    fields = ['target_categories', 'ground_truth']
    for table in ('info', 'labels', 'annotation'):
        fields += ['source_' + table, 'target_' + table]
    paths = [folder.paths.path(field) for field in fields]
    if data_set.supervised:
        paths += [supervised(folder).paths.path('source_' + table) for table in ('info', 'labels', 'annotation')]
    paths.append(os.path.join(folder.paths.data_root, os.path.basename(ANNOTATION)))
    for video, _, place, fields in feature_jobs(data_set, folder):
        paths.extend(place.feature_file(field, video.name) for field in fields)
    return [os.path.relpath(path, folder.paths.data_root) for path in paths]


def make(settings, annotation, folder, seed, force=False):
    """Make the data set in folder.paths.data_root, unless it is there; returns the line to print."""
    started, out = time.time(), folder.paths.data_root
    manifest, before = manifest_of(settings, annotation, folder, seed), read_manifest(out)
    if before is None and not force and os.path.isdir(out) and os.listdir(out):
        raise InputError('%s: is not empty and was not made by this script; name another folder with --out, '
                         'or write into it with --force' % out)
    if before is not None:
        if before.get('summary') and dict(before, **manifest) == before and all_there(out, before):
            return '%s: is there already: %s' % (out, before['summary'])
    copy = os.path.join(out, os.path.basename(ANNOTATION))
    if os.path.exists(copy) and os.path.exists(annotation) and os.path.samefile(copy, annotation):
        raise InputError('%s: is in the folder to make, which has a copy of it; move it to another' % annotation)
    if before is not None:
        remove_made(out, before)
    data_set = plan(settings, annotation, seed)
    manifest['files'] = files_of(data_set, folder)
    write_manifest(out, manifest)  # without a summary: not complete
    write_tables(folder.paths, 'source', data_set.source, data_set.source_names)
    write_tables(folder.paths, 'target', data_set.moments + data_set.validation, data_set.target_names)
    if data_set.supervised:
        write_tables(supervised(folder).paths, 'source', data_set.supervised, data_set.target_names)
    write_text(folder.paths.path('target_categories'), '\n'.join(data_set.target_names) + '\n')
    shutil.copyfile(annotation, os.path.join(out, os.path.basename(ANNOTATION)))
    write_all_features(settings, data_set, folder, seed)
    manifest['summary'] = summary(data_set, folder)
    write_manifest(out, manifest)
    return '%s: made in %.0f s: %s' % (out, time.time() - started, manifest['summary'])


def write_manifest(out, manifest):
    """Write the manifest of `out`."""
    write_text(os.path.join(out, MANIFEST), json.dumps(manifest, indent=1) + '\n')


def summary(data_set, folder):
    """Videos, segments, moments and bytes in a line."""
    paths = [os.path.join(folder.paths.data_root, name) for name in files_of(data_set, folder)]
    size = sum(os.path.getsize(path) for path in paths if os.path.exists(path))
    source_segments, segments = [sum(len(video.segments) for video in videos)
                                 for videos in (data_set.source, data_set.validation)]
    return ('%d source videos, %d segments, %d classes; %d moments and %d validation videos, %d segments, '
            '%d classes; %.0f MB' % (
                len(data_set.source), source_segments, len(data_set.source_names), len(data_set.moments),
                len(data_set.validation), segments, len(data_set.target_names), size / 1e6))


# Command line

def build_parser():
    """The parser; every knob of the world is a flag."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=PRESETS['demo'].data.data_root,
                        help='folder to make (default %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of everything that is drawn (default 0)')
    parser.add_argument('--annotation', default=ANNOTATION,
                        help='validation segments (default: the one beside this script)')
    parser.add_argument('--format', choices=('npy', 'csv'), default='npy', help='of features (default npy)')
    parser.add_argument('--force', action='store_true', help='write into a folder that holds other things')
    parser.add_argument('--write_annotation', metavar='FILE', help='only write a made-up annotation, and end')
    parser.add_argument('--statistics', metavar='FILE', nargs='+',
                        help='only show the segments of annotations, side by side, and end')
    parser.add_argument('--validation_videos', type=int, default=200,
                        help='videos of --write_annotation (default %(default)s)')
    parser.add_argument('--target_classes', type=int, default=20,
                        help='classes of --write_annotation (default %(default)s)')
    world = parser.add_argument_group('the world')
    for name, default, text in KNOBS:
        kind = type(default)
        world.add_argument('--' + name, type=kind, default=default, metavar=kind.__name__.upper(),
                           help='%s (default %s)' % (text, default))
    return parser


def check(args):
    """Raise InputError where a flag has a value that cannot be used."""
    ranges = dict({name: (0, np.inf) for name in Settings._fields}, relatedness=(0, 1),
                  attributes=(CLASS_ATTRIBUTES, np.inf), scenes=(SCENES_A_VIDEO, np.inf), seed=(0, 2 ** 32 - 1))
    for name in ('source_videos', 'source_classes', 'moments_per_class', 'feature_width', 'latent_width',
                 'validation_videos', 'target_classes'):
        ranges[name] = (1, np.inf)
    for name in ('context_seconds', 'shot_seconds'):
        ranges[name] = (0.1, np.inf)
    if not args.out:
        raise InputError('--out: found nothing, expected a folder')
    for name, (least, most) in ranges.items():
        value = getattr(args, name)
        if not least <= value <= most or value == np.inf:
            raise InputError('--%s %s: expected a number from %s%s'
                             % (name, value, least, '' if most == np.inf else ' to %s' % most))


def main(argv=None):
    """Make the data, or the annotation, that `argv` (the process's arguments) ask for."""
    args = build_parser().parse_args(argv)
    check(args)
    if args.statistics:
        print(statistics(args.statistics))
        return
    if args.write_annotation:
        text = annotation_text(args.validation_videos, args.target_classes, args.seed)
        write_text(args.write_annotation, text)
        print('wrote %s: %d videos of %d classes'
              % (args.write_annotation, args.validation_videos, args.target_classes))
        return
    settings = Settings(**{name: getattr(args, name) for name in Settings._fields})
    folder = Folder(PRESETS['demo'].data._replace(data_root=args.out), args.format)
    print(make(settings, args.annotation, folder, args.seed, args.force))


if __name__ == '__main__':
    sys.exit(exit_status(main))
