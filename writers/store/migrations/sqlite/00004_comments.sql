-- SQLite keeps no comments. What both databases get here is an index by which messages are counted.
CREATE INDEX message_counts ON message (channel, state, created_at);
