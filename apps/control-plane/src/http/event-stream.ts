import { AppError } from '@berth/core';
import type { RunEvent } from '@berth/wire';

export const eventStreamType = 'text/event-stream; charset=utf-8';

/** One event of an event stream (HTML Living Standard, 9.2.5). Its id is what `Last-Event-ID` resumes after. */
export function eventFrame(event: RunEvent): string {
  return `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** A comment: keeps proxies from closing a quiet stream, and shows us when the client is gone. */
export const keepAliveFrame = ': \n\n';

/** The event id after which a client wants to go on; undefined without the header. */
export function parseLastEventId(header: string | undefined): bigint | undefined {
  if (header === undefined || header === '') return undefined;
  if (!/^\d{1,18}$/.test(header)) throw new AppError('invalidRequest', 'Last-Event-ID: must be the id of an event of this stream');
  return BigInt(header);
}
