// SPDX-License-Identifier: Apache-2.0 OR MIT

// Ten thousand goroutines that sleep, send, pass tokens on and leave garbage to the collector, until SIGUSR1. Then what
// they did is checked.
package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	sleepers = 9000
	ring     = 1000
)

func check(holds bool, format string, arguments ...any) {
	if !holds {
		fmt.Fprintf(os.Stderr, format+"\n", arguments...)
		os.Exit(1)
	}
}

// A sleeper keeps a text that it grows, and a sum of it that must hold.
func sleeper(number int, stop <-chan struct{}, naps chan<- int) int {
	text, sum := []byte(fmt.Sprint(number)), uint32(0)
	timer := time.NewTimer(time.Duration(number%3000) * time.Millisecond)
	for count := 0; ; count++ {
		sum = crc32.ChecksumIEEE(text)
		select {
		case <-timer.C:
		case <-stop:
			return count
		}
		check(sum == crc32.ChecksumIEEE(text), "the text of %d has changed", number)
		// A new one: the old one is garbage.
		text = append(append(make([]byte, 0, len(text)+100), text...), byte(count))
		if len(text) > 1000 {
			text = text[:10]
		}
		naps <- number
		timer.Reset(time.Duration(2000+number%2000) * time.Millisecond)
	}
}

// One of the ring adds its number to the token and passes it on.
func pass(number int, from <-chan int, to chan<- int) {
	for token := range from {
		to <- token + number
	}
	close(to)
}

func main() {
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, syscall.SIGUSR1)
	stop := make(chan struct{})

	naps, total, counted := make(chan int), atomic.Int64{}, make(chan int)
	go func() {
		count := 0
		for range naps {
			count++
			total.Add(1)
		}
		counted <- count
	}()
	var asleep sync.WaitGroup
	slept := make([]int, sleepers)
	for i := range slept {
		asleep.Add(1)
		go func() {
			defer asleep.Done()
			slept[i] = sleeper(i, stop, naps)
		}()
	}

	first := make(chan int)
	last := first
	for i := range ring {
		next := make(chan int)
		go pass(i, last, next)
		last = next
	}
	var rounds atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(first)
		for {
			token := int(rounds.Load())
			first <- token
			got := <-last
			check(got == token+ring*(ring-1)/2, "round %d gave %d", token, got)
			rounds.Add(1)
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()

	progress, err := os.Create("progress")
	check(err == nil, "%v", err)
	ticker := time.NewTicker(50 * time.Millisecond)
	for running := true; running; {
		select {
		case <-usr1:
			running = false
		case <-ticker.C:
			check(runtime.NumGoroutine() >= sleepers+ring, "only %d goroutines", runtime.NumGoroutine())
			runtime.GC()
			if total.Load() > 0 && rounds.Load() > 0 {
				fmt.Fprintf(progress, "%9d %9d\n", total.Load(), rounds.Load())
				progress.Seek(0, 0)
			}
		}
	}
	close(stop)
	<-ended
	asleep.Wait()
	close(naps)
	sum := 0
	for _, count := range slept {
		sum += count
	}
	count := <-counted
	check(sum == count, "%d naps were told of, not %d", count, sum)
	check(os.WriteFile("result", []byte("every nap, token and text is right\n"), 0o644) == nil, "no result")
}
