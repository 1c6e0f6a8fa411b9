export type Kind = 'processes' | 'mounts' | 'cgroups' | 'network namespaces' | 'loop devices' | 'key rings' | 'IPC objects';
export type Inventory = Record<Kind, Map<string, string>>;
export function takeInventory(): Inventory;
export function leftovers(before: Inventory, after: Inventory, owns?: (text: string, kind: Kind) => boolean): string[];
export function settledLeftovers(before: Inventory, owns?: (text: string, kind: Kind) => boolean, patienceMs?: number): Promise<string[]>;
export function counts(inventory: Inventory): Record<Kind, number>;
export function openDescriptors(pid: number): number;
export function countInodes(path: string): number;
export function isOfRootOrContainer(text: string, kind: Kind): boolean;
