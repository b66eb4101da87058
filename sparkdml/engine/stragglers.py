"""Tasks that run on after their job has failed, and write files when all of its files were to be removed."""

import time
from contextlib import suppress

from pyspark import SparkContext

PATIENCE = 10.0  # seconds; Spark ends the Python of a killed task after 2 (spark.python.task.killTimeout)


def await_stragglers(context: SparkContext, group: str | None) -> None:
    """Wait until no task of the last job of a job group runs any more."""
    with suppress(Exception):  # at worst a file stays until the session ends
        context._jsc.sc().listenerBus().waitUntilEmpty()
        tracker = context.statusTracker()
        job = tracker.getJobInfo(max(tracker.getJobIdsForGroup(group)))
        stages = list(job.stageIds) if job else []
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = map(tracker.getStageInfo, stages)
            if not any(stage and stage.numActiveTasks for stage in found):
                break
            time.sleep(0.01)
