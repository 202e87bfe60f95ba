"""Computes the index of similar images in the background, one checkpoint at a time."""

import threading

from medvit.errors import MedvitError
from medvit.inference.retrieval import Index


class IndexBuilder:
    """Builds indices one after the other in background threads. Thread-safe; shared by all visitors."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[int, int]] = {}  # weights -> images done and in total
        self._errors: dict[str, str] = {}
        self._building = threading.Lock()
        self._starting = threading.Lock()

    def start(self, index: Index) -> None:
        """Start to build an index, unless it is being built or waits for its turn."""
        key = _key(index)
        with self._starting:
            if key in self._progress:
                return
            self._progress[key] = (0, 0)
            self._errors.pop(key, None)
        threading.Thread(target=self._run, args=(key, index), daemon=True).start()

    def is_running(self, index: Index) -> bool:
        """Whether an index is being built or waits for its turn."""
        return _key(index) in self._progress

    def status(self, index: Index) -> str:
        """What is being done for an index that is not ready, or why it failed, in a sentence."""
        key = _key(index)
        if progress := self._progress.get(key):
            done, total = progress
            count = f"{done:,} of {total:,} images" if total else "waiting to start"
            return f"Computing the model's features: {count}. You can continue meanwhile."
        if key in self._errors:
            return f"That did not work: {self._errors[key]}"
        return "The features of the training and test images have to be computed once; that takes minutes."

    def _run(self, key: str, index: Index) -> None:
        def progress(done: int, total: int) -> None:
            self._progress[key] = (done, total)

        try:
            with self._building:
                index.build(progress)
        except (MedvitError, OSError) as error:
            self._errors[key] = str(error)
        finally:
            del self._progress[key]


def _key(index: Index) -> str:
    return index.checkpoint.card["sha256"]
