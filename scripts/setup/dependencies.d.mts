export function dependenciesInstalled(root: string): boolean;
export function installDependencies(root: string): void;
export function postgresReady(root: string): boolean;
export function hydratePostgres(root: string, shelter: string): void;
export function reachableByAll(path: string): boolean;
