"""The demo's artificial world: its classes, its videos with their segments, and the features of every clip.

Each clip of 8 frames is a point in a latent space of D dimensions. A random matrix turns the point into a feature
row of C columns:

    background(t) = scene(t) · (1 − OCCLUSION · presence(t)) + (1 − presence(t)) · (context(t) + fragments(t))
    action(t)     = ACTION_STRENGTH · intensity(t) · presence(t) · phase(t)
    feature(t)    = max(0, gain · (background(t) + action(t) + fluctuation(t)) @ mixing + offset + noise(t))

  class        A mixture of a few attributes, such as "water", "waves an arm" or "kneels". An attribute is a random
               unit vector, and the classes share them: two classes differ in their mixtures. Source classes use
               a pool of attributes; an attribute of a target class is of the same pool with the probability
               --relatedness. So what is learnt about actions of the source classes helps with the target classes.
  presence     0 where there is no action and 1 inside a segment. It rises and falls over about two seconds.
  phase        What the action looks like: a class has one mixture of its attributes for the start of the action,
               one for the middle and one for the end. Each performance of it varies the mixtures a little.
  intensity    Slow random changes of the action's strength: an action is not equally clear all the time.
  context      What surrounds an action, weaker with the distance: a mixture of the action itself and of
               companions. Each attribute has one companion before the action and one after it. The context
               follows from the class, so it can be predicted from a moment: this is what the context generator
               of the method learns. Its strength is --context_strength.
  scene        The background of this video: a mixture of scenes that all videos share, and a part of its own. It
               changes at cuts, which are unrelated to the actions, and drifts slowly between them.
  fragments    Short pieces of other actions in the background: single attributes, weak actions, very short ones.
               They keep a model from taking a single attribute for an action.
  fluctuation  Random changes within a few seconds, in all latent dimensions.
  gain         One factor for each video.
  noise        Noise of each clip and column.

Everything follows from the settings, the seed and the name of a class set or video. The order in which the videos
are made does not matter.

Legend: C feature width, D latent dimensions, P attributes of a pool, k attributes of a class, n clips of a video.
"""
import collections
import zlib
from typing import NamedTuple

import numpy as np

from config import PRESETS

DEMO = PRESETS['demo']
CLIP_FRAMES = DEMO.data.clip_frames


# A WorldSetting is a flag of `prepare_data.py demo` and a field of Settings.
WorldSetting = collections.namedtuple('WorldSetting', 'name default minimum maximum help')
WORLD_SETTINGS = (
    WorldSetting('source_videos', 1000, 1, np.inf,
                 'untrimmed, annotated videos of the source classes; every tenth is for validation'),
    WorldSetting('source_classes', DEMO.model.source_classes, 1, np.inf, 'number of source classes'),
    WorldSetting('moments_per_class', 60, 1, np.inf, 'training moments of each target class'),
    WorldSetting('supervised_videos', 0, 0, np.inf,
                 'untrimmed, annotated training videos of the target classes, in OUT/supervised; only an upper '
                 'bound, full supervision, trains on them'),
    WorldSetting('feature_width', DEMO.model.feature_width, 1, np.inf, 'columns of a feature file'),
    WorldSetting('relatedness', 0.8, 0, 1,
                 'probability that an attribute of a target class is of the source classes\' pool; with 0 the two '
                 'sides share nothing'),
    WorldSetting('context_strength', 0.8, 0, np.inf,
                 'length, in latent space, of the context beside a segment (an attribute has length 1); 0 turns the '
                 'context off'),
)
Settings = collections.namedtuple('Settings', [setting.name for setting in WORLD_SETTINGS],
                                  defaults=[setting.default for setting in WORLD_SETTINGS])

