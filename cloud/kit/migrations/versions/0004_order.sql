-- A statement runs in the order of `number`. Numbers handed out a hundred to a connection were none: what a claim
-- moved over one connection stood behind what ingest took back later over another. Now a transfer gets its number
-- when it is made, and that is under the locks of its accounts.

ALTER TABLE transfers ALTER COLUMN number SET CACHE 1;
