import { Hono } from 'hono';
import type pg from 'pg';

/** What the application needs from outside. */
export interface AppOptions {
  readonly pool: pg.Pool;
  /** The worker's HTTP API, which has the model in memory. */
  readonly inference: string;
}

interface Hit {
  row_key: string;
  similarity: number;
}

/** A support desk: tickets of the tenant whose key a request brings. */
export function createApp({ pool, inference }: AppOptions): Hono<{ Variables: { tenant: number } }> {
  const app = new Hono<{ Variables: { tenant: number } }>();

  app.use(async (context, next) => {
    const key = context.req.header('x-api-key') ?? '';
    const { rows } = await pool.query<{ id: number }>('select id from tenant where api_key = $1', [key]);
    if (!rows[0]) return context.json({ error: 'Send your key in the header X-Api-Key' }, 401);
    context.set('tenant', rows[0].id);
    await next();
  });

  app.post('/tickets', async (context) => {
    const { title, body } = await context.req.json<{ title: string; body: string }>();
    const tenant = context.get('tenant');
    const [ticket] = await asTenant<{ id: string }>(
      tenant,
      'insert into ticket (tenant_id, title, body) values ($1, $2, $3) returning id',
      [tenant, title, body],
    );
    // Its vector and its kind follow in some milliseconds: nobody waits for them here.
    return context.json(ticket, 201);
  });

  app.get('/tickets', async (context) =>
    context.json(
      await asTenant(
        context.get('tenant'),
        `select id, title, kind, round(kind_score::numeric, 2)::float as kind_score from ticket order by id desc limit 50`,
      ),
    ),
  );

  app.get('/search', async (context) => {
    const vector = await vectorOf(context.req.query('q') ?? '');
    const hits = await asTenant<Hit>(
      context.get('tenant'),
      `select t.id, t.title, t.kind, round(s.similarity::numeric, 3)::float as similarity
       from embedder.search('ticket_search', $1::vector, k => 5) s join ticket t on t.id = s.row_key::bigint
       order by s.similarity desc`,
      [vector],
    );
    return context.json(hits);
  });

  /** Runs a statement as the application's role, which sees one tenant. */
  async function asTenant<Row extends pg.QueryResultRow>(
    tenant: number,
    statement: string,
    values: unknown[] = [],
  ): Promise<Row[]> {
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query('set local role support_app');
      await client.query(`select set_config('app.tenant', $1, true)`, [String(tenant)]);
      const { rows } = await client.query<Row>(statement, values);
      await client.query('commit');
      return rows;
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  }

  /** The vector of a question, by the API that OpenAI's clients know. */
  async function vectorOf(question: string): Promise<string> {
    const response = await fetch(`${inference}/v1/embeddings`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: question, input_type: 'query' }),
    });
    if (!response.ok) throw new Error(`the worker answered ${response.status}`);
    const { data } = (await response.json()) as { data: { embedding: number[] }[] };
    return JSON.stringify(data[0]!.embedding);
  }

  return app;
}
