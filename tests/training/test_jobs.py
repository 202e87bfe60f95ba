import sys

from medvit.training import jobs
from medvit.training.jobs import Job

TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"


def python(tmp_path, name, code):
    result = tmp_path / name
    return Job([sys.executable, "-c", code, str(result)], result, tmp_path / "logs" / f"{name}.log")


def test_jobs_run_and_are_not_repeated(tmp_path):
    planned = [python(tmp_path, name, TOUCH) for name in ("first", "second")]
    jobs.run(planned, parallel=2)
    assert [job.state for job in planned] == ["done", "done"]
    again = [python(tmp_path, name, "raise SystemExit('started')") for name in ("first", "second")]
    jobs.run(again)
    assert [(job.state, job.tries) for job in again] == [("done", 0)] * 2


def test_a_failing_job_is_reported_and_stops_nothing(tmp_path):
    planned = [
        python(tmp_path, "bad", "raise SystemExit('no such dataset')"),
        python(tmp_path, "good", TOUCH),
    ]
    jobs.run(planned)
    assert [job.state for job in planned] == ["failed", "done"]
    assert planned[0].tries == 2
    assert planned[0].note == "no such dataset"


def test_a_killed_job_starts_again(tmp_path):
    def kill_first_try(planned):
        if planned[0].tries == 1 and planned[0].process:
            planned[0].process.kill()

    planned = [python(tmp_path, "job", f"import time; time.sleep(1); {TOUCH}")]
    jobs.run(planned, show=kill_first_try)
    assert (planned[0].state, planned[0].tries) == ("done", 2)


def test_when_the_time_is_up_nothing_keeps_running(tmp_path):
    processes = []
    planned = [python(tmp_path, name, "import time; time.sleep(60)") for name in ("first", "second")]
    jobs.run(planned, budget_seconds=0.1, show=lambda all_jobs: processes.append(all_jobs[0].process))
    assert [job.state for job in planned] == ["out of time", "out of time"]
    assert processes[0].poll() is not None


def test_the_newest_metrics_in_the_log_are_noted(tmp_path):
    code = f"print('eval_loss 0.7'); print('eval_loss 0.5'); print('written'); {TOUCH}"
    planned = [python(tmp_path, "job", code)]
    jobs.run(planned)
    assert planned[0].note == "eval_loss 0.5"
