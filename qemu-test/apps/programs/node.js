// SPDX-License-Identifier: Apache-2.0 OR MIT

// Timers, worker threads, compressing streams and a child process, until SIGUSR2; then what they did is checked.

'use strict';
const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const { once } = require('node:events');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { setTimeout: sleep } = require('node:timers/promises');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const zlib = require('node:zlib');

const digest = (number) => createHash('sha256').update(String(number).repeat(100)).digest('hex');

if (!isMainThread) {
	// A worker: answers questions, and counts in shared memory, which another one waits for.
	const counter = new Int32Array(workerData.shared);
	parentPort.on('message', (number) => {
		parentPort.postMessage([number, digest(number)]);
		Atomics.add(counter, workerData.index, 1);
		Atomics.notify(counter, workerData.index);
		if (workerData.index === 1) {
			Atomics.wait(counter, 2, 0, 2); // Nobody wakes it: a wait with an end.
		}
	});
} else {
	main().then(() => fs.writeFileSync('result', 'every tick, answer and chunk is right\n'), (error) => {
		console.error(error);
		process.exitCode = 1;
	});
}

async function main() {
	let stopped = false;
	const counts = { ticks: 0, answers: 0, chunks: 0, echoes: 0, immediates: 0 };
	process.once('SIGUSR2', () => { stopped = true; });

	const ticker = setInterval(() => { counts.ticks++; }, 10);
	const spin = () => { counts.immediates++; if (!stopped) setTimeout(() => setImmediate(spin), 1); };
	spin();

	const shared = new SharedArrayBuffer(16);
	const ask = async (index) => {
		const worker = new Worker(__filename, { workerData: { shared, index } });
		let asked = 0;
		for (; !stopped; asked++) {
			worker.postMessage(asked);
			const [[number, value]] = await once(worker, 'message');
			assert.strictEqual(number, asked);
			assert.strictEqual(value, digest(asked));
			counts.answers++;
			await sleep(2);
		}
		assert.strictEqual(Atomics.load(new Int32Array(shared), index), asked);
		await worker.terminate();
	};

	// Numbers are compressed and expanded again, in the threads of the pool.
	let produced = 0;
	const numbers = async function* () {
		while (!stopped) {
			let text = '';
			for (let i = 0; i < 500; i++) text += `${produced++}\n`;
			yield text;
			await sleep(1);
		}
	};
	const consume = async function (chunks) {
		let next = 0;
		let rest = '';
		for await (const chunk of chunks) {
			counts.chunks++;
			const lines = (rest + chunk).split('\n');
			rest = lines.pop();
			for (const line of lines) assert.strictEqual(line, String(next++));
		}
		assert.strictEqual(next, produced);
	};
	const stream = () => pipeline(Readable.from(numbers()), zlib.createGzip({ level: 3 }), zlib.createGunzip(), consume);

	// What goes through a child comes back.
	const echo = async () => {
		const child = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] });
		child.stdout.setEncoding('utf8');
		let came = '';
		child.stdout.on('data', (text) => { came += text; });
		let sent = '';
		for (let n = 0; !stopped; n++) {
			sent += `${n}\n`;
			child.stdin.write(`${n}\n`);
			while (came.length < sent.length) await sleep(1);
			assert.strictEqual(came, sent);
			counts.echoes++;
		}
		child.stdin.end();
		const [status] = await once(child, 'exit');
		assert.strictEqual(status, 0);
	};

	const progress = fs.openSync('progress', 'w');
	const report = async () => {
		while (!stopped) {
			await sleep(20);
			if (Object.values(counts).every((count) => count > 0)) {
				fs.writeSync(progress, JSON.stringify(counts).padEnd(120) + '\n', 0);
			}
		}
	};
	await Promise.all([ask(0), ask(1), stream(), echo(), report()]);
	clearInterval(ticker);
}
