import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { type RuntimeClass, runtimeClasses } from '@berth/core';
import { CliContainerRuntime, type ContainerRuntime } from '@berth/runtime';

/** One OCI runtime of this node. */
export interface NodeRuntime {
  readonly runtimeClass: RuntimeClass;
  /** Absolute path. */
  readonly program: string;
  /** Where it keeps the state of this node's containers, and nothing else. */
  readonly root: string;
  /** What stands before the verb on its command line. */
  readonly globalArguments: readonly string[];
  /** Processes and threads of its own that it keeps in the container's cgroup; a run's limit does not count them. */
  readonly ownPids: number;
  readonly containers: ContainerRuntime;
}

/** The OCI runtimes of this node by their class, Berth's own always among them. Whether they work here is another question (`probeRuntimes`). */
export type NodeRuntimes = ReadonlyMap<RuntimeClass, NodeRuntime> & { readonly default: NodeRuntime };

/** gVisor has a network stack of its own and would look for interfaces to take over. */
const argumentsOf: Readonly<Partial<Record<RuntimeClass, readonly string[]>>> = { runsc: ['--network=none'] };

/** gVisor's kernel is a process of many threads; it dies when it cannot have one. */
const ownPids: Readonly<Partial<Record<RuntimeClass, number>>> = { runsc: 64 };

/** `programs` names each class's program by its absolute path. `root` is a folder of this node's; each further class has one beside it. */
export function nodeRuntimes(programs: ReadonlyMap<RuntimeClass, string> & { readonly default: string }, root: string): NodeRuntimes {
  const runtimes = new Map<RuntimeClass, NodeRuntime>();
  const add = (runtimeClass: RuntimeClass, program: string, own: string): NodeRuntime => {
    const globalArguments = argumentsOf[runtimeClass] ?? [];
    const containers = new CliContainerRuntime(program, own, globalArguments);
    const runtime = { runtimeClass, program, root: own, globalArguments, ownPids: ownPids[runtimeClass] ?? 0, containers };
    runtimes.set(runtimeClass, runtime);
    return runtime;
  };
  const berth = add('berth', programs.default, root);
  for (const [runtimeClass, program] of programs) if (runtimeClass !== 'berth') add(runtimeClass, program, `${root}.${runtimeClass}`);
  return Object.assign(runtimes, { default: berth });
}

/**
 * Reads the operator's choice of further runtimes: `none`, or a list of CLASS or CLASS=/PATH with commas between. Without a choice, all that are on
 * PATH. Throws for a class that there is not, and for a program that is not there although it was asked for.
 */
export function findRuntimes(choice: string | undefined, path: string): ReadonlyMap<RuntimeClass, string> {
  const found = new Map<RuntimeClass, string>();
  if (choice === 'none') return found;
  const further = runtimeClasses.filter((name) => name !== 'berth');
  for (const entry of choice?.split(',') ?? further) {
    const [name, ...given] = entry.split('=');
    const runtimeClass = further.find((one) => one === name);
    if (runtimeClass === undefined) throw new Error(`there is no runtime class ${name}: write none, or some of ${further.join(', ')}`);
    const program = given.length > 0 ? absolute(given.join('=')) : onPath(runtimeClass, path);
    if (program !== null) found.set(runtimeClass, program);
    else if (choice !== undefined) throw new Error(`${entry} is not there: install it, name its path (${name}=/PATH), or leave it out`);
  }
  return found;
}

function absolute(program: string): string | null {
  return program.startsWith('/') && isExecutable(program) ? program : null;
}

function onPath(name: string, path: string): string | null {
  const folders = path.split(':').filter((folder) => folder.startsWith('/'));
  return folders.map((folder) => join(folder, name)).find(isExecutable) ?? null;
}

function isExecutable(program: string): boolean {
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
