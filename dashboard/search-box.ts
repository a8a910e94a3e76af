import { html, nothing, type TemplateResult } from 'lit-html';
import type { ShownPipeline } from '../src/http/operate/shown.ts';
import { milliseconds } from './format.ts';

/** What the server answers to a search. */
export interface SearchAnswer {
  readonly results: readonly {
    readonly key: Readonly<Record<string, string | number>>;
    readonly similarity: number | null;
    readonly input?: string | null;
    readonly columns?: Readonly<Record<string, unknown>>;
  }[];
  readonly times: { readonly embed_ms: number; readonly search_ms: number };
}

/** A search as the form has it. */
export interface AskedSearch {
  readonly query: string;
  readonly hybrid: boolean;
  readonly filter: Readonly<Record<string, string>>;
  readonly settings: Readonly<Record<string, string>>;
}

/** How the last search of this page went. */
export interface SearchState {
  readonly busy: boolean;
  readonly answer: SearchAnswer | null;
  /** Until the answer was here, in ms. */
  readonly tookMs: number;
  readonly refused: string | null;
}

/** A form for a query, and what was found. Nothing where the pipeline is not open for search. */
export function searchBox(
  { search }: ShownPipeline,
  state: SearchState,
  run: (asked: AskedSearch) => void,
): TemplateResult | typeof nothing {
  if (search === null) return nothing;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const given = (names: readonly string[], field: string) =>
      Object.fromEntries(
        names
          .map((name) => [name, form.get(`${field}.${name}`) as string])
          .filter(([, value]) => value !== ''),
      );
    run({
      query: form.get('query') as string,
      hybrid: form.has('hybrid'),
      filter: given(search.filters, 'filter'),
      settings: given(search.settings, 'settings'),
    });
  };
  return html`<section aria-labelledby="search">
    <h3 id="search">Search</h3>
    <form class="search" @submit=${submit}>
      <label>Query <input name="query" type="search" required></label>
      ${search.settings.map((name) => html`<label>${name} <input name="settings.${name}" required></label>`)}
      ${search.filters.map((name) => html`<label>${name} <input name="filter.${name}" placeholder="any"></label>`)}
      <label class="tick"><input name="hybrid" type="checkbox"> words too</label>
      <button class="main" ?disabled=${state.busy}>Search</button>
    </form>
    <div role="status" class="found">${found(state)}</div>
  </section>`;
}

function found({ busy, answer, refused, tookMs }: SearchState): TemplateResult | typeof nothing {
  if (busy) return html`<p class="dim">Searching…</p>`;
  if (refused !== null) return html`<p class="note bad">${refused}</p>`;
  if (answer === null) return nothing;
  const { results, times } = answer;
  const many = results.length === 1 ? '1 result' : `${results.length} results`;
  const embedded = `embedded in ${milliseconds(times.embed_ms)}`;
  const searched = `searched in ${milliseconds(times.search_ms)}`;
  return html`
    <p class="dim">${`${many}: ${embedded}, ${searched}, here after ${milliseconds(tookMs)}`}</p>
    ${
      results.length === 0
        ? nothing
        : html`<div class="table"><table>
            <thead><tr><th scope="col">row</th><th scope="col" class="number">similarity</th><th scope="col">text</th></tr></thead>
            <tbody>${results.map(
              ({ key, similarity, input, columns }) => html`<tr>
                <th scope="row" class="key">${Object.values(key).join(', ')}</th>
                <td data-label="similarity" class="number">${similarity === null ? '–' : similarity.toFixed(3)}</td>
                <td class="text"><div class="lines">${input ?? ''}</div>${
                  columns === undefined
                    ? nothing
                    : html`<dl class="inline">${Object.entries(columns).map(
                        ([name, value]) => html`<div><dt>${name}</dt><dd>${textOf(value)}</dd></div>`,
                      )}</dl>`
                }</td>
              </tr>`,
            )}</tbody>
          </table></div>`
    }`;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
