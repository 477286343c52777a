"""Detection with snapshots: the graph, which is built once, all validation videos, and the results file of each.

Code of the network: aher_model.py. What is tested, and what the results are worth: aher_k600_test.py.
"""
import os
from typing import NamedTuple

import aher_model as aher
from data_loader import reader_errors, validation_stream
from evaluation.choice import accuracy_of
from ops.detections import VideosOfWindows, results_of
from runtime import snapshots
from runtime.errors import Interrupted
from runtime.progress import Progress
from runtime.results_file import Entry
from runtime.session import tf
from runtime.signals import SignalWatcher


class Tester(NamedTuple):
    """The graph of one test run."""

    stream: NamedTuple          # data_loader.Stream of Validation
    samples: list               # of dataset.samples.Window, in the order of the stream
    firsts: list                # number of each video's first window in `samples`
    part: NamedTuple            # snapshots.Part, what a snapshot must hold
    transfer: tf.Operation      # computes the classifier weights of every position; once for each snapshot
    found: NamedTuple           # tensors of a batch: Detections, or Candidates where videos are tested in windows

    @property
    def videos(self):
        """List of dataset.tables.Video, in the order of the stream."""
        return [self.samples[first].video for first in self.firsts]


def build(config):
    """Config → Tester. The list of bad data starts anew: a skipped video is never kept, so it is read again."""
    stream, samples = validation_stream(config)
    detector = aher.detector(stream.batch.features, stream.batch.seconds, config)
    return Tester(stream, samples, [number for number, window in enumerate(samples) if window.first == 0],
                  snapshots.part_of(detector.variables), detector.transfer, detector.found)


def detect_all(session, tester, test, title, first=0):
    """For each batch, from video number `first` on, yield a list of (video, its Detections) that it completes.

    Detections are numpy arrays, None of a skipped video; their segments are in seconds of the video, not cut to it.
    Batches are those of a run that tests all videos, because the last digits of a window's numbers may depend on its
    batch. Raises Interrupted after a signal, once the current batch is used.
    """
    samples, kept, is_skipped = tester.samples, first, False
    joined = VideosOfWindows(samples, type(tester.found), test)
    done = tester.firsts[first] // test.test_batch_size * test.test_batch_size
    session.run(tester.stream.initializer, {tester.stream.first: done})
    # The bar is removed at the end: the rows of the table follow each other.
    with Progress(len(samples), 'video' if len(samples) == len(tester.firsts) else 'window', done, title,
                  leave=False) as progress, \
            SignalWatcher('batch', tester.stream.bad.slow_read_warning) as watcher:
        while done < len(samples):
            with watcher.iteration(), reader_errors(tester.stream):
                indices, found = session.run([tester.stream.batch.index, tester.found])
            windows = [(number, *row) for number, row in enumerate(zip(indices, zip(*found)), start=done)
                       if number >= tester.firsts[first]]
            videos = [video for video in (joined.add(*window) for window in windows) if video]
            yield videos
            for _, detections in videos:  # what follows a skipped video is tested again
                is_skipped |= detections is None
                kept += not is_skipped
            done += len(indices)
            progress.update(len(indices))
            if watcher.received:
                raise Interrupted(watcher.received, '%d of %d videos are tested and kept; the same command continues '
                                  'from there (with --resume auto, the default)' % (kept, len(tester.firsts)))


# Results

def entry_of(video, detections, class_names, test):
    """The Entry of a video and its Detections, which are None where the video was skipped."""
    if detections is None:
        return Entry(video.name, None, [], skipped=True)
    labels = {label for label in video.segment_labels.tolist() if label >= 0} or {video.label} - {-1}
    hit = bool(detections.label in labels) if labels else None  # with labels of segments, any of them is right
    return Entry(video.name, hit, results_of(video.seconds, detections, class_names, test))


def test_snapshot(session, tester, prefix, file, config, class_names, after_batch=lambda: None):
    """Restore the snapshot at `prefix` and write its results to the ResultsFile, or take those that are there.

    Returns (results, video accuracy); the accuracy is None where no label is known. Calls after_batch() often.
    """
    resumes = config.resume == 'auto'
    finished = file.finished() if resumes else None
    if finished:
        return finished
    entries = file.resume([video.name for video in tester.videos]) if resumes else []
    file.start(entries)
    if len(entries) < len(tester.firsts):
        snapshots.restore(session, prefix, tester.part)
        session.run(tester.transfer)
        title = os.path.basename(prefix)[len(snapshots.PREFIX):]
        for videos in detect_all(session, tester, config.test, 'step ' + title, len(entries)):
            new = [entry_of(video, detections, class_names, config.test) for video, detections in videos]
            file.add(new)
            entries += new
            after_batch()
    hits = {entry.video: entry.hit for entry in entries if entry.hit is not None}
    accuracy = accuracy_of(hits)
    results = {'version': 'VERSION 1.3', 'results': {entry.video: entry.results for entry in entries},
               'external_data': {}}
    file.finish(results, accuracy, sum(entry.skipped for entry in entries), hits)
    return results, accuracy
