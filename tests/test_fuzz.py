"""Any bytes give a result or an InputError; and properties of evaluation for any results. Uses hypothesis."""
import io
import zipfile

import fuzz
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.get_detection_performance import evaluate_detections
from evaluation.get_proposal_performance import evaluate_proposals

settings.register_profile('repeatable', derandomize=True, deadline=60000, database=None, max_examples=100,
                          suppress_health_check=list(HealthCheck))
settings.load_profile('repeatable')

# Parsers


@st.composite
def damaged(draw, content):
    """`content` with some bytes overwritten, inserted, removed or repeated."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 20)))
        content[start:end] = draw(st.one_of(
            st.binary(max_size=8), st.sampled_from([
                b'nan', b'-1', b'1e999', b'\x00', b'"', b',', b'\n', b'\t', b'[' * 2000, b'9' * 2000,
                b'\xff\xff\xff\xff', b'\xef\xbb\xbf', b'../']),
            st.just(bytes(content[:start]))))
    return bytes(content)


@pytest.mark.parametrize('parser', list(fuzz.FILES))
def test_a_seed_is_read(parser, tmp_path):
    assert fuzz.is_read(parser, fuzz.seed(parser), str(tmp_path))


@pytest.mark.parametrize('parser', list(fuzz.FILES))
def test_any_bytes_give_a_result_or_an_input_error(parser, tmp_path):
    @given(st.binary(max_size=300) | damaged(fuzz.seed(parser)))
    def try_bytes(data):
        fuzz.is_read(parser, data, str(tmp_path))

    try_bytes()


SHAPE = (3, fuzz.WIDTH)


def npy(shape, kind="'<f4'"):
    """An npy file whose header declares this shape and type, before the zeros of an array of SHAPE."""
    header = ("{'descr': %s, 'fortran_order': False, 'shape': %s}" % (kind, shape)).ljust(117) + '\n'
    return b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header.encode() + bytes(4 * 3 * fuzz.WIDTH)


def npz(content, count=1, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as arrays:
        for number in range(count):
            arrays.writestr('array%d.npy' % number, content)
    return file.getvalue()


def entry(**changes):
    return fuzz.json.dumps({'v': dict(fuzz.ENTRY, **changes)})


def result(**changes):
    found = dict({'segment': [0, 3.5], 'score': 0.5, 'label': 'a'}, **changes)
    return fuzz.json.dumps({'results': {'v': [found]}})


def damaged_record(parser, **changes):
    return fuzz.json.dumps(dict(fuzz.json.loads(fuzz.seed(parser).decode()), **changes))


REFUSED = {  # a careless parser accepts these, hangs, or fails with another exception
    'info': ['', 'video,subset\n"v,training\n', 'video,subset\n../v,training\n', 'video,subset\nv\0,training\n',
             'video,subset\nv,training\nv,validation\n', 'video\nv\n',
             b'video,subset\n\xff,training\n', 'video,subset\n%s,training\n' % ('v' * 200000)],
    'labels': ['v 0', 'v 0 -1', 'v 0 3', 'v 0 1_0', 'v 0 \u0661', 'v 0 ' + '1' * 10 ** 4, 'v 0 1.0', 'v 0 nan',
               b'v 0 1\xff'],
    'names': ['', '\n\n', 'a\n\nb', 'a\na', b'\xff\xfea\x00'],
    'annotation': ['', 'v 0 2 1', 'v\t0\t2', 'v\t2\t2\t1', 'v\t-1\t2\t1', 'v\tnan\t2\t1', 'v\t0\tinf\t1',
                   'v\t0\t2\t3', 'v\t0\t1_0\t1', 'v\t0\t%s\t1' % ('9' * 10 ** 4), '/v\t0\t2\t1', '\t0\t2\t1'],
    'entries': ['', '[]', '{', '{"v": []}', '[' * 10 ** 5, '{"v": %s}' % ('9' * 10 ** 5), entry(annotations=3),
                entry(annotations=[{'segment': [0, float('nan')]}]),
                entry().replace('annotations', 'annotation'), entry(annotations=[{'segment': [0]}]),
                entry(duration_second=0), entry(duration_second=1e-300), entry(duration_second=True),
                entry(duration_frame='1_0'), entry(duration_frame=float('inf')), entry(feature_frame=7),
                entry(feature_frame=1e18), entry(feature_frame=None)],
    'ground_truth': ['', 'null', '[' * 10 ** 5, '{"database": []}', '{"database": {"v": 3}}',
                     '{"database": {"v": {"subset": "validation", "annotations": [{"segment": [2, 1]}]}}}'],
    'results': ['', '[]', '{"results": []}', '{"results": {"v": {}}}', result(score=float('nan')),
                result(score='high'), result(segment=[0, float('inf')]), result(segment=[0]), result(segment='01'),
                result(label=['a']), '{"results": {"v": [{"segment": [0, %s]}]}}' % ('9' * 10 ** 5)],
    'npy': [b'', b'\x93NUMPY', npy(SHAPE)[:-1], npy(SHAPE) + b'1', npy((2 ** 40, fuzz.WIDTH)),
            npy((3, 2 ** 40)), npy((-3, -fuzz.WIDTH)), npy((3,)), npy((3, 2, fuzz.WIDTH // 2)), npy((0, fuzz.WIDTH)),
            npy(SHAPE, "'|O'"), npy(SHAPE, "'<c8'"), npy(SHAPE, "'|S4'"),
            npy(SHAPE, "[('a', '<f4')]"), npy('__import__("os")'), npy(SHAPE, '1' + '+1' * 40),
            npy(SHAPE)[:-4] + b'\x00\x00\xc0\x7f'],
    'npz': [b'', b'PK\x05\x06' + bytes(18), npz(b''), npz(npy(SHAPE), count=2),
            npz(npy((2 ** 40, fuzz.WIDTH))), npz(npy(SHAPE), compression=zipfile.ZIP_BZIP2),
            npz(npy(SHAPE))[:-30], npz(npy(SHAPE, "'|O'"))],
    'csv': ['', 'a,b,c,d\n', '1,2,3,5\n5,6,7,8\n', 'a,b,c,d\n1,2,3\n', 'a,b,c,d\n1,2,3,four\n', 'a,b,c,d\n1,2,,4\n',
            'a,b,c,d\n1,2,3,nan\n', 'a,b,c,d\n1,2,3,1e39\n', 'a,b,c,d\n1,2,3,4\n1,2,3,4,5\n', 'a,b,c\n1,2,3\n',
            'a,b,c,d\n1,2,3,"4\n', b'a,b,c,d\n1,2,3,\xff\n', 'a,b,c,d\n[1],2,3,4\n', 'a,b,c,d\n[1,2],3,4\n',
            'a,b,c,d\n{"a":1},2,3,4\n', 'a,b,c,d\n1,2,3,4],[1,2,3,4\n', 'a,b,c,d\n1,2,3,null\n'],
    'h5': [b'', b'\x89HDF\r\n\x1a\n', b'\x89HDF\r\n\x1a\n' + bytes(2000), fuzz.seed('h5')[:-20]],
    'settings': ['', '[]', '{}', '{"files": {}}', damaged_record('settings', files=[]), '[' * 10 ** 5,
                 damaged_record('settings', files={'.index': 3}), damaged_record('settings', files={'\0': 'a'}),
                 damaged_record('settings', files={'/../../none': 'a'}), damaged_record('settings', model=None),
                 damaged_record('settings', train={'seed': 'one'}), damaged_record('settings', data=[1])],
    'progress': ['', '[]', '{"files": {}}', damaged_record('progress', progress=[]), '[' * 10 ** 5,
                 damaged_record('progress', progress={}), damaged_record('progress', progress={
                     'window': {'sums': {'a': 'b'}, 'steps': 1, 'skips': 0, 'all_skips': 0}}),
                 damaged_record('progress', progress={'window': {'sums': 3}})],
    'id': ['', ' ', '.', '..', '../v', '/v', 'a/b', 'a\\b', 'v\0', 'v\n', '\u202ev',
           b'\xff'],
}


@pytest.mark.parametrize('parser', list(fuzz.FILES))
def test_handmade_defects_are_refused(parser, tmp_path):
    for data in REFUSED[parser]:
        data = data if isinstance(data, bytes) else data.encode()
        assert not fuzz.is_read(parser, data, str(tmp_path)), data[:200]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(['v', 'segment', 'score', 'label', 'annotations', 'duration_second',
                                         'duration_frame', 'feature_frame', 'subset']), inner)))
def test_any_json_gives_a_result_or_an_input_error(tmp_path_factory, content):
    folder = str(tmp_path_factory.getbasetemp())
    for parser, key in (('results', 'results'), ('ground_truth', 'database'), ('entries', 'v')):
        fuzz.is_read(parser, fuzz.json.dumps({key: content}).encode(), folder)


# Evaluation. The segments of a video do not overlap: above tIoU 0.5 a result matches at most one of them

@st.composite
def worlds(draw):
    """(ground truth, results) of 1 to 4 videos and two classes; times in eighths of a second."""
    database, results = {}, {}
    for video in range(draw(st.integers(1, 4))):
        edges = sorted(draw(st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True)))
        segments = [[start / 8, end / 8] for start, end in zip(edges[::2], edges[1::2])]
        database['v%d' % video] = {'subset': 'validation', 'annotations': [
            {'segment': segment, 'label': draw(st.sampled_from('ab'))} for segment in segments]}
        entries = []
        for score in draw(st.lists(st.integers(1, 1000), max_size=8)):
            start, end = draw(st.sampled_from(segments))
            shift = draw(st.integers(-8, 8)) / 8
            entries.append({'segment': [start + shift, end], 'score': score / 1000,
                            'label': draw(st.sampled_from('abc'))})
        results['v%d' % video] = entries
    return {'database': database}, {'results': results}


THRESHOLDS = np.linspace(0.55, 0.95, 5)


def figures(truth, results):
    detections = evaluate_detections(truth, results, tiou_thresholds=THRESHOLDS)
    proposals = evaluate_proposals(truth, results, tiou_thresholds=THRESHOLDS)
    return detections, proposals


def changed(content, change):
    """Ground truth or results in which change(segment) replaces each segment."""
    if isinstance(content, dict):
        return {key: change(value) if key == 'segment' else changed(value, change) for key, value in content.items()}
    return [changed(value, change) for value in content] if isinstance(content, list) else content


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_results_changes_nothing(world, random):
    truth, results = world
    videos = list(results['results'].items())
    for _, entries in videos:  # no equal scores: those are ranked by their order in the file
        for number, entry in enumerate(entries):
            entry['score'] += number / 10 ** 6
    shuffled = [(video, list(entries)) for video, entries in videos]
    for order in [entries for _, entries in shuffled] + [shuffled]:
        random.shuffle(order)
    distinct = {entry['score'] for _, entries in videos for entry in entries}
    expected, found = figures(truth, results), figures(truth, {'results': dict(shuffled)})
    np.testing.assert_array_equal(found[1].recall, expected[1].recall)
    if len(distinct) == sum(len(entries) for _, entries in videos):
        np.testing.assert_array_equal(found[0].ap, expected[0].ap)


@given(worlds())
def test_a_worse_duplicate_never_raises_ap(world):
    truth, results = world
    doubled = {video: entries + [dict(entry, score=entry['score'] / 2) for entry in entries]
               for video, entries in results['results'].items()}
    assert (figures(truth, {'results': doubled})[0].ap <= figures(truth, results)[0].ap + 1e-12).all()


@given(worlds())
def test_recall_grows_with_the_number_of_proposals(world):
    average = figures(*world)[1].average_recall
    assert (np.diff(average) >= 0).all() and 0 <= average[0] and average[-1] <= 1


@given(worlds())
def test_a_perfect_result_gives_1(world):
    truth, _ = world
    perfect = {video: [dict(found, score=1.0) for found in entry['annotations']]
               for video, entry in truth['database'].items()}
    detections, proposals = figures(truth, {'results': perfect})
    assert detections.average_mAP == 1 and proposals.average_recall_percent == 100


@given(worlds(), st.integers(-20, 20))
def test_the_scale_of_time_changes_nothing(world, exponent):
    def scale(segment):
        return [edge * 2.0 ** exponent for edge in segment]

    expected, found = figures(*world), figures(*[changed(content, scale) for content in world])
    np.testing.assert_array_equal(found[0].ap, expected[0].ap)
    np.testing.assert_array_equal(found[1].recall, expected[1].recall)


def test_a_million_results_of_one_video():
    truth = {'database': {'v': {'subset': 'validation', 'annotations': [
        {'segment': [start, start + 5], 'label': 'a'} for start in range(0, 100, 10)]}}}
    entry = {'segment': [0.5, 5], 'score': 0.5, 'label': 'a'}
    results = {'results': {'v': [entry] * (10 ** 6 - 1) + [{'segment': [10, 15], 'score': 1.0, 'label': 'a'}]}}
    detections = evaluate_detections(truth, results, tiou_thresholds=[0.5])
    assert detections.counts['predictions'] == 10 ** 6 and detections.average_mAP == pytest.approx(0.2, abs=1e-6)
    assert evaluate_proposals(truth, results, tiou_thresholds=[0.5]).average_recall[-1] == pytest.approx(0.2)
