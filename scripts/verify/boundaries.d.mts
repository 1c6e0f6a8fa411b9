export interface Import {
  specifier: string;
  names: string[];
  line: number;
}
export interface Module {
  path: string;
  imports: Import[];
  impurities: { what: string; line: number }[];
}
export interface Package {
  folder: string;
  name: string;
  dependencies: string[];
}
export interface Violation {
  rule: string;
  at: string;
  message: string;
}
export function findViolations(packages: Package[], modules: Module[], shared?: string[]): Violation[];
export function checkBoundaries(root: string): Violation[];
