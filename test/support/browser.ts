import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { type Browser, chromium } from 'playwright-core';

const PLACES = ['/usr/bin/chromium', '/usr/bin/google-chrome', '/usr/bin/chromium-browser'];

/**
 * Chromium without a window. TEST_CHROMIUM names one; else it is the machine's, which is installed where it may be (root on Debian).
 * @throws when there is none
 */
export async function openBrowser(): Promise<Browser> {
  const executablePath = process.env.TEST_CHROMIUM ?? installed() ?? (await install());
  // Chromium refuses to run in its sandbox as root.
  return chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });
}

function installed(): string | undefined {
  return PLACES.find((path) => existsSync(path));
}

async function install(): Promise<string> {
  if (process.getuid?.() === 0 && existsSync('/etc/debian_version')) {
    const run = promisify(execFile);
    const apt = ['-o', 'DPkg::Lock::Timeout=600', '-qq'];
    await run('apt-get', [...apt, 'update']);
    await run('apt-get', [...apt, 'install', '-y', '--no-install-recommends', 'chromium']);
  }
  const path = installed();
  if (path === undefined)
    throw new Error('The dashboard is tested in Chromium: install it, or name one by TEST_CHROMIUM');
  return path;
}
