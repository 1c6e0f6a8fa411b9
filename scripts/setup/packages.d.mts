export interface Package {
  name: string;
  present: () => boolean;
}
export const runPackages: Package[];
export const testPackages: Package[];
export function findCommand(name: string): string | null;
export function findStaticBusybox(): string | null;
export function isStatic(path: string): boolean;
export function missing(wanted: Package[]): string[];
export function installPackages(wanted: Package[]): string[];
