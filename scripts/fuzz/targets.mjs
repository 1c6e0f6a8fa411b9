/**
 * The parsers that are fuzzed, each by a program `native/build/fuzz/fuzz-NAME` made of `native/fuzz/NAME.c`.
 *
 * @typedef {{ name: string, sources: string[], maxBytes: number, needsRoot?: boolean, planted?: RegExp }} Target
 *   `sources`: files below `native` whose lines the target is there to reach. `planted`: it has a bug, and what is said when that is found.
 */

/** @type {Target[]} */
export const targets = [
  { name: 'json', sources: ['common/json.c', 'common/json-out.c'], maxBytes: 4096 },
  {
    name: 'config',
    sources: [
      'runtime/config.c',
      'runtime/config-io.c',
      'runtime/config-linux.c',
      'runtime/config-process.c',
      'runtime/config-resources.c',
      'runtime/limits-v1.c',
      'runtime/limits-v2.c',
      'runtime/limits-plan.c',
    ],
    maxBytes: 8192,
  },
  { name: 'mounts', sources: ['runtime/mount-options.c'], maxBytes: 1024 },
  { name: 'seccomp', sources: ['runtime/seccomp.c', 'runtime/seccomp-rules.c'], maxBytes: 1024 },
  { name: 'tar', sources: ['layer/tar.c', 'layer/pax.c'], maxBytes: 16_384 },
  { name: 'pax', sources: ['layer/pax.c'], maxBytes: 4096 },
  { name: 'inflate', sources: ['layer/inflate.c', 'layer/inflate-table.c', 'layer/decompress.c'], maxBytes: 4096 },
  {
    name: 'layer',
    sources: ['unpack', 'tree', 'path', 'walk', 'pack', 'pack-directories', 'names', 'erofs-inode', 'erofs-image'].map(
      (name) => `layer/${name}.c`,
    ),
    maxBytes: 16_384,
    needsRoot: true,
  },
  { name: 'user', sources: ['runtime/user.c'], maxBytes: 2048 },
  { name: 'options', sources: ['runtime/options.c'], maxBytes: 1024 },
  { name: 'shim-options', sources: ['shim/options.c'], maxBytes: 1024 },
  { name: 'shim-control', sources: ['shim/control.c'], maxBytes: 2048 },
  { name: 'launcher', sources: ['launcher/client.c'], maxBytes: 2048 },
  { name: 'shim-log', sources: ['shim/logfile.c'], maxBytes: 1024 },
  { name: 'records', sources: ['shim/record.c', 'runtime/state.c'], maxBytes: 2048 },
  { name: 'words', sources: ['layer/path.c', 'runtime/signals.c', 'common/cgroup.c'], maxBytes: 1024 },
  { name: 'planted', sources: ['layer/tar.c'], maxBytes: 4096, planted: /heap-buffer-overflow.* in read_extension/ },
];
