import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

/*
 * What stands for the outside in the test of egress, in a network namespace of its own: on every address a TCP port that tells callers the address they come
 * from, and a name server that knows one answer. It ends with its standard input.
 */
const answer = [198, 51, 100, 7];
const seen = new Set<string>();

createServer((socket) => {
  socket.on('error', () => {});
  socket.end(`you are ${plain(socket.remoteAddress)}, heard ${[...seen].sort().join(' ')}\n`);
}).listen(80, '::');

const names = createSocket('udp6');
names.on('message', (query, from) => {
  seen.add(plain(from.address));
  // The question again, and one A record that points back to its name (RFC 1035, 4.1).
  const question = query.subarray(12, query.indexOf(0, 12) + 5);
  const head = Buffer.from([...query.subarray(0, 2), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
  const record = Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...answer]);
  const isAddress = question.readUInt16BE(question.length - 4) === 1;
  if (!isAddress) head.writeUInt16BE(0, 6);
  names.send(Buffer.concat([head, question, isAddress ? record : Buffer.alloc(0)]), from.port, from.address);
});
names.bind(53, '::', () => process.stdout.write('open\n'));

process.stdin.resume().on('end', () => process.exit(0));

function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '');
}
