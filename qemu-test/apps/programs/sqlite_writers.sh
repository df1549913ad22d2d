# SPDX-License-Identifier: Apache-2.0 OR MIT
# Two writers of one database, each with a thousand transactions; they wait for each other's locks.
set -eu
case $1 in
prepare)
	sqlite3 db >/dev/null <<-'SQL'
		PRAGMA journal_mode = wal;
		CREATE TABLE entry (writer, turn, number, seen, text);
		CREATE INDEX by_text ON entry (text);
		CREATE TABLE total (entries);
		INSERT INTO total VALUES (0);
	SQL
	for writer in a b; do
		{
			echo ".timeout 600000"
			for turn in $(seq 1000); do
				cat <<-SQL
					BEGIN IMMEDIATE;
					WITH RECURSIVE n(number) AS (VALUES (1) UNION ALL SELECT number + 1 FROM n WHERE number < 50)
					INSERT INTO entry SELECT '$writer', $turn, number, entries, hex(number * $turn % 997 || 'text of $writer') FROM n, total;
					UPDATE total SET entries = entries + 50;
					COMMIT;
					SELECT '$turn';
				SQL
			done
		} >$writer.sql
	done
	;;
start)
	for writer in a b; do
		sqlite3 db <$writer.sql >$writer.progress &
	done
	wait
	;;
esac
