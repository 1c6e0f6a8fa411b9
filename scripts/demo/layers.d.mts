import type { BuiltLayer } from '@berth/image';
export function baseLayer(): Promise<BuiltLayer>;
export function nodeLayer(): Promise<BuiltLayer>;
export function appLayer(name: string, version: string): Promise<BuiltLayer>;
