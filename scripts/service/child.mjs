import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { closeSync, fstatSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { findCommand } from '../setup/packages.mjs';

const maxLogBytes = 64 << 20;
const firstBackoffMs = 250;
const maxBackoffMs = 10_000;
/** So many ends within so long mean that starting again is no cure. */
const maxRestarts = 5;
const restartWindowMs = 60_000;

/**
 * One program of the service: started, watched, started again when it dies, stopped.
 *
 * INVARIANTS
 * - It never outlives this process: the kernel sends it `deathSignal` when this process ends in any way (PR_SET_PDEATHSIG, by setpriv).
 * - It has a session of its own, so a terminal's Ctrl-C reaches only this process, which then stops the parts in their order.
 * - Its whole output is in its log file; nothing waits for a reader.
 *
 * Emits `gave-up` with an Error that quotes the log's end when it dies too often, and `restarted`.
 */
export class Child extends EventEmitter {
  #stopping = false;
  #ends = [];
  #process = null;
  #timer = null;

  /**
   * @param {{ name: string, program: string, args: string[], env?: Record<string, string>, log: string, deathSignal?: string,
   *   account?: { uid: number, gid: number } | null, ready: (freshLog: string, child: Child) => boolean | Promise<boolean>, readyLimitMs?: number }} options
   */
  constructor(options) {
    super();
    this.options = { deathSignal: 'TERM', account: null, readyLimitMs: 60_000, ...options };
  }

  get name() {
    return this.options.name;
  }

  get pid() {
    return this.#process?.pid ?? null;
  }

  /** Starts it and waits until it is ready; throws with the log's end when it dies or takes too long first. */
  async start() {
    this.#stopping = false;
    this.#spawn();
    await this.#untilReady();
    return this;
  }

  #spawn() {
    rotate(this.options.log);
    const descriptor = openSync(this.options.log, 'a', 0o600);
    this.logStart = fstatSync(descriptor).size;
    const { program, args } = this.#command();
    this.#process = spawn(program, args, {
      cwd: '/',
      env: { ...process.env, ...this.options.env },
      stdio: ['ignore', descriptor, descriptor],
      detached: true,
    });
    closeSync(descriptor);
    const one = this.#process;
    one.once('error', () => this.#ended(one, 'could not be started'));
    one.once('exit', (code, signal) => this.#ended(one, signal ? `was ended by ${signal}` : `exited with ${code}`));
  }

  #command() {
    const { program, args, account, deathSignal } = this.options;
    const setpriv = findCommand('setpriv');
    if (!setpriv) throw new Error('setpriv is missing: install the package util-linux');
    const identity = account ? [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'] : [];
    return { program: setpriv, args: [...identity, `--pdeathsig=${deathSignal}`, '--', program, ...args] };
  }

  #ended(one, how) {
    if (one !== this.#process) return;
    this.#process = null;
    this.ending = how;
    this.emit('ended', how);
    if (this.#stopping || !this.wasReady) return;
    const now = performance.now();
    this.#ends = [...this.#ends.filter((time) => now - time < restartWindowMs), now];
    if (this.#ends.length > maxRestarts) {
      this.emit('gave-up', this.#failure(`${how}, the ${this.#ends.length}th time within a minute`));
      return;
    }
    this.emit('crashed', how);
    this.#timer = setTimeout(() => this.#revive(), Math.min(firstBackoffMs * 2 ** (this.#ends.length - 1), maxBackoffMs));
  }

  #revive() {
    this.#spawn();
    this.#untilReady().then(
      () => this.emit('restarted'),
      (error) => {
        if (!this.#stopping && this.#process !== null) this.emit('gave-up', error);
      },
    );
  }

  async #untilReady() {
    const one = this.#process;
    const end = performance.now() + this.options.readyLimitMs;
    while (performance.now() < end) {
      if (this.#process !== one) throw this.#failure(this.ending);
      if (await this.options.ready(this.freshLog(), this)) {
        this.wasReady = true;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw this.#failure(`was not ready after ${this.options.readyLimitMs / 1000} s`);
  }

  /** What the current process has written so far. */
  freshLog() {
    const bytes = readFileSync(this.options.log);
    return bytes.subarray(Math.min(this.logStart, bytes.length)).toString('utf8');
  }

  #failure(how) {
    const tail = this.freshLog().trimEnd().split('\n').slice(-12).join('\n  ');
    return new Error(`the ${this.name} ${how}; its log ends with\n  ${tail || '(nothing)'}\nthe whole log is in ${this.options.log}`);
  }

  /** Sends a signal as it is; the end it may bring counts as a crash. */
  kill(signal) {
    this.#process?.kill(signal);
  }

  /** Ends it: the signal, then after `graceMs` SIGKILL. Resolves when it is gone. */
  async stop(signal = 'SIGTERM', graceMs = 30_000) {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const one = this.#process;
    if (!one) return;
    const gone = once(one, 'exit');
    one.kill(signal);
    const timer = setTimeout(() => one.kill('SIGKILL'), graceMs);
    await gone;
    clearTimeout(timer);
  }
}

function rotate(log) {
  const size = statSync(log, { throwIfNoEntry: false })?.size ?? 0;
  if (size > maxLogBytes) renameSync(log, `${log}.1`);
}
