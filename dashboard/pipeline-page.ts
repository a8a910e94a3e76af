import { html, nothing, type TemplateResult } from 'lit-html';
import type { Action, Shown, ShownDetails, ShownPipeline } from '../src/http/operate/shown.ts';
import { count, duration, since } from './format.ts';
import { coverageBar, notes, stateOf } from './parts.ts';
import { type AskedSearch, type SearchState, searchBox } from './search-box.ts';
import { sparkline } from './sparkline.ts';

/** What the page of a pipeline needs to act. */
export interface PageActions {
  /** Asks first, then does it. */
  act(action: Action, question: string, rowKey?: string): void;
  search(asked: AskedSearch): void;
}

/** The page of one pipeline. @param details null until they are there */
export function pipelinePage(
  shown: Shown,
  pipeline: ShownPipeline,
  details: ShownDetails | null,
  found: SearchState,
  actions: PageActions,
): TemplateResult {
  return html`
    <p><a href="#/">All pipelines</a></p>
    <h2 class="title">${pipeline.name} ${stateOf(pipeline)}</h2>
    ${notes(pipeline)}
    <div class="actions">${buttons(pipeline, actions)}</div>
    <dl class="figures">
      ${figure('coverage', coverageBar(pipeline.coverage, pipeline.name))}
      ${figure('rows', count(pipeline.sourceRows))}
      ${figure('with a result', count(pipeline.embeddedRows))}
      ${figure('stale', count(pipeline.staleRows))}
      ${figure('waiting', count(pipeline.pending))}
      ${figure('being worked on', count(pipeline.leased))}
      ${figure('failed', count(pipeline.failed))}
      ${figure('oldest due', duration(pipeline.oldestDueSeconds))}
      ${figure('rows/s', count(pipeline.rowsPerSecond))}
      ${figure('time left', duration(pipeline.secondsLeft))}
      ${figure('index', pipeline.index)}
      ${figure('last hour', sparkline(pipeline.minutes))}
      ${throughput(pipeline.minutes)}
    </dl>
    ${searchBox(pipeline, found, actions.search)}
    ${details === null ? html`<p class="dim">Reading…</p>` : html`${failures(shown, details, actions)} ${generations(details)}`}`;
}

function figure(title: string, value: unknown): TemplateResult {
  return html`<div><dt>${title}</dt><dd>${value}</dd></div>`;
}

/** What the sparkline shows, in numbers. */
function throughput(minutes: readonly number[]): TemplateResult | typeof nothing {
  if (minutes.length === 0) return nothing;
  const sum = minutes.reduce((rows, more) => rows + more, 0);
  return html`
    ${figure('last minute', `${count(minutes.at(-1)!)} rows`)}
    ${figure('best minute', `${count(Math.max(...minutes))} rows`)}
    ${figure(`last ${minutes.length} min`, `${count(sum)} rows`)}`;
}

function buttons({ name, state, failed, next }: ShownPipeline, { act }: PageActions): TemplateResult {
  return html`
    ${
      state === 'paused' || state === 'error'
        ? html`<button @click=${() => act('resume', `Let ${name} go on? Its error, if it has one, is cleared.`)}>Resume</button>`
        : html`<button @click=${() => act('pause', `Pause ${name}? Changes gather, and nothing is embedded until it is resumed.`)}>Pause</button>`
    }
    <button @click=${() => act('backfill', `Look for rows of ${name} that lack a result, and embed them?`)}>Backfill</button>
    ${
      failed === 0
        ? nothing
        : html`<button @click=${() => act('retry', `Try all ${count(failed)} failed rows of ${name} again?`)}>Retry failed</button>`
    }
    ${
      next === null
        ? nothing
        : html`<button @click=${() => act('cutover', `Make the generation of ${next.model} the one that is searched?`)}>Cut over</button>`
    }`;
}

function failures({ at }: Shown, { failed }: ShownDetails, { act }: PageActions): TemplateResult {
  return html`<section aria-labelledby="failed">
    <h3 id="failed">Failed rows</h3>
    ${
      failed.length === 0
        ? html`<p class="dim">None.</p>`
        : html`<div class="table"><table>
            <thead><tr><th scope="col">row</th><th scope="col">error</th><th scope="col" class="number">attempts</th>
              <th scope="col" class="number">ago</th><th scope="col"><span class="hidden">action</span></th></tr></thead>
            <tbody>${failed.map(
              ({ rowKey, error, attempts, failedAt }) => html`<tr>
                <th scope="row" class="key">${rowKey}</th>
                <td data-label="error" class="error">${error ?? ''}</td>
                <td data-label="attempts" class="number">${attempts}</td>
                <td data-label="ago" class="number">${since(failedAt, at)}</td>
                <td><button aria-label="Retry row ${rowKey}" @click=${() => act('retry', `Try row ${rowKey} again?`, rowKey)}>Retry</button></td>
              </tr>`,
            )}</tbody>
          </table></div>`
    }
  </section>`;
}

function generations({ generations: all }: ShownDetails): TemplateResult {
  return html`<section aria-labelledby="generations">
    <h3 id="generations">Declaration</h3>
    ${all.map(
      ({ generation, live, declaration }) => html`
        <h4>Generation ${generation}${live ? ', live' : ''}</h4>
        <dl class="declaration">${Object.entries(declaration)
          .filter(([, value]) => value !== null)
          .map(([name, value]) => html`<dt>${name}</dt><dd>${String(value)}</dd>`)}</dl>`,
    )}
  </section>`;
}