# Lengths are in latent space, where an attribute has length 1.
LATENT_WIDTH = 48         # D; fewer: attributes, scenes and noise overlap more
ATTRIBUTES = 16           # P, in the pool of the source classes; fewer: classes have more in common
CLASS_ATTRIBUTES = 4      # k
COMMON = 0.2              # share kept of the attributes' mean; more: a few columns would show any action
ACTION_STRENGTH = 1.6     # length of an action
VARIATION = 0.5           # standard deviation, between performances, of the log weight of an attribute
INTENSITY_SECONDS = 8.0   # the intensity changes within this time
BOUNDARY_SECONDS = 2.0    # an action takes this long to appear and to disappear, on average
PHASE_SECONDS = 6.0       # the start and the end phase last this long, or a third of a short action
CONTEXT_SECONDS = 6.0     # distance from a segment at which the context has faded to 1/e
CONTEXT_LIKENESS = 0.35   # share of the action itself in its context
SCENES = 12               # shared scenes
SCENES_PER_VIDEO = 3      # shared scenes that the background of a video mixes
SCENE_STRENGTH = 1.8      # length of a scene: how different the backgrounds of videos are
OCCLUSION = 0.35          # share of the scene that an action hides, so that it does not raise all features
SHOT_SECONDS = 40.0       # between two cuts, on average
DRIFT, DRIFT_SECONDS = 0.4, 40.0             # deviation (a length) and time scale of the drift of a scene
FLUCTUATION, FLUCTUATION_SECONDS = 0.4, 3.0  # the same of the fluctuation
FRAGMENTS_PER_MINUTE = 3.0  # of background
FRAGMENTS = (             # kinds of fragments: lowest strength, range of strengths, shortest and longest in seconds
    (0.6, 0.5, 2, 8),          # one attribute at full strength
    (0.25, 0.25, 3, 15),       # a weak action
    (0.7, 0.3, 0.5, 1.5))      # a short action
NOISE = 0.2               # standard deviation of the noise of a clip and column, in feature units
MOMENT_SECONDS = 10.0     # length of a trimmed clip, as Kinetics cuts them
TARGET_TAIL = 3.0         # background after the last segment of a target video, times that of a source video; with
#                           1, a segment as long as the video would be right (tIoU 0.5) too often


# Statistics of real segments: rounded summaries, measured on the authors' k600_val_annotation.txt and on the
# training subset of ActivityNet 1.3. Gaps are measured without segments that lie inside another.

LEVELS = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)  # percentiles of the rows below


class SegmentStatistics(NamedTuple):
    """How many segments a video has, how long they are, and where they lie.

    "By group" is one value for the videos of 1, 2, 3, 4, and 5 or more segments each.
    """

    counts: tuple        # share of the videos with 1, 2, 3, … segments
    lengths: tuple       # by group: seconds at LEVELS
    correlation: tuple   # by group: rank correlation of the lengths in one video
    at_zero: tuple       # by group: share of the videos whose first segment starts with the video
    starts: tuple        # start of the other first segments: seconds at LEVELS
    gaps: tuple          # by group from 2 on: end of a segment to the start of the next, seconds at LEVELS
    latest_end: float    # seconds; starts and gaps are drawn again where the last segment ends later


KINETICS = SegmentStatistics(
    counts=(.7307, .1537, .0597, .0289, .0158, .0053, .0026, .0019, .0006, .0002, 0, .0003, .0003),
    lengths=((1.3, 4.4, 12.3, 20.8, 43.0, 71.2, 109.9, 145.4, 164.2, 197.3, 240.0),
             (0.6, 1.5, 3.3, 5.0, 10.4, 23.4, 48.1, 80.2, 102.1, 148.3, 197.4),
             (0.4, 1.3, 2.5, 3.7, 6.6, 14.1, 27.5, 48.3, 65.1, 94.1, 151.3),
             (0.4, 1.3, 2.0, 2.9, 5.0, 10.0, 19.4, 33.0, 45.7, 75.1, 113.6),
             (0.2, 0.8, 1.6, 2.2, 3.5, 6.8, 12.5, 22.2, 30.5, 44.8, 79.7)),
    correlation=(0, .15, .35, .4, .45),
    at_zero=(.49, .41, .32, .29, .29),
    starts=(0.1, 0.5, 1.6, 2.9, 5.8, 11.9, 25.0, 47.0, 65.0, 107.0, 150.0),
    gaps=((-10, -5, 0, 2.0, 4.9, 9.9, 20.0, 35.1, 50.0, 84.5, 136.6),
          (-10, -5, 0, 2.0, 4.1, 8.8, 16.6, 25.7, 33.7, 57.1, 93.1),
          (-10, -5, 0.8, 2.1, 4.0, 7.1, 13.1, 22.6, 29.8, 48.4, 93.7),
          (-10, -5, 0.6, 2.1, 3.5, 5.9, 11.5, 19.9, 25.0, 40.1, 61.0)),
    latest_end=205.0)

