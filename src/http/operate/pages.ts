import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { packageRoot } from '../../package-root.ts';

/** A file of the dashboard, ready to be sent. */
export interface Page {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
};

/**
 * The dashboard's files by their paths. They are read once, are some 40 kB together, and ask for nothing from elsewhere, which the
 * browser is told to refuse.
 */
export function readPages(): ReadonlyMap<string, Page> {
  const html = readFileSync(join(packageRoot, 'dashboard', 'index.html'), 'utf8');
  const style = readFileSync(join(packageRoot, 'dashboard', 'style.css'), 'utf8');
  // Programs name the library, and the page says where it is. What is found here, its build for Node.js, runs in browsers as well.
  const library = readFileSync(createRequire(import.meta.url).resolve('lit-html'), 'utf8');
  const importMap = /<script type="importmap">(.*?)<\/script>/s.exec(html)![1]!;
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'sha256-${createHash('sha256').update(importMap).digest('base64')}'`,
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  const built = join(packageRoot, 'dist', 'dashboard');
  const programs = readdirSync(built).filter((name) => name.endsWith('.js'));
  return new Map([
    ['/', page('.html', html, { 'content-security-policy': policy })],
    ['/dashboard/style.css', page('.css', style)],
    ['/dashboard/lit-html.js', page('.js', library)],
    ...programs.map((name): [string, Page] => [
      `/dashboard/${name}`,
      page(extname(name), readFileSync(join(built, name), 'utf8')),
    ]),
  ]);
}

function page(extension: string, body: string, more: Record<string, string> = {}): Page {
  const headers = {
    'content-type': TYPES[extension]!,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    // So that a newer version of the server is seen at once.
    'cache-control': 'no-cache',
    ...more,
  };
  return { body, headers };
}
