import { html, type nothing, svg, type TemplateResult } from 'lit-html';
import { count } from './format.ts';

const WIDTH = 120;
const HEIGHT = 28;
const MINUTES = 60;

/** Rows a minute over the last hour, the present at the right; its text says the same to whoever does not see it. */
export function sparkline(minutes: readonly number[]): TemplateResult | typeof nothing {
  if (minutes.length === 0) return html`<span class="dim">after a minute</span>`;
  const most = Math.max(...minutes, 1);
  const text = `Rows done a minute, over the last ${minutes.length} min: most ${count(Math.max(...minutes))}, last ${count(minutes.at(-1)!)}`;
  const step = WIDTH / MINUTES;
  const bars = minutes.map((rows, place) => {
    const height = rows === 0 ? 1 : Math.max(2, (rows / most) * HEIGHT);
    const x = WIDTH - (minutes.length - place) * step;
    return svg`<rect x=${x} y=${HEIGHT - height} width=${step - 0.5} height=${height}></rect>`;
  });
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${text}><title>${text}</title>${bars}</svg>`;
}
