# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Tasks of one event loop, until SIGUSR1: timers, a queue, a stream over a socket pair, a child that answers lines, children
that are waited for, a pool of threads. Then all that they saw is checked."""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import PIPE
from pathlib import Path


class Work:
    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.counts: dict[str, int] = {}

    def count(self, what: str) -> int:
        """How many of these there were before this one."""
        before = self.counts.get(what, 0)
        self.counts[what] = before + 1
        return before

    async def ticks(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while not self.stopped.is_set():
            await asyncio.sleep(0.01)
            assert loop.time() >= last, "time goes back"
            last = loop.time()
            self.count("ticks")

    async def produce(self, queue: asyncio.Queue[int | None]) -> None:
        while not self.stopped.is_set():
            await queue.put(self.count("produced"))
        await queue.put(None)

    async def consume(self, queue: asyncio.Queue[int | None]) -> None:
        while (number := await queue.get()) is not None:
            assert number == self.count("consumed"), number
            if number % 20 == 0:
                await asyncio.sleep(0.005)

    async def send(self, end: socket.socket) -> None:
        _, writer = await asyncio.open_connection(sock=end)
        while not self.stopped.is_set():
            writer.write(f"{self.count('sent')}\n".encode() * 10)
            await writer.drain()
            await asyncio.sleep(0.003)
        writer.close()
        await writer.wait_closed()

    async def receive(self, end: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=end)
        while line := await reader.readline():
            assert int(line) == self.count("lines") // 10, line
        writer.close()

    async def ask(self) -> None:
        """One child answers all questions."""
        script = "while read n; do echo $((n * n)); done"
        child = await asyncio.create_subprocess_exec("sh", "-c", script, stdin=PIPE, stdout=PIPE)
        while not self.stopped.is_set():
            number = self.count("answers")
            child.stdin.write(f"{number}\n".encode())
            assert int(await child.stdout.readline()) == number * number, number
        child.stdin.close()
        assert await child.wait() == 0

    async def spawn(self) -> None:
        """One child after the other ends with its number."""
        while not self.stopped.is_set():
            number = self.count("children")
            child = await asyncio.create_subprocess_exec("sh", "-c", f"sleep 0.05; exit {number % 100}")
            assert await child.wait() == number % 100, number

    async def think(self) -> None:
        while not self.stopped.is_set():
            number = self.count("sums")
            total = await asyncio.to_thread(sum, range(number))
            assert total == number * (number - 1) // 2, number

    async def report(self) -> None:
        progress = os.open("progress", os.O_WRONLY | os.O_CREAT, 0o644)
        while not self.stopped.is_set():
            await asyncio.sleep(0.02)
            if len(self.counts) == 8:
                os.pwrite(progress, f"{self.counts}".ljust(300).encode() + b"\n", 0)

    async def all(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.stopped.set)
        queue: asyncio.Queue[int | None] = asyncio.Queue(3)
        here, there = socket.socketpair()
        async with asyncio.TaskGroup() as group:
            for task in (self.ticks(), self.produce(queue), self.consume(queue), self.send(here), self.receive(there),
                         self.ask(), self.spawn(), self.think(), self.report()):
                group.create_task(task)
        assert self.counts["produced"] == self.counts["consumed"], "the queue"
        assert self.counts["lines"] == 10 * self.counts["sent"], "the stream"
        Path("result").write_text("every tick, line and answer is right\n")


if __name__ == "__main__":
    asyncio.run(Work().all())
