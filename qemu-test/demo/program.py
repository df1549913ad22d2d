#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The demo's program: an ordinary Python program that holds many kinds of state at once.

    program.py FILE

* two threads compute, one prime numbers, one digits of pi, each with its state in variables and on its stack;
* an interval timer interrupts the main thread ten times a second, which writes a number into a pipe;
* a child process in a session of its own reads the pipe;
* all of them append lines "SOURCE NUMBER VALUE" to one open file. Whoever reads the file can recompute every line, so
  that a lost, a doubled or a wrong one shows;
* a Unix socketpair holds a message that was not read yet, and a TCP connection some bytes.

SIGUSR1 closes the TCP connection. SIGUSR2 reads the message and appends it.
"""

import itertools
import os
import signal
import socket
import sys
import threading
import time


class Lines:
    """Appends numbered lines to a file that the whole program shares."""

    def __init__(self, fd: int, source: str) -> None:
        self.fd, self.source, self.number = fd, source, itertools.count(1)

    def append(self, value: object) -> None:
        # One write is one line: O_APPEND keeps writers apart.
        os.write(self.fd, f"{self.source} {next(self.number)} {value}\n".encode())


def primes(lines: Lines) -> None:
    found: list[int] = []
    for candidate in itertools.count(2):
        if all(candidate % prime for prime in found if prime * prime <= candidate):
            found.append(candidate)
            lines.append(candidate)
            time.sleep(0.05)


def pi(lines: Lines) -> None:
    """One digit after the other from an unbounded continued fraction (Gibbons' spigot)."""
    q, r, t, k, digit, n = 1, 0, 1, 1, 3, 3
    while True:
        if 4 * q + r - t < digit * t:
            lines.append(digit)
            q, r, digit = 10 * q, 10 * (r - digit * t), 10 * (3 * q + r) // t - 10 * digit
            time.sleep(0.05)
        else:
            following = (q * (7 * k + 2) + r * n) // (t * n)
            q, r, t, k, n, digit = q * k, (2 * q + r) * n, t * n, k + 1, n + 2, following


class Ticks:
    """Writes one number for each tick of the timer, in order, also if a tick comes while the last is being written."""

    def __init__(self, pipe: int) -> None:
        self.pipe, self.due, self.busy, self.number = pipe, 0, False, 0

    def __call__(self, *_: object) -> None:
        self.due += 1
        if self.busy:
            return
        self.busy = True
        while self.due:
            self.due -= 1
            self.number += 1
            os.write(self.pipe, f"{self.number}\n".encode())
        self.busy = False


def child(pipe: int, file: int) -> None:
    """Appends each number that comes through the pipe."""
    os.setsid()
    lines = Lines(file, "timer")
    with os.fdopen(pipe) as numbers:
        for number in numbers:
            lines.append(number.strip())


def main() -> None:
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        child(reading, file)
        os._exit(0)
    os.close(reading)

    for compute in primes, pi:
        threading.Thread(target=compute, args=[Lines(file, compute.__name__)], daemon=True).start()

    unix, peer = socket.socketpair()
    peer.send(b"sent-before-the-dump")

    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.send(b"bytes that nobody has read")

    signal.signal(signal.SIGALRM, Ticks(writing))
    signal.signal(signal.SIGUSR1, lambda *_: [tcp.close() for tcp in (client, server, listener)])
    message = Lines(file, "unix")
    signal.signal(signal.SIGUSR2, lambda *_: message.append(unix.recv(100).decode()))
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
