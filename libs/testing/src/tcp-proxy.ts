import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy on loopback that stands for the network between a program and its server. */
export interface TcpProxy {
  readonly port: number;
  /** Ends every connection and refuses others until `restore`. */
  cut(): Promise<void>;
  restore(): Promise<void>;
  /** Keeps connections open and passes nothing on, as a host that vanished, until `resume`. */
  freeze(): void;
  resume(): void;
  close(): Promise<void>;
}

export async function startTcpProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let isFrozen = false;
  let server: Server | null = null;

  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    if (isFrozen) socket.pause();
  };
  const listen = async (port: number): Promise<Server> => {
    const listening = createServer((inbound) => {
      const outbound = connect(target.port, target.host);
      keep(inbound);
      keep(outbound);
      inbound.pipe(outbound).on('close', () => inbound.destroy());
      outbound.pipe(inbound).on('close', () => outbound.destroy());
      if (isFrozen) for (const socket of [inbound, outbound]) socket.pause();
    });
    listening.listen(port, '127.0.0.1');
    await once(listening, 'listening');
    return listening;
  };
  const cut = async () => {
    const ending = server;
    server = null;
    for (const socket of sockets) socket.destroy();
    if (ending === null) return;
    ending.close();
    await once(ending, 'close');
  };

  server = await listen(0);
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has no port');
  const { port } = address;
  return {
    port,
    cut,
    restore: async () => {
      server ??= await listen(port);
    },
    freeze: () => {
      isFrozen = true;
      for (const socket of sockets) socket.pause();
    },
    resume: () => {
      isFrozen = false;
      for (const socket of sockets) socket.resume();
    },
    close: cut,
  };
}
