import { html, nothing, render, type TemplateResult } from 'lit-html';
import type { Action, Shown, ShownDetails } from '../src/http/operate/shown.ts';
import { act, keepToken, Refusal, readDetails, search, watch } from './connection.ts';
import { overview } from './overview.ts';
import { pipelinePage } from './pipeline-page.ts';
import type { AskedSearch, SearchState } from './search-box.ts';

const RECONNECT_MS = 2_000;

const NOTHING_FOUND: SearchState = { busy: false, answer: null, tookMs: 0, refused: null };

/** All that is drawn follows from this. */
const state: {
  shown: Shown | null;
  details: ShownDetails | null;
  /** Why nothing comes: the server is away, or refuses. */
  trouble: string | null;
  wantsToken: boolean;
  /** What became of the last action. */
  told: string | null;
  question: { text: string; yes: () => void } | null;
  found: SearchState;
} = {
  ...{ shown: null, details: null, trouble: null, wantsToken: false, told: null, question: null },
  found: NOTHING_FOUND,
};

/** The pipeline whose page is shown. */
function selected(): string | null {
  const [, name] = /^#\/pipeline\/(.+)$/.exec(location.hash) ?? [];
  return name === undefined ? null : decodeURIComponent(name);
}

function draw(): void {
  render(page(), document.getElementById('app')!);
  const dialog = document.querySelector('dialog');
  if (state.question && dialog && !dialog.open) dialog.showModal();
  document.title = selected() === null ? 'pgembedder' : `${selected()} · pgembedder`;
}

function page(): TemplateResult {
  const { shown, trouble } = state;
  return html`
    <header>
      <h1><a href="#/">pgembedder</a></h1>
      ${shown ? html`<span class="dim">${shown.version}, worker: ${shown.worker}</span>` : nothing}
      <a class="away" href="/docs">API</a>
    </header>
    <main>
      <div role="alert">${trouble === null ? nothing : html`<p class="note bad">${trouble}</p>`}
        ${shown?.problem ? html`<p class="note bad">${shown.problem}</p>` : nothing}</div>
      <div role="status">${state.told === null ? nothing : html`<p class="note told">${state.told}</p>`}</div>
      ${state.wantsToken ? tokenForm() : shown ? content(shown) : html`<p class="dim">Reading…</p>`}
    </main>
    ${question()}`;
}

function content(shown: Shown): TemplateResult {
  const name = selected();
  if (name === null) return overview(shown);
  const pipeline = shown.pipelines.find((each) => each.name === name);
  if (!pipeline) return html`<p><a href="#/">All pipelines</a></p><p>There is no pipeline ${name}.</p>`;
  const details = state.details?.name === name ? state.details : null;
  return pipelinePage(shown, pipeline, details, state.found, {
    act: (action, text, rowKey) => ask(text, () => void perform(name, action, rowKey)),
    search: (asked) => void find(name, asked),
  });
}

function tokenForm(): TemplateResult {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    keepToken(new FormData(event.target as HTMLFormElement).get('token') as string);
    Object.assign(state, { wantsToken: false, trouble: null });
    draw();
    void follow();
  };
  return html`<form @submit=${submit}>
    <label>A token with the scope read <input name="token" type="password" autocomplete="off" required autofocus></label>
    <button>Show</button>
  </form>`;
}

/** Browsers put the focus into the dialog, and back when it closes. */
function question(): TemplateResult | typeof nothing {
  if (!state.question) return nothing;
  const { text, yes } = state.question;
  const end = (event: Event) => {
    const confirmed = (event.target as HTMLDialogElement).returnValue === 'yes';
    state.question = null;
    draw();
    if (confirmed) yes();
  };
  return html`<dialog aria-labelledby="question" @close=${end}>
    <form method="dialog">
      <p id="question">${text}</p>
      <div class="actions"><button value="no">Cancel</button><button value="yes" class="main">Yes</button></div>
    </form>
  </dialog>`;
}

function ask(text: string, yes: () => void): void {
  state.question = { text, yes };
  draw();
}

async function perform(name: string, action: Action, rowKey?: string): Promise<void> {
  state.told = null;
  try {
    state.told = await act(name, action, rowKey);
    state.trouble = null;
    await loadDetails();
  } catch (error) {
    state.trouble = (error as Error).message;
  }
  draw();
}

async function find(name: string, asked: AskedSearch): Promise<void> {
  state.found = { ...NOTHING_FOUND, busy: true };
  draw();
  const begin = performance.now();
  const found = await search(name, asked).then(
    (answer) => ({ ...NOTHING_FOUND, answer, tookMs: performance.now() - begin }),
    (error: Error) => ({ ...NOTHING_FOUND, refused: error.message }),
  );
  // Another page may be shown by now.
  if (selected() === name) state.found = found;
  draw();
}

async function loadDetails(): Promise<void> {
  const name = selected();
  if (name === null) return;
  const details = await readDetails(name).catch(() => null);
  if (selected() === name) state.details = details;
}

/** The numbers whose change means that the list of failed rows has changed. */
const marks = (shown: Shown | null) =>
  shown?.pipelines
    .map(({ name, failed, generation, next }) => [name, failed, generation, next?.generation])
    .join();

/** Hears how everything is, for as long as this page is open. */
async function follow(): Promise<void> {
  for (;;) {
    try {
      await watch((shown) => {
        const changed = marks(state.shown) !== marks(shown);
        Object.assign(state, { shown, ...(state.shown ? {} : { trouble: null }) });
        draw();
        if (changed) void loadDetails().then(draw);
      });
      state.trouble = 'The server has ended the connection; trying again';
    } catch (error) {
      state.trouble = error instanceof Refusal ? error.message : 'The server is away; trying again';
      if (error instanceof Refusal && error.status < 429) {
        state.wantsToken = error.status === 401 || error.status === 403;
        if (state.wantsToken) return draw();
      }
    }
    state.shown = null;
    draw();
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

addEventListener('hashchange', () => {
  Object.assign(state, { told: null, details: null, found: NOTHING_FOUND });
  document.querySelector<HTMLFormElement>('form.search')?.reset();
  draw();
  void loadDetails().then(draw);
});
draw();
void follow();
