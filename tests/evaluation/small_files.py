"""Small ground truths and results in their JSON form, for the tests of evaluation."""
import json


def truth_of(videos, subset='validation'):
    """Ground truth of {video: [(start, end, label)]}."""
    return {'database': {video: {'subset': subset, 'annotations': [
        {'segment': [start, end], 'label': label} for start, end, label in segments]}
        for video, segments in videos.items()}}


def results_of(videos):
    """Results of {video: [(score, start, end, label)]}."""
    return {'results': {video: [
        {'score': score, 'segment': [start, end], 'label': label} for score, start, end, label in entries]
        for video, entries in videos.items()}}


def load(path):
    with open(path) as file:
        return json.load(file)
