// Ends the way it is told: `code N` exits with N, `memory` takes memory until it is stopped.
const [how, code] = process.argv.slice(2);

if (how === 'memory') {
  const taken = [];
  // Filled, since memory that is never touched is never charged.
  for (;;) {
    taken.push(Buffer.alloc(4 << 20, 1));
    console.log(`holding ${taken.length * 4} MiB`);
  }
}
console.log(`exiting with ${code}`);
process.exitCode = Number(code);
