"""Memory and CPU time of a process and its descendants, from /proc."""

import os
from pathlib import Path


def process_tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return [pid, *(descendant for child in children for descendant in process_tree(child))]


def resident_megabytes(pid: int) -> float:
    """Memory of a process tree in MB; pages that processes share count once for each."""
    texts = [Path(f"/proc/{each}/status").read_text() for each in process_tree(pid)]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("VmRSS")]
    return sum(int(line.split()[1]) for line in lines) / 1024


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process tree has used."""
    texts = [Path(f"/proc/{each}/stat").read_text() for each in process_tree(pid)]
    fields = [text.rpartition(")")[2].split() for text in texts]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")
