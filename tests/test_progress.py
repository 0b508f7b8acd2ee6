"""Progress: one line now and then, to one stream."""

import io
import logging

from radiodiff import progress


def test_a_line_now_and_then_and_at_the_end(monkeypatch, caplog):
    clock = iter([0.0, 1.0, 6.0, 8.0])  # at the start, then at each call
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "radiodiff")
    report = progress.log_progress("did %d of %d", interval_s=5)
    report(1, 4)  # 1 s: too early
    report(2, 4)  # 6 s
    report(4, 4)  # the end, whatever the time
    assert caplog.messages == ["did 2 of 4, 10 s left", "did 4 of 4"]


def test_log_goes_to_the_stream_and_only_there(caplog):
    stream = io.StringIO()
    progress.show_log(io.StringIO())
    progress.show_log(stream, "%(levelname)s %(message)s")
    logging.getLogger("radiodiff.x").info("here")
    assert stream.getvalue() == "INFO here\n"
    assert not caplog.messages
