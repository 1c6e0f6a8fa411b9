/** Which methods are served at which paths, noted as the framework registers them. */
export class ServedRoutes {
  private readonly routes: { readonly method: string; readonly url: string; readonly pattern: RegExp }[] = [];

  note(methods: string | readonly string[], url: string): void {
    for (const method of [methods].flat()) {
      const pattern = new RegExp(
        `^${url
          .split('/')
          .map((part) => (part.startsWith(':') ? '[^/]+' : literally(part)))
          .join('/')}$`,
      );
      this.routes.push({ method, url, pattern });
    }
  }

  /** As `METHOD /path/:parameter`. */
  list(): string[] {
    return this.routes.map(({ method, url }) => `${method} ${url}`);
  }

  /** The methods served at a request's path. */
  methodsAt(path: string): string[] {
    return this.routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
  }
}

function literally(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
