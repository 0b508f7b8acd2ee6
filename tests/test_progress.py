"""Progress: a bar or a line now and then, from the first second on, to one stream."""

import io
import logging
import sys
import threading
import types

import pytest

from radiodiff import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = types.SimpleNamespace(s=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.s)
    return now


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "radiodiff")
    return lambda: caplog.messages


class Waits:
    """Stands for the thread's event: the watcher looks when it is told to."""

    def __init__(self):
        self.asked, self.may_look, self.is_over = [], threading.Semaphore(0), False
        self.has_looked = threading.Semaphore(0)

    def wait(self, seconds):
        self.asked.append(seconds)
        self.has_looked.release()
        self.may_look.acquire()
        return self.is_over

    def set(self):
        self.is_over = True
        self.may_look.release()

    def look(self):
        self.has_looked.acquire()
        self.may_look.release()
        self.has_looked.acquire()
        self.has_looked.release()


@pytest.fixture
def waits(monkeypatch):
    waits = Waits()
    monkeypatch.setattr(progress, "Event", lambda: waits)
    return waits


def test_time_left_is_that_at_the_pace_so_far(clock):
    work = progress.Progress("did", "things")
    assert str(work) == "did no things yet"
    clock.s = 100.0  # whatever came before the first word does not count
    work(50, 150)
    assert work.left_s() is None
    assert str(work) == "did 50 of 150 things"
    clock.s = 104.0
    work(60, 150)
    assert work.left_s() == pytest.approx(36)
    assert str(work) == "did 60 of 150 things, 36 s left"
    clock.s = 200.0
    work(75, 150)
    assert str(work) == "did 75 of 150 things, 5 min 00 s left"
    work(150, 150)
    assert str(work) == "did 150 of 150 things"


def test_a_log_has_a_line_within_the_first_second_and_every_few(clock, waits, lines):
    with progress.show_progress("did", "things") as work:
        work(0, 4)
        clock.s = 0.9
        waits.look()
        assert lines() == ["did 0 of 4 things"]
        work(1, 4)
        work(2, 4)
        clock.s = 6.0
        waits.look()
        work(4, 4)
    assert lines()[1:] == ["did 2 of 4 things, 6 s left", "did 4 of 4 things"]
    assert waits.asked[:2] == [progress.FIRST_S, progress.LINE_S]
    assert progress.FIRST_S < 1


def test_quick_work_says_nothing(clock, waits, lines):
    with progress.show_progress("did", "things") as work:
        work(0, 4)
        clock.s = 0.9
        work(3, 4)  # so it will be over at 1.2 s
        waits.look()
        work(4, 4)
    assert lines() == []


def test_work_that_fails_ends_the_watcher(lines):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), progress.show_progress("did", "things") as work:
        work(0, 1 // 0)
    assert threading.active_count() == before
    assert lines() == []


def test_a_terminal_has_a_bar_instead_and_lines_stay_above_it(clock, waits, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    progress.show_log(screen)
    with progress.show_progress("did", "things") as work:
        work(2, 8)
        clock.s = 0.9
        waits.look()
        work(4, 8)
        logging.getLogger("radiodiff.x").info("a line")
        clock.s = 3.0
        waits.look()
        work(8, 8)
    assert waits.asked[:2] == [progress.FIRST_S, progress.BAR_S]
    shown = screen.getvalue()
    assert "did 2 of" not in shown
    for part in ("did things:  25%", "a line\n", "did things:  50%", "did things: 100%", "8/8"):
        shown = shown[shown.index(part) :]


def test_one_place_tells_terminal_and_log_apart(monkeypatch):
    for stream, is_bar in (
        (types.SimpleNamespace(isatty=lambda: True), True),
        (io.StringIO(), False),  # a file, or a notebook's
        (None, False),  # without a console, on Windows
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        assert progress.has_bar() == is_bar


def test_log_goes_to_the_stream_and_only_there(caplog):
    stream = io.StringIO()
    progress.show_log(io.StringIO())
    progress.show_log(stream, "%(levelname)s %(message)s")
    logging.getLogger("radiodiff.x").info("here")
    assert stream.getvalue() == "INFO here\n"
    assert not caplog.messages
