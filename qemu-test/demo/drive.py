#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The demo: runs program.py, dumps, kills and restores it with crust, and shows at each step what can be seen.

Every claim that it prints with "ok" was checked; the first that does not hold ends the demo with status 1.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")
PATIENCE = 60.0


def title(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def check(claim: str, holds: bool) -> None:
    print(f"  {'ok  ' if holds else 'FAIL'}  {claim}", flush=True)
    if not holds:
        sys.exit(1)


def run(*command: str, expect: int | None = 0) -> str:
    """Shows a command and what it prints, as a terminal would."""
    print(f"\n$ {' '.join(command)}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print("".join(f"  {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if expect is not None and done.returncode != expect:
        check(f"{command[0]} exits with {expect} (it was {done.returncode})", False)
    return done.stdout


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            check(what, False)
        time.sleep(0.05)


# What is looked at from outside: the processes and the file.


def stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on (proc_pid_stat(5)); the second, the name, may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def identity(pid: int) -> dict[str, object]:
    fields = stat(pid)
    threads = sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))
    return {"pid": pid, "pgid": fields[2], "sid": fields[3], "threads": threads, "start time": fields[19]}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def lines(file: Path) -> dict[str, list[tuple[int, str]]]:
    """The file's lines by source. An unfinished last line belongs to a write that is going on."""
    found: dict[str, list[tuple[int, str]]] = {"primes": [], "pi": [], "timer": [], "unix": []}
    for line in file.read_text().split("\n")[:-1]:
        source, number, value = line.split(" ")
        found[source].append((int(number), value))
    return found


def grows(file: Path, by: int) -> Callable[[], bool]:
    """Whether each computing source has appended so many lines since this call."""
    before = {source: len(found) for source, found in lines(file).items()}
    return lambda: all(len(lines(file)[source]) >= before[source] + by for source in ("primes", "pi", "timer"))


# What the file must hold, computed here in other ways than the program does.


def primes() -> Iterator[str]:
    return (str(n) for n in count(2) if all(n % divisor for divisor in range(2, int(n**0.5) + 1)))


def pi() -> Iterator[str]:
    """Machin: pi = 16 atan(1/5) - 4 atan(1/239), in integers with ten guard digits."""
    digits = 3000
    unity = 10 ** (digits + 10)

    def atan_inverse(x: int) -> int:
        power = total = unity // x
        for n in count(3, 2):
            power //= -x * x
            if power in (0, -1):
                return total
            total += power // n

    return iter(str((16 * atan_inverse(5) - 4 * atan_inverse(239)) // 10**10))


def timer() -> Iterator[str]:
    return (str(n) for n in count(1))


def check_lines(file: Path, at_dump: dict[str, list[tuple[int, str]]]) -> None:
    for source, expected in ("primes", primes()), ("pi", pi()), ("timer", timer()):
        found = lines(file)[source]
        wrong = next((line for line, number, value in zip(found, count(1), expected) if line != (number, value)), None)
        before = len(at_dump[source])
        check(f"{source}: lines 1 to {len(found)} are there, once, in order, right ({before} before the dump)"
              + (f"; not so: {wrong}" if wrong else ""), not wrong)


# The two acts.


def show(leader: int) -> None:
    pids = ",".join(str(pid) for pid in [leader, *children(leader)])
    run("ps", "-L", "-o", "pid,tid,ppid,pgid,sid,lstart,comm", "-p", pids)


def dump_and_restore(leader: int, file: Path, images: Path) -> None:
    pids = [leader, *children(leader)]
    before = [identity(pid) for pid in pids]

    title("Dump it; the dump ends it")
    run("crust", "dump", "-t", str(leader), "-D", str(images))
    at_dump = lines(file)
    check(f"none of the processes {pids} is there", not any(alive(pid) for pid in pids))
    size = file.stat().st_size
    # Time that passes is the point: a program that still ran would have written some lines.
    time.sleep(0.5)
    check("the file does not grow any more", file.stat().st_size == size)
    run("ls", "-l", str(images))

    title("Restore it")
    run("crust", "restore", "-d", "-D", str(images))
    wait_until("all threads compute, the timer ticks, the pipe carries", grows(file, 20))
    check("all threads compute, the timer ticks, the pipe carries", True)
    show(leader)
    after = [identity(pid) for pid in pids]
    check("same pids, thread ids, groups, sessions and start times", after == before)

    os.kill(leader, signal.SIGUSR2)
    wait_until("the message", lambda: len(lines(file)["unix"]) == 1)
    check("the Unix socket held the message that was sent before the dump",
          lines(file)["unix"] == [(1, "sent-before-the-dump")])
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until("the program ends", lambda: not any(alive(pid) for pid in pids))
    check_lines(file, at_dump)


def start(file: Path, *, leads: bool) -> tuple[int, int]:
    """Starts the program through a shell that leads a session and then ends, so that PID 1 is the program's parent.

    It gets a session of its own (leads) or stays in that of the dead shell. Gives its pid and the shell's.
    """
    setsid = "setsid " if leads else ""
    script = f"{setsid}{sys.executable} {PROGRAM} {file} >>log 2>&1 </dev/null & echo $!"
    shell = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE, text=True)
    leader = int(shell.communicate()[0])
    wait_until("the program starts", lambda: file.exists() and
               all(len(lines(file)[source]) >= 10 for source in ("primes", "pi", "timer")))
    return leader, shell.pid


def close_tcp(leader: int) -> None:
    print(f"\n$ kill -USR1 {leader}   # it closes its TCP connection", flush=True)
    os.kill(leader, signal.SIGUSR1)
    wait_until("the connection is closed", lambda: not has_tcp(leader))


def main() -> None:
    work = Path(tempfile.mkdtemp(prefix="demo-"))
    os.chdir(work)

    title("A Python program: threads, a child in its own session, a pipe, a file, a timer, sockets")
    file = work / "first"
    leader, _ = start(file, leads=True)
    show(leader)
    run("tail", "-n", "4", str(file))

    title("What crust sees of it: the program is stopped for a moment, and nothing is changed")
    run("crust", "explain", str(leader), expect=None)
    title("An established TCP connection cannot be carried over yet: crust says so and leaves the program alone")
    run("crust", "dump", "-t", str(leader), "-D", str(work / "refused"), expect=3)
    wait_until("the program goes on", grows(file, 5))
    check("the program goes on, and no image is left", not (work / "refused").exists())
    close_tcp(leader)
    dump_and_restore(leader, file, work / "first.images")

    title("The same in a session whose leader is dead")
    file = work / "second"
    leader, shell = start(file, leads=False)
    close_tcp(leader)
    show(leader)
    check(f"its session is {shell}, and there is no process {shell}",
          stat(leader)[3] == str(shell) and not alive(shell))
    dump_and_restore(leader, file, work / "second.images")
    print("\nEverything above was checked.", flush=True)


def has_tcp(pid: int) -> bool:
    """Whether the process holds a TCP socket: its inode is in /proc/net/tcp."""
    tcp = {line.split()[9] for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue  # It is just closing it.
        if link.startswith("socket:[") and link[8:-1] in tcp:
            return True
    return False


if __name__ == "__main__":
    main()
