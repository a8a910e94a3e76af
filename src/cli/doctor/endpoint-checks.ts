import type { Endpoint } from '../../endpoints/endpoint.ts';
import { UserError } from '../../errors.ts';
import { isLoopback } from '../../loopback.ts';
import type { Environment } from '../environment.ts';
import { fail, ok, type Report, warn } from './check.ts';

/**
 * Whether the file of endpoints can be read, and what goes to other machines as plain text.
 * @returns those that can be used
 */
export function checkEndpoints(environment: Environment, add: Report): readonly Endpoint[] {
  try {
    const { endpoints } = environment;
    for (const { name, url } of endpoints) {
      const { protocol, hostname, origin } = new URL(url);
      if (protocol === 'http:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''))) {
        add(
          warn(
            'endpoint',
            `${name}: texts and key go to ${origin} as plain text`,
            'Use https, unless the network between is your own',
          ),
        );
      } else {
        add(ok('endpoint', `${name}: ${origin}`));
      }
    }
    return endpoints;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    add(fail('endpoint', error.message, error.hint ?? null));
    return [];
  }
}
