#!/bin/sh
# Once, on an empty data folder: the ordinary role of the bots, and the database that it owns.
set -eu
psql --username "${POSTGRES_USER:-postgres}" --dbname postgres --set ON_ERROR_STOP=1 <<'SQL'
\getenv password PASTICHE_DB_PASSWORD
CREATE ROLE pastiche LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE pastiche OWNER pastiche ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE pastiche FROM PUBLIC;
SQL
