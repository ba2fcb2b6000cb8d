"""Medians with their range, ratios within the run, and the table."""

import os
import platform
import statistics
import time


class Results:
    """Every number of the run, by table, row and subject."""

    def __init__(self):
        self.tables = {}

    def add(self, table, row, subject, value):
        self.tables.setdefault(table, {}).setdefault(row, {}).setdefault(subject, []).append(value)


def cell(values):
    """`1.2 (1.0–3.4)`; one value stands alone."""
    if not values:
        return ""
    digits = 1 if statistics.median(values) < 100 else 0
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ratio(row, one, other):
    if one not in row or other not in row or not statistics.median(row[other]):
        return ""
    return f"{statistics.median(row[one]) / statistics.median(row[other]):.1f}"


def markdown(results, header):
    """The whole report as Markdown."""
    lines = list(header)
    for table, rows in results.tables.items():
        lines += ["", f"| {table} | crun alone | podman | kubelocal | kubelocal ÷ crun | podman ÷ kubelocal |",
                  "| --- | --- | --- | --- | --- | --- |"]
        for name, row in rows.items():
            cells = [cell(row.get(subject)) for subject in ("crun", "podman", "kubelocal")]
            cells += [ratio(row, "kubelocal", "crun"), ratio(row, "podman", "kubelocal")]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def machine():
    """Whose numbers these are."""
    with open("/proc/cpuinfo") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as meminfo:
        memory = int(meminfo.readline().split()[1]) / 1048576
    load = os.getloadavg()[0]
    return (f"{os.cpu_count()} × {model}, {memory:.0f} GiB, Linux {platform.release()}, load {load:.1f} at the start, "
            f"nice {os.nice(0)}; {time.strftime('%Y-%m-%d')}")
