/**
 * What the demo prints on: headings, aligned facts, and the expectations that each shown fact must meet. It goes on after a broken one, so that all is
 * seen, and counts them.
 */
export class Stage {
  #bold = (text) => text;
  #dim = (text) => text;
  broken = [];

  constructor(stream = process.stdout) {
    this.stream = stream;
    if (stream.isTTY && !process.env.NO_COLOR) {
      this.#bold = (text) => `\x1b[1m${text}\x1b[0m`;
      this.#dim = (text) => `\x1b[2m${text}\x1b[0m`;
    }
  }

  heading(text) {
    this.stream.write(`\n${this.#bold(text)}\n`);
  }

  /** A remark on what follows. */
  remark(text) {
    this.stream.write(`  ${this.#dim(text)}\n`);
  }

  /** One aligned line. With `holds` given it is an expectation, and a broken one is marked. */
  fact(label, value, holds = true) {
    const mark = holds ? '' : '   <- not as expected';
    if (!holds) this.broken.push(`${label}: ${value}`);
    this.stream.write(`  ${label.padEnd(34)} ${value}${mark}\n`);
  }

  /** Lines as they came, indented. */
  quote(text) {
    for (const line of text.trimEnd().split('\n')) this.stream.write(`    ${this.#dim('|')} ${line}\n`);
  }

  /** Columns, each as wide as its widest cell; numbers go to the right. */
  table(head, rows) {
    const cells = [head, ...rows.map((row) => row.map(String))];
    const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
    const numeric = head.map((_, column) => rows.every((row) => /^[\d.,-]/.test(String(row[column]))));
    const line = (row) =>
      row.map((cell, column) => (numeric[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join('  ');
    this.stream.write(
      `  ${this.#dim(line(head))}\n${cells
        .slice(1)
        .map((row) => `  ${line(row).trimEnd()}\n`)
        .join('')}`,
    );
  }
}

/** Bytes as people read them, with the exact base said. */
export function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(count, 1)) / 10));
  return `${(count / 1024 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`;
}

export const milliseconds = (time) => `${time.toFixed(time < 10 ? 1 : 0)} ms`;

/** The middle of the samples; of an even number, the lower of the two in the middle (nearest rank). */
export function percentile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