ACTIVITYNET = SegmentStatistics(
    counts=(.754, .131, .048, .027, .016, .010, .005, .0035, .002, .0015, .0011, .0004, .0005),
    lengths=((0.2, 2.7, 6.9, 12.0, 29.0, 64.7, 119.2, 165.2, 188.1, 215.9, 230.0),
             (0.3, 1.3, 2.8, 4.3, 9.0, 22.9, 49.2, 85.7, 109.6, 153.4, 221.2),
             (0.2, 1.0, 2.0, 2.9, 5.7, 12.0, 26.1, 48.9, 64.7, 109.9, 213.4),
             (0.3, 0.9, 1.6, 2.3, 4.2, 8.6, 17.7, 35.7, 54.2, 98.8, 200.0),
             (0.2, 0.7, 1.5, 2.0, 3.4, 6.7, 12.8, 23.8, 36.1, 70.0, 100.0)),
    correlation=(0, .3, .35, .35, .45),
    at_zero=(.19, .09, .05, .06, .06),
    starts=(0.1, 0.2, 0.3, 0.5, 5.0, 12.5, 28.5, 56.0, 80.0, 125.0, 200.0),
    gaps=((-10, -5, 0.3, 1.7, 5.1, 10.5, 21.3, 37.2, 51.7, 95.2, 160.8),
          (-10, -5, 1.6, 2.9, 5.9, 11.3, 23.4, 39.3, 48.7, 83.8, 133.8),
          (-10, -5, 1.4, 2.5, 5.0, 10.1, 19.0, 32.7, 50.0, 78.2, 100.1),
          (-10, -5, 1.1, 1.9, 3.6, 6.5, 12.4, 22.0, 30.5, 48.6, 100.0)),
    latest_end=235.0)

# Background after the last segment: a share of the videos has almost none, the others' seconds at LEVELS.
# Measured on ActivityNet; nothing is published about Kinetics.
NO_TAIL = 0.13
TAILS = (0.2, 0.3, 0.5, 1.3, 4.6, 11.5, 25.0, 48.0, 68.0, 110.0, 160.0)


def stream(seed, name):
    """Random numbers of their own for `name`: they do not depend on what else is drawn."""
    return np.random.RandomState([seed, zlib.crc32(name.encode('utf-8'))])


def quantile(row, level):
    """Value in seconds at `level` (0…1, a number or an array) of a row of quantiles at LEVELS."""
    return np.interp(100 * np.asarray(level), LEVELS, row)


def apportion(shares, total):
    """Split `total` into whole numbers by `shares`, largest remainders first."""
    exact = np.asarray(shares) / np.sum(shares) * total
    numbers = np.floor(exact).astype(int)
    rounded_up = np.argsort(numbers - exact, kind='stable')[:total - numbers.sum()]
    numbers[rounded_up] += 1
    return numbers


def stratified(shape, correlation, rng):
    """Levels in 0…1 of shape [videos, segments], evenly spread; those of one video correlate."""
    score = np.sqrt(correlation) * rng.randn(shape[0], 1) + np.sqrt(1 - correlation) * rng.randn(*shape)
    rank = np.argsort(np.argsort(score.ravel()))
    return ((rank + rng.uniform(size=rank.size)) / max(rank.size, 1)).reshape(shape)


def draw_segments(statistics, videos, rng):
    """Segments of `videos` untrimmed videos: a list of [(start, end), …] in seconds, sorted by start.

    The lengths follow the quantiles closely, however few the videos. The videos are in random order.
    """
    drawn = []
    for index, number in enumerate(apportion(statistics.counts, videos)):
        group, count = min(index, 4), index + 1
        levels = stratified((number, count), statistics.correlation[group], rng)
        for lengths in quantile(statistics.lengths[group], levels):
            drawn.append(_place(lengths, statistics, group, rng))
    return [drawn[position] for position in rng.permutation(len(drawn))]


def _place(lengths, statistics, group, rng, attempts=50):
    """Segments of these lengths, one after another; the last attempt puts them side by side from 0 s on."""
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
        if max(end for _, end in segments) <= statistics.latest_end:
            break
    return sorted(segments)


def draw_length(statistics, rng):
    """Length in seconds of one segment, drawn from all segments."""
    counts = np.asarray(statistics.counts)
    segments = counts * (1 + np.arange(len(counts)))
    group = min(int(np.searchsorted(np.cumsum(segments) / segments.sum(), rng.uniform())), 4)
    return float(quantile(statistics.lengths[group], rng.uniform()))


