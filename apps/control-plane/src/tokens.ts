/** The injection token of the whole `Store`, for the few who need more than one port of it. */
export const STORE = Symbol('Store');
