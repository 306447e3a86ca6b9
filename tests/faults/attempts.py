"""One attempt after the other until a step has succeeded, as Airflow makes them."""

from __future__ import annotations

import time

from tests.killable import Attempt, Job, Workers

# As in millrace.workflow: three retries, the first after ten seconds, each pause twice the one before.
RETRIES = 3
DELAY_S = 10.0
ATTEMPT_TIMEOUT_S = 300.0


def succeed(workers: Workers, jobs: list[Job], *, delay_s: float = DELAY_S) -> None:
    """Run the jobs of a step side by side, each again while it fails with what a retry can mend.

    Raises:
        AssertionError: it does not come to an end without a person.
    """
    attempts = [workers.start(job) for job in jobs]
    for job, attempt in zip(jobs, attempts, strict=True):
        _succeed(workers, job, attempt, delay_s)


def _succeed(workers: Workers, job: Job, attempt: Attempt, delay_s: float) -> None:
    for retry in range(RETRIES + 1):
        if attempt.end(timeout_s=ATTEMPT_TIMEOUT_S).succeeded:
            return
        failure = attempt.failure or {}
        assert failure, f"{job['step']} (process {attempt.pid}) ended without a word: {attempt.events}"
        assert not failure["permanent"], f"{job['step']} failed for good with {failure['kind']}: {failure['text']}"
        if retry < RETRIES:
            time.sleep(delay_s * 2**retry)
            attempt = workers.start(job)
    raise AssertionError(f"{job['step']} failed {RETRIES + 1} times, at last with: {failure['text']}")
