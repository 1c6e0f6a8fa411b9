// Reads a file of a lower layer, writes it when told what, and reads it again.
import { readFileSync, writeFileSync } from 'node:fs';

const page = '/etc/motd';
const text = process.argv[2];
console.log(`found:   ${readFileSync(page, 'utf8').trim()}`);
if (text) {
  writeFileSync(page, `${text}\n`);
  console.log(`changed: ${readFileSync(page, 'utf8').trim()}`);
}
