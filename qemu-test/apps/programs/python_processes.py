# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Processes that share work until there is a file `stop`; then all of it is checked.

Once with processes that are forked, whose semaphores and shared values are files without a name, and once with ones that
are started afresh, whose semaphores have names, which a "resource tracker" process removes in the end."""

import hashlib
import itertools
import multiprocessing
import os
import time
from multiprocessing.context import BaseContext
from pathlib import Path


def digest(number: int) -> tuple[int, str]:
    value = str(number).encode()
    for _ in range(200):
        value = hashlib.sha256(value).digest()
    return number, value.hex()


def work(tasks, results, lock, counter) -> None:
    """Takes a number, counts (read, wait, write: right only if the lock holds), gives its digest."""
    while (number := tasks.get()) is not None:
        with lock:
            seen = counter.value
            time.sleep(0.0005)
            counter.value = seen + 1
        results.put(digest(number))


class Team:
    """Two processes, their queues, and what came back."""

    def __init__(self, context: BaseContext) -> None:
        self.tasks, self.results = context.Queue(4), context.Queue(4)
        self.counter = context.Value("l", 0, lock=False)
        # Kept: the name of a lock goes with the lock, and a process that is started afresh looks for it.
        self.lock = context.Lock()
        arguments = (self.tasks, self.results, self.lock, self.counter)
        self.workers = [context.Process(target=work, args=arguments) for _ in range(2)]
        for worker in self.workers:
            worker.start()
        self.sent = 0
        self.came: dict[int, str] = {}

    def step(self) -> None:
        self.tasks.put(self.sent)
        self.sent += 1
        # Some are always under way.
        if self.sent > 3:
            self.take()

    def take(self) -> None:
        number, value = self.results.get()
        assert number not in self.came, f"{number} came twice"
        self.came[number] = value

    def end(self) -> None:
        while len(self.came) < self.sent:
            self.take()
        for _ in self.workers:
            self.tasks.put(None)
        for worker in self.workers:
            worker.join()
            assert worker.exitcode == 0, worker
        assert self.counter.value == self.sent, "the counter"
        assert sorted(self.came) == list(range(self.sent)), "the items"
        assert all(digest(number) == (number, value) for number, value in self.came.items()), "digests"


def numbers():
    """As long as there is no `stop`. It is asked by a thread of the pool, which is always some items ahead."""
    for number in itertools.count():
        if Path("stop").exists():
            return
        yield number
        time.sleep(0.005)


def main() -> None:
    teams = [Team(multiprocessing.get_context(method)) for method in ("fork", "spawn")]
    progress = os.open("progress", os.O_WRONLY | os.O_CREAT, 0o644)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = 0
        for expected, (number, value) in enumerate(pool.imap(digest, numbers())):
            assert digest(expected) == (number, value), expected
            found += 1
            for team in teams:
                team.step()
            if all(team.came for team in teams):
                state = [found, *(len(team.came) for team in teams)]
                os.pwrite(progress, " ".join(f"{count:9}" for count in state).encode() + b"\n", 0)
        pool.close()
        pool.join()
    for team in teams:
        team.end()
    Path("result").write_text("every item and count is right\n")


if __name__ == "__main__":
    main()
