/*
 * OCI runtimes tell why a process could not be started in words alone. These are the words of berth-runtime, runc, crun and runsc for what is the image's or the
 * request's doing; whatever is not among them counts as the node's.
 */
const refusals: readonly RegExp[] = [
  /\bexec [^\n]+/,
  /\b(?:enter )?the working directory [^\n]+/,
  /\bexec: "[^\n]+/,
  /\bfailed to load \/[^\n]+/,
  /\bexecutable file [^\n]+ not found in \$PATH[^\n]*/,
];

/** What to tell the tenant when the container's process could not be executed; null when the message speaks of something else. */
export function startRefusal(message: string): string | null {
  for (const pattern of refusals) {
    const found = pattern.exec(message);
    if (found !== null) return found[0].slice(0, 500);
  }
  return null;
}
