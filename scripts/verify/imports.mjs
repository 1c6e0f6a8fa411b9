import { readFileSync } from 'node:fs';
import { parseAst } from 'vitest/node';

/**
 * What a source file reaches for. `names` are those imported by name; a namespace import counts as `*`.
 *
 * @typedef {{ specifier: string, names: string[], line: number }} Import
 * @typedef {{ what: string, line: number }} Impurity
 * @typedef {{ path: string, imports: Import[], impurities: Impurity[] }} Module
 */

/** Reads one TypeScript file. Type-only imports count: a boundary is about knowing, not about loading. @returns {Module} */
export function readModule(path, source = readFileSync(path, 'utf8')) {
  const module = { path, imports: [], impurities: [] };
  const lineOf = (offset) => source.slice(0, offset).split('\n').length;
  const add = (node, literal, names) => {
    if (typeof literal?.value === 'string') module.imports.push({ specifier: literal.value, names, line: lineOf(node.start) });
  };
  visit(parseAst(source, { lang: 'ts' }), (node) => {
    switch (node.type) {
      case 'ImportDeclaration':
        return add(node, node.source, node.specifiers.map(importedName));
      case 'ExportNamedDeclaration':
      case 'ExportAllDeclaration':
        return add(node, node.source, ['*']);
      case 'ImportExpression':
        return add(node, node.source, ['*']);
      case 'TSImportType':
        return add(node, node.source ?? node.argument?.literal ?? node.argument, ['*']);
      default: {
        const what = impurity(node);
        if (what) module.impurities.push({ what, line: lineOf(node.start) });
      }
    }
  });
  return module;
}

const importedName = (specifier) => (specifier.type === 'ImportSpecifier' ? (specifier.imported.name ?? specifier.imported.value) : '*');

/** A use of the clock, of chance or of the process: what a pure function takes as an argument instead. */
function impurity(node) {
  if (node.type === 'NewExpression' && node.callee.name === 'Date' && node.arguments.length === 0) return 'new Date()';
  if (node.type === 'Identifier' && ['setTimeout', 'setInterval', 'setImmediate', 'fetch'].includes(node.name)) return node.name;
  if (node.type !== 'MemberExpression' || node.object.type !== 'Identifier') return null;
  const name = `${node.object.name}.${node.property.name}`;
  if (['Date.now', 'Math.random', 'performance.now', 'crypto.randomUUID', 'crypto.getRandomValues'].includes(name)) return name;
  return node.object.name === 'process' || node.object.name === 'console' ? name : null;
}

function visit(node, see) {
  see(node);
  for (const value of Object.values(node)) {
    if (Array.isArray(value)) {
      for (const child of value) if (typeof child?.type === 'string') visit(child, see);
    } else if (typeof value?.type === 'string') {
      visit(value, see);
    }
  }
}
