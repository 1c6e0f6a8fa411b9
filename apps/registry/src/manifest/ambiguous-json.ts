/**
 * Whether an object in `text`, which must be valid JSON, has two members of one name, or two whose names differ only in case. Parsers
 * disagree about which of them counts (JavaScript: the last, exact; Go: the last, whatever its case), so such a manifest may mean one thing
 * to us and another to a node. Only the keys of `annotations` are free: every parser reads them as a map, where case makes a difference.
 */
export function hasAmbiguousMembers(text: string): boolean {
  const open: { names: Set<string> | null; caseMatters: boolean }[] = [];
  let lastName = '';
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '{') open.push({ names: new Set(), caseMatters: lastName === 'annotations' });
    else if (character === '[') open.push({ names: null, caseMatters: false });
    else if (character === '}' || character === ']') open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      const object = open.at(-1);
      if (object?.names != null && isFollowedByColon(text, end)) {
        lastName = JSON.parse(text.slice(at, end)) as string;
        const name = object.caseMatters ? lastName : lastName.toLowerCase();
        if (object.names.has(name)) return true;
        object.names.add(name);
      }
      at = end - 1;
    }
  }
  return false;
}

/** Where the string that opens at `start` has ended. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

function isFollowedByColon(text: string, start: number): boolean {
  let at = start;
  while (at < text.length && ' \t\n\r'.includes(text[at] ?? '')) at += 1;
  return text[at] === ':';
}
