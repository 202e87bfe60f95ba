import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from medvit.inference.batching import RequestBatcher


def test_queued_requests_share_a_batch_and_a_failure_affects_its_request_alone():
    sizes, lock = [], threading.Lock()

    def run(items):
        sizes.append(len(items))
        if "bad" in items:
            raise ValueError("bad item")
        return [item.upper() for item in items]

    batcher = RequestBatcher(run, lock, max_batch=4)
    with ThreadPoolExecutor(9) as pool, lock:
        results = {item: pool.submit(batcher, item) for item in [*"abcdefgh", "bad"]}
        while batcher.queued < 9:
            time.sleep(0.01)
        lock.release()  # all are queued: let them run
        for item, result in results.items():
            if item == "bad":
                with pytest.raises(ValueError, match="bad item"):
                    result.result()
            else:
                assert result.result() == item.upper()
        lock.acquire()
    assert max(sizes) == 4
    assert sum(sizes) <= 9 + 4  # only the batch with the bad item ran twice
