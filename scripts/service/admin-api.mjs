/** A request that was answered with something else than success; `problem` is the problem document, or null. */
export class ApiRefusal extends Error {
  constructor(method, path, status, problem) {
    super(`${method} ${path} answered ${status}${problem ? `: ${problem.code}: ${problem.detail ?? problem.title}` : ''}`);
    this.status = status;
    this.problem = problem;
  }
}

/**
 * A client of the HTTP API with one key. Each call answers the parsed body, or throws an ApiRefusal.
 *
 * @param {string} url of the control plane
 * @param {string} key an API key
 */
export function apiClient(url, key) {
  const call = async (method, path, body, headers = {}) => {
    const response = await fetch(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = /\bjson\b/.test(response.headers.get('content-type') ?? '') && text !== '' ? JSON.parse(text) : null;
    if (!response.ok) throw new ApiRefusal(method, path, response.status, json);
    return json ?? text;
  };
  return {
    get: (path) => call('GET', path),
    post: (path, body, headers) => call('POST', path, body, headers),
    patch: (path, body) => call('PATCH', path, body),
    delete: (path) => call('DELETE', path),
  };
}

/** A tenant of this name, made when there is none. */
export async function ensureTenant(admin, name, quota) {
  const { items } = await admin.get('/v1/admin/tenants');
  return items.find((one) => one.name === name) ?? (await admin.post('/v1/admin/tenants', { name, ...(quota ? { quota } : {}) }));
}

/** A new key of a tenant, which opens all that a tenant's can; the secret is in this answer only. */
export async function createKey(admin, tenant, name) {
  const { secret } = await admin.post(`/v1/admin/tenants/${tenant.id}/keys`, { name, role: 'admin' });
  return secret;
}

/** A token with which one agent may join within ten minutes. */
export async function createJoinToken(admin) {
  const { token } = await admin.post('/v1/admin/join-tokens', { uses: 1, expiresInMs: 600_000 });
  return token;
}

/** The nodes as the control plane sees them. */
export async function listNodes(admin) {
  return (await admin.get('/v1/admin/nodes')).items;
}
