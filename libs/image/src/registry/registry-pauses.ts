/**
 * Until when each registry wants to be left alone, by all of this process: what it told one request (429 or 503 with Retry-After) holds for the next, whoever
 * makes it.
 */
export class RegistryPauses {
  readonly #until = new Map<string, number>();

  /** Notes that `origin` wants no request for `pauseMs`. */
  note(origin: string, pauseMs: number): void {
    const until = Date.now() + pauseMs;
    if (until > (this.#until.get(origin) ?? 0)) this.#until.set(origin, until);
  }

  /** How long a request to `origin` has to wait yet. */
  leftMs(origin: string): number {
    const left = (this.#until.get(origin) ?? 0) - Date.now();
    if (left <= 0) this.#until.delete(origin);
    return Math.max(0, left);
  }
}
