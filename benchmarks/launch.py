"""Runs one command and says what it cost: `python launch.py CGROUP COMMAND…` (an empty CGROUP: none).

Prints the command's process id on a line of its own, and when it has ended, a line of JSON: exit code, wall and CPU time, peak memory and what
was written, by the process, all its threads and every process that it waited for. The command's own output goes to standard error's
place, which the caller chooses.

Always: a process of its own, small and with nothing else to do, so that what the kernel adds up for its children is the command's alone:
the bytes of `/proc/self/io` and the peak of memory, which for a fork begins with its parent's.
Never: nothing of the package or of the standard library that takes long to import.
"""

import json
import os
import sys
import time

IO_NAMES = ("wchar", "syscw", "write_bytes")


def main() -> None:
    """Runs it, and tells."""
    cgroup, *command = sys.argv[1:]
    if cgroup:
        with open(cgroup + "/cgroup.procs", "w") as members:
            members.write(str(os.getpid()))
    before = io_counts()
    start_s = time.perf_counter()
    process_id = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    written = os.write(1, b"%d\n" % process_id)
    _, status, usage = os.wait4(process_id, 0)
    wall_s = time.perf_counter() - start_s
    after = io_counts()
    cost = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "written_bytes": after["wchar"] - before["wchar"] - written,
        "write_calls": after["syscw"] - before["syscw"] - 1,
        "dirtied_bytes": after["write_bytes"] - before["write_bytes"],
    }
    os.write(1, json.dumps(cost).encode() + b"\n")


def io_counts() -> dict[str, int]:
    """What this process and the children it waited for have written; zeros where the kernel does not tell."""
    try:
        with open("/proc/self/io") as counts:
            pairs = dict(line.split(":") for line in counts)
    except OSError:
        return dict.fromkeys(IO_NAMES, 0)
    return {name: int(pairs[name]) for name in IO_NAMES}


if __name__ == "__main__":
    main()
