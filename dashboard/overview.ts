import { html, nothing, type TemplateResult } from 'lit-html';
import type {
  Shown,
  ShownEndpoint,
  ShownModel,
  ShownPipeline,
  ShownWorker,
} from '../src/http/operate/shown.ts';
import { bytes, count, duration, since } from './format.ts';
import { coverageBar, linkTo, notes, stateOf } from './parts.ts';
import { sparkline } from './sparkline.ts';

/** The first page: everything at a glance. */
export function overview(shown: Shown): TemplateResult {
  return html`
    ${shown.database ? html`${pipelines(shown)} ${workers(shown)}` : nothing}
    <section aria-labelledby="models">
      <h2 id="models">Models of this worker</h2>
      ${shown.models.length === 0 ? html`<p class="dim">None was needed so far.</p>` : modelTable(shown.models)}
    </section>
    ${shown.endpoints.length === 0 ? nothing : endpoints(shown)}`;
}

function pipelines({ pipelines: all, problem }: Shown): TemplateResult {
  return html`<section aria-labelledby="pipelines">
    <h2 id="pipelines">Pipelines</h2>
    ${problem !== null ? nothing : all.length === 0 ? noPipelines : pipelineTable(all)}
  </section>`;
}

function workers(shown: Shown): TemplateResult {
  return html`<section aria-labelledby="workers">
    <h2 id="workers">Workers</h2>
    ${shown.workers.length === 0 ? html`<p class="dim">None is on the register.</p>` : workerTable(shown)}
  </section>`;
}

const noPipelines = html`<p>There are none that this worker may see. One is made like this:</p>
  <pre tabindex="0">npx pgembedder pipeline create articles body</pre>`;

function pipelineTable(pipelines: readonly ShownPipeline[]): TemplateResult {
  return html`<div class="table"><table>
    <thead><tr>
      <th scope="col">name</th><th scope="col">state</th><th scope="col">coverage</th><th scope="col" class="number">rows</th>
      <th scope="col" class="number">waiting</th><th scope="col" class="number">failed</th><th scope="col" class="number">oldest</th>
      <th scope="col" class="number">rows/s</th><th scope="col" class="number">left</th><th scope="col">last hour</th>
    </tr></thead>
    <tbody>${pipelines.map(pipelineRow)}</tbody>
  </table></div>`;
}

function pipelineRow(pipeline: ShownPipeline): TemplateResult {
  const { name, sourceRows, pending, leased, failed, oldestDueSeconds, rowsPerSecond, secondsLeft } =
    pipeline;
  return html`<tr>
    <th scope="row"><a href=${linkTo(name)}>${name}</a><div class="dim model">${pipeline.model}</div>${notes(pipeline)}</th>
    <td data-label="state">${stateOf(pipeline)}</td>
    <td data-label="coverage">${coverageBar(pipeline.coverage, name)}</td>
    <td data-label="rows" class="number">${count(sourceRows)}</td>
    <td data-label="waiting" class="number">${count(pending + leased)}</td>
    <td data-label="failed" class="number ${failed > 0 ? 'bad' : ''}">${count(failed)}</td>
    <td data-label="oldest" class="number">${duration(oldestDueSeconds)}</td>
    <td data-label="rows/s" class="number">${count(rowsPerSecond)}</td>
    <td data-label="left" class="number">${duration(secondsLeft)}</td>
    <td data-label="last hour">${sparkline(pipeline.minutes)}</td>
  </tr>`;
}

function workerTable({ workers, at }: Shown): TemplateResult {
  return html`<div class="table"><table>
    <thead><tr><th scope="col">host</th><th scope="col">state</th><th scope="col">version</th><th scope="col">woken by</th>
      <th scope="col" class="number">up</th></tr></thead>
    <tbody>${workers.map((worker) => workerRow(worker, at))}</tbody>
  </table></div>`;
}

function workerRow(
  { host, pid, state, version, listening, startedAt, note }: ShownWorker,
  at: string,
): TemplateResult {
  return html`<tr>
    <th scope="row">${host} <span class="dim">process ${pid}</span>${note === null ? nothing : html`<div class="note bad">${note}</div>`}</th>
    <td data-label="state"><span class="state ${state}">${state}</span></td>
    <td data-label="version">${version}</td>
    <td data-label="woken by">${listening ? 'notifications' : 'looking'}</td>
    <td data-label="up" class="number">${since(startedAt, at)}</td>
  </tr>`;
}

function modelTable(models: readonly ShownModel[]): TemplateResult {
  return html`<div class="table"><table>
    <thead><tr><th scope="col">model</th><th scope="col">state</th><th scope="col">device</th>
      <th scope="col" class="number">memory</th><th scope="col" class="number">processes</th><th scope="col" class="number">batches</th></tr></thead>
    <tbody>${models.map(
      ({ name, state, device, memoryBytes, processes, pendingBatches }) => html`<tr>
        <th scope="row">${name}</th>
        <td data-label="state"><span class="state ${state}">${state}</span></td>
        <td data-label="device">${device}</td>
        <td data-label="memory" class="number">${state === 'loaded' ? bytes(memoryBytes) : '–'}</td>
        <td data-label="processes" class="number">${processes}</td>
        <td data-label="batches" class="number">${pendingBatches}</td>
      </tr>`,
    )}</tbody>
  </table></div>`;
}

function endpoints({ endpoints: all, at }: Shown): TemplateResult {
  return html`<section aria-labelledby="endpoints">
    <h2 id="endpoints">Endpoints</h2>
    <div class="table"><table>
      <thead><tr><th scope="col">name</th><th scope="col">state</th><th scope="col">last request</th>
        <th scope="col" class="number">requests</th><th scope="col" class="number">refused</th>
        <th scope="col" class="number">waits</th><th scope="col" class="number">tokens</th></tr></thead>
      <tbody>${all.map((endpoint) => endpointRow(endpoint, at))}</tbody>
    </table></div>
  </section>`;
}

function endpointRow(
  { name, models, state, secondsLeft, last, requests, refused, waits, tokens }: ShownEndpoint,
  at: string,
): TemplateResult {
  return html`<tr>
    <th scope="row">${name}<div class="dim model">${models.join(', ')}</div></th>
    <td data-label="state"><span class="state ${state}">${state}</span>${secondsLeft === null ? nothing : html` ${duration(secondsLeft)}`}</td>
    <td data-label="last request">${last === null ? '–' : html`${last.outcome}, ${since(last.at, at)} ago`}</td>
    <td data-label="requests" class="number">${count(requests)}</td>
    <td data-label="refused" class="number ${refused > 0 ? 'bad' : ''}">${count(refused)}</td>
    <td data-label="waits" class="number">${count(waits)}</td>
    <td data-label="tokens" class="number">${count(tokens)}</td>
  </tr>`;
}
