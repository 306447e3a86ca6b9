"""Retry a step until it succeeds, as Airflow does."""

from __future__ import annotations

import time

from tests.support.attempts import Attempt, Job, Workers

# As in millrace.workflow: three retries, the first after ten seconds; each delay doubles.
RETRIES = 3
DELAY_S = 10.0
ATTEMPT_TIMEOUT_S = 600.0


def succeed(workers: Workers, jobs: list[Job], *, delay_s: float = DELAY_S) -> list[str]:
    """Run the jobs of a step in parallel, and retry each that fails with a temporary error.

    Returns:
        The error messages of failed attempts.

    Raises:
        AssertionError: a job failed permanently, or has no retry left.
    """
    attempts = [workers.start(job) for job in jobs]
    return [
        text for job, attempt in zip(jobs, attempts, strict=True) for text in _succeed(workers, job, attempt, delay_s)
    ]


def _succeed(workers: Workers, job: Job, attempt: Attempt, delay_s: float) -> list[str]:
    texts: list[str] = []
    while not attempt.end(timeout_s=ATTEMPT_TIMEOUT_S).succeeded:
        failure = attempt.failure
        assert failure is not None, f"{job['step']} (process {attempt.pid}) ended without a word: {attempt.events}"
        assert not failure["permanent"], f"{job['step']} failed for good with {failure['kind']}: {failure['text']}"
        texts.append(failure["text"])
        assert len(texts) <= RETRIES, f"{job['step']} was retried {RETRIES} times and failed again: {texts}"
        time.sleep(delay_s * 2 ** (len(texts) - 1))
        attempt = workers.start(job)
    return texts
