/**
 * Writes a cpio archive in the "newc" format, as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst).
 * @param {{ name: string, mode: number, content?: Buffer }[]} entries directories before what they hold
 * @returns {Buffer}
 */
export function writeCpio(entries) {
  const pad = (length) => Buffer.alloc((4 - (length % 4)) % 4);
  const parts = [...entries, { name: 'TRAILER!!!', mode: 0 }].flatMap(({ name, mode, content = Buffer.alloc(0) }, index) => {
    const fields = [index + 1, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
    const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`, 'latin1');
    return [head, pad(head.length), content, pad(content.length)];
  });
  return Buffer.concat(parts);
}
