import { createServer } from 'node:net';

/** A port of 127.0.0.1 that nobody listens on right now. */
export async function freePort() {
  const server = await listen(0);
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Throws an Error that names the port, what it is for and how to choose another, when somebody listens on it. */
export async function requireFree(port, purpose, variable) {
  try {
    const server = await listen(port);
    await new Promise((resolve) => server.close(resolve));
  } catch (error) {
    if (error.code === 'EADDRINUSE')
      throw new Error(`port ${port} (${purpose}) is taken by another program: stop it, or set ${variable} to a free port`);
    if (error.code === 'EACCES') throw new Error(`port ${port} (${purpose}) may not be used by this account: set ${variable} to another`);
    throw error;
  }
}

function listen(port) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port, host: '127.0.0.1' }, () => resolve(server));
  });
}
