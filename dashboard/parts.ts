import { html, nothing, type TemplateResult } from 'lit-html';
import type { ShownPipeline } from '../src/http/operate/shown.ts';
import { share } from './format.ts';

/** The address of a pipeline's page. */
export function linkTo(name: string): string {
  return `#/pipeline/${encodeURIComponent(name)}`;
}

export function stateOf({ state }: ShownPipeline): TemplateResult {
  return html`<span class="state ${state}">${state}</span>`;
}

/** What is wrong with a pipeline, and the generation beside it. */
export function notes({ error, warning, next }: ShownPipeline): TemplateResult {
  return html`${error === null ? nothing : html`<div class="note bad">${error}</div>`}
    ${warning === null ? nothing : html`<div class="note warn">${warning}</div>`}
    ${next === null ? nothing : html`<div class="note">next: ${next.model}, ${share(next.coverage)}, ${next.state}</div>`}`;
}

export function coverageBar(coverage: number | null, of: string): TemplateResult {
  const value = coverage ?? 0;
  return html`<span class="coverage">
    <progress max="1" value=${value} aria-label="coverage of ${of}"></progress>
    <span>${share(coverage)}</span>
  </span>`;
}
