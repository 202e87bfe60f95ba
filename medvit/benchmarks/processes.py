"""Memory and CPU time of a process and its descendants."""

import psutil


def process_tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def resident_megabytes(pid: int) -> float:
    """Memory of a process tree in MB; pages that processes share count once for each."""
    return sum(process.memory_info().rss for process in process_tree(pid)) / 2**20


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process tree has used."""
    times = [process.cpu_times() for process in process_tree(pid)]
    return sum(each.user + each.system for each in times)
