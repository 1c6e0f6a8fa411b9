import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { ImageError } from '../image-error.js';
import { isInternalAddress } from './internal-address.js';

const denied = (host: string) => new ImageError('addressDenied', `${host} leads to an internal address`);

/**
 * A lookup for `net.connect` that yields public addresses only. The very addresses that were judged are connected to, so a name that
 * resolves otherwise a moment later (DNS rebinding) gains nothing.
 */
export const lookupPublicAddress: LookupFunction = (hostname, options, callback) => {
  systemLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    if (error) return callback(error, []);
    const open = addresses.filter(({ address }) => !isInternalAddress(address));
    const first = open[0];
    if (!first) return callback(denied(hostname), []);
    if (options.all) callback(null, open);
    else callback(null, first.address, first.family);
  });
};

/** Refuses a URL whose host is an internal address written as a number: `net.connect` looks nothing up then. */
export function assertPublicLiteral(url: URL): void {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && isInternalAddress(host)) throw denied(url.host);
}
