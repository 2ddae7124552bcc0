-- SQLite keeps no comments.
SELECT 1;
