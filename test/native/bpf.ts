/** A classic BPF instruction as the kernel takes it: code, jump if true, jump if false, operand. */
export type Instruction = [code: number, jt: number, jf: number, k: number];

/** What a seccomp filter looks at (struct seccomp_data). */
export interface SeccompCall {
  arch: number;
  number: number;
  args: bigint[];
}

export const AUDIT_ARCH = { x86_64: 0xc000003e, i386: 0x40000003 } as const;

/** Interprets a seccomp program, knowing only the instructions that the kernel's seccomp checker admits and our compiler uses. Returns SECCOMP_RET_*. */
export function evaluate(program: Instruction[], call: SeccompCall): number {
  const words = new DataView(new ArrayBuffer(64));
  words.setUint32(0, call.number >>> 0, true);
  words.setUint32(4, call.arch, true);
  call.args.forEach((arg, i) => {
    words.setBigUint64(16 + 8 * i, arg, true);
  });
  let accumulator = 0;
  for (let pc = 0; pc < program.length; pc++) {
    const [code, jt, jf, k] = program[pc]!;
    switch (code) {
      case 0x20: // ld [k]
        accumulator = words.getUint32(k, true);
        break;
      case 0x54: // and #k
        accumulator = (accumulator & k) >>> 0;
        break;
      case 0x05: // ja
        pc += k;
        break;
      case 0x15: // jeq
        pc += accumulator === k ? jt : jf;
        break;
      case 0x25: // jgt
        pc += accumulator > k ? jt : jf;
        break;
      case 0x35: // jge
        pc += accumulator >= k ? jt : jf;
        break;
      case 0x06: // ret #k
        return k;
      default:
        throw new Error(`instruction ${pc} has code ${code}`);
    }
  }
  throw new Error('the program runs past its end');
}

const RET: Record<string, number> = {
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_KILL_THREAD: 0,
  SCMP_ACT_KILL: 0,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};

/** The kernel's value of an action. */
export const actionValue = (action: string, errnoRet = 1): number =>
  ((RET[action] ?? 0) | (action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE' ? errnoRet : 0)) >>> 0;

export interface Rule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: { index: number; value: number; valueTwo?: number; op: string }[] | null;
}

/** Whether one condition holds; narrow: only the low 32 bits count, as on i386. */
export function holds(condition: NonNullable<Rule['args']>[number], args: bigint[], narrow: boolean): boolean {
  const cut = (v: bigint): bigint => (narrow ? v & 0xffffffffn : v);
  const arg = cut(args[condition.index] ?? 0n);
  const value = cut(BigInt(condition.value));
  switch (condition.op) {
    case 'SCMP_CMP_EQ':
      return arg === value;
    case 'SCMP_CMP_NE':
      return arg !== value;
    case 'SCMP_CMP_LT':
      return arg < value;
    case 'SCMP_CMP_LE':
      return arg <= value;
    case 'SCMP_CMP_GT':
      return arg > value;
    case 'SCMP_CMP_GE':
      return arg >= value;
    case 'SCMP_CMP_MASKED_EQ':
      return (arg & value) === cut(BigInt(condition.valueTwo ?? 0));
    default:
      throw new Error(condition.op);
  }
}

/** What rules say of a call, by the plainest reading: the first rule whose conditions all hold, else the default. */
export function verdict(rules: Rule[], defaultAction: number, name: string, args: bigint[], narrow: boolean): number {
  for (const rule of rules) {
    if (!rule.names.includes(name)) continue;
    const conditions = rule.args ?? [];
    const repeats = new Set(conditions.map(({ index }) => index)).size < conditions.length;
    const matches = repeats ? conditions.some((c) => holds(c, args, narrow)) : conditions.every((c) => holds(c, args, narrow));
    if (matches) return actionValue(rule.action, rule.errnoRet);
  }
  return defaultAction;
}
