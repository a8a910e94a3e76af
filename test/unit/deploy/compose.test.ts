import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { describeSettings } from '../../../src/config.ts';
import { packageRoot } from '../../../src/package-root.ts';
import { SECRETS } from '../../../src/secret-files.ts';

interface Service {
  build?: string | { context: string; dockerfile: string; args?: Record<string, string> };
  user?: string;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
  environment?: Record<string, string | number>;
  secrets?: string[];
  ports?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
  stop_grace_period?: string;
}

const compose: {
  services: Record<string, Service>;
  volumes: Record<string, null>;
  secrets: Record<string, { file: string }>;
} = parse(readFileSync(join(packageRoot, 'docker-compose.yml'), 'utf8'), { merge: true });
const services = Object.entries(compose.services);
const settings = new Map(describeSettings().map((setting) => [setting.name, setting]));
const ours = ['migrate', 'worker', 'worker-gpu'];

describe('every service of docker-compose.yml', () => {
  it.each(services)('%s is no root, on a read-only root file system, without capabilities', (_, service) => {
    expect(service.user).toMatch(/^[1-9]\d*:\d+$/);
    expect(service.read_only).toBe(true);
    expect(service.cap_drop).toEqual(['ALL']);
    expect(service.security_opt).toEqual(['no-new-privileges:true']);
  });

  it.each(services)('%s is reached from this machine only', (_, service) => {
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  it.each(services)('%s names secrets, volumes and files that there are', (_, service) => {
    for (const secret of service.secrets ?? []) expect(compose.secrets).toHaveProperty(secret);
    for (const volume of service.volumes ?? []) {
      const source = volume.split(':')[0]!;
      if (source.startsWith('./')) expect(existsSync(join(packageRoot, source)), source).toBe(true);
      else expect(compose.volumes).toHaveProperty(source);
    }
    const { build } = service;
    const dockerfile = typeof build === 'string' ? `${build}/Dockerfile` : build?.dockerfile;
    if (dockerfile) expect(existsSync(join(packageRoot, dockerfile)), dockerfile).toBe(true);
  });

  it.each(services)('%s is given the secrets that its variables name', (_, service) => {
    for (const [name, value] of Object.entries(service.environment ?? {})) {
      const secret = /^\/run\/secrets\/(.*)/.exec(String(value))?.[1];
      if (secret) expect(service.secrets, name).toContain(secret);
    }
  });

  it('makes the secrets that deploy/make-secrets.sh makes', () => {
    const script = readFileSync(join(packageRoot, 'deploy', 'make-secrets.sh'), 'utf8');
    const made = [...script.matchAll(/^make (\w+) /gm)].map(([, name]) => `./secrets/${name}`);
    expect(Object.values(compose.secrets).map(({ file }) => file)).toEqual(made);
  });
});

describe('pgembedder in docker-compose.yml', () => {
  it.each(ours)('%s sets variables that there are', (name) => {
    for (const variable of Object.keys(compose.services[name]!.environment ?? {})) {
      const setting = variable.replace(/_FILE$/, '');
      if (setting !== variable) expect(SECRETS).toContain(setting);
      expect([...settings.keys()]).toContain(setting);
    }
  });

  it.each(['worker', 'worker-gpu'])('%s is given the time that it takes to stop', (name) => {
    const { environment, stop_grace_period: grace } = compose.services[name]!;
    expect(Number.parseInt(grace!, 10)).toBeGreaterThanOrEqual(
      Number(environment!.PGEMBEDDER_STOP_SECONDS) + 3,
    );
  });

  it.each(['worker', 'worker-gpu'])('%s waits for the database and for the migration', (name) => {
    expect(compose.services[name]!.depends_on).toEqual({
      db: { condition: 'service_healthy' },
      migrate: { condition: 'service_completed_successfully' },
    });
  });
});
