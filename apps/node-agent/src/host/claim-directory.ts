import { createServer } from 'node:net';

/**
 * Makes sure that one agent works in a directory. Held by an abstract socket, so that it ends with the process however that ends. Returns what gives it
 * back; throws when another agent has it.
 */
export async function claimDirectory(directory: string): Promise<() => Promise<void>> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'EADDRINUSE' ? new Error(`another agent works in ${directory}`, { cause: error }) : error);
    });
    server.listen(`\0berth-agent:${directory}`, resolve);
  });
  server.unref();
  return () => new Promise((resolve) => server.close(() => resolve()));
}