# Videos

class DemoVideo(NamedTuple):
    """A video to be made, and what the tables say about it."""

    name: str
    subset: str      # training or validation
    label: int       # class index
    fps: int         # frames per second: 25 or 30
    frames: int      # duration
    actions: tuple   # what happens: (start s, end s, class index); may begin before the video and end after it
    segments: tuple  # what is annotated: (start s, end s, class index)

    @property
    def seconds(self):
        """Duration, rounded to 2 decimals."""
        return round(self.frames / self.fps, 2)

    @property
    def clips(self):
        """Number of rows n of the clip features."""
        return self.frames // CLIP_FRAMES

    @property
    def times(self):
        """Seconds of the clips' centres [n]."""
        return (np.arange(self.clips) + 0.5) * CLIP_FRAMES / self.fps


def untrimmed_video(name, subset, rows, tail, seed):
    """Untrimmed DemoVideo with the segments `rows` (start s, end s, class index); the first row is its label.

    `tail` multiplies the seconds of background after the last segment, which are drawn as of a source video.
    """
    rng = stream(seed, 'duration of ' + name)
    seconds = rng.uniform(0.05, 0.2) if rng.uniform() < NO_TAIL else float(quantile(TAILS, rng.uniform()))
    fps, frames = _draw_frames(max(end for _, end, _ in rows) + tail * seconds, rng)
    return DemoVideo(name, subset, rows[0][2], fps, frames, rows, rows)


def _draw_frames(seconds, rng):
    """(frames per second, number of frames that cover `seconds`); at least two clips."""
    fps = 25 if rng.uniform() < 0.25 else 30
    return fps, max(int(np.ceil(seconds * fps)), 2 * CLIP_FRAMES)


def labelled_segments(statistics, videos, classes, rng):
    """Rows (start s, end s, class index) of each of `videos` videos: one class per video.

    All classes are equally frequent.
    """
    labels = rng.permutation(np.arange(videos) % classes)
    return [tuple(segment + (int(label),) for segment in segments)
            for label, segments in zip(labels, draw_segments(statistics, videos, rng))]


def source_videos(settings, seed):
    """Untrimmed source videos, with segments as in ActivityNet."""
    rows = labelled_segments(ACTIVITYNET, settings.source_videos, settings.source_classes,
                             stream(seed, 'source videos'))
    return [untrimmed_video('demo_src_%04d' % number, 'training' if number % 10 else 'validation', video_rows, 1.0,
                            seed) for number, video_rows in enumerate(rows, start=1)]


def supervised_videos(settings, classes, seed):
    """Untrimmed, annotated training videos of the target classes, with segments as in the validation videos."""
    rows = labelled_segments(KINETICS, settings.supervised_videos, classes, stream(seed, 'supervised videos'))
    return [untrimmed_video('demo_sup_%04d' % number, 'training', video_rows, TARGET_TAIL, seed)
            for number, video_rows in enumerate(rows, start=1)]


def validation_videos(annotated, seed):
    """Untrimmed target videos of an annotation {video: [(start s, end s, class index), …]}."""
    return [untrimmed_video(name, 'validation', tuple(rows), TARGET_TAIL, seed) for name, rows in annotated.items()]


