// SPDX-License-Identifier: Apache-2.0 OR MIT

import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Computes in threads, with garbage for the collector and loops for the compilers, until there is a file "stop"; then checks. */
public class Compute {
    /** A chain of numbers, in which a lost or wrong step shows in all that follow; and what it left on the heap. */
    static class Chain extends Thread {
        final long seed;
        volatile long length;
        long value;
        final TreeMap<Integer, String> kept = new TreeMap<>();

        Chain(int number) {
            super("chain-" + number);
            seed = value = number + 1;
        }

        static long next(long value) {
            for (int i = 0; i < 100; i++) {
                value ^= value << 13;
                value ^= value >>> 7;
                value ^= value << 17;
            }
            return value;
        }

        @Override
        public void run() {
            while (!stop) {
                value = next(value);
                length++;
                // Garbage, and some of it stays for a while.
                kept.put((int) (length % 5000), "step " + length + " of " + getName());
                if (length % 500 == 0) {
                    pause(2);
                }
            }
        }

        boolean isRight() {
            long again = seed;
            for (long i = 0; i < length; i++) {
                again = next(again);
            }
            for (long i = Math.max(1, length - 4999); i <= length; i++) {
                if (!("step " + i + " of " + getName()).equals(kept.get((int) (i % 5000)))) {
                    return false;
                }
            }
            return again == value;
        }
    }

    static volatile boolean stop;

    static void pause(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    public static void main(String[] arguments) throws Exception {
        List<Chain> chains = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            chains.add(new Chain(i));
        }
        chains.forEach(Thread::start);

        ScheduledExecutorService timers = Executors.newScheduledThreadPool(1);
        AtomicLong ticks = new AtomicLong();
        timers.scheduleWithFixedDelay(ticks::incrementAndGet, 0, 10, TimeUnit.MILLISECONDS);

        ArrayBlockingQueue<Long> queue = new ArrayBlockingQueue<>(10);
        Thread producer = new Thread(() -> {
            try {
                for (long n = 0; !stop; n++) {
                    queue.put(n);
                }
                queue.put(-1L);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        producer.start();
        AtomicLong consumed = new AtomicLong();
        Thread consumer = new Thread(() -> {
            try {
                for (long n; (n = queue.take()) >= 0; consumed.incrementAndGet()) {
                    check(n == consumed.get(), "item " + n);
                    if (n % 100 == 0) {
                        pause(1);
                    }
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        consumer.start();

        ExecutorService pool = Executors.newFixedThreadPool(2);
        long sums = 0;
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        try (RandomAccessFile progress = new RandomAccessFile("progress", "rw")) {
            while (!Files.exists(Path.of("stop"))) {
                final long n = sums++;
                Future<Long> sum = pool.submit(() -> {
                    long total = 0;
                    for (long i = 0; i < n; i++) {
                        total += i;
                    }
                    return total;
                });
                digest.update(Long.toString(n).getBytes(StandardCharsets.UTF_8));
                check(sum.get() == n * (n - 1) / 2, "sum " + n);
                if (ticks.get() > 1 && consumed.get() > 100) {
                    progress.seek(0);
                    progress.writeBytes(String.format("%9d %9d %9d%n", n, ticks.get(), consumed.get()));
                }
                pause(5);
            }
        }
        stop = true;
        pool.shutdown();
        timers.shutdown();
        for (Chain chain : chains) {
            chain.join();
            check(chain.isRight(), chain.getName());
        }
        producer.join();
        consumer.join();
        MessageDigest again = MessageDigest.getInstance("SHA-256");
        for (long n = 0; n < sums; n++) {
            again.update(Long.toString(n).getBytes(StandardCharsets.UTF_8));
        }
        check(MessageDigest.isEqual(again.digest(), digest.digest()), "the digest");
        Files.writeString(Path.of("result"), "every chain, map and task is right\n");
    }
}
