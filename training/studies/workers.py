"""Many runs of a study in processes of one thread each; one that fails leaves the others be."""

import logging
import multiprocessing
import os
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import tensorflow as tf

RUNS_A_PROCESS = 10  # TensorFlow keeps some 50 MB of every model that it has compiled

log = logging.getLogger(__name__)


class Job:
    """One training of a study and its measurement: a `name`, a `folder`, and the two files that it leaves there."""

    @property
    def result_path(self):
        return self.folder / f"{self.name}.json"

    @property
    def samples_path(self):
        return self.folder / f"{self.name}.npz"


def do_all(runs, do, in_words, workers):
    """`do(run)` for each of `runs`, in `workers` processes, or in this one: name of a failed run -> its error.

    Args:
        runs: each a `Job`; they and `do`, a function of a module, go to other processes.
        in_words: what `do` returns -> what the log says of it.
    """
    queue, failed, ended = deque(runs), {}, []

    def report(run, outcome):
        ended.append(run)
        if isinstance(outcome, BaseException):
            failed[run.name] = f"{type(outcome).__name__}: {' '.join(str(outcome).split())[:300]}"
            log.warning("%s failed: %s", run.name, failed[run.name])
        else:
            log.info("%d of %d, %s: %s", len(ended), len(runs), run.name, in_words(outcome))

    if not workers:
        for run in runs:
            try:
                report(run, do(run))
            except Exception as error:
                report(run, error)
        return failed
    threads = [threading.Thread(target=work, args=(queue, do, report)) for _ in range(min(workers, len(runs)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        queue.clear()  # if this process was interrupted: no further run is begun
    return failed


def work(queue, do, report):
    """Do runs from `queue`, one process after another, each with TensorFlow in it for `RUNS_A_PROCESS` runs."""
    while queue:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn, initializer=prepare_worker) as process:
            for _ in range(RUNS_A_PROCESS):
                try:
                    run = queue.popleft()
                except IndexError:  # nothing is left
                    break
                try:
                    report(run, process.submit(do, run).result())
                except BrokenProcessPool:
                    report(run, RuntimeError("its process died"))
                    break
                except BaseException as error:
                    report(run, error)


def prepare_worker():
    """One thread; of a GPU only the memory in use; and no longer alive than the process that started this one."""
    tf.get_logger().setLevel("ERROR")  # each run traces a training step of its own, of which TensorFlow would warn
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)

    def follow_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