def moment_videos(settings, classes, seed):
    """Moments of `classes` target classes: trimmed clips, annotated from end to end as in Kinetics.

    A moment of a long action shows MOMENT_SECONDS from anywhere inside it. A moment of a shorter action shows all
    of it and up to a second before and after; more where the clip would be shorter than 3 seconds.
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
        fps, frames = _draw_frames(seconds, rng)
        action = (round(float(start), 2), round(float(start + length), 2), label)
        annotated = (0.0, round(frames / fps, 2), label)
        videos.append(DemoVideo(name, 'training', label, fps, frames, (action,), (annotated,)))
    return videos


# The latent world

class World(NamedTuple):
    """What all videos share. Attributes from row P on are used by target classes only."""

    attributes: np.ndarray  # [2P, D] unit vectors
    before: np.ndarray      # [2P, D] each attribute's companion in the context before an action
    after: np.ndarray       # [2P, D] the same after an action
    scenes: np.ndarray      # [SCENES, D] unit vectors
    mixing: np.ndarray      # [D, C]
    offset: np.ndarray      # [C]


class ActionClass(NamedTuple):
    """A source or target class: a few attributes and their weights in each phase."""

    attributes: np.ndarray  # [k] rows of World.attributes
    weights: np.ndarray     # [3, k] start, middle, end


class Action(NamedTuple):
    """An action in a video; it may begin before the video and end after it."""

    start: float  # seconds
    end: float
    action_class: ActionClass


def unit(vectors):
    """[..., D] scaled to length 1."""
    return vectors / np.sqrt((vectors ** 2).sum(axis=-1, keepdims=True))


def make_world(feature_width, rng):
    """A random World with features of C = `feature_width` columns."""
    def directions(number):
        return unit(rng.randn(number, LATENT_WIDTH))

    def attributes():
        drawn = directions(ATTRIBUTES)
        return unit(drawn - (1 - COMMON) * drawn.mean(axis=0))

    return World(attributes=np.concatenate([attributes(), attributes()]),
                 before=directions(2 * ATTRIBUTES), after=directions(2 * ATTRIBUTES),
                 scenes=directions(SCENES),
                 mixing=0.25 * rng.randn(LATENT_WIDTH, feature_width),
                 offset=rng.uniform(0, 0.5, feature_width))


def draw_class(relatedness, rng):
    """A random ActionClass; each attribute is of the source classes' pool with probability `relatedness`."""
    chosen = rng.permutation(ATTRIBUTES)[:CLASS_ATTRIBUTES]
    is_target_only = rng.uniform(size=len(chosen)) >= relatedness
    weights = rng.uniform(0.2, 1.0, (3, len(chosen)))
    weights[0, 0] += 1  # one attribute leads the start, two the middle, one the end
    weights[1, 1:3] += 0.7
    weights[2, -1] += 1
    return ActionClass(chosen + ATTRIBUTES * is_target_only, weights)


def draw_classes(number, relatedness, rng):
    """`number` classes, drawn one after another: the first classes are the same for any number."""
    return [draw_class(relatedness, rng) for _ in range(number)]


# Features of one video

def feature_maker(settings, target_classes, seed):
    """A function (DemoVideo, side 'source' or 'target') → features of its clips [n, C], float64."""
    world = make_world(settings.feature_width, stream(seed, 'world'))
    classes = {
        'source': draw_classes(settings.source_classes, 1.0, stream(seed, 'source classes')),
        'target': draw_classes(target_classes, settings.relatedness, stream(seed, 'target classes'))}

    def features(video, side):
        actions = [Action(start, end, classes[side][label]) for start, end, label in video.actions]
        return clip_features(world, settings, actions, video.times, stream(seed, video.name))
    return features


def clip_features(world, settings, actions, times, rng):
    """Features [n, C], float64, of a video with these actions; `times` [n]: seconds of the clips' centres."""
    presence, performed = perform(world, actions, times, rng)
    around = (1 - presence) * (context(world, settings.context_strength, actions, times)
                               + fragments(world, settings.relatedness, times, rng))
    background = scene(world, times, rng) * (1 - OCCLUSION * presence) + around
    intensity = np.clip(1 + 0.3 * smooth_noise(times, 1, INTENSITY_SECONDS, rng), 0.3, 1.5)
    fluctuation = latent_noise(FLUCTUATION, times, FLUCTUATION_SECONDS, rng)
    latent = background + ACTION_STRENGTH * intensity * performed + fluctuation
    gain = np.exp(0.2 * rng.randn())
    noise = NOISE * rng.randn(len(times), len(world.offset))
    return np.maximum(gain * latent @ world.mixing + world.offset + noise, 0)


def perform(world, actions, times, rng):
    """(presence of any action [n, 1] in 0…1, presence times phase [n, D])."""
    total, performed = np.zeros((len(times), 1)), np.zeros((len(times), LATENT_WIDTH))
    for action in actions:
        softness = BOUNDARY_SECONDS * rng.uniform(0.5, 1.5, 2)
        attributes, weights = action.action_class
        weights = weights * np.exp(VARIATION * rng.randn(*weights.shape))
        phases = unit(weights @ world.attributes[attributes])  # [3, D]
        strength = rng.uniform(0.8, 1.2)
        presence = envelope(times, action.start, action.end, softness)[:, np.newaxis]
        total += presence
        performed += strength * presence * (phase_shares(times, action) @ phases)
    return np.minimum(total, 1), performed / np.maximum(total, 1)  # overlapping actions share the presence


