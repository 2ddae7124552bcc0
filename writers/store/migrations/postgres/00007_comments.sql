COMMENT ON TABLE catalog IS 'The catalog as runs used it, under the hash that manifests name: a list of chunks. Only drawdown writes here.';
COMMENT ON TABLE catalog_chunk IS 'Rows of kept catalogs, compressed, each chunk stored once. Only drawdown writes here.';
