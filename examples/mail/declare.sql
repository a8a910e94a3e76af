create table if not exists mail (
  id text primary key,
  spam boolean not null, -- what people said of it; no pipeline reads it
  subject text not null,
  body text not null
);

-- What a message is, in a column of the table. The labels are plain words: no model was trained for them.
select embedder.create_pipeline('mail', '{subject}\n{body}', name => 'mail_kind', task => 'zero-shot-classification',
  target_column => 'kind', if_not_exists => true, options => '{"hypothesis_template": "{}", "labels": [
    "an offer to make money fast", "an advertisement with a low price", "a loan or a mortgage", "pills and weight loss", "adult content",
    "a discussion about software", "a question on a mailing list", "a reply to somebody in a discussion", "a link to a news story",
    "a personal message"]}');

-- What it says, in parts that fit a model, for searching. The same table, the same worker.
select embedder.create_pipeline('mail', '{subject}\n\n{body}', name => 'mail_parts',
  chunking => '{"strategy": "recursive", "size": 128}', if_not_exists => true);
