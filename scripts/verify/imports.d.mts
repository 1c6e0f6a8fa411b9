import type { Module } from './boundaries.mjs';
export function readModule(path: string, source?: string): Module;
