"""The time that one job may take."""

import time

from medvit.inference.budget import Budget, duration


def test_the_wall_clock_and_the_cpu_time_are_two_limits():
    assert Budget(1000, 1000).exceeded() == ""
    assert Budget(-1, 1000).exceeded()
    budget = Budget(1000, 0.001)
    time.sleep(0.05)
    assert budget.exceeded() == ""
    with budget.count_cpu():
        sum(range(3_000_000))
    assert budget.exceeded() == "0.001 s of CPU time"


def test_a_limit_is_written_in_minutes_or_seconds():
    assert [duration(seconds) for seconds in (900, 150, 90)] == ["15 minutes", "2.5 minutes", "90 s"]
