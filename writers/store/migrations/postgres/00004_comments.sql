CREATE INDEX message_counts ON message (channel, state, created_at);
COMMENT ON TABLE message IS 'What is sent, or was: a notice or a digest on one channel. Only drawdown writes here.';
COMMENT ON TABLE message_notice IS 'Which notices a message tells of. Only drawdown writes here.';
COMMENT ON TABLE inbox IS 'What an account finds in its inbox, once for each notice; the words come from drawdown --json inbox. Only drawdown writes here.';