def envelope(times, start, end, softness):
    """1 inside [start, end] and 0 outside → [n]; at either end it takes softness[0 or 1] seconds to change."""
    width = np.clip(softness, 1e-3, (end - start) / 2)
    rise = np.clip((times - start) / width[0] + 0.5, 0, 1)
    fall = np.clip((end - times) / width[1] + 0.5, 0, 1)
    inside = np.minimum(rise, fall)
    return inside ** 2 * (3 - 2 * inside)


def phase_shares(times, action):
    """Shares of the start, the middle and the end phase at `times` → [n, 3]; a row's sum is 1."""
    width = min(PHASE_SECONDS, (action.end - action.start) / 3)
    start = np.clip(1 - (times - action.start) / width, 0, 1)
    end = np.clip(1 - (action.end - times) / width, 0, 1)
    return np.stack([start, 1 - start - end, end], axis=1)


def context(world, strength, actions, times):
    """Context of the actions → [n, D]; it fades with the distance from them."""
    around = np.zeros((len(times), LATENT_WIDTH))
    for action in actions:
        attributes, weights = action.action_class
        for companions, phase, distance in ((world.before, 0, action.start - times),
                                            (world.after, 2, times - action.end)):
            vector = ((1 - CONTEXT_LIKENESS) * unit(weights[phase] @ companions[attributes])
                      + CONTEXT_LIKENESS * unit(weights[phase] @ world.attributes[attributes]))
            near = np.where(distance > -BOUNDARY_SECONDS, np.exp(-np.maximum(distance, 0) / CONTEXT_SECONDS), 0)
            around += strength * near[:, np.newaxis] * vector
    return around


def fragments(world, relatedness, times, rng):
    """Pieces of other actions at random times → [n, D], a third of each kind; only the background shows them."""
    pieces = np.zeros((len(times), LATENT_WIDTH))
    span = times[-1] + times[0]
    for _ in range(rng.poisson(FRAGMENTS_PER_MINUTE * span / 60)):
        attributes, weights = draw_class(relatedness, rng)
        centre, kind, level = rng.uniform(0, span), rng.randint(3), rng.uniform()
        vector = unit(weights[rng.randint(3)] @ world.attributes[attributes])
        if kind == 0:
            vector = world.attributes[attributes[0]]
        weakest, spread, shortest, longest = FRAGMENTS[kind]
        strength, length = weakest + spread * level, rng.uniform(shortest, longest)
        shape = envelope(times, centre - length / 2, centre + length / 2, np.ones(2))
        pieces += ACTION_STRENGTH * strength * shape[:, np.newaxis] * vector
    return pieces


def scene(world, times, rng):
    """The video's own background → [n, D]: shots that have much in common, and a slow drift."""
    def mixture():
        shared = rng.permutation(SCENES)[:SCENES_PER_VIDEO]
        own = 0.5 * unit(rng.randn(LATENT_WIDTH))
        return unit(rng.dirichlet(np.ones(SCENES_PER_VIDEO)) @ world.scenes[shared] + own)

    span = times[-1] + times[0]
    cuts = np.sort(rng.uniform(0, span, rng.poisson(span / SHOT_SECONDS)))
    common = mixture()
    shots = np.array([unit(common + 0.5 * mixture()) for _ in range(len(cuts) + 1)])
    drift = latent_noise(DRIFT, times, DRIFT_SECONDS, rng)
    return SCENE_STRENGTH * shots[np.searchsorted(cuts, times)] + drift


def latent_noise(length, times, seconds, rng):
    """Smooth noise [n, D] in all latent dimensions, whose root mean square length is `length`."""
    return length / np.sqrt(LATENT_WIDTH) * smooth_noise(times, LATENT_WIDTH, seconds, rng)


def smooth_noise(times, columns, seconds, rng):
    """Gaussian noise [n, columns] of variance 1 that changes within about `seconds`: a moving mean."""
    width = max(1, int(seconds / (2 * times[0])))  # 2·times[0]: seconds per clip
    total = np.cumsum(rng.randn(len(times) + width, columns), axis=0)
    return (total[width:] - total[:-width]) / np.sqrt(width)
