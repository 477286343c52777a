"""Progress of a loop: the bar on a terminal, the lines elsewhere, and their texts."""
import io
import sys

import pytest

from runtime import progress
from runtime.progress import Pace, Progress, clock_text, progress_text


@pytest.fixture
def clock(monkeypatch):
    """A list whose only entry is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Closed(io.StringIO):
    def write(self, text):
        raise OSError(5, 'Input/output error')


@pytest.mark.parametrize('seconds, text', [
    (0, '0:00'), (0.4, '0:00'), (7.5, '0:08'), (59.6, '1:00'), (62, '1:02'), (3753, '1:02:33'), (86399, '23:59:59'),
    (86400, '1 d 0:00:00'), (2 * 86400 + 4 * 3600 + 5, '2 d 4:00:05')])
def test_the_text_of_a_time(seconds, text):
    assert clock_text(seconds) == text


@pytest.mark.parametrize('passed, text', [
    ((100, 31.0), '0.31 s/step  1:02 left'), ((2, 71.4), '35.7 s/step  1:59:00 left'),
    ((1, 1234.4), '1234 s/step  2 d 20:34:40 left'), ((0, 5.0), '0 s/step  0:00 left'),
    ((5, 0.0), '0 s/step  0:00 left')])
def test_the_text_of_progress(passed, text):
    assert progress_text('step', 400, 600, *passed) == 'step 400 of 600  ' + text


def test_the_pace_is_that_since_the_last_look(clock):
    pace = Pace(3)
    clock[0] += 8
    assert pace.since_last_look(5) == (2, 8.0)
    clock[0] += 1
    assert pace.since_last_look(9) == (4, 1.0)


def test_without_a_terminal_there_is_a_line_every_half_minute(clock, capsys):
    with Progress(40, 'video', done=10, title='step 400') as shown:
        for _ in range(10):
            clock[0] += 8.0
            shown.update(2)
    captured = capsys.readouterr()
    # at 132 s, of 8 videos, and at 164 s, of 8 others: each takes 4 s
    assert captured.err == ('step 400: video 18 of 40  4 s/video  1:28 left\n'
                            'step 400: video 26 of 40  4 s/video  0:56 left\n')
    assert captured.out == ''


def test_a_line_of_the_loop_is_one_too(clock, capsys):
    with Progress(4, 'step') as shown:
        clock[0] += 29
        shown.update()
        shown.say('step 1 of 4')
        clock[0] += 29
        shown.update()
        assert capsys.readouterr() == ('step 1 of 4\n', '')
        clock[0] += 1
        shown.update()
    assert capsys.readouterr() == ('', 'step 3 of 4  19.7 s/step  0:20 left\n')


def test_on_a_terminal_there_is_a_bar_and_no_line(clock, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Terminal())
    with Progress(4, 'step', title='step 400', leave=False) as shown:
        clock[0] += 60
        shown.update(3)
    written = sys.stderr.getvalue()
    assert '\rstep 400: ' in written and 's/step' not in written and '\n' not in written


def test_a_closed_terminal_does_not_end_the_loop(clock, monkeypatch):
    monkeypatch.setattr(sys, 'stderr', Closed())
    with Progress(4, 'step') as shown:
        clock[0] += 60
        shown.update()


def test_a_line_is_there_at_once(monkeypatch):
    class Buffered(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed += 1

    monkeypatch.setattr(sys, 'stdout', Buffered())
    progress.say('a line')
    assert sys.stdout.getvalue() == 'a line\n' and sys.stdout.flushed
