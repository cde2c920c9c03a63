CREATE TABLE rondo_catalog.token_syncs (
  list text PRIMARY KEY,
  etag text NOT NULL,
  synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE rondo_catalog.token_syncs IS 'the version of each list, by the SHA-256 of its address, that was taken as a whole';
