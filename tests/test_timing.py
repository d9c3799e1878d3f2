"""Timings: every second is booked once, and what threads do beside is counted by itself."""

import threading
import time

import pytest

from foveal.core import timing


def work(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_blocks_within_others_are_booked_once_and_all_add_up():
    with timing.spent() as account:
        began = timing.Seconds.now()
        with timing.measure("outer"):
            work(0.02)
            with timing.measure("inner"):
                work(0.03)
                time.sleep(0.05)
            with timing.measure("outer"):
                work(0.02)
        whole = timing.Seconds.now() - began
    assert set(account) == {"outer", "inner"}
    assert account["inner"].clock >= 0.08
    assert account["inner"].processor == pytest.approx(0.03, abs=0.015)
    total = account["outer"] + account["inner"]
    assert total.clock == pytest.approx(whole.clock, abs=0.01)
    assert total.processor == pytest.approx(whole.processor, abs=0.01)


def test_an_account_within_another_is_booked_on_both():
    with timing.spent() as outer:
        for _ in range(2):
            with timing.spent() as inner, timing.measure("part"):
                work(0.01)
    assert outer["part"].clock >= 2 * inner["part"].clock * 0.5
    assert outer["part"].processor >= 0.02


def test_threads_are_counted_only_where_that_is_wanted():
    def in_thread():
        with timing.in_threads("loading"):
            work(0.01)

    def run():
        threads = [threading.Thread(target=in_thread) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run()
    with timing.counting_threads() as counted:
        run()
    run()
    assert counted["loading"].processor == pytest.approx(0.03, abs=0.01)


def test_the_process_is_older_than_its_tests():
    assert timing.since_start().clock >= timing.since_start().processor / 64 > 0


def test_a_profile_adds_up_to_the_whole_process(foveal, scenes, tmp_path):
    words = ["--images", scenes / "scenes", "--empty", "none", "--size", "32", "--epochs", "1", "--batch-size", "16"]
    said = foveal("train", scenes / "scenes.csv", *words, "--profile", "--out", tmp_path / "run").out
    table = said[said.index("where the time went") :].splitlines()[1:]
    rows = {line[:40].strip(): line[40:].split() for line in table if line.strip() and "of it" not in line}
    assert {"images", "epochs", "report", "sheet", "metrics and intervals", "imports"} <= set(rows)
    whole = [float(cell) for cell in rows.pop("whole process")]
    for at in range(2):
        assert sum(float(cells[at]) for cells in rows.values()) == pytest.approx(whole[at], abs=0.15)
    assert "while images are loaded: decoding" in said
