import type { openApiDocument } from './openapi.ts';

type Document = ReturnType<typeof openApiDocument>;

interface Schema {
  readonly type?: string | string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

interface Content {
  readonly 'application/json': { readonly schema: Schema; readonly example?: unknown };
}

interface Operation {
  readonly summary: string;
  readonly description?: string;
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content: Content }>>;
}

const STYLE = `:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:56rem;margin:2rem auto;padding:0 1rem}
code,pre{font-family:ui-monospace,monospace;font-size:.875rem}pre{overflow-x:auto;padding:.75rem;border:1px solid #8886;border-radius:.25rem}
section{border-top:1px solid #8886;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8883}`;

/** A page that shows the document: plain HTML, without scripts and without a request to anywhere. */
export function docsPage({ info, paths }: Document): string {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => section(method, path, operation as Operation)),
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>pgembedder: HTTP API</title><style>${STYLE}</style></head>
<body><h1>pgembedder ${escaped(info.version)}: HTTP API</h1>
<p>${escaped(info.description)} The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>
<nav><ul>${Object.keys(paths)
    .map((path) => `<li><a href="#${escaped(path)}"><code>${escaped(path)}</code></a></li>`)
    .join('')}</ul></nav>
<main>${operations.join('\n')}</main></body></html>
`;
}

function section(
  method: string,
  path: string,
  { summary, description, requestBody, responses }: Operation,
): string {
  const body = requestBody?.content['application/json'];
  const refusals = Object.entries(responses).filter(([status]) => status !== '200');
  return `<section id="${escaped(path)}"><h2><code>${method.toUpperCase()} ${escaped(path)}</code></h2>
<p>${escaped(summary)}.${description === undefined ? '' : ` ${escaped(description)}`}</p>
${body ? `<h3>Body</h3>${fields(body.schema)}` : ''}
${body?.example === undefined ? '' : `<pre>${escaped(JSON.stringify(body.example, null, 2))}</pre>`}
<h3>Answer</h3>${fields(responses['200']!.content['application/json'].schema)}
<h3>Refusals</h3><table>${refusals
    .map(([status, each]) => `<tr><td>${status}</td><td>${escaped(each.description)}</td></tr>`)
    .join('')}</table></section>`;
}

function fields(schema: Schema): string {
  if (!schema.properties) return `<p><code>${escaped(kindOf(schema))}</code></p>`;
  const rows = Object.entries(schema.properties).map(
    ([name, field]) =>
      `<tr><td><code>${escaped(name)}</code>${schema.required?.includes(name) ? '' : ' (may be left out)'}</td><td><code>${escaped(kindOf(field))}</code></td><td>${escaped(field.description ?? '')}</td></tr>`,
  );
  return `<table><tr><th>field</th><th>kind</th><th>meaning</th></tr>${rows.join('')}</table>`;
}

function kindOf(schema: Schema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (schema.anyOf) return schema.anyOf.map(kindOf).join(' | ');
  if (schema.items) return `list of (${kindOf(schema.items)})`;
  if (schema.properties) {
    const inner = Object.entries(schema.properties).map(([name, field]) => `${name}: ${kindOf(field)}`);
    return `{ ${inner.join(', ')} }`;
  }
  return [schema.type ?? 'anything'].flat().join(' | ');
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
