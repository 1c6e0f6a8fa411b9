import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readSettings } from './settings.js';

const home = mkdtempSync(join(tmpdir(), 'berth-settings-'));
const keys = { url: 'http://127.0.0.1:1234', registry: 'x', adminKey: 'admin', tenantKey: 'tenant' };
writeFileSync(join(home, 'keys.json'), JSON.stringify(keys));
afterAll(() => rmSync(home, { recursive: true }));

describe('the settings', () => {
  it('come from the environment', () => {
    const settings = readSettings({ BERTH_URL: 'https://berth.example', BERTH_API_KEY: 'k', BERTH_HOME: '/nowhere' });
    expect([settings.url, settings.key('tenant'), settings.key('admin')]).toEqual(['https://berth.example', 'k', 'k']);
  });

  it('or else from the keys file', () => {
    const settings = readSettings({ BERTH_HOME: home });
    expect([settings.url, settings.key('tenant'), settings.key('admin')]).toEqual([keys.url, 'tenant', 'admin']);
    expect(readSettings({ BERTH_HOME: home, BERTH_URL: 'http://other' }).key('tenant')).toBe('tenant');
    expect(readSettings({ BERTH_HOME: home, BERTH_API_KEY: 'k' }).url).toBe(keys.url);
  });

  it('say what to do when there is no key, or no sense in the file', () => {
    const settings = readSettings({ BERTH_HOME: '/nowhere' });
    expect(settings.url).toBe('http://127.0.0.1:7070');
    expect(() => settings.key('tenant')).toThrow('set BERTH_API_KEY');
    for (const text of ['', '[]', 'null', '{"url":1}']) {
      writeFileSync(join(home, 'keys.json'), text);
      expect(() => readSettings({ BERTH_HOME: home }).url).toThrow('is not a keys file');
    }
  });
});
